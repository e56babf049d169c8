"""Sizes that an exporter baked into the graph, made to follow the input again.

Nothing here is proven: each candidate is run by the importer, at the size of the export against
the original and at other sizes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, helper

from toolkit.model.graph import Array, dims, inferred, shapes_of, tile_of, with_input_shape
from toolkit.model.rewrite import NEW, rebuilt

Shapes = dict[str, tuple[int | None, ...]]


def freed(model: onnx.ModelProto, free: tuple[str, str]) -> Iterator[onnx.ModelProto]:
    """Candidates for the network of fixed input size with free sizes named `free`, likely first.

    They differ in what a Resize to a baked size is taken for: a factor of its own input, or a
    multiple of the picture's size.
    """
    size, shape = tile_of(model), dims(model.graph.input[0])
    assert size is not None and shape is not None and shape[1] is not None
    try:
        shapes = shapes_of(inferred(with_input_shape(model, (1, shape[1], *size))))
    except onnx.shape_inference.InferenceError:
        return
    for by_factor in (True, False):
        candidate = _freed(model, shapes, size, by_factor=by_factor)
        yield with_input_shape(candidate, (1, shape[1], *free))


def _freed(
    model: onnx.ModelProto, shapes: Shapes, size: tuple[int, int], *, by_factor: bool
) -> onnx.ModelProto:
    image = model.graph.input[0].name

    def replace(node: NodeProto, stored: dict[str, Array]) -> list[NodeProto] | None:
        known = shapes.get(node.input[0]), shapes.get(node.output[0])
        if known[0] is None or known[1] is None or None in known[0] or None in known[1]:
            return None
        before = tuple(s or 0 for s in known[0])
        after = tuple(s or 0 for s in known[1])
        if node.op_type == "AveragePool" and after[2:] == (1, 1) != before[2:]:
            return [helper.make_node("GlobalAveragePool", node.input, node.output, node.name)]
        if node.op_type == "MaxPool" and after[2:] == (1, 1) != before[2:]:
            return [helper.make_node("GlobalMaxPool", node.input, node.output, node.name)]
        if node.op_type == "Reshape" and node.input[1] in stored:
            return _reshape(node, stored, before, after, image, size)
        if node.op_type == "Slice":
            return _slice_from_the_end(node, stored, before)
        if node.op_type == "Expand" and node.input[1] in stored and after[-2:] == size:
            return _sized_like_image(node, stored, after, image, size, place=1)
        if node.op_type == "Resize" and len(node.input) > 3 and node.input[3] in stored:
            scales = _whole_factor(before, after)
            if by_factor and scales is not None:
                return _resize_by(node, stored, scales)
            return _sized_like_image(node, stored, after, image, size, place=3)
        return None

    return rebuilt(model, replace) or model


def _slice_from_the_end(
    node: NodeProto, stored: dict[str, Array], before: tuple[int, ...]
) -> list[NodeProto] | None:
    """Count rows and columns that are cut off at the end from there, not from the start."""
    if len(before) != 4 or any(n not in stored for n in node.input[1:] if n) or len(node.input) < 4:
        return None
    starts, ends, axes = (stored[name].tolist() for name in node.input[1:4])
    if len(node.input) > 4 and any(step != 1 for step in stored[node.input[4]].tolist()):
        return None
    for k, axis in enumerate(axes):
        length = before[axis]
        if axis % 4 >= 2 and ends[k] >= 0:
            ends[k] = ends[k] - length if ends[k] < length else np.iinfo(np.int64).max
            starts[k] -= length if starts[k] > length // 2 else 0
    new = NodeProto()
    new.CopyFrom(node)
    for place, numbers in ((1, starts), (2, ends)):
        new.input[place] = f"{NEW}{node.output[0]}/{'starts' if place == 1 else 'ends'}"
        stored[new.input[place]] = np.array(numbers, np.int64)
    return [new]


def _whole_factor(before: tuple[int, ...], after: tuple[int, ...]) -> Array | None:
    """Scales of a Resize by a whole factor or by one over it, else None."""
    for a, b in zip(after, before, strict=True):
        if a % b and b % a:
            return None
    return np.array(after, np.float32) / np.array(before, np.float32)


def _resize_by(node: NodeProto, stored: dict[str, Array], scales: Array) -> list[NodeProto]:
    name = f"{NEW}{node.output[0]}/scales"
    stored[name] = scales.astype(np.float32)
    new = NodeProto()
    new.CopyFrom(node)
    del new.input[2:]
    new.input.append(name)
    return [new]


def _reshape(
    node: NodeProto,
    stored: dict[str, Array],
    before: tuple[int, ...],
    after: tuple[int, ...],
    image: str,
    size: tuple[int, int],
) -> list[NodeProto] | None:
    """Copy the sizes that stay (0), leave the last to the runtime (-1), else ask the image."""
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    if len(after) - same <= 1:
        target = [*after[:2], *([0] * (same - 2)), *([-1] * (len(after) - same))][: len(after)]
    elif same < 2 and after[-2:] != size and np.prod(after[2:]) == np.prod(before[2:]):
        target = [*after[:-1], -1]
    else:
        return _sized_like_image(node, stored, after, image, size, place=1)
    name = f"{NEW}{node.output[0]}/shape"
    stored[name] = np.array(target, np.int64)
    return [helper.make_node("Reshape", [node.input[0], name], node.output, node.name)]


def _sized_like_image(
    node: NodeProto,
    stored: dict[str, Array],
    after: tuple[int, ...],
    image: str,
    size: tuple[int, int],
    *,
    place: int,
) -> list[NodeProto] | None:
    """The last two axes as whole multiples, or parts, of the picture's height and width."""
    factors = [
        (a // s, 1) if a % s == 0 else (1, s // a) for a, s in zip(after[-2:], size, strict=True)
    ]
    if any(s * up != a * down for a, s, (up, down) in zip(after[-2:], size, factors, strict=True)):
        return None
    base = f"{NEW}{node.output[0]}"
    values = {
        "start": [2], "end": [4], "axis": [0], "front": list(after[:-2]),
        "up": [up for up, _ in factors], "down": [down for _, down in factors],
    }  # fmt: skip
    for part, numbers in values.items():
        stored[f"{base}/{part}"] = np.array(numbers, np.int64)
    new = NodeProto()
    new.CopyFrom(node)
    new.input[place] = f"{base}/target"
    bounds = [f"{base}/{part}" for part in ("start", "end", "axis")]
    return [
        helper.make_node("Shape", [image], [f"{base}/all"]),
        helper.make_node("Slice", [f"{base}/all", *bounds], [f"{base}/size"]),
        helper.make_node("Mul", [f"{base}/size", f"{base}/up"], [f"{base}/more"]),
        helper.make_node("Div", [f"{base}/more", f"{base}/down"], [f"{base}/less"]),
        helper.make_node("Concat", [f"{base}/front", f"{base}/less"], [f"{base}/target"], axis=0),
        new,
    ]
