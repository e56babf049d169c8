"""ONNX files as artefacts: sizes fixed or free, contract, multiply-accumulates per node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from toolkit.contracts import Artefact, Precision
from toolkit.model.contract import ImageContract, IoContract, TensorSpec
from toolkit.quant.view import fix_size, with_names
from toolkit.spec.target import Build, Target

FREE_SIZE_PX = (360, 640)  # where a file's sizes are free, work is counted at this input


def build_of(target: Target, backend: str) -> Build:
    """The target's build for one backend. Raises KeyError where it has none."""
    for build in target.builds:
        if build.backend == backend:
            return build
    raise KeyError(f"target {target.name} has no build for {backend}")


def nchw_contract(model: onnx.ModelProto, image: ImageContract, tile: tuple[int, int] | None) -> IoContract:
    """Float32 NCHW in and out, sizes free or those of `tile`."""
    height, width = tile or (None, None)
    scale = image.scale

    def spec(name: str, factor: int) -> TensorSpec:
        sizes = (height and height * factor, width and width * factor)
        return TensorSpec(name=name, dtype="float32", layout="nchw", shape=(1, image.channels, *sizes))

    return IoContract(
        image=image,
        input=spec(model.graph.input[0].name, 1),
        output=spec(model.graph.output[0].name, scale),
    )


def store_onnx(
    model: onnx.ModelProto,
    path: Path,
    *,
    backend: str,
    precision: Precision,
    image: ImageContract,
    tile: tuple[int, int] | None,
) -> Artefact:
    """Write one ONNX artefact; the bytes depend on the model and the tile alone."""
    stored = onnx.shape_inference.infer_shapes(fix_size(model, *tile)) if tile else model
    path.write_bytes(stored.SerializeToString(deterministic=True))
    return Artefact(
        path=path, backend=backend, precision=precision, contract=nchw_contract(model, image, tile)
    )


def _dimensions(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def node_macs(model: onnx.ModelProto, size_px: tuple[int, int]) -> dict[str, int]:
    """Multiply-accumulates of each Conv, ConvTranspose and MatMul at an input of `size_px`.

    Raises nothing for shapes that inference cannot tell: such a node counts 0.
    """
    sized = onnx.shape_inference.infer_shapes(fix_size(with_names(model), *size_px), data_prop=True)
    graph = sized.graph
    shapes = {v.name: _dimensions(v) for v in (*graph.value_info, *graph.input, *graph.output)}
    shapes |= {t.name: tuple(t.dims) for t in graph.initializer}
    macs: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "MatMul"):
            macs[node.name] = _macs(node, [shapes.get(n, ()) for n in node.input], shapes.get(node.output[0], ()))
    return macs


def _macs(node: onnx.NodeProto, into: list[tuple[int, ...]], out: tuple[int, ...]) -> int:
    if not out or not into[0] or not into[1]:
        return 0
    if node.op_type == "MatMul":
        return int(np.prod(out, dtype=np.int64)) * into[0][-1]
    per_position = int(np.prod(into[1][1:], dtype=np.int64))  # of each output, or input, value
    places = out if node.op_type == "Conv" else into[0]
    return int(np.prod(places, dtype=np.int64)) * per_position
