"""Channels of one tensor, put together again by slices and a concatenation, in another order.

An anchor repeats the picture's channels; in TFLite's order of a shuffle (DCR) it is the whole
picture so many times, without a slice or a 1x1 convolution that sorts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolkit.lowering.tflite_editor import Editor
from toolkit.lowering.tflite_source import Array, Node

MOST_PARTS = 5  # XNNPACK joins no more at once


def permuted_concat(editor: Editor, node: Node, channels: Array) -> Node | None:
    """The concatenation with its channels in the order `channels`; None if that takes more parts.

    All parts must be channels of one tensor, in any number and order.
    """
    parts = [_picked(editor, name) for name in node.inputs]
    roots = {root for root, _ in parts}
    if node.attributes.get("axis") not in (1, -3) or len(roots) != 1:
        return None
    root = roots.pop()
    index = np.concatenate([picked for _, picked in parts])[channels]
    runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
    if len(runs) > len(parts):
        return None
    made: dict[tuple[int, int], str] = {(0, editor.shapes[root][1]): root}
    names = []
    for run in runs:
        key = (int(run[0]), len(run))
        if key not in made:
            made[key] = editor.select(root, run)
        names.append(made[key])
    return replace(node, inputs=_nested(editor, node, names))


def _picked(editor: Editor, name: str) -> tuple[str, Array]:
    """The tensor whose channels `name` holds, and which ones."""
    node = editor.producer(name)
    if node is not None and node.kind == "Select":
        return node.inputs[0], np.asarray(node.attributes["channels"])
    if node is not None and node.kind == "Slice":
        bounds = [editor.constants.get(given) for given in node.inputs[1:]]
        if len(bounds) >= 3 and all(b is not None and b.size == 1 for b in bounds):
            start, end, axis, *step = (int(b.reshape(-1)[0]) for b in bounds if b is not None)
            every = np.arange(editor.shapes[node.inputs[0]][1])
            if axis in (1, -3):
                return node.inputs[0], every[slice(start, end, *step)]
    return name, np.arange(editor.shapes[name][1])


def _nested(editor: Editor, node: Node, names: list[str]) -> tuple[str, ...]:
    """One tensor so many times: joined in steps of a few, each step shared by all its copies."""
    while len(names) > MOST_PARTS and len(set(names)) == 1:
        count = next((c for c in (4, 3, 5, 2) if len(names) % c == 0), len(names))
        if count == len(names):
            break
        inner = editor.name(f"{names[0]}/repeated")
        batch, width, *sides = editor.shapes[names[0]]
        editor.shapes[inner] = (batch, width * count, *sides)
        joined = replace(node, name=inner, inputs=(names[0],) * count, outputs=(inner,))
        place = next(i for i, n in enumerate(editor.nodes) if n.outputs == node.outputs)
        editor.nodes.insert(place, joined)
        names = [inner] * (len(names) // count)
    return tuple(names)
