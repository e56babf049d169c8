"""ONNX's activations, arithmetic, reductions and normalisations as TFLite operators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.lowering.tflite_builder import Builder, Layout, Lowering
from toolkit.lowering.tflite_source import Array, Node

_UNARY = {
    "Tanh": "TANH", "Sigmoid": "LOGISTIC", "HardSwish": "HARD_SWISH", "Exp": "EXP",
    "Sqrt": "SQRT", "Abs": "ABS", "Neg": "NEG", "Elu": "ELU", "Log": "LOG", "Floor": "FLOOR",
    "Sin": "SIN", "Cos": "COS", "Gelu": "GELU", "Sign": "SIGN", "Round": "ROUND",
}  # fmt: skip
_BINARY = {
    "Add": "ADD",
    "Sub": "SUB",
    "Mul": "MUL",
    "Div": "DIV",
    "Max": "MAXIMUM",
    "Min": "MINIMUM",
}
_REDUCE = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
}
_NHWC_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}


def _native(builder: Builder, spine: str) -> tuple[str, Layout]:
    layout = builder.layout(spine)
    return builder.get(spine, layout), layout


def unary(builder: Builder, node: Node) -> None:
    """Operators that TFLite has by the same meaning."""
    x, layout = _native(builder, node.inputs[0])
    options = {"approximate": False} if node.kind == "Gelu" else {}
    out = node.outputs[0]
    builder.put(out, builder.unary(_UNARY[node.kind], x, out, **options), layout)


def identity(builder: Builder, node: Node) -> None:
    """Operators that do nothing to numbers at inference."""
    if node.kind == "Cast" and node.attributes.get("to") != 1:
        raise builder.refuse(node, "casts to another type than float32", "export without the cast")
    if builder.is_constant(node.inputs[0]):
        builder.put(node.outputs[0], builder.get(node.inputs[0], "onnx"), "onnx")
        return
    x, layout = _native(builder, node.inputs[0])
    builder.put(node.outputs[0], x, layout)


def relu(builder: Builder, node: Node) -> None:
    """Relu: fused into the operator before it where nobody else reads that one's output."""
    _activation(builder, node, 0.0, math.inf)


def clip(builder: Builder, node: Node) -> None:
    """Clip: as Relu or Relu6 where the limits are theirs."""

    def limit(position: int, key: str, default: float) -> float:
        if len(node.inputs) > position and node.inputs[position]:
            return float(builder.source.constants[node.inputs[position]].reshape(-1)[0])
        return float(node.attributes.get(key, default))

    _activation(builder, node, limit(1, "min", -math.inf), limit(2, "max", math.inf))


def _activation(builder: Builder, node: Node, low: float, high: float) -> None:
    x, layout = _native(builder, node.inputs[0])
    out = node.outputs[0]
    fused = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
    kind = fused.get((low, high))
    alone = len(builder.readers.get(node.inputs[0], ())) == 1
    is_output = node.inputs[0] == builder.source.output
    if kind and alone and not is_output and builder.fuse(x, kind, out):
        builder.put(out, out, layout)
    else:
        builder.put(out, builder.unary("CLIP", x, out, low=low, high=high), layout)


def leaky_relu(builder: Builder, node: Node) -> None:
    """LeakyRelu."""
    x, layout = _native(builder, node.inputs[0])
    alpha = float(node.attributes.get("alpha", 0.01))
    out = node.outputs[0]
    builder.put(out, builder.unary("LEAKY_RELU", x, out, alpha=alpha), layout)


def prelu(builder: Builder, node: Node) -> None:
    """PRelu; one slope for all channels is a LEAKY_RELU, which is faster."""
    slope = np.asarray(builder.source.constants[node.inputs[1]], np.float32)
    out = node.outputs[0]
    x, layout = _native(builder, node.inputs[0])
    if np.all(slope == slope.reshape(-1)[0]):
        alpha = float(slope.reshape(-1)[0])
        builder.put(out, builder.unary("LEAKY_RELU", x, out, alpha=alpha), layout)
        return
    operand = builder.constant(_arranged(slope, len(builder.shape(x)), layout)[0])
    y = builder.op("PRELU", [x, operand], builder.shape(x), spine=out)
    builder.put(out, y, layout)


def _arranged(value: Array, rank: int, layout: Layout) -> Array:
    """A broadcast constant with all axes written out, in a layout."""
    full = value.reshape((1,) * (rank - value.ndim) + value.shape)
    return full.transpose(0, 2, 3, 1) if layout == "nhwc" else full


def operands(builder: Builder, names: Sequence[str], rank: int) -> tuple[list[str], Layout]:
    """Operands of a broadcasting operator of that rank in one layout, its pictures' if any."""
    moving = [n for n in names if not builder.is_constant(n)]
    is_picture = rank == 4 and any(builder.layout(n) == "nhwc" for n in moving)
    layout: Layout = "nhwc" if is_picture else "onnx"
    given = []
    for name in names:
        shape = builder.source.shapes[name]
        if builder.is_constant(name):
            value = np.asarray(builder.source.constants[name], np.float32)
            arranged = _arranged(value, rank, layout) if layout == "nhwc" else value
            given.append(builder.constant(arranged))
        elif len(shape) < rank and layout == "nhwc":
            full = builder.reshape(builder.get(name, "onnx"), (1,) * (rank - len(shape)) + shape)
            given.append(builder.transpose(full, (0, 2, 3, 1)))
        else:
            given.append(builder.get(name, layout))
    return given, layout


def binary(builder: Builder, node: Node) -> None:
    """Arithmetic on two or more tensors; a division by a constant is a product."""
    out = node.outputs[0]
    kind = _BINARY[node.kind]
    names, layout = operands(builder, node.inputs, len(builder.source.shapes[out]))
    if kind == "DIV" and builder.is_constant(node.inputs[1]):
        value = builder.tensors[names[1]].data
        assert value is not None
        kind, names[1] = "MUL", builder.constant(1 / value)
    y = names[0]
    for position, name in enumerate(names[1:], 2):
        y = builder.binary(kind, y, name, out if position == len(names) else "")
    builder.put(out, y, layout)


def power(builder: Builder, node: Node) -> None:
    """Pow with a constant exponent; squares and roots have operators of their own."""
    x, layout = _native(builder, node.inputs[0])
    out = node.outputs[0]
    if not builder.is_constant(node.inputs[1]):
        raise builder.refuse(node, "the exponent is computed", "use a constant exponent")
    exponent = builder.source.constants[node.inputs[1]]
    value = float(exponent.reshape(-1)[0]) if exponent.size == 1 else math.nan
    if value == 2:
        y = builder.binary("MUL", x, x, out)
    elif value in (0.5, -0.5):
        y = builder.unary("SQRT" if value > 0 else "RSQRT", x, out)
    else:
        names, layout = operands(builder, node.inputs, len(builder.source.shapes[out]))
        y = builder.binary("POW", names[0], names[1], out)
    builder.put(out, y, layout)


def reciprocal(builder: Builder, node: Node) -> None:
    """Reciprocal: one divided by x."""
    x, layout = _native(builder, node.inputs[0])
    builder.put(
        node.outputs[0], builder.binary("DIV", builder.constant([1.0]), x, node.outputs[0]), layout
    )


def hard_sigmoid(builder: Builder, node: Node) -> None:
    """HardSigmoid: alpha * x + beta, clipped to [0, 1]."""
    x, layout = _native(builder, node.inputs[0])
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    scaled = builder.binary("MUL", x, builder.constant([alpha]))
    y = builder.binary("ADD", scaled, builder.constant([beta]))
    out = node.outputs[0]
    builder.put(out, builder.unary("CLIP", y, out, low=0.0, high=1.0), layout)


def softplus(builder: Builder, node: Node) -> None:
    """Softplus as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    x, layout = _native(builder, node.inputs[0])
    decay = builder.unary("EXP", builder.unary("NEG", builder.unary("ABS", x)))
    tail = builder.unary("LOG", builder.binary("ADD", decay, builder.constant([1.0])))
    y = builder.binary("ADD", builder.unary("RELU", x), tail, node.outputs[0])
    builder.put(node.outputs[0], y, layout)


def erf(builder: Builder, node: Node) -> None:
    """Erf outside a GELU, to 1.5e-7: formula 7.1.26 of Abramowitz and Stegun (1964)."""
    x, layout = _native(builder, node.inputs[0])
    size = builder.unary("ABS", x)
    denominator = builder.binary("MUL", size, builder.constant([0.3275911]))
    denominator = builder.binary("ADD", denominator, builder.constant([1.0]))
    t = builder.binary("DIV", builder.constant([1.0]), denominator)
    series = builder.constant([1.061405429])
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        scaled = builder.binary("MUL", series, t)
        series = builder.binary("ADD", scaled, builder.constant([factor]))
    decay = builder.unary("EXP", builder.unary("NEG", builder.binary("MUL", x, x)))
    rest = builder.binary("MUL", builder.binary("MUL", series, t), decay)
    magnitude = builder.binary("SUB", builder.constant([1.0]), rest)
    y = builder.binary("MUL", builder.unary("SIGN", x), magnitude, node.outputs[0])
    builder.put(node.outputs[0], y, layout)


def softmax(builder: Builder, node: Node) -> None:
    """Softmax along any axis; TFLite's runs along the last."""
    x, layout = _native(builder, node.inputs[0])
    rank = len(builder.shape(x))
    axis = int(node.attributes.get("axis", -1)) % rank
    axis = _NHWC_AXIS[axis] if layout == "nhwc" else axis
    perm = [*(i for i in range(rank) if i != axis), axis]
    moved = builder.transpose(x, perm)
    y = builder.unary("SOFTMAX", moved, node.outputs[0], beta=1.0)
    builder.put(node.outputs[0], builder.transpose(y, np.argsort(perm).tolist()), layout)


def _axes(builder: Builder, node: Node, rank: int) -> list[int]:
    given = node.attributes.get("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1]:
        given = builder.source.constants[node.inputs[1]].tolist()
    return sorted(int(a) % rank for a in (range(rank) if given is None else given))


def reduce(builder: Builder, node: Node) -> None:
    """Sums, means and extrema over axes, and ReduceL2 as the root of a sum of squares."""
    out = node.outputs[0]
    x, layout = _native(builder, node.inputs[0])
    rank = len(builder.shape(x))
    axes = range(2, rank) if node.kind.startswith("Global") else _axes(builder, node, rank)
    axes = [_NHWC_AXIS[a] for a in axes] if layout == "nhwc" else list(axes)
    if node.kind == "ReduceL2":
        squares = builder.binary("MUL", x, x)
        y = builder.unary("SQRT", reduced(builder, "SUM", squares, axes), out)
    else:
        globals_ = {"GlobalAveragePool": "MEAN", "GlobalMaxPool": "REDUCE_MAX"}
        y = reduced(builder, {**_REDUCE, **globals_}[node.kind], x, axes, out)
    if node.attributes.get("keepdims", 1):
        builder.put(out, y, layout)
        return
    y = builder.transpose(y, (0, 3, 1, 2)) if layout == "nhwc" else y
    builder.put(out, builder.reshape(y, builder.source.shapes[out], out), "onnx")


def reduced(builder: Builder, kind: str, x: str, axes: Sequence[int], spine: str = "") -> str:
    """A reduction that keeps its axes with size 1."""
    shape = [1 if i in axes else n for i, n in enumerate(builder.shape(x))]
    return builder.op(kind, [x, builder.integers(list(axes))], shape, {"keepDims": True}, spine)


def normalised(builder: Builder, x: str, axes: Sequence[int], epsilon: float) -> str:
    """(x - mean) / sqrt(variance + epsilon) over axes."""
    centred = builder.binary("SUB", x, reduced(builder, "MEAN", x, axes))
    variance = reduced(builder, "MEAN", builder.binary("MUL", centred, centred), axes)
    shifted = builder.binary("ADD", variance, builder.constant([epsilon]))
    return builder.binary("MUL", centred, builder.unary("RSQRT", shifted))


def norm(builder: Builder, node: Node) -> None:
    """InstanceNormalization and LayerNormalization, written out; they stay float."""
    x, layout = _native(builder, node.inputs[0])
    out = node.outputs[0]
    rank = len(builder.shape(x))
    first = (
        2 if node.kind == "InstanceNormalization" else int(node.attributes.get("axis", -1)) % rank
    )
    axes = list(range(first, rank))
    axes = [_NHWC_AXIS[a] for a in axes] if layout == "nhwc" else axes
    y = normalised(builder, x, axes, float(node.attributes.get("epsilon", 1e-5)))
    gains = [np.asarray(builder.source.constants[n]) for n in node.inputs[1:] if n]
    if node.kind == "InstanceNormalization":
        gains = [g.reshape(-1, *(1,) * (rank - 2)) for g in gains]
    parts = [builder.constant(_arranged(g, rank, layout)) for g in gains]
    y = builder.binary("MUL", y, parts[0], "" if len(parts) > 1 else out)
    y = builder.binary("ADD", y, parts[1], out) if len(parts) > 1 else y
    builder.put(out, y, layout)


LOWERINGS: dict[str, Lowering] = {
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys((*_REDUCE, "ReduceL2", "GlobalAveragePool", "GlobalMaxPool"), reduce),
    **dict.fromkeys(("Identity", "Dropout", "Cast"), identity),
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization"), norm),
    "Relu": relu,
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Pow": power,
    "Reciprocal": reciprocal,
    "HardSigmoid": hard_sigmoid,
    "Softplus": softplus,
    "Erf": erf,
    "Softmax": softmax,
}
