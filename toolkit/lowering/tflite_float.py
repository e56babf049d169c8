"""A static ONNX graph to a float TFLite graph, and the last forms that both files share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import onnx

from toolkit.errors import UserError, raise_all
from toolkit.lowering import tflite_convolution, tflite_elementwise, tflite_movement
from toolkit.lowering.tflite_builder import Builder, Lowering
from toolkit.lowering.tflite_flat import FlatGraph, FlatOp, FlatTensor, Quant
from toolkit.lowering.tflite_rewrite import rewrite
from toolkit.lowering.tflite_source import Source, read_source

LOWERINGS: Mapping[str, Lowering] = {
    **tflite_convolution.LOWERINGS,
    **tflite_elementwise.LOWERINGS,
    **tflite_movement.LOWERINGS,
}
Upsampler = Literal["depth_to_space", "reshape", "transpose_conv"]


def float_graph(model: onnx.ModelProto) -> FlatGraph:
    """Lower a static float32 model with one NCHW picture in and out to NHWC float TFLite.

    The result still holds CLIP and DEPTH_TO_SPACE, see `finish`. Raises UserError for operators
    without a TFLite form, all of them at once.
    """
    source = rewrite(read_source(model))
    raise_all(_unknown(source))
    builder = Builder(source)
    batch, channels, height, width = source.shapes[source.input]
    name = builder.tensor(source.input, (batch, height, width, channels), source.input, None)
    builder.put(source.input, name, "nhwc")
    for node in source.nodes:
        builder.node = node.name
        LOWERINGS[node.kind](builder, node)
    return builder.graph()


def _unknown(source: Source) -> list[UserError]:
    return [
        UserError(
            f"operator {node.kind} has no TFLite form here",
            where=f"node `{node.name}`",
            hint="replace it in the network by operators the toolkit knows: "
            + ", ".join(sorted(LOWERINGS)),
        )
        for node in source.nodes
        if node.kind not in LOWERINGS
    ]


def finish(graph: FlatGraph, upsampler: Upsampler) -> FlatGraph:
    """Replace CLIP by TFLite's operators, and DEPTH_TO_SPACE by rank-4 moves where asked.

    LiteRT has no DEPTH_TO_SPACE in 16 bits, so that one is always replaced.
    """
    tensors = dict(graph.tensors)
    ops: list[FlatOp] = []
    for op in graph.ops:
        if op.kind == "CLIP":
            ops += _clip(op, tensors)
        elif op.kind == "DEPTH_TO_SPACE" and (
            upsampler == "reshape" or tensors[op.inputs[0]].dtype == "int16"
        ):
            ops += _depth_to_space(op, tensors)
        elif op.kind == "DEPTH_TO_SPACE" and upsampler == "transpose_conv":
            ops.append(_one_hot(op, tensors))
        else:
            ops.append(op)
    return replace(graph, tensors=tensors, ops=tuple(ops))


def _one_hot(op: FlatOp, tensors: dict[str, FlatTensor]) -> FlatOp:
    """A shuffle as TRANSPOSE_CONV: every output pixel copies one channel of one input pixel.

    64 steps of 1/64 are a factor of one without rounding, so 8 bits stay what they were.
    """
    import numpy as np

    block = op.options["blockSize"]
    made, given = tensors[op.outputs[0]], tensors[op.inputs[0]]
    channels = made.shape[3]
    weight = np.zeros((channels, block, block, given.shape[3]), np.float32)
    for row, column, c in np.ndindex(block, block, channels):
        weight[c, row, column, (row * block + column) * channels + c] = 1
    stem = op.outputs[0]
    size = _add(tensors, f"{stem}/size", (4,), "int32", made.shape)
    name = _add(tensors, f"{stem}/one_hot", weight.shape, "float32", weight)
    if made.dtype != "float32":
        stored = (weight * 64).astype(np.int8)
        tensors[name] = replace(
            tensors[name], dtype="int8", data=stored, quant=Quant(scales=(1 / 64,))
        )
    options = {"padding": 0, "strideH": block, "strideW": block}
    return replace(op, kind="TRANSPOSE_CONV", inputs=(size, name, op.inputs[0]), options=options)


def _clip(op: FlatOp, tensors: dict[str, FlatTensor]) -> Iterator[FlatOp]:
    low, high = op.options["low"], op.options["high"]
    known = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
    kind = {**known, (0.0, 1.0): "RELU_0_TO_1"}.get((low, high))
    if kind:
        yield replace(op, kind=kind, options={})
        return
    limits = [(k, v) for k, v in (("MAXIMUM", low), ("MINIMUM", high)) if math.isfinite(v)]
    given = op.inputs[0]
    for place, (kind, limit) in enumerate(limits):
        constant = _add(tensors, f"{op.outputs[0]}/{kind}", (1,), "float32", limit)
        last = place == len(limits) - 1
        made = op.outputs[0] if last else _like(tensors, op.outputs[0], "/above")
        yield replace(op, kind=kind, inputs=(given, constant), outputs=(made,), options={})
        given = made


def _depth_to_space(op: FlatOp, tensors: dict[str, FlatTensor]) -> Iterator[FlatOp]:
    """[N, H, W, r * r * C] as [N * H, W, r, r * C], two axes swapped, as [N, H * r, W * r, C]."""
    block = op.options["blockSize"]
    batch, height, width, channels = tensors[op.inputs[0]].shape
    split = (batch * height, width, block, channels // block)
    turned = (split[0], block, width, split[3])
    stem, out = op.outputs[0], op.outputs[0]
    rows = _like(tensors, out, "/rows", split)
    swapped = _like(tensors, out, "/swapped", turned)
    perm = _add(tensors, f"{stem}/perm", (4,), "int32", (0, 2, 1, 3))
    yield _reshape(op, op.inputs[0], rows, tensors)
    yield replace(op, kind="TRANSPOSE", inputs=(rows, perm), outputs=(swapped,), options={})
    yield _reshape(op, swapped, out, tensors)


def _reshape(op: FlatOp, given: str, made: str, tensors: dict[str, FlatTensor]) -> FlatOp:
    shape = tensors[made].shape
    size = _add(tensors, f"{made}/shape", (len(shape),), "int32", shape)
    options = {"newShape": list(shape)}
    return replace(op, kind="RESHAPE", inputs=(given, size), outputs=(made,), options=options)


def _add(
    tensors: dict[str, FlatTensor], name: str, shape: tuple[int, ...], dtype: str, value: object
) -> str:
    import numpy as np

    data = np.asarray(value, dtype).reshape(shape)
    tensors[name] = FlatTensor(name=name, shape=shape, dtype=dtype, data=data)
    return name


def _like(
    tensors: dict[str, FlatTensor], name: str, suffix: str, shape: tuple[int, ...] | None = None
) -> str:
    made = replace(tensors[name], name=name + suffix, shape=shape or tensors[name].shape)
    tensors[made.name] = made
    return made.name
