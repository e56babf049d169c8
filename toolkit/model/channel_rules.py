"""Operators that rearrange channels, each with what it does to the units of `channels`.

A rule returns False where it cannot follow; the walk then freezes what the operator reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from onnx import NodeProto

from toolkit.model.graph import Array, attributes

if TYPE_CHECKING:
    from toolkit.model.channels import Follow

SPATIAL_REDUCTIONS = frozenset({
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd",
})  # fmt: skip


def concat(follow: Follow, node: NodeProto) -> bool:
    """Along the channels the units line up; along another axis they are not followed."""
    parts = [follow.labels(name) for name in node.input]
    if attributes(node)["axis"] not in (1, -3) or not all(parts):
        return False
    follow.known[node.output[0]] = tuple(unit for part in parts for unit in part)
    return True


def split(follow: Follow, node: NodeProto) -> bool:
    """Each output takes its part of the units; the sizes change with them."""
    labels = follow.labels(node.input[0])
    if attributes(node).get("axis", 0) not in (1, -3) or not labels:
        return False
    sizes = follow.constants.get(node.input[1]) if len(node.input) > 1 else None
    if sizes is None:
        if len(node.input) > 1 or len(labels) % len(node.output):
            return False
        sizes = np.full(len(node.output), len(labels) // len(node.output))
    start = 0
    for name, size in zip(node.output, sizes.tolist(), strict=True):
        follow.known[name] = labels[start : start + size]
        start += size
    follow.cut(node, labels)
    return True


def channel_slice(values: Sequence[Array], rank: int) -> tuple[int, int, int] | None:
    """Position in the lists, start and end of a Slice's cut along axis 1, or None without one.

    values: the constant inputs starts, ends and, where given, axes and steps. Raises ValueError
    for a step other than 1.
    """
    starts, ends = values[0].tolist(), values[1].tolist()
    axes = values[2].tolist() if len(values) > 2 else list(range(len(starts)))
    steps = values[3].tolist() if len(values) > 3 else [1] * len(starts)
    for position, axis in enumerate(axes):
        if axis in (1, 1 - rank):
            if steps[position] != 1:
                raise ValueError("channels are taken with a step")
            return position, starts[position], ends[position]
    return None


def slice_(follow: Follow, node: NodeProto) -> bool:
    """A cut along the channels takes part of the units; along rows and columns all."""
    labels = follow.labels(node.input[0])
    names = [name for name in node.input[1:] if name]
    axes = follow.constants.get(node.input[3]) if len(node.input) > 3 else None
    if labels and axes is not None and not {1, -3} & set(axes.tolist()):
        follow.known[node.output[0]] = labels
        return True
    if not labels or any(name not in follow.constants for name in names):
        return False
    try:
        cut = channel_slice([follow.constants[name] for name in names], rank=4)
    except ValueError:
        return False
    if cut is not None:
        follow.cut(node, labels)
        labels = labels[cut[1] : cut[2]]
    follow.known[node.output[0]] = labels
    return True


def pad(follow: Follow, node: NodeProto) -> bool:
    """Rows and columns added around do not touch the units."""
    pads = follow.constants.get(node.input[1])
    spatial = pads is not None and len(pads) == 8 and not pads[[0, 1, 4, 5]].any()
    if spatial and len(node.input) < 4:
        follow.known[node.output[0]] = follow.labels(node.input[0])
    return spatial and len(node.input) < 4


def resize(follow: Follow, node: NodeProto) -> bool:
    """Scales that leave the channels alone do not touch the units."""
    scales = follow.constants.get(node.input[2]) if len(node.input) > 2 else None
    if scales is None or len(scales) != 4 or scales[1] != 1:
        return False
    follow.known[node.output[0]] = follow.labels(node.input[0])
    return True


def depth_to_space(follow: Follow, node: NodeProto) -> bool:
    """Channels of one output channel: neighbours in CRD order, strided in DCR order."""
    labels = follow.labels(node.input[0])
    values = attributes(node)
    block = values["blocksize"] ** 2
    count = len(labels) // block
    if not count:
        return False
    crd = values.get("mode", "DCR") == "CRD"
    why = f"`{node.name or node.output[0]}` makes the picture of them"
    parts = [labels[k * block : (k + 1) * block] if crd else labels[k::count] for k in range(count)]
    follow.known[node.output[0]] = tuple(follow.tie(part, why) for part in parts)
    return True


def space_to_depth(follow: Follow, node: NodeProto) -> bool:
    """The units repeat, one round for each place in a block."""
    labels = follow.labels(node.input[0])
    follow.known[node.output[0]] = labels * attributes(node)["blocksize"] ** 2
    return bool(labels)


def reduction(follow: Follow, node: NodeProto) -> bool:
    """A reduction over rows and columns keeps channels apart; over channels it does not."""
    values = attributes(node)
    axes = values.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in follow.constants:
        axes = follow.constants[node.input[1]].tolist()
    if axes is None or not set(axes) <= {2, 3, -1, -2} or not values.get("keepdims", 1):
        return False
    follow.known[node.output[0]] = follow.labels(node.input[0])
    return True


def softmax(follow: Follow, node: NodeProto) -> bool:
    """Over rows or columns it keeps channels apart; over channels it does not."""
    if attributes(node).get("axis", -1) in (1, -3):
        return False
    follow.known[node.output[0]] = follow.labels(node.input[0])
    return True


def shape(follow: Follow, node: NodeProto) -> bool:
    """Reading batch, height and width is harmless; the number of channels is about to change."""
    if attributes(node).get("start", 0) in (2, 3, -1, -2):
        return True
    return all(_takes_sizes(follow, reader) for reader in follow.readers.get(node.output[0], []))


def _takes_sizes(follow: Follow, reader: NodeProto) -> bool:
    """Whether a node that reads a shape of rank 4 takes anything but its channels."""
    wanted = [follow.constants.get(name) for name in reader.input[1:3]]
    if reader.op_type == "Gather" and wanted[0] is not None:
        return not {1, -3} & set(wanted[0].ravel().tolist())
    if reader.op_type == "Slice" and wanted[0] is not None and wanted[1] is not None:
        return 1 not in range(4)[int(wanted[0][0]) : int(wanted[1][0])]
    return False


RULES: dict[str, Callable[[Follow, NodeProto], bool]] = {
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "Resize": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Softmax": softmax,
    "Shape": shape,
    **dict.fromkeys(SPATIAL_REDUCTIONS, reduction),
}
