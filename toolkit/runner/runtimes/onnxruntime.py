"""ONNX files in ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.session import PROFILE_RUNS, PROFILE_WARM_RUNS, Executed, Opening

if TYPE_CHECKING:
    from toolkit.runner.session import Tensor

PROVIDERS = ["CPUExecutionProvider"]
KERNEL = "_kernel_time"  # what a profile adds to a node's name
INTEGER_KERNELS = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantize")
MOVES = frozenset({
    "Concat", "DepthToSpace", "SpaceToDepth", "Reshape", "Transpose", "Split", "Slice", "Squeeze",
    "Unsqueeze", "Flatten", "Expand", "Tile", "Identity", "Pad", "Gather", "Shape", "Cast",
    "QuantizeLinear", "DequantizeLinear", "ReorderInput", "ReorderOutput", "MemcpyToHost",
    "MemcpyFromHost",
})  # fmt: skip
PRECISIONS = {"float": "float32", "uint8": "int8", "int64": "", "int32": "", "bool": ""}  # sizes
GPU_PROVIDERS = ("CUDA", "Tensorrt", "NvTensorRT", "ROCM", "MIGraphX", "Dml", "WebGpu", "JS")
NPU_PROVIDERS = ("QNN", "VitisAI", "CoreML", "Nnapi", "RKNPU", "SNPE", "CANN")


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
    """See `Runtime`. From ONNX Runtime's own profile: the nodes after all its fusions."""
    with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
        options = session_options(opening.threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = _inference_session(opening, options)
        for _ in range(PROFILE_WARM_RUNS + PROFILE_RUNS):
            session.run([opening.output], {opening.input: tensor})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return executed(events)


def executed(events: Sequence[Mapping[str, Any]]) -> list[Executed]:
    """A profile's nodes in running order, each with the median time of its runs but the first."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            runs.setdefault(event["name"], []).append(event)
    return [
        Executed(
            name=name[: -len(KERNEL)],
            kind=taken[0]["args"]["op_name"],
            precision=precision_of(taken[0]["args"]["op_name"], _first_type(taken[0]["args"])),
            unit=unit_of(taken[0]["args"].get("provider", "")),
            time_ms=_median_ms(run["dur"] for run in taken[PROFILE_WARM_RUNS:]),
        )
        for name, taken in runs.items()
        if len(taken) > PROFILE_WARM_RUNS
    ]


def _median_ms(times_us: Iterable[int]) -> float:
    return round(statistics.median(times_us) / 1e3, 6)


def _first_type(facts: Mapping[str, Any]) -> str:
    """The type of a node's first input, such as `float`, as the profile has it."""
    shapes = facts.get("input_type_shape") or [{}]
    return next(iter(shapes[0]), "")


def precision_of(kind: str, first_type: str) -> str:
    """What a node computes in, "" where it only moves or retypes values."""
    if kind.startswith(INTEGER_KERNELS):
        return "int8"
    if kind in MOVES:
        return ""
    return PRECISIONS.get(first_type, first_type)


def unit_of(provider: str) -> str:
    """The compute unit of an execution provider."""
    if provider.startswith(GPU_PROVIDERS):
        return "GPU"
    if provider.startswith(NPU_PROVIDERS):
        return "NPU"
    return "XNNPACK" if provider.startswith("Xnnpack") else "CPU"
