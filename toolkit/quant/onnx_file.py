"""ONNX files as artefacts: sizes fixed or free, contract, multiply-accumulates per node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from toolkit.contracts import Artefact, Precision
from toolkit.model.contract import ImageContract, IoContract, TensorSpec
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.real_work import real_work
from toolkit.quant.view import copied, fix_size, with_names
from toolkit.spec.target import Build, Target

IR_VERSION = 8  # the one opset 17 came with; boards' parsers refuse files that claim a newer one
PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
FREE_SIZE_PX = (360, 640)  # where a file's sizes are free, work is counted at this input


def build_of(target: Target, backend: str) -> Build:
    """The target's build for one backend. Raises KeyError where it has none."""
    for build in target.builds:
        if build.backend == backend:
            return build
    raise KeyError(f"target {target.name} has no build for {backend}")


def nchw_contract(
    model: onnx.ModelProto, image: ImageContract, tile: tuple[int, int] | None
) -> IoContract:
    """Float32 NCHW in and out, sizes free or those of `tile`."""
    height, width = tile or (None, None)
    scale = image.scale

    def spec(name: str, factor: int) -> TensorSpec:
        sizes = (height and height * factor, width and width * factor)
        return TensorSpec(
            name=name, dtype="float32", layout="nchw", shape=(1, image.channels, *sizes)
        )

    return IoContract(
        image=image,
        input=spec(model.graph.input[0].name, 1),
        output=spec(model.graph.output[0].name, scale),
    )


def store_onnx(
    model: onnx.ModelProto, path: Path, precision: Precision, image: ImageContract, build: Build
) -> Artefact:
    """Write one ONNX artefact; the bytes depend on the model and the build's tile alone."""
    tile = build.tile
    stored = onnx.shape_inference.infer_shapes(fix_size(model, *tile)) if tile else copied(model)
    stored.ir_version = IR_VERSION
    path.write_bytes(stored.SerializeToString(deterministic=True))
    contract = nchw_contract(model, image, tile)
    return Artefact(path=path, backend=build.backend, precision=precision, contract=contract)


def _dimensions(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def node_macs(model: onnx.ModelProto, size_px: tuple[int, int]) -> dict[str, int]:
    """Multiply-accumulates of each Conv, ConvTranspose and MatMul at an input of `size_px`.

    Those by zeros that a scheme added (`real_work`) are left out.
    Where shape inference does not reach a node, the file is run once to see its shapes.
    """
    sized = onnx.shape_inference.infer_shapes(fix_size(with_names(model), *size_px), data_prop=True)
    graph = sized.graph
    products = [n for n in graph.node if n.op_type in PRODUCTS]
    shapes = {v.name: _dimensions(v) for v in (*graph.value_info, *graph.input, *graph.output)}
    shapes |= {t.name: tuple(t.dims) for t in graph.initializer}
    touched = {name for node in products for name in (*node.input[:2], node.output[0])}
    unknown = sorted(n for n in touched if 0 in shapes.get(n, (0,)))
    if unknown:
        shapes |= _seen_shapes(model, unknown, size_px)
    shares = real_work(model)
    counts = {
        node.name: _macs(node, [shapes[n] for n in node.input[:2]], shapes[node.output[0]])
        for node in products
    }
    return {name: round(count * shares.get(name, 1.0)) for name, count in counts.items()}


def _seen_shapes(
    model: onnx.ModelProto, names: list[str], size_px: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
    """Shapes of float tensors, from running `model` on a black picture."""
    probed = copied(model)
    picture = probed.graph.input[0]
    channels = picture.type.tensor_type.shape.dim[1].dim_value
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = quiet_session(probed)
    black = np.zeros((1, channels, *size_px), np.float32)
    values = session.run(names, {picture.name: black})
    return {name: value.shape for name, value in zip(names, values, strict=True)}


def _macs(node: onnx.NodeProto, into: list[tuple[int, ...]], out: tuple[int, ...]) -> int:
    if node.op_type in ("MatMul", "Gemm"):
        return int(np.prod(out, dtype=np.int64)) * into[0][-1]
    per_position = int(np.prod(into[1][1:], dtype=np.int64))  # of each output, or input, value
    places = out if node.op_type == "Conv" else into[0]
    return int(np.prod(places, dtype=np.int64)) * per_position
