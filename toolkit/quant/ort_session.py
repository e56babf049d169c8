"""ONNX Runtime sessions on the CPU, and what its optimiser makes of a file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

from toolkit.contracts import Artefact, Operator, Tensor
from toolkit.errors import UserError
from toolkit.quant.onnx_file import FREE_SIZE_PX, node_macs
from toolkit.quant.schemes import MOVES
from toolkit.quant.view import with_names

INTEGER_KERNELS = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantize")
REFUSED = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ort.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    return options


def quiet_session(model: onnx.ModelProto, *, threads: int = 2) -> ort.InferenceSession:
    """A session on a model in memory, for calculations: graph rewrites that change digits are off."""
    options = _options(threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    data = model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True, kw_only=True)
class OrtSession:
    """See `contracts.Session`."""

    session: ort.InferenceSession
    artefact: Artefact

    def run(self, tensor: Tensor) -> Tensor:
        """Float32 NCHW in, float32 NCHW out."""
        contract = self.artefact.contract
        result: Tensor = self.session.run([contract.output.name], {contract.input.name: tensor})[0]
        return result

    def close(self) -> None:
        """Nothing to do: the memory goes with the last reference."""


def open_onnx(artefact: Artefact, *, threads: int) -> OrtSession:
    """All graph optimisations, sequential, CPU. Raises UserError where the file is refused."""
    try:
        session = ort.InferenceSession(
            str(artefact.path), _options(threads), providers=["CPUExecutionProvider"]
        )
    except REFUSED as problem:
        raise UserError(
            f"ONNX Runtime refuses the file: {str(problem).splitlines()[0]}",
            where=str(artefact.path),
            hint="run `edgesr inspect` on it",
        ) from problem
    return OrtSession(session=session, artefact=artefact)


def optimised_model(path: Path) -> onnx.ModelProto:
    """The graph after ONNX Runtime's fusions, without the layout changes that follow them."""
    options = _options(1)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(written)
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(written)


def executed_operators(artefact: Artefact) -> list[Operator]:
    """One `Operator` for each node that ONNX Runtime executes, in order."""
    original = with_names(onnx.load(artefact.path))
    size_px = artefact.contract.tile or FREE_SIZE_PX
    macs = node_macs(original, size_px)
    return [
        Operator(
            name=node.name, kind=node.op_type, precision=_precision(node, artefact), macs=macs.get(node.name, 0)
        )
        for node in optimised_model(artefact.path).graph.node
    ]


def _precision(node: onnx.NodeProto, artefact: Artefact) -> str:
    if node.op_type.startswith(INTEGER_KERNELS):
        return "int8"
    if node.op_type in MOVES or node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
        return ""
    return "float16" if artefact.precision == "float16" else "float32"
