"""Pixel shuffles and channel selections, found by following every element through a chain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolkit.lowering.tflite_editor import Editor
from toolkit.lowering.tflite_source import Array, Node

MOVEMENT = {
    "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Flatten", "Tile", "Expand", "Concat",
    "Gather", "Identity",
}  # fmt: skip


def recognise_movements(editor: Editor) -> None:
    """Chains of reshapes and transposes that only shuffle pixels or repeat channels."""
    for node in list(editor.nodes):
        out = node.outputs[0]
        if node.kind not in MOVEMENT or len(editor.shapes[out]) != 4 or out in editor.constants:
            continue
        root = _root(editor, node)
        if root is None or len(editor.shapes[root]) != 4:
            continue
        size = int(np.prod(editor.shapes[root]))
        index = np.arange(size, dtype=np.int32).reshape(editor.shapes[root])
        moved = _trace(editor, out, root, index)
        if moved is not None:
            _as_shuffle(editor, node, root, index, moved)


def _root(editor: Editor, node: Node, depth: int = 0) -> str | None:
    """The one rank-4 tensor that a chain of movements starts from."""
    roots = set()
    data = node.inputs if node.kind == "Concat" else node.inputs[:1]
    for name in data:
        made_by = editor.producer(name)
        if name in editor.constants:
            return None
        if len(editor.shapes[name]) == 4:
            roots.add(name)
        elif made_by is not None and made_by.kind in MOVEMENT and depth < 8:
            roots.add(_root(editor, made_by, depth + 1) or "")
        else:
            return None
    return (roots.pop() or None) if len(roots) == 1 else None


def _trace(editor: Editor, name: str, root: str, index: Array) -> Array | None:
    """Which element of `root` each element of `name` is; None where that cannot be followed."""
    if name == root:
        return index
    node = editor.producer(name)
    if node is None:
        return None
    data = node.inputs if node.kind == "Concat" else node.inputs[:1]
    given = [_trace(editor, part, root, index) for part in data]
    first = given[0]
    if first is None or any(part is None for part in given):
        return None
    axis = int(node.attributes.get("axis", 0))
    if node.kind == "Concat":
        return np.concatenate([part for part in given if part is not None], axis)
    if node.kind == "Transpose":
        return first.transpose(node.attributes.get("perm"))
    if node.kind == "Tile":
        return np.tile(first, editor.constants[node.inputs[1]])
    if node.kind == "Expand":
        return np.broadcast_to(first, editor.shapes[name])
    if node.kind == "Gather":
        return np.take(first, editor.constants[node.inputs[1]], axis)
    return first.reshape(editor.shapes[name])


def _as_shuffle(editor: Editor, node: Node, root: str, index: Array, moved: Array) -> None:
    """Replace a chain by Select, Select + DepthToSpace or SpaceToDepth + Select, if it is one."""
    out = node.outputs[0]
    height, width = index.shape[2:]
    rows, columns = moved.shape[2:]
    if index.shape[0] != 1 or moved.shape[0] != 1:
        return
    block = max(rows // height, height // rows, 1)
    if (rows, columns) == (height, width):
        channels = selected(index, moved)
        if channels is not None:
            made = replace(node, kind="Select", inputs=(root,), attributes={"channels": channels})
            editor.swap(node, made)
    elif (rows, columns) == (height * block, width * block):
        channels = selected(index, space_to_depth(moved, block))
        if channels is not None and len(channels) == index.shape[1]:
            chosen = editor.select(root, channels)
            editor.swap(node, _block_node(node, "DepthToSpace", chosen, out, block))
    elif (rows * block, columns * block) == (height, width):
        blocks = space_to_depth(index, block)
        channels = selected(blocks, moved)
        if channels is not None:
            name = editor.name(f"{out}/blocks")
            editor.shapes[name] = blocks.shape
            made = replace(node, kind="Select", inputs=(name,), attributes={"channels": channels})
            editor.swap(node, _block_node(node, "SpaceToDepth", root, name, block), made)


def _block_node(node: Node, kind: str, given: str, out: str, block: int) -> Node:
    return Node(
        kind=kind,
        name=node.name,
        inputs=(given,),
        outputs=(out,),
        attributes={"blocksize": block, "mode": b"DCR"},
    )


def selected(given: Array, moved: Array) -> Array | None:
    """The channels of `given` that `moved` copies, both (1, C, H, W) of unique indices."""
    place = {int(v): i for i, v in enumerate(given[0, :, 0, 0])}
    first = [place.get(int(v)) for v in moved[0, :, 0, 0]]
    if None in first:
        return None
    channels = np.asarray(first, np.int64)
    return channels if np.array_equal(given[:, channels], moved) else None


def space_to_depth(x: Array, block: int) -> Array:
    """(N, C, H * r, W * r) to (N, r * r * C, H, W) in DCR order.

    That is channel = (row in block * r + column in block) * C + c.
    """
    n, c, h, w = x.shape
    split = x.reshape(n, c, h // block, block, w // block, block)
    return split.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)


def crd_to_dcr(channels: int, block: int) -> Array:
    """For each channel in DCR order (row, column, c), its place in CRD order (c, row, column)."""
    order = np.arange(channels).reshape(channels // block**2, block, block)
    return order.transpose(1, 2, 0).reshape(-1)


def turn_to_dcr(editor: Editor) -> None:
    """ONNX's CRD shuffles as a Select and a DCR shuffle."""
    for node in list(editor.nodes):
        if node.kind == "DepthToSpace" and node.attributes.get("mode", b"DCR") == b"CRD":
            given = node.inputs[0]
            block = int(node.attributes["blocksize"])
            chosen = editor.select(given, crd_to_dcr(editor.shapes[given][1], block))
            editor.swap(node, _block_node(node, "DepthToSpace", chosen, node.outputs[0], block))
