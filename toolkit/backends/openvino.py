"""OpenVINO on the CPU: float32 IR, and INT8 IR made from the Q/DQ file."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import onnx

from toolkit.contracts import Artefact, Operator, Precision, Session
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.model.breach import refuse_breaches
from toolkit.model.contract import ImageContract
from toolkit.model.network import Network
from toolkit.model.quant_plan import QuantPlan
from toolkit.opening import open_here
from toolkit.quant.carried import without_rounded
from toolkit.quant.conformance import breaches
from toolkit.quant.onnx_file import FREE_SIZE_PX, build_of, nchw_contract
from toolkit.quant.qdq import quantized_model
from toolkit.quant.schemes import SCHEMES
from toolkit.quant.view import fix_size
from toolkit.runner.failure import Failure
from toolkit.runner.runtimes.openvino import (
    compiled,
    layer_info,
    layer_precision,
    library,
    read,
)
from toolkit.spec.target import Target

TOOLS = ("openvino", "onnx")
VERSION = 1
REFUSAL = "OpenVINO refuses the file"
HINT = "the .bin must lie beside the .xml"
# Weights of the IR: Convolution (O, I, k, k), GroupConvolution (G, O, I, k, k), and with I before O
# for the transposed ones. Each gives (data, weight, result shapes, first one transposed) -> MACs.
PRODUCTS: dict[str, Callable[[list[int], list[int], list[int], bool], int]] = {
    "Convolution": lambda _, w, out, __: prod(out) * prod(w[1:]),
    "GroupConvolution": lambda _, w, out, __: prod(out) * prod(w[2:]),
    "ConvolutionBackpropData": lambda data, w, _, __: prod(data) * prod(w[1:]),
    "GroupConvolutionBackpropData": lambda data, w, _, __: prod(data) * prod(w[2:]),
    "MatMul": lambda data, _, out, turned: prod(out) * data[-2 if turned else -1],
}


def _openvino() -> Any:
    """The library without its telemetry package, which would send on import."""
    try:
        ov = library()
        importlib.import_module("openvino.frontend")
    except (Failure, ImportError) as problem:
        raise EnvironmentFailure(
            f"OpenVINO does not load: {problem}", hint="`edgesr doctor` tells what is missing"
        ) from problem
    return ov


def _store(
    model: onnx.ModelProto,
    path: Path,
    precision: Precision,
    image: ImageContract,
    tile: tuple[int, int] | None,
) -> Artefact:
    """Convert an ONNX model and write `path` (.xml) and its .bin."""
    ov = _openvino()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.onnx"
        onnx.save(fix_size(model, *tile) if tile else model, source)
        refusals = (RuntimeError, ov.frontend.OpConversionFailure, ov.frontend.GeneralFailure)
        try:
            converted = ov.convert_model(source)
        except refusals as problem:
            raise UserError(
                f"OpenVINO cannot convert the network: {str(problem).strip().splitlines()[-1]}",
                where=path.name,
                hint="`edgesr inspect` lists the operators; replace the one that is named",
            ) from problem
        ov.save_model(converted, path, compress_to_fp16=False)
    contract = nchw_contract(model, image, tile)
    return Artefact(path=path, backend="openvino", precision=precision, contract=contract)


def lower(
    network: Network, plan: QuantPlan | None, target: Target, out: Path, stem: str
) -> list[Artefact]:
    """Write `stem.float32.xml` and, with a plan, `stem.int8.xml`, each with its .bin.

    For the bf16 column of a report open the float artefact again with precision `bfloat16`.
    """
    build = build_of(target, "openvino")
    model, image = without_rounded(onnx.load(network.path)), network.contract
    artefacts = [_store(model, out / f"{stem}.float32.xml", "float32", image, build.tile)]
    if plan is not None:
        scheme = SCHEMES[build.scheme]
        lowered = quantized_model(network, plan, scheme, per_channel=build.per_channel)
        refuse_breaches(breaches(lowered, scheme, per_channel=build.per_channel), "INT8 ONNX file")
        artefacts.append(_store(lowered, out / f"{stem}.int8.xml", "int8", image, build.tile))
    return artefacts


def open(artefact: Artefact, *, threads: int) -> Session:
    """Compile for the CPU. `float32` and `int8` files compute what is not INT8 in true float32."""
    return open_here(artefact, name="openvino", threads=threads, refusal=REFUSAL, hint=HINT)


def _executed(artefact: Artefact) -> tuple[list[Any], dict[str, int]]:
    """Layers of the execution graph at the file's size, and the work by layer of the file."""
    size_px = artefact.contract.tile or FREE_SIZE_PX
    try:
        model = read(artefact.path)
    except Failure as failure:
        where = str(artefact.path)
        raise UserError(f"{REFUSAL}: {failure.text}", where=where, hint=HINT) from failure
    model.reshape([1, artefact.contract.image.channels, *size_px])
    macs = _layer_macs(model)
    network = compiled(model, artefact.precision, 1)
    return network.get_runtime_model().get_ordered_ops(), macs


def operators(artefact: Artefact) -> list[Operator]:
    """The layers of the execution graph with the precision that each really computes in.

    Work of a layer that was fused away under another name is listed last, as float.
    """
    executed, macs = _executed(artefact)
    found = [_operator(operation, macs) for operation in executed]
    plain = artefact.precision if artefact.precision != "int8" else "float32"
    lost = [
        Operator(name=name, kind="Fused", precision=plain, macs=count)
        for name, count in macs.items()
    ]
    return found + lost


def _operator(layer: Any, macs: dict[str, int]) -> Operator:
    """One layer; takes the work it does out of `macs`."""
    sources = layer_info(layer, "originalLayersNames").split(",")
    return Operator(
        name=layer.get_friendly_name(),
        kind=layer_info(layer, "layerType"),
        precision=layer_precision(layer),
        macs=sum(macs.pop(source, 0) for source in sources),
    )


def _layer_macs(model: Any) -> dict[str, int]:
    """Multiply-accumulates of each convolution and product of an IR with fixed sizes, by name."""
    macs: dict[str, int] = {}
    for operation in model.get_ordered_ops():
        count = PRODUCTS.get(operation.get_type_name())
        if count is not None:
            data, weight = (list(operation.input(i).get_shape()) for i in range(2))
            result = list(operation.output(0).get_shape())
            inner = operation.get_attributes().get("transpose_a", False)
            macs[operation.get_friendly_name()] = count(data, weight, result, inner)
    return macs
