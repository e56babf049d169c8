"""TensorRT: explicit Q/DQ ONNX in symmetric int8, and what a board needs to build its engine.

There is no TensorRT here: files are opened in ONNX Runtime, which computes the same Q/DQ graph.
Picture quality carries over, latency does not.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from toolkit.contracts import Artefact, Operator, Session
from toolkit.model.breach import refuse_breaches
from toolkit.model.network import Network
from toolkit.model.quant_plan import QuantPlan
from toolkit.quant.carried import without_rounded
from toolkit.quant.conformance import breaches
from toolkit.quant.engine_script import engine_script
from toolkit.quant.half import to_float16
from toolkit.quant.onnx_file import FREE_SIZE_PX, build_of, node_macs, store_onnx
from toolkit.quant.ort_artefact import open_onnx
from toolkit.quant.qdq import quantized_model
from toolkit.quant.schemes import MOVES, SCHEMES
from toolkit.quant.view import with_names
from toolkit.spec.target import Target

TOOLS = ("onnxruntime", "onnx")
VERSION = 1
__all__ = ["engine_script", "lower", "open", "operators"]


def lower(
    network: Network, plan: QuantPlan | None, target: Target, out: Path, stem: str
) -> list[Artefact]:
    """Write `stem.float32.onnx`, `stem.float16.onnx` where asked for, `stem.int8.qdq.onnx`.

    All have float32 NCHW input and output; the float16 one computes in half precision between.
    """
    build = build_of(target, "tensorrt")
    model, image = without_rounded(onnx.load(network.path)), network.contract
    path = out / f"{stem}.float32.onnx"
    artefacts = [store_onnx(model, path, "float32", image, build)]
    if build.float16:
        path = out / f"{stem}.float16.onnx"
        artefacts.append(store_onnx(to_float16(model), path, "float16", image, build))
    if plan is not None:
        scheme = SCHEMES[build.scheme]
        lowered = quantized_model(network, plan, scheme, per_channel=build.per_channel)
        refuse_breaches(breaches(lowered, scheme, per_channel=build.per_channel), "INT8 ONNX file")
        path = out / f"{stem}.int8.qdq.onnx"
        artefacts.append(store_onnx(lowered, path, "int8", image, build))
    return artefacts


def open(artefact: Artefact, *, threads: int) -> Session:
    """Open the ONNX file in ONNX Runtime on this host, as a stand-in for the board."""
    return open_onnx(artefact, threads=threads)


def operators(artefact: Artefact) -> list[Operator]:
    """Read from the file: a product runs in INT8 where all its operands come from Q/DQ.

    That is the contract of a strongly typed build; the board's own profile is the proof.
    """
    model = with_names(onnx.load(artefact.path))
    macs = node_macs(model, artefact.contract.tile or FREE_SIZE_PX)
    restored = {
        out for n in model.graph.node if n.op_type == "DequantizeLinear" for out in n.output
    }
    plain = "float16" if artefact.precision == "float16" else "float32"
    found = []
    for node in model.graph.node:
        is_int8 = node.name in macs and set(node.input[:2]) <= restored
        precision = "int8" if is_int8 else plain
        if node.op_type in MOVES or node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
            precision = ""
        found.append(
            Operator(
                name=node.name, kind=node.op_type, precision=precision, macs=macs.get(node.name, 0)
            )
        )
    return found
