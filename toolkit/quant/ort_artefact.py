"""ONNX artefacts in ONNX Runtime: run them, and see what its optimiser makes of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort

from toolkit.contracts import Artefact, Operator, Session
from toolkit.opening import open_here
from toolkit.quant.onnx_file import FREE_SIZE_PX, node_macs
from toolkit.quant.ort_session import session_options
from toolkit.quant.schemes import MOVES
from toolkit.quant.view import with_names
from toolkit.runner.runtimes.onnxruntime import INTEGER_KERNELS


def open_onnx(artefact: Artefact, *, threads: int) -> Session:
    """All graph optimisations, sequential, CPU. Raises UserError where the file is refused."""
    return open_here(
        artefact,
        name="onnxruntime",
        threads=threads,
        refusal="ONNX Runtime refuses the file",
        hint="run `edgesr inspect` on it",
    )


def optimised_model(path: Path) -> onnx.ModelProto:
    """The graph after ONNX Runtime's fusions, without the layout changes that follow them."""
    options = session_options(1)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(written)
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(written)


def executed_operators(artefact: Artefact) -> list[Operator]:
    """One `Operator` for each node that ONNX Runtime executes, in order.

    Work of a node that was fused away under another name is listed last, as float32.
    """
    size_px = artefact.contract.tile or FREE_SIZE_PX
    macs = node_macs(with_names(onnx.load(artefact.path)), size_px)
    executed = [
        Operator(
            name=node.name,
            kind=node.op_type,
            precision=_precision(node, artefact),
            macs=macs.pop(node.name, 0),
        )
        for node in optimised_model(artefact.path).graph.node
    ]
    lost = [
        Operator(name=name, kind="Fused", precision="float32", macs=count)
        for name, count in macs.items()
    ]
    return executed + lost


def _precision(node: onnx.NodeProto, artefact: Artefact) -> str:
    if node.op_type.startswith(INTEGER_KERNELS):
        return "int8"
    if node.op_type in MOVES or node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
        return ""
    return "float16" if artefact.precision == "float16" else "float32"
