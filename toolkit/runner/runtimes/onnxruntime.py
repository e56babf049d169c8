"""ONNX files in ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.session import Executed, Opening

if TYPE_CHECKING:
    from toolkit.runner.session import Tensor

PROVIDERS = ["CPUExecutionProvider"]


def library() -> Any:
    """The module, told before it loads not to collect usage events."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise Failure("missing", f"onnxruntime cannot be imported: {error}") from error
    return onnxruntime


def refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a file it does not take."""
    state = library().capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile",
             "NotImplemented", "RuntimeException")  # fmt: skip
    return (MemoryError, *(getattr(state, name) for name in names))


def session_options(threads: int) -> Any:
    """Silent, sequential, `threads` threads inside an operator, all optimisations."""
    ort = library()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    return options


def version() -> tuple[str, str]:
    """See `Runtime`."""
    return "onnxruntime", str(library().__version__)


@dataclass
class OrtSession:
    """See `Session`."""

    session: Any
    input: str
    output: str

    def run(self, tensor: Tensor) -> Tensor:
        """One input tensor to one output tensor, both as the file stores them."""
        result: Tensor = self.session.run([self.output], {self.input: tensor})[0]
        return result

    def close(self) -> None:
        """Drop the session and with it the runtime's memory."""
        self.session = None


def _inference_session(opening: Opening, options: Any) -> Any:
    try:
        return library().InferenceSession(str(opening.path), options, providers=PROVIDERS)
    except refusals() as error:
        raise failure_of(error, "load", str(error).partition("\n")[0]) from error


def open(opening: Opening) -> OrtSession:
    """All graph optimisations, sequential, CPU. Raises Failure where the file is refused."""
    session = _inference_session(opening, session_options(opening.threads))
    return OrtSession(session=session, input=opening.input, output=opening.output)


def operators(opening: Opening, tensor: Tensor) -> Sequence[Executed]:
    """See `Runtime`."""
    return []
