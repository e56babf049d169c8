"""ONNX's convolutions, pools and matrix products as TFLite operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.lowering.tflite_builder import Builder, Lowering
from toolkit.lowering.tflite_flat import Array
from toolkit.lowering.tflite_source import Node

SAME, VALID = 0, 1
Pads = tuple[int, int, int, int]  # top, left, bottom, right, as ONNX orders them


def same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """What TFLite's SAME adds before and after an axis; `kernel` with its dilation."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _pads(node: Node, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> Pads:
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        (top, bottom), (left, right) = (
            same_pads(*triple) for triple in zip(sizes, kernel, strides, strict=True)
        )
        return (top, left, bottom, right) if auto == b"SAME_UPPER" else (bottom, right, top, left)
    top, left, bottom, right = node.attributes.get("pads", (0, 0, 0, 0))
    return top, left, bottom, right


def _is_same(
    pads: Pads, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> bool:
    return all(
        same_pads(*axis) == (before, after)
        for *axis, before, after in zip(sizes, kernel, strides, pads[:2], pads[2:], strict=True)
    )


def _padded(
    builder: Builder, x: str, pads: Pads, kernel: Sequence[int], strides: Sequence[int]
) -> tuple[str, int]:
    """The picture to convolve and TFLite's padding word; explicit zeros where no word fits."""
    if not any(pads):
        return x, VALID
    if _is_same(pads, builder.shape(x)[1:3], kernel, strides):
        return x, SAME
    top, left, bottom, right = pads
    return builder.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))), VALID


def _bias(builder: Builder, node: Node, channels: int) -> str:
    given = len(node.inputs) > 2 and node.inputs[2]
    return builder.constant(builder.source.constants[given] if given else np.zeros(channels))


def _weight(builder: Builder, node: Node) -> Array:
    if node.inputs[1] not in builder.source.constants:
        raise builder.refuse(
            node,
            "its weights are computed from the picture",
            "only convolutions with constant weights can be converted",
        )
    return np.asarray(builder.source.constants[node.inputs[1]], np.float32)


def conv(builder: Builder, node: Node) -> None:
    """Conv: CONV_2D (grouped too), or DEPTHWISE_CONV_2D where each channel is a group."""
    weight = _weight(builder, node)
    if weight.ndim != 4:
        raise builder.refuse(
            node, f"{weight.ndim - 2}-D convolution", "only 2-D ones are converted"
        )
    x = builder.get(node.inputs[0], "nhwc")
    group = int(node.attributes.get("group", 1))
    strides = tuple(node.attributes.get("strides", (1, 1)))
    dilations = tuple(node.attributes.get("dilations", (1, 1)))
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    pads = _pads(node, builder.shape(x)[1:3], kernel, strides)
    x, padding = _padded(builder, x, pads, kernel, strides)
    options = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
    }
    channels = builder.shape(x)[3]
    is_depthwise = group == channels > 1 and weight.shape[1] == 1
    if is_depthwise:
        options["depthMultiplier"] = weight.shape[0] // channels
    kind = "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D"
    stored = weight.transpose((1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1))
    out = node.outputs[0]
    inputs = [x, builder.constant(stored), _bias(builder, node, weight.shape[0])]
    _put_picture(builder, out, builder.op(kind, inputs, nhwc_shape(builder, out), options, out))


def nhwc_shape(builder: Builder, spine: str) -> tuple[int, ...]:
    """The NHWC shape of a rank-4 ONNX tensor."""
    batch, channels, height, width = builder.source.shapes[spine]
    return batch, height, width, channels


def _put_picture(builder: Builder, spine: str, name: str) -> None:
    builder.put(spine, name, "nhwc")


def conv_transpose(builder: Builder, node: Node) -> None:
    """ConvTranspose: TRANSPOSE_CONV, whose SAME is met by zeros around the kernel.

    TFLite crops (kernel - stride) // 2 rows at the top of H * stride rows. Zeros below the kernel
    raise that crop, zeros above shift the picture; other output sizes are cut from VALID.
    """
    weight = _dense(_weight(builder, node), int(node.attributes.get("group", 1)))
    if tuple(node.attributes.get("dilations", (1, 1))) != (1, 1):
        raise builder.refuse(node, "is dilated", "export the network without the dilation")
    x = builder.get(node.inputs[0], "nhwc")
    out = node.outputs[0]
    batch, height, width, channels = nhwc_shape(builder, out)
    sizes = builder.shape(x)[1:3]
    strides = tuple(node.attributes.get("strides", (1, 1)))
    tops = _pads(node, sizes, weight.shape[2:], strides)[:2]
    fits = (height, width) == (sizes[0] * strides[0], sizes[1] * strides[1])
    grow = [(0, 0), (0, 0)]
    if fits:
        grow = [_grow(*a) for a in zip(weight.shape[2:], strides, tops, strict=True)]
        weight = np.pad(weight, ((0, 0), (0, 0), *grow))
    full = [(n - 1) * s + k for n, s, k in zip(sizes, strides, weight.shape[2:], strict=True)]
    made = (batch, height, width, channels) if fits else (batch, *full, channels)
    options = {"padding": SAME if fits else VALID, "strideH": strides[0], "strideW": strides[1]}
    inputs = [
        builder.integers(list(made)),
        builder.constant(weight.transpose(1, 2, 3, 0)),
        x,
        _bias(builder, node, channels),
    ]
    y = builder.op("TRANSPOSE_CONV", inputs, made, options, out)
    if not fits:
        y = _cut(builder, y, tops, (batch, height, width, channels), out)
    _put_picture(builder, out, y)


def _grow(kernel: int, stride: int, top: int) -> tuple[int, int]:
    """Zeros above and below a kernel after which SAME crops `top` rows plus those above."""
    above = 0
    while (max(kernel + above - stride, 0)) // 2 > top + above:
        above += 1
    below = max(2 * (top + above) + stride - kernel - above, 0)
    return above, below


def _cut(builder: Builder, y: str, tops: Sequence[int], shape: Sequence[int], out: str) -> str:
    """Rows and columns from `tops` on; zero rows are added where output_padding asks for more."""
    made = builder.shape(y)
    missing = [max(t + n - m, 0) for t, n, m in zip(tops, shape[1:3], made[1:3], strict=True)]
    y = builder.pad(y, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), out)
    return builder.slice(y, (0, *tops, 0), shape, out)


def _dense(weight: Array, group: int) -> Array:
    """A grouped (I, O / g, kh, kw) kernel as one group, zeros where groups do not meet."""
    if group == 1:
        return weight
    inputs, outputs, *kernel = weight.shape
    dense = np.zeros((inputs, outputs * group, *kernel), weight.dtype)
    step = inputs // group
    for g in range(group):
        rows, columns = slice(g * step, (g + 1) * step), slice(g * outputs, (g + 1) * outputs)
        dense[rows, columns] = weight[rows]
    return dense


def select(builder: Builder, node: Node) -> None:
    """Select: nothing, a slice, or a one-hot 1x1 convolution.

    It is exact in 8 bits too: it takes its range, and so its grid, from the tensor it copies.
    """
    channels = np.asarray(node.attributes["channels"])
    x = builder.get(node.inputs[0], "nhwc")
    batch, height, width, count = builder.shape(x)
    out = node.outputs[0]
    if np.array_equal(channels, np.arange(channels[0], channels[0] + len(channels))):
        size = (batch, height, width, len(channels))
        return _put_picture(builder, out, builder.slice(x, (0, 0, 0, int(channels[0])), size, out))
    weight = np.zeros((len(channels), 1, 1, count), np.float32)
    weight[np.arange(len(channels)), 0, 0, channels] = 1
    inputs = [x, builder.constant(weight), builder.constant(np.zeros(len(channels)))]
    options = {"padding": VALID, "strideH": 1, "strideW": 1}
    shape = (batch, height, width, len(channels))
    spine = builder.tensors[x].spine
    return _put_picture(builder, out, builder.op("CONV_2D", inputs, shape, options, spine))


def batch_norm(builder: Builder, node: Node) -> None:
    """BatchNormalization that no convolution took in: a 1x1 depthwise convolution."""
    gain, shift, mean, variance = (builder.source.constants[n] for n in node.inputs[1:5])
    gain = gain / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    x = builder.get(node.inputs[0], "nhwc")
    inputs = [
        x,
        builder.constant(gain.reshape(1, 1, 1, -1)),
        builder.constant(shift - mean * gain),
    ]
    options = {"padding": VALID, "strideH": 1, "strideW": 1, "depthMultiplier": 1}
    out = node.outputs[0]
    y = builder.op("DEPTHWISE_CONV_2D", inputs, builder.shape(x), options, out)
    _put_picture(builder, out, y)


def pool(builder: Builder, node: Node) -> None:
    """MaxPool and AveragePool; padding that TFLite has no word for is made explicit."""
    x = builder.get(node.inputs[0], "nhwc")
    kernel = tuple(node.attributes["kernel_shape"])
    strides = tuple(node.attributes.get("strides", (1, 1)))
    if tuple(node.attributes.get("dilations", (1, 1))) != (1, 1):
        raise builder.refuse(node, "is dilated", "export the network without the dilation")
    is_max = node.kind == "MaxPool"
    counts_zeros = bool(node.attributes.get("count_include_pad", 0))
    pads = _pads(node, builder.shape(x)[1:3], kernel, strides)
    padding = VALID
    if any(pads):
        if (is_max or not counts_zeros) and _is_same(pads, builder.shape(x)[1:3], kernel, strides):
            padding = SAME
        elif is_max or counts_zeros:
            x = _pad_with(builder, x, pads, float(np.finfo(np.float32).min) if is_max else 0.0)
        else:
            raise builder.refuse(
                node, f"pads {pads} leave the border out of the mean", "pad by (kernel - 1) / 2"
            )
    options = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "filterHeight": kernel[0],
        "filterWidth": kernel[1],
    }
    out = node.outputs[0]
    kind = "MAX_POOL_2D" if is_max else "AVERAGE_POOL_2D"
    _put_picture(builder, out, builder.op(kind, [x], nhwc_shape(builder, out), options, out))


def _pad_with(builder: Builder, x: str, pads: Pads, value: float) -> str:
    top, left, bottom, right = pads
    spans = ((0, 0), (top, bottom), (left, right), (0, 0))
    if value == 0.0:
        return builder.pad(x, spans)
    shape = [n + sum(p) for n, p in zip(builder.shape(x), spans, strict=True)]
    inputs = [x, builder.integers(spans), builder.constant([value])]
    return builder.op("PADV2", inputs, shape)


def matmul(builder: Builder, node: Node) -> None:
    """MatMul and Gemm: FULLY_CONNECTED with constant weights, else BATCH_MATMUL."""
    out = node.outputs[0]
    left, right = node.inputs[:2]
    shape = builder.source.shapes[out]
    flip = bool(node.attributes.get("transB", 0))
    if builder.is_constant(right) and len(builder.source.shapes[right]) == 2:
        weight = np.asarray(builder.source.constants[right], np.float32)
        weight = weight * node.attributes.get("alpha", 1.0)
        weight = weight if flip else weight.T
        inputs = [builder.get(left, "onnx"), builder.constant(weight)]
        inputs.append(_bias(builder, node, weight.shape[0]))
        options: dict[str, object] = {"keepNumDims": True}
        y = builder.op("FULLY_CONNECTED", inputs, shape, options, out)
    else:
        inputs = [builder.get(left, "onnx"), builder.get(right, "onnx")]
        options = {"adjX": False, "adjY": flip}
        y = builder.op("BATCH_MATMUL", inputs, shape, options, out)
    builder.put(out, y, "onnx")


LOWERINGS: dict[str, Lowering] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Select": select,
    "BatchNormalization": batch_norm,
    "MaxPool": pool,
    "AveragePool": pool,
    "MatMul": matmul,
    "Gemm": matmul,
}
