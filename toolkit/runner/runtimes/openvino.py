"""OpenVINO IR on the CPU."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.session import PROFILE_RUNS, PROFILE_WARM_RUNS, Executed, Opening

if TYPE_CHECKING:
    from toolkit.runner.session import Tensor

# without the hint "float" runs in bfloat16 wherever the CPU has it
HINTS = {"float32": "f32", "int8": "f32", "bfloat16": "bf16", "float16": "f16"}
PRECISIONS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "u8": "int8", "i8": "int8"}
# Layers of the execution graph that calculate; all others move or retype values.
COMPUTING = frozenset({
    "Convolution", "Deconvolution", "FullyConnected", "MatMul", "Eltwise", "Subgraph", "Pooling",
    "Interpolate", "Reduce", "Softmax", "MVN", "FakeQuantize", "NormalizeL2",
})  # fmt: skip


def library() -> Any:
    """The module without its telemetry package, which would send on import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise Failure("missing", f"openvino cannot be imported: {error}") from error
    return openvino


def version() -> tuple[str, str]:
    """See `Runtime`."""
    return "openvino", str(library().__version__)


def _last_line(error: Exception) -> str:
    """OpenVINO lists the places in its own source first, the reason last."""
    return str(error).strip().rpartition("\n")[2]


def layer_info(layer: Any, key: str) -> str:
    """What the execution graph says of a layer, such as `layerType`; "" where it says nothing."""
    info = layer.get_rt_info()
    return str(info[key].astype(str)) if key in info else ""


def layer_precision(layer: Any) -> str:
    """The precision that a layer of the execution graph computes in, "" for data movement."""
    if layer_info(layer, "layerType") not in COMPUTING:
        return ""
    precision = layer_info(layer, "runtimePrecision")
    return PRECISIONS.get(precision, precision)


def read(path: Path) -> Any:
    """An IR as a model that can still be reshaped. Raises Failure where it is refused."""
    try:
        return library().Core().read_model(path)
    except (RuntimeError, MemoryError) as error:
        raise failure_of(error, "load", _last_line(error)) from error


def compiled(model: Any, precision: str, threads: int, *, profiled: bool = False) -> Any:
    """A model compiled for latency on the CPU. Raises Failure where it cannot be."""
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": profiled,
    }
    try:
        return library().Core().compile_model(model, "CPU", properties)
    except (RuntimeError, MemoryError) as error:
        raise failure_of(error, "load", _last_line(error)) from error


@dataclass
class OpenvinoSession:
    """See `Session`."""

    request: Any

    def run(self, tensor: Tensor) -> Tensor:
        """One input tensor to a fresh output tensor, both as the file stores them."""
        result: Tensor = self.request.infer([tensor], share_inputs=True)[0].copy()
        return result

    def close(self) -> None:
        """Drop the request and with it the compiled network."""
        self.request = None


def open(opening: Opening) -> OpenvinoSession:
    """What is not INT8 is computed in the precision that is stated, in true float32 by default."""
    network = compiled(read(opening.path), opening.precision, opening.threads)
    return OpenvinoSession(request=network.create_infer_request())


def operators(opening: Opening, tensor: Tensor) -> Sequence[Executed]:
    """See `Runtime`. The execution graph's layers that ran, with the times of their counters."""
    network = compiled(read(opening.path), opening.precision, opening.threads, profiled=True)
    request = network.create_infer_request()
    times: dict[str, list[float]] = {}
    for run in range(PROFILE_WARM_RUNS + PROFILE_RUNS):
        request.infer([tensor], share_inputs=True)
        for counted in request.get_profiling_info() if run >= PROFILE_WARM_RUNS else ():
            if counted.status == counted.Status.EXECUTED:
                time_ms = counted.real_time.total_seconds() * 1e3
                times.setdefault(counted.node_name, []).append(time_ms)
    unit = unit_of(network.get_property("EXECUTION_DEVICES"))
    # the graph is read after the runs: shapes that were free are known by then
    layers = network.get_runtime_model().get_ordered_ops()
    return [
        Executed(
            name=layer.get_friendly_name(),
            kind=layer_info(layer, "layerType"),
            precision=layer_precision(layer),
            unit=unit,
            time_ms=round(statistics.median(times[layer.get_friendly_name()]), 6),
        )
        for layer in layers
        if layer.get_friendly_name() in times
    ]


def unit_of(devices: Sequence[str]) -> str:
    """The compute unit of OpenVINO's device names, such as `CPU` or `GPU.0`."""
    names = sorted({device.strip("()").partition(".")[0] for device in devices})
    return "+".join(names)
