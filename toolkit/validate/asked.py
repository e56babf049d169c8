"""What QA asks of a bundle or a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.benchmark import Benchmark
from toolkit.contracts import LinkOptions, Progress
from toolkit.validation import Budget, StageName

# A conversion computes the same sums in another order: 0.01 dB is ten times what that costs. A
# device runs the same integers; what its kernels round the other way costs less than 0.02 dB.
DEFAULT_BUDGETS: Mapping[StageName, Budget] = {
    "conversion": Budget(mean_db=0.01, worst_db=0.02),
    "quantization": Budget(mean_db=0.10, worst_db=0.30),
    "device": Budget(mean_db=0.02, worst_db=0.05),
}

Show = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a bundle or a file is validated; the defaults are those of the command."""

    data: Path | None = None  # a folder of HR pictures; None: the shipped validation set
    lr: Path | None = None  # a folder of their LR pictures; None: made by the protocol
    own_lr: bool = False  # LR of another kernel is accepted, under another protocol's name
    reference: Path | None = None  # the float network as ONNX; None: the one in the bundle
    device: str | None = None  # a device URL; None: no device stage
    link: LinkOptions = field(default_factory=LinkOptions)
    wait_s: float = 0.0  # for a device that is measuring something else
    budgets: Mapping[StageName, Budget] = field(default_factory=dict)  # over the default ones
    timed: Benchmark | None = None  # times of these very files, taken before
    images: int | None = None  # only the first ones of the set
    threads: int = 2
    crops: int = 6  # how many of the worst windows are kept
    in_child: bool = True  # each file's first run is in a child process: some abort theirs
