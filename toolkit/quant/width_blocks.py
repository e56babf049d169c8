"""Convolutions that make several neighbouring pixels of a row at once.

A convolution with few output channels, or one input channel, leaves most of a vector unit idle. One
with stride s along the row, s times the output channels and a kernel s - 1 columns wider computes
the same values; stored channels-last, its result (H, W / s, s x O) is the plain result (H, W, O)
byte for byte, so the Reshape back is free where the runtime's kernels are channels-last. Likewise a
picture of one channel (H, W, 1) is (H, W / s, s). Widths that s does not divide are padded and cut.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from toolkit.model.quant_plan import QuantPlan, with_copies
from toolkit.quant.carried import set_bias
from toolkit.quant.real_work import note_real_work
from toolkit.quant.view import Array, GraphView, attribute, copied, set_constant, with_nodes

BLOCKS = (2, 4)
LANES = 16  # output channels that a vector register holds, as int32
WORTH = 0.75  # of the work of the plain form; above that the cut and the copies eat the gain


@dataclass
class _Blocking:
    """The graph under construction."""

    graph: GraphView
    model: onnx.ModelProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    added: dict[str, str] = field(default_factory=dict)  # new tensor -> the one it has values of
    renamed: dict[str, str] = field(default_factory=dict)  # tensors that exist in blocks for now

    def whole(self, name: str, *values: int) -> str:
        """An int64 constant of rank 1."""
        set_constant(self.model, name, np.array(values, np.int64))
        return name

    def node(self, kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [out], f"{out}.{kind}", **attributes))
        return out

    def values(self, like: str, kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        """A node whose result holds values of tensor `like` in other places."""
        self.added[out] = like
        return self.node(kind, inputs, out, **attributes)

    def width(self) -> str:
        """The picture's width, an int64 of shape (1)."""
        name = f"{self.graph.input}.width"
        if all(name not in node.output for node in self.nodes):
            self.node("Shape", [self.graph.input], name, start=3, end=4)
        return name


def _steps(length: int, multiple: int) -> int:
    return -(-length // multiple)


def _work(height: int, columns: int, into: int, out: int, pixels: int) -> float:
    """Multiply-accumulates for one pixel of a row, idle lanes counted."""
    return height * columns * _steps(into, 4) * 4 * _steps(out, LANES) * LANES / pixels


def _best(forms: dict[int, float]) -> int:
    """The block whose work is least, or 1 where none is worth it."""
    block = min(forms, key=lambda s: forms[s])
    return block if forms[block] <= WORTH * forms[1] else 1


def output_block(weight: Array) -> int:
    """Pixels at once for a convolution with this weight (O, I, kh, kw) that reads pixels."""
    out, into, height, columns = weight.shape
    return _best({s: _work(height, columns + s - 1, into, out * s, s) for s in (1, *BLOCKS)})


def _cells(columns: int, block: int) -> tuple[int, int]:
    """Cells of `block` columns that a kernel of odd width sees to the left and to the right."""
    before = columns // 2
    return _steps(before, block), (block - 1 + before) // block


def input_block(weight: Array) -> int:
    """Pixels at once for a convolution that reads a picture of one channel in cells."""
    out, into, height, columns = weight.shape
    forms = {1: _work(height, columns, into, out, 1)}
    for s in BLOCKS[1:]:  # cells of at least four channels
        seen = sum(_cells(columns, s)) + 1
        forms[s] = _work(height, seen, s, out * s, s)
    return _best(forms)


def _is_plain(graph: GraphView, node: onnx.NodeProto) -> bool:
    """One group, stride and dilation 1, and as wide a result as the input."""
    if node.op_type != "Conv" or attribute(node, "group", 1) != 1:
        return False
    constants = all(name in graph.constants for name in node.input[1:] if name)
    plain = all(set(attribute(node, n, [1])) == {1} for n in ("strides", "dilations"))
    padded = attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
    if not (constants and plain and padded) or graph.constants[node.input[1]].ndim != 4:
        return False
    columns = graph.constants[node.input[1]].shape[3]
    _, left, _, right = attribute(node, "pads", [0, 0, 0, 0])
    return columns % 2 == 1 and left == right == columns // 2


def spread(weight: Array, block: int) -> Array:
    """(O, I, kh, kw) to (block * O, I, kh, kw + block - 1): one shifted copy for each pixel."""
    out, into, height, columns = weight.shape
    wide = np.zeros((block, out, into, height, columns + block - 1), weight.dtype)
    for pixel in range(block):
        wide[pixel, ..., pixel : pixel + columns] = weight
    return wide.reshape(block * out, into, height, -1)


def in_cells(weight: Array, block: int) -> Array:
    """(O, 1, kh, kw) to (block * O, block, kh, cells), for a picture read in cells of columns."""
    out, _, height, columns = weight.shape
    before, after = _cells(columns, block)
    wide = np.zeros((block, out, height, before + 1 + after, block), weight.dtype)
    for pixel in range(block):
        for column in range(columns):
            cell, place = divmod(pixel + column - columns // 2, block)
            wide[pixel, :, :, before + cell, place] = weight[:, 0, :, column]
    return wide.transpose(0, 1, 4, 2, 3).reshape(block * out, block, height, -1)


def with_width_blocks(
    graph: GraphView,
    plan: QuantPlan,
    is_kernel: Callable[[onnx.NodeProto], bool],
    fused: Collection[str],
) -> tuple[GraphView, QuantPlan]:
    """The graph with the convolutions that gain by it computed in blocks, equal in float.

    Activations in `fused` stay right behind their convolution. Only convolutions at the picture's
    own size change. The plan gains the ranges of added tensors.
    """
    state = _Blocking(graph=graph, model=copied(graph.model))
    full_size = _picture_sized(graph)
    for original in graph.nodes:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        block, reads_cells = 1, False
        if _is_plain(graph, node) and node.input[0] in full_size and is_kernel(original):
            weight = graph.constants[node.input[1]]
            reads_cells = node.input[0] == graph.input and weight.shape[1] == 1
            block = input_block(weight) if reads_cells else output_block(weight)
        if block > 1:
            _convolve(state, node, block, reads_cells)
            _continue(state, original, node, block, fused)
        elif original.name not in state.renamed:
            state.nodes.append(node)
    if not state.added:
        return graph, plan
    return with_nodes(state.model, state.nodes), with_copies(plan, state.added)


def _picture_sized(graph: GraphView) -> set[str]:
    """The picture and what plain convolutions, activations and sums of such tensors make."""
    keeps = ("Relu", "Clip", "LeakyRelu", "PRelu", "Tanh", "Sigmoid", "Add", "Mul", "Concat")
    sized = {graph.input}
    for node in graph.nodes:
        dynamic = graph.dynamic_inputs(node)
        if dynamic and set(dynamic) <= sized and (node.op_type in keeps or _is_plain(graph, node)):
            sized.update(node.output)
    return sized


def _cells_of(state: _Blocking, block: int) -> str:
    """The picture (1, 1, H, W) as (1, block, H, cells), black where W is no multiple of it."""
    picture = state.graph.input
    name = f"{picture}.in{block}"
    if any(f"{name}.cells" in node.output for node in state.nodes):
        return f"{name}.cells"
    less = state.node("Neg", [state.width()], f"{name}.negative")
    missing = state.node("Mod", [less, state.whole(f"{name}.block", block)], f"{name}.missing")
    before = state.whole(f"{name}.before", *[0] * 7)
    pads = state.node("Concat", [before, missing], f"{name}.pads", axis=0)
    full = state.values(picture, "Pad", [picture, pads], f"{name}.padded", mode="constant")
    shape = state.whole(f"{name}.shape", 1, 0, -1, block)
    rows = state.values(picture, "Squeeze", [full, state.whole(f"{name}.one", 1)], f"{name}.rows")
    cells = state.values(picture, "Reshape", [rows, shape], f"{name}.last")
    return state.values(picture, "Transpose", [cells], f"{name}.cells", perm=[0, 3, 1, 2])


def _convolve(state: _Blocking, node: onnx.NodeProto, block: int, reads_cells: bool) -> None:
    """Turn `node` into its blocked form and append it; its result is named `.blocks`."""
    weight = state.graph.constants[node.input[1]]
    columns = weight.shape[3]
    top, left, bottom, right = attribute(node, "pads")
    if reads_cells:
        node.input[0] = _cells_of(state, block)
        wide, strides = in_cells(weight, block), [1, 1]
        left, right = _cells(columns, block)
    else:
        wide, strides = spread(weight, block), [1, block]
        right += block - 1
    bias = state.graph.constants[node.input[2]] if len(node.input) > 2 and node.input[2] else None
    node.input[1] = f"{node.name}/weight.blocks"
    set_constant(state.model, node.input[1], wide)
    note_real_work(state.model, node.name, weight.size * block / wide.size)
    if bias is not None:
        set_bias(state.model, node, np.tile(bias, block))
    kept = [a for a in node.attribute if a.name not in ("pads", "strides", "kernel_shape")]
    del node.attribute[:]
    node.attribute.extend(kept)
    pads = [top, left, bottom, right]
    for name, value in (("pads", pads), ("strides", strides), ("kernel_shape", wide.shape[2:])):
        node.attribute.append(helper.make_attribute(name, value))
    state.added[f"{node.output[0]}.blocks"] = node.output[0]
    node.output[0] = f"{node.output[0]}.blocks"
    state.nodes.append(node)


def _continue(
    state: _Blocking,
    original: onnx.NodeProto,
    node: onnx.NodeProto,
    block: int,
    fused: Collection[str],
) -> None:
    """Append the activation that the convolution absorbs, then the way back to plain pixels."""
    name, source = original.output[0], node.output[0]
    reader = state.graph.only_consumer(name)
    if reader is not None and reader.op_type in fused and reader.input[0] == name:
        activation = onnx.NodeProto()
        activation.CopyFrom(reader)
        activation.input[0] = source
        name, source = reader.output[0], f"{reader.output[0]}.blocks"
        activation.output[0] = source
        state.added[source] = name
        state.nodes.append(activation)
        state.renamed[reader.name] = source
    channels = state.graph.constants[original.input[1]].shape[0]
    shape = state.whole(f"{name}.shape", 0, 0, -1, channels)
    last = state.values(name, "Transpose", [source], f"{name}.cells", perm=[0, 2, 3, 1])
    pixels = state.values(name, "Reshape", [last, shape], f"{name}.pixels")
    first = state.values(name, "Transpose", [pixels], f"{name}.uncut", perm=[0, 3, 1, 2])
    start, axis = state.whole(f"{name}.left", 0), state.whole(f"{name}.row", 3)
    state.node("Slice", [first, start, state.width(), axis], name)
