"""An opened file of any runtime, on a device and on the host alike."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from toolkit.runner.failure import Failure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Tensor = npt.NDArray[np.generic]

PROFILE_WARM_RUNS = 2
PROFILE_RUNS = 5  # the median of these is an operator's time
RUNTIMES = ("onnxruntime", "openvino", "litert")


@dataclass(frozen=True)
class Opening:
    """What a runtime must know to open a file."""

    path: Path  # an OpenVINO IR counts as its .xml; the .bin lies beside it
    precision: str  # "int8", "float32", "bfloat16", "float16": what is not INT8 is computed in it
    threads: int
    input: str  # names in the file
    output: str


@dataclass(frozen=True)
class Executed:
    """One operator as the runtime really executed it."""

    name: str
    kind: str
    precision: str  # "int8", "float32", ... ; "" for pure data movement of any type
    unit: str  # "CPU", "XNNPACK", "GPU", "NPU"
    time_ms: float | None  # in one inference; None where the runtime does not tell


class Session(Protocol):
    """An opened file. Not thread-safe."""

    def run(self, tensor: Tensor) -> Tensor:
        """One input tensor, exactly as the file's contract says, to a fresh output tensor."""

    def close(self) -> None:
        """Free the runtime's memory."""


class Runtime(Protocol):
    """runtimes/NAME.py."""

    def version(self) -> tuple[str, str]:
        """Name and version of the installed library. Raises Failure `missing`."""

    def open(self, opening: Opening) -> Session:
        """Load a file on the CPU. Raises Failure `missing`, `load` or `memory`."""

    def operators(self, opening: Opening, tensor: Tensor) -> Sequence[Executed]:
        """Every operator that runs, from a profiling session of its own: never while timing."""


def runtime(name: str) -> Runtime:
    """The module for one of RUNTIMES; the library itself is imported when a file is opened."""
    if name not in RUNTIMES:
        raise Failure("missing", f"no runtime `{name}`; there are: {', '.join(RUNTIMES)}")
    module: Any = importlib.import_module(f"toolkit.runner.runtimes.{name}")
    return cast(Runtime, module)
