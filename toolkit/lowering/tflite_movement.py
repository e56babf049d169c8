"""ONNX's operators that move numbers about, and Resize, as TFLite operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.lowering.tflite_builder import Builder, Layout, Lowering
from toolkit.lowering.tflite_convolution import VALID, nhwc_shape
from toolkit.lowering.tflite_source import Array, Node

_NHWC_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}
_REFLECT, _SYMMETRIC = 0, 1


def _native(builder: Builder, spine: str) -> tuple[str, Layout]:
    layout = builder.layout(spine)
    return builder.get(spine, layout), layout


def _arranged(values: Sequence[int], layout: Layout) -> list[int]:
    """Values per axis, from ONNX's order to a layout's."""
    return [values[i] for i in (0, 2, 3, 1)] if layout == "nhwc" else list(values)


def _integers(builder: Builder, node: Node, position: int, key: str) -> list[int] | None:
    """An attribute of old opsets that became an input of new ones."""
    if key in node.attributes:
        return [int(v) for v in node.attributes[key]]
    if len(node.inputs) > position and node.inputs[position]:
        return [int(v) for v in builder.source.constants[node.inputs[position]].reshape(-1)]
    return None


def reshape(builder: Builder, node: Node) -> None:
    """Reshape and its kin, in ONNX's axis order."""
    out = node.outputs[0]
    x = builder.get(node.inputs[0], "onnx")
    builder.put(out, builder.reshape(x, builder.source.shapes[out], out), "onnx")


def transpose(builder: Builder, node: Node) -> None:
    """Transpose; together with the layout it often does nothing."""
    out = node.outputs[0]
    x, layout = _native(builder, node.inputs[0])
    rank = len(builder.shape(x))
    perm = node.attributes.get("perm", list(range(rank))[::-1])
    perm = [_NHWC_AXIS[p] for p in perm] if layout == "nhwc" else perm
    builder.put(out, builder.transpose(x, perm, out), "onnx")


def concat(builder: Builder, node: Node) -> None:
    """Concat; pictures meet as NHWC."""
    out = node.outputs[0]
    shape = builder.source.shapes[out]
    moving = [n for n in node.inputs if not builder.is_constant(n)]
    is_picture = len(shape) == 4 and any(builder.layout(n) == "nhwc" for n in moving)
    layout: Layout = "nhwc" if is_picture else "onnx"
    axis = int(node.attributes["axis"]) % len(shape)
    options = {"axis": _NHWC_AXIS[axis] if is_picture else axis}
    given = [builder.get(name, layout) for name in node.inputs]
    y = builder.op("CONCATENATION", given, _arranged(shape, layout), options, out)
    builder.put(out, y, layout)


def slice_(builder: Builder, node: Node) -> None:
    """Slice: SLICE, or STRIDED_SLICE where steps are not 1."""
    out = node.outputs[0]
    x, layout = _native(builder, node.inputs[0])
    shape = builder.source.shapes[node.inputs[0]]
    starts = _integers(builder, node, 1, "starts") or []
    axes = _integers(builder, node, 3, "axes") or list(range(len(starts)))
    steps = _integers(builder, node, 4, "steps") or [1] * len(starts)
    begin, stride = [0] * len(shape), [1] * len(shape)
    for axis, start, step in zip(axes, starts, steps, strict=True):
        if step < 0:
            raise builder.refuse(node, "runs backwards", "export the network without the flip")
        size = shape[axis]
        begin[axis] = min(max(start + size if start < 0 else start, 0), size)
        stride[axis] = step
    wanted = builder.source.shapes[out]
    if set(stride) == {1}:
        y = builder.slice(x, _arranged(begin, layout), _arranged(wanted, layout), out)
    else:
        end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, wanted, stride, strict=True)]
        operands = [builder.integers(_arranged(v, layout)) for v in (begin, end, stride)]
        y = builder.op("STRIDED_SLICE", [x, *operands], _arranged(wanted, layout), spine=out)
    builder.put(out, y, layout)


def split(builder: Builder, node: Node) -> None:
    """Split: one SLICE for each part."""
    x, layout = _native(builder, node.inputs[0])
    axis = int(node.attributes.get("axis", 0)) % len(builder.shape(x))
    begin = [0] * len(builder.shape(x))
    for out in node.outputs:
        size = builder.source.shapes[out]
        y = builder.slice(x, _arranged(begin, layout), _arranged(size, layout), out)
        builder.put(out, y, layout)
        begin[axis] += size[axis]


def gather(builder: Builder, node: Node) -> None:
    """Gather with constant indices; neighbours in order are a slice."""
    if not builder.is_constant(node.inputs[1]):
        raise builder.refuse(node, "its indices are computed", "use constant indices")
    out = node.outputs[0]
    x = builder.get(node.inputs[0], "onnx")
    axis = int(node.attributes.get("axis", 0)) % len(builder.shape(x))
    index = np.asarray(builder.source.constants[node.inputs[1]]) % builder.shape(x)[axis]
    flat = index.reshape(-1)
    begin = [0] * len(builder.shape(x))
    begin[axis] = int(flat[0])
    size = [*builder.shape(x)]
    size[axis] = flat.size
    if np.array_equal(flat, np.arange(flat[0], flat[0] + flat.size)):
        y = builder.slice(x, begin, size, out)
    else:
        y = builder.op("GATHER", [x, builder.integers(flat)], size, {"axis": axis}, out)
    builder.put(out, builder.reshape(y, builder.source.shapes[out], out), "onnx")


def tile(builder: Builder, node: Node) -> None:
    """Tile."""
    out = node.outputs[0]
    x, layout = _native(builder, node.inputs[0])
    repeats = _arranged(builder.source.constants[node.inputs[1]].tolist(), layout)
    shape = [n * r for n, r in zip(builder.shape(x), repeats, strict=True)]
    builder.put(out, builder.op("TILE", [x, builder.integers(repeats)], shape, spine=out), layout)


def expand(builder: Builder, node: Node) -> None:
    """Expand: BROADCAST_TO."""
    out = node.outputs[0]
    shape = builder.source.shapes[out]
    x = builder.get(node.inputs[0], "onnx")
    if builder.shape(x) != shape:
        x = builder.op("BROADCAST_TO", [x, builder.integers(list(shape))], shape, spine=out)
    builder.put(out, x, "onnx")


def pad(builder: Builder, node: Node) -> None:
    """Pad with a constant, by reflection or with the border."""
    out = node.outputs[0]
    x, layout = _native(builder, node.inputs[0])
    rank = len(builder.shape(x))
    spans = _integers(builder, node, 1, "pads") or [0] * (2 * rank)
    axes = _integers(builder, node, 3, "axes") or list(range(rank))
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = spans[place], spans[place + len(axes)]
    if min(before + after) < 0:
        x = _crop(builder, x, before, after, layout)
    before, after = ([max(v, 0) for v in side] for side in (before, after))
    pads = list(zip(_arranged(before, layout), _arranged(after, layout), strict=True))
    builder.put(out, _padded(builder, node, x, pads, out), layout)


def _crop(
    builder: Builder, x: str, before: Sequence[int], after: Sequence[int], layout: Layout
) -> str:
    begin = _arranged([max(-v, 0) for v in before], layout)
    end = _arranged([max(-v, 0) for v in after], layout)
    size = [n - b - e for n, b, e in zip(builder.shape(x), begin, end, strict=True)]
    return builder.slice(x, begin, size)


def _padded(builder: Builder, node: Node, x: str, pads: list[tuple[int, int]], spine: str) -> str:
    mode = node.attributes.get("mode", b"constant")
    if mode == b"edge":
        return edge_padded(builder, x, pads)
    if mode == b"reflect":
        return _mirror(builder, x, pads, _REFLECT, spine)
    given = len(node.inputs) > 2 and node.inputs[2]
    value = float(builder.source.constants[given].reshape(-1)[0]) if given else 0.0
    value = float(node.attributes.get("value", value))
    if value == 0.0 or not np.any(pads):
        return builder.pad(x, pads, spine)
    shape = [n + sum(p) for n, p in zip(builder.shape(x), pads, strict=True)]
    operands = [x, builder.integers(pads), builder.constant([value])]
    return builder.op("PADV2", operands, shape, spine=spine)


def _mirror(
    builder: Builder, x: str, pads: Sequence[tuple[int, int]], mode: int, spine: str
) -> str:
    shape = [n + sum(p) for n, p in zip(builder.shape(x), pads, strict=True)]
    return builder.op("MIRROR_PAD", [x, builder.integers(pads)], shape, {"mode": mode}, spine)


def edge_padded(builder: Builder, x: str, pads: Sequence[tuple[int, int]]) -> str:
    """The border repeated: mirroring one row that includes the edge, as often as needed."""
    left = [list(p) for p in pads]
    while np.any(left):
        step = [(min(before, 1), min(after, 1)) for before, after in left]
        x = _mirror(builder, x, step, _SYMMETRIC, "")
        left = [[b - sb, a - sa] for (b, a), (sb, sa) in zip(left, step, strict=True)]
    return x


def depth_to_space(builder: Builder, node: Node) -> None:
    """DepthToSpace in DCR order; `tflite_finish` gives it the form that the target runs."""
    out = node.outputs[0]
    x = builder.get(node.inputs[0], "nhwc")
    options = {"blockSize": int(node.attributes["blocksize"])}
    y = builder.op("DEPTH_TO_SPACE", [x], nhwc_shape(builder, out), options, out)
    builder.put(out, y, "nhwc")


def space_to_depth(builder: Builder, node: Node) -> None:
    """SpaceToDepth, which has the same order in ONNX and TFLite."""
    out = node.outputs[0]
    x = builder.get(node.inputs[0], "nhwc")
    options = {"blockSize": int(node.attributes["blocksize"])}
    y = builder.op("SPACE_TO_DEPTH", [x], nhwc_shape(builder, out), options, out)
    builder.put(out, y, "nhwc")


def resize(builder: Builder, node: Node) -> None:
    """Resize by nearest and linear interpolation as such; cubic as two small convolutions."""
    out = node.outputs[0]
    x = builder.get(node.inputs[0], "nhwc")
    shape = nhwc_shape(builder, out)
    mode = node.attributes.get("mode", b"nearest")
    where = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    if shape[1:3] == builder.shape(x)[1:3]:
        builder.put(out, x, "nhwc")
    elif mode == b"cubic":
        for axis in (1, 2):
            x = _cubic_axis(builder, node, x, axis, shape[axis])
        builder.put(out, x, "nhwc")
    else:
        kind = "RESIZE_BILINEAR" if mode == b"linear" else "RESIZE_NEAREST_NEIGHBOR"
        _refuse_odd_resize(builder, node, mode, where, builder.shape(x), shape)
        options = {
            "alignCorners": where == b"align_corners",
            "halfPixelCenters": mode == b"linear" and b"half_pixel" in where,
        }
        size = builder.integers(list(shape[1:3]))
        builder.put(out, builder.op(kind, [x, size], shape, options, out), "nhwc")


def _refuse_odd_resize(
    builder: Builder,
    node: Node,
    mode: bytes,
    where: bytes,
    given: Sequence[int],
    made: Sequence[int],
) -> None:
    """Nearest agrees with TFLite's rule when enlarging by whole numbers, linear by the name."""
    whole = all(m % g == 0 for g, m in zip(given[1:3], made[1:3], strict=True))
    known = (b"half_pixel", b"pytorch_half_pixel", b"asymmetric")
    floor = where == b"asymmetric" and node.attributes.get("nearest_mode") == b"floor"
    fine = where in known and (whole or floor) if mode == b"nearest" else where in known
    fine = fine or (mode == b"linear" and where == b"align_corners")
    if not fine or node.attributes.get("antialias", 0):
        raise builder.refuse(
            node,
            f"{mode.decode()} with `{where.decode()}` from {given[1:3]} to {made[1:3]}",
            "enlarge by a whole number, without antialias",
        )


def _cubic_axis(builder: Builder, node: Node, x: str, axis: int, size: int) -> str:
    """One axis enlarged by a whole number: r phases of a filter, interleaved.

    A position between two pixels sees four of them; Keys (1981) gives the weights, and the
    border is repeated as ONNX does.
    """
    given = builder.shape(x)[axis]
    if size == given:
        return x
    where = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    if size % given or b"half_pixel" not in where or node.attributes.get("exclude_outside", 0):
        raise builder.refuse(
            node, f"cubic from {given} to {size}", "enlarge by a whole number with half_pixel"
        )
    block = size // given
    taps = cubic_phases(block, float(node.attributes.get("cubic_coeff_a", -0.75)))
    pads = [(0, 0)] * 4
    pads[axis] = (2, 2)
    batch, height, width, channels = builder.shape(x)
    padded = edge_padded(builder, x, pads)
    weight = np.zeros((block * channels, 5, 1, channels), np.float32)
    for phase in range(block):
        for c in range(channels):
            weight[phase * channels + c, :, 0, c] = taps[phase]
    weight = weight if axis == 1 else weight.transpose(0, 2, 1, 3)
    operands = [padded, builder.constant(weight), builder.constant(np.zeros(block * channels))]
    options = {"padding": VALID, "strideH": 1, "strideW": 1}
    made = (batch, height, width, block * channels)
    phases = builder.op("CONV_2D", operands, made, options, node.outputs[0])
    return _interleaved(builder, phases, axis, block, channels, node.outputs[0])


def _interleaved(builder: Builder, x: str, axis: int, block: int, channels: int, spine: str) -> str:
    """(N, H, W, r * C) with its phases along H or W; the channel is the inner one."""
    batch, height, width, _ = builder.shape(x)
    if axis == 2:
        return builder.reshape(x, (batch, height, width * block, channels))
    split = builder.reshape(x, (batch * height, width, block, channels))
    turned = builder.transpose(split, (0, 2, 1, 3))
    return builder.reshape(turned, (batch, height * block, width, channels), spine)


def cubic_phases(block: int, a: float) -> Array:
    """Weights of pixels -2 to 2 around each of `block` positions in a pixel, (block, 5)."""
    taps = np.zeros((block, 5))
    for phase in range(block):
        centre = (phase + 0.5) / block - 0.5
        for offset in range(-2, 3):
            d = abs(centre - offset)
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            taps[phase, offset + 2] = near if d <= 1 else far if d < 2 else 0.0
    return taps


LOWERINGS: dict[str, Lowering] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), reshape),
    "Transpose": transpose,
    "Concat": concat,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Tile": tile,
    "Expand": expand,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Resize": resize,
}
