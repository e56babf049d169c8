"""The shapes of the plugs, on one page. A plug is one module with these names in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from toolkit.model.contract import IoContract

if TYPE_CHECKING:
    from torch import nn

    from toolkit.images.sets import ImageSet
    from toolkit.model.network import Network  # imports onnx, which `plan` need not wait for
    from toolkit.model.quant_plan import QuantPlan
    from toolkit.spec.target import Target

Precision = Literal["int8", "float32", "float16", "bfloat16"]
Tensor = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One line of talk from a step that takes long; `note` is short, such as `37.12 dB`."""

    done: int
    total: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class StepInput:
    """What a step gets: the spine, checked parameters, images, a place for its checkpoints."""

    network: Network
    params: Mapping[str, Any]
    calibration: ImageSet
    work: Path  # kept until the step has succeeded: checkpoints survive a kill here
    show: Callable[[Progress], None]
    networks: Mapping[str, Network] = field(default_factory=dict)  # e.g. "teacher"
    channel_multiple: int = 1  # the largest one the recipe's targets ask for


class Step(Protocol):
    """steps/NAME.py: reads a spine file, writes `network.onnx` (and maybe `plan.json`)."""

    VERSION: int  # part of the cache key; raise it when the same input gives another output
    TOOLS: Sequence[str]  # distributions whose versions are part of the cache key

    def run(self, given: StepInput, out: Path) -> dict[str, Any]:
        """Write into the empty folder `out`; return JSON facts for the report."""


class Arch(Protocol):
    """archs/NAME.py: one SR network family, built from its hyper-parameters."""

    def build(self, *, scale: int, **hyper: Any) -> nn.Module:
        """A module: float32 (N, C, H, W) to (N, C, H * scale, W * scale)."""

    def detect(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Hyper-parameters (with `scale`) for tensors of these shapes, or None."""

    def collapse(self, module: nn.Module) -> nn.Module:
        """The network as it is shipped; the same module where nothing collapses."""


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """One file for one runtime (an OpenVINO IR counts as its .xml; the .bin lies beside it)."""

    path: Path
    backend: str  # which backends/NAME.py opens it
    precision: Precision
    contract: IoContract


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator as the runtime really executes it."""

    name: str
    kind: str
    precision: str  # "int8", "float32", ... ; "" for pure data movement of any type
    macs: int  # multiply-accumulates at the file's tile, or at 360 x 640 where sizes are free


class Session(Protocol):
    """An opened file. Not thread-safe."""

    def run(self, tensor: Tensor) -> Tensor:
        """One input tensor, exactly as `Artefact.contract.input` says, to one output tensor."""

    def close(self) -> None:
        """Free the runtime's memory."""


class Backend(Protocol):
    """backends/NAME.py: one runtime."""

    TOOLS: Sequence[str]  # distributions it needs; versions go into keys and manifests
    VERSION: int

    def lower(
        self, network: Network, plan: QuantPlan | None, target: Target, out: Path, stem: str
    ) -> list[Artefact]:
        """Write the float file and, with a plan, the INT8 file into `out`."""

    def open(self, artefact: Artefact, *, threads: int) -> Session:
        """Load a file. Float files run in true float32 unless their precision says otherwise."""

    def operators(self, artefact: Artefact) -> list[Operator]:
        """What the runtime makes of the file, for the share of work that runs in INT8."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One shell script that a device ran to its end, well or badly."""

    code: int  # exit code; 128 + the signal's number where it was killed
    stdout: bytes
    stderr: str


@dataclass(frozen=True, kw_only=True)
class LinkOptions:
    """What a user may change of a link; the rest is fixed and safe."""

    connect_s: float = 10.0
    accept_new_host: bool = False  # trust a host key that was never seen; never a changed one


class Link(Protocol):
    """links/NAME.py gives `open(address, options) -> Link` for URLs `NAME:address`, and
    `present() -> list[str]`, the URLs of what can be seen without being named.

    Every method raises LinkLost where the device stopped answering (the same may work again) and
    EnvironmentFailure or SecurityError where it cannot work, each with its own message.
    """

    url: str
    is_emulated: bool  # its times mean nothing

    def run(self, script: str, *, timeout_s: float, stdin: Path | bytes = b"") -> Finished:
        """Run a POSIX sh script on the device, `stdin` streamed to it; a bad exit code is no
        error."""

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """Write a file's bytes to the path `remote` on the device, whose folder exists."""

    def close(self) -> None:
        """End the connection."""


Image = npt.NDArray[np.uint8]
