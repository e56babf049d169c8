"""ONNX Runtime on the CPU: float32 ONNX, and Q/DQ ONNX with uint8 activations."""

from __future__ import annotations

from pathlib import Path

import onnx

from toolkit.contracts import Artefact, Operator, Session
from toolkit.model.breach import refuse_breaches
from toolkit.model.network import Network
from toolkit.model.quant_plan import QuantPlan
from toolkit.quant.carried import without_rounded
from toolkit.quant.conformance import breaches
from toolkit.quant.onnx_file import build_of, store_onnx
from toolkit.quant.ort_artefact import executed_operators, open_onnx
from toolkit.quant.qdq import quantized_model
from toolkit.quant.schemes import SCHEMES
from toolkit.spec.target import Target

TOOLS = ("onnxruntime", "onnx")
VERSION = 4


def lower(
    network: Network, plan: QuantPlan | None, target: Target, out: Path, stem: str
) -> list[Artefact]:
    """Write `stem.float32.onnx` and, with a plan, `stem.int8.onnx`; float32 NCHW in and out."""
    build = build_of(target, "onnxruntime")
    model, image = without_rounded(onnx.load(network.path)), network.contract
    path = out / f"{stem}.float32.onnx"
    artefacts = [store_onnx(model, path, "float32", image, build)]
    if plan is not None:
        scheme = SCHEMES[build.scheme]
        lowered = quantized_model(network, plan, scheme, per_channel=build.per_channel)
        refuse_breaches(breaches(lowered, scheme, per_channel=build.per_channel), "INT8 ONNX file")
        path = out / f"{stem}.int8.onnx"
        artefacts.append(store_onnx(lowered, path, "int8", image, build))
    return artefacts


def open(artefact: Artefact, *, threads: int) -> Session:
    """Load a file with `threads` threads. Raises UserError where the runtime refuses it."""
    return open_onnx(artefact, threads=threads)


def operators(artefact: Artefact) -> list[Operator]:
    """The nodes after ONNX Runtime's own fusions: a fused integer kernel counts as `int8`."""
    return executed_operators(artefact)
