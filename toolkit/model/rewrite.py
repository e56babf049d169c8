"""Rewrites of single operators into ones that every converter reads, each with its own arithmetic.

A rewrite takes a network and returns a changed copy, or None where it finds nothing to do. Whether
the two agree is proven by whoever applies it, by running both (`importing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from toolkit.model.graph import FLOATS, Array, arrays, attributes, constants, copy_of, pruned

Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto | None]
IDLE_KINDS = ("Slice", "Expand", "Tile", "Reshape")
NEW = "edgesr/"  # prefix of the tensors that rewrites add


def rebuilt(
    model: onnx.ModelProto,
    replace: Callable[[NodeProto, dict[str, Array]], Sequence[NodeProto] | None],
) -> onnx.ModelProto | None:
    """Each node replaced by the nodes that `replace` gives for it (None keeps it).

    `replace` may add arrays to the dictionary: those under new names become initializers.
    """
    copy = copy_of(model)
    stored = arrays(copy.graph)
    known = set(stored)
    nodes: list[NodeProto] = []
    changed = False
    for node in copy.graph.node:
        new = replace(node, stored)
        changed |= new is not None
        nodes.extend([node] if new is None else new)
    if not changed:
        return None
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    for name, values in stored.items():
        if name not in known:
            copy.graph.initializer.append(numpy_helper.from_array(values, name))
    return pruned(copy)


def to_float32(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """float16, bfloat16 and float64 weights, constants, casts, input and output become float32."""
    narrow = tuple(kind for kind in FLOATS if kind != TensorProto.FLOAT)
    copy = copy_of(model)
    changed = False
    for value in (*copy.graph.input, *copy.graph.output):
        if value.type.tensor_type.elem_type in narrow:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            changed = True
    for _, tensor in constants(copy.graph):
        changed |= _tensor_to_float32(tensor)
    for node in copy.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in narrow:
                attribute.i = TensorProto.FLOAT
                changed = True
            if node.op_type == "ConstantOfShape" and attribute.name == "value":
                changed |= _tensor_to_float32(attribute.t)
    del copy.graph.value_info[:]
    return copy if changed else None


def _tensor_to_float32(tensor: TensorProto) -> bool:
    if tensor.data_type not in FLOATS or tensor.data_type == TensorProto.FLOAT:
        return False
    values = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return True


def batchnorm_to_affine(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """BatchNormalization that no convolution took in: y = x * a + b per channel."""

    def replace(node: NodeProto, stored: dict[str, Array]) -> list[NodeProto] | None:
        if node.op_type != "BatchNormalization" or any(n not in stored for n in node.input[1:]):
            return None
        gamma, beta, mean, variance = (stored[name] for name in node.input[1:])
        factor = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        y = node.output[0]
        names = [f"{NEW}{y}/{part}" for part in ("factor", "shift", "scaled")]
        stored[names[0]] = factor.reshape(1, -1, 1, 1).astype(np.float32)
        stored[names[1]] = (beta - mean * factor).reshape(1, -1, 1, 1).astype(np.float32)
        return [
            helper.make_node("Mul", [node.input[0], names[0]], [names[2]], f"{node.name}/scale"),
            helper.make_node("Add", [names[2], names[1]], [y], node.name),
        ]

    return rebuilt(model, replace)


def without_idle(
    model: onnx.ModelProto, seen: Sequence[Mapping[str, tuple[int, ...]]]
) -> onnx.ModelProto | None:
    """Slice, Expand, Tile and Reshape that changed no shape in any of the runs `seen`.

    An operator of this kind that keeps the shape keeps the values; the runs must be at sizes
    without common factors, or a crop to a multiple passes for idle.
    """

    def replace(node: NodeProto, stored: dict[str, Array]) -> list[NodeProto] | None:
        pair = (node.input[0], node.output[0]) if node.op_type in IDLE_KINDS else ("", "")
        if not all(pair[0] in s and s.get(pair[0]) == s.get(pair[1]) for s in seen):
            return None
        if (
            node.op_type == "Slice"
            and len(node.input) > 4
            and np.any(stored.get(node.input[4], 0) != 1)
        ):
            return None  # it may turn the picture over
        return [helper.make_node("Identity", pair[:1], pair[1:], node.name)]

    return rebuilt(model, replace)


def deconvolution_to_shuffle(
    model: onnx.ModelProto, *, drop_surplus: bool = False
) -> onnx.ModelProto | None:
    """ConvTranspose of stride r: a convolution with r^2 times the channels and a DepthToSpace.

    Output pixel o = r q + a of phase a takes x[i] w[k] with r i - pad + k = o, that is
    i = q + (a + pad - k) / r for the k that make it whole: a small convolution per phase.
    With `drop_surplus` the output is r times the input even where the deconvolution gives some
    rows more, and a cut at the end is left out: the same network only if that cut them off.
    """
    short: set[str] = set()

    def replace(node: NodeProto, stored: dict[str, Array]) -> list[NodeProto] | None:
        if drop_surplus and short.intersection(node.input[:1]) and _cuts_the_end(node, stored):
            short.update(node.output)
            return [helper.make_node("Identity", node.input[:1], node.output, node.name)]
        new = _deconvolution(node, stored, drop_surplus)
        short.update([] if new is None else node.output)
        return new

    return rebuilt(model, replace)


def _cuts_the_end(node: NodeProto, stored: dict[str, Array]) -> bool:
    """A Slice from 0 to a fixed distance from the end."""
    if node.op_type != "Slice" or any(name not in stored for name in node.input[1:3]):
        return False
    starts, ends = (stored[name] for name in node.input[1:3])
    return bool((starts == 0).all() and (ends < 0).all())


def _deconvolution(
    node: NodeProto, stored: dict[str, Array], drop_surplus: bool
) -> list[NodeProto] | None:
    found = attributes(node)
    if node.op_type != "ConvTranspose" or node.input[1] not in stored:
        return None
    strides = found.get("strides", [1, 1])
    plain = found.get("auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in found
    if not plain or strides[0] != strides[1] or max(found.get("dilations", [1])) > 1:
        return None
    stride, weight = strides[0], stored[node.input[1]]
    pads = found.get("pads", [0, 0, 0, 0])
    extra = found.get("output_padding", [0, 0])
    axes = [_phases(weight.shape[2 + a], stride, pads[a], pads[a + 2], extra[a]) for a in range(2)]
    if drop_surplus:
        axes = [(taps, first, len(taps[0]) - 1 - first, 0) for taps, first, _, _ in axes]
    if any(end < 0 for _, _, end, _ in axes):
        return None
    kernel = _phase_kernel(weight, found.get("group", 1), stride, [a[0] for a in axes])
    return _shuffled(node, stored, kernel, stride, axes)


Phases = tuple[list[list[int]], int, int, int]


def _phases(size: int, stride: int, before: int, after: int, extra: int) -> Phases:
    """One axis: kernel tap for [phase][offset] (-1: none), pads before and after, rows to crop."""
    offsets = {
        (a, (a + before - k) // stride): k
        for a in range(stride)
        for k in range(size)
        if (a + before - k) % stride == 0
    }
    first = min(0, min(d for _, d in offsets))
    last = max(0, max(d for _, d in offsets))
    taps = [[offsets.get((a, d), -1) for d in range(first, last + 1)] for a in range(stride)]
    surplus = size - stride - before - after + extra  # output size - stride * input size
    more = math.ceil(surplus / stride)
    return taps, -first, last + more, stride * more - surplus


def _phase_kernel(weight: Array, group: int, stride: int, taps: list[list[list[int]]]) -> Array:
    """(inputs, outputs / group, k, k) to (outputs * stride^2, inputs / group, K, K)."""
    inputs, outputs = weight.shape[0], weight.shape[1]
    grouped = weight.reshape(group, inputs // group, outputs, *weight.shape[2:])
    size = [len(taps[axis][0]) for axis in range(2)]
    kernel = np.zeros((group, outputs, stride, stride, inputs // group, *size), np.float32)
    for a, rows in enumerate(taps[0]):
        for b, columns in enumerate(taps[1]):
            for i, row in enumerate(rows):
                for j, column in enumerate(columns):
                    if row >= 0 and column >= 0:
                        tap = grouped[:, :, :, row, column]
                        kernel[:, :, a, b, :, i, j] = tap.transpose(0, 2, 1)
    return kernel.reshape(group * outputs * stride**2, inputs // group, *size)


def _shuffled(
    node: NodeProto, stored: dict[str, Array], kernel: Array, stride: int, axes: list[Phases]
) -> list[NodeProto]:
    y = node.output[0]
    names = {part: f"{NEW}{y}/{part}" for part in ("weight", "bias", "conv", "shuffled")}
    stored[names["weight"]] = kernel
    inputs = [node.input[0], names["weight"]]
    if len(node.input) > 2 and node.input[2]:
        stored[names["bias"]] = np.repeat(stored[node.input[2]], stride**2)
        inputs.append(names["bias"])
    conv = helper.make_node(
        "Conv",
        inputs,
        [names["conv"]],
        node.name,
        kernel_shape=kernel.shape[2:],
        strides=[1, 1],
        dilations=[1, 1],
        group=attributes(node).get("group", 1),
        pads=[axes[0][1], axes[1][1], axes[0][2], axes[1][2]],
    )
    crop = [axes[0][3], axes[1][3]]
    whole = [y] if not any(crop) else [names["shuffled"]]
    if stride == 1:
        conv.output[0] = whole[0]
        nodes = [conv]
    else:
        shuffle = helper.make_node(
            "DepthToSpace",
            [names["conv"]],
            whole,
            f"{node.name}/shuffle",
            blocksize=stride,
            mode="CRD",
        )
        nodes = [conv, shuffle]
    return nodes if whole == [y] else [*nodes, _cropped(node, stored, whole[0], crop)]


def _cropped(node: NodeProto, stored: dict[str, Array], whole: str, crop: list[int]) -> NodeProto:
    """The last rows and columns cut off: the output size was no multiple of the stride."""
    y = node.output[0]
    ends = [-size if size else np.iinfo(np.int64).max for size in crop]
    values = {"starts": [0, 0], "ends": ends, "axes": [2, 3]}
    for part, numbers in values.items():
        stored[f"{NEW}{y}/{part}"] = np.array(numbers, np.int64)
    return helper.make_node(
        "Slice", [whole, *(f"{NEW}{y}/{part}" for part in values)], [y], f"{node.name}/crop"
    )
