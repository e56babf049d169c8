"""Pushing a selection of channels into the weights around it, where it costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from toolkit.lowering.tflite_editor import BINARY, UNARY, Editor
from toolkit.lowering.tflite_repeats import permuted_concat
from toolkit.lowering.tflite_source import Array, Node


def push_down(editor: Editor) -> None:
    """A Select that only feeds plain convolutions becomes a permutation of their input weights."""
    for node in [n for n in editor.nodes if n.kind == "Select"]:
        out = node.outputs[0]
        readers = editor.readers(out)
        if editor.uses(out) != len(readers) or not readers:
            continue
        if not all(_is_plain_conv(editor, reader) for reader in readers):
            continue
        channels = node.attributes["channels"]
        for reader in readers:
            weight = editor.constants[reader.inputs[1]]
            shape = (weight.shape[0], editor.shapes[node.inputs[0]][1], *weight.shape[2:])
            moved = np.zeros(shape, weight.dtype)
            for place, channel in enumerate(channels):
                moved[:, channel] += weight[:, place]
            name = editor.constant(reader.inputs[1], moved)
            editor.swap(reader, replace(reader, inputs=(node.inputs[0], name, *reader.inputs[2:])))


def _is_plain_conv(editor: Editor, node: Node) -> bool:
    grouped = node.attributes.get("group", 1) != 1
    return node.kind == "Conv" and not grouped and node.inputs[1] in editor.constants


def push_up(editor: Editor) -> None:
    """A permutation of channels becomes a permutation of the weights that make them."""
    for node in [n for n in editor.nodes if n.kind == "Select"]:
        channels = node.attributes["channels"]
        count = editor.shapes[node.inputs[0]][1]
        if sorted(channels) != list(range(count)):
            continue
        permuted = _permuted(editor, node.inputs[0], channels)
        if permuted is not None:
            current = next(n for n in editor.nodes if n.outputs == node.outputs)
            editor.swap(current, replace(current, kind="Identity", inputs=(permuted,)))


def _permuted(editor: Editor, tensor: str, channels: Array) -> str | None:
    """The name that holds `tensor` with its channels permuted; None where a Select has to do it."""
    node = editor.producer(tensor)
    if node is None or editor.uses(tensor) != 1 or tensor == editor.source.output:
        return None
    rule = _RULES.get(node.kind)
    new = rule(editor, node, channels) if rule else None
    if new is None:
        return None
    editor.swap(next(n for n in editor.nodes if n.outputs == node.outputs), new)
    return tensor


def _operand(editor: Editor, name: str, channels: Array) -> str:
    """A permuted operand, by weights where possible and by a Select where not."""
    return _permuted(editor, name, channels) or editor.select(name, channels)


def _permute_conv(editor: Editor, node: Node, channels: Array) -> Node | None:
    weight = editor.constants.get(node.inputs[1])
    if weight is None:
        return None
    group = int(node.attributes.get("group", 1))
    axis = 1 if node.kind == "ConvTranspose" else 0
    given = node.inputs[0]
    if group != 1:
        if node.kind != "Conv" or weight.shape[1] != 1 or weight.shape[0] != group:
            return None
        given = _operand(editor, given, channels)
    inputs = [given, editor.constant(node.inputs[1], np.take(weight, channels, axis))]
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = editor.constants[node.inputs[2]][channels]
        inputs.append(editor.constant(node.inputs[2], bias))
    return replace(node, inputs=tuple(inputs))


def _permute_unary(editor: Editor, node: Node, channels: Array) -> Node:
    return replace(node, inputs=(_operand(editor, node.inputs[0], channels), *node.inputs[1:]))


def _permute_binary(editor: Editor, node: Node, channels: Array) -> Node | None:
    shapes = [editor.shapes[name] for name in node.inputs]
    known = [name in editor.constants for name in node.inputs]
    if any(3 <= len(s) != 4 and not k for s, k in zip(shapes, known, strict=True)):
        return None
    if node.inputs[0] == node.inputs[1]:
        return replace(node, inputs=(editor.select(node.inputs[0], channels),) * 2)
    inputs = []
    for name, shape, is_constant in zip(node.inputs, shapes, known, strict=True):
        if len(shape) < 3 or shape[-3] == 1:
            inputs.append(name)
        elif is_constant:
            inputs.append(editor.constant(name, np.take(editor.constants[name], channels, -3)))
        else:
            inputs.append(_operand(editor, name, channels))
    return replace(node, inputs=tuple(inputs))


def _permute_select(editor: Editor, node: Node, channels: Array) -> Node:
    return replace(node, attributes={"channels": node.attributes["channels"][channels]})


_Rule = Callable[[Editor, Node, Array], Node | None]
_RULES: dict[str, _Rule] = {
    "Conv": _permute_conv,
    "ConvTranspose": _permute_conv,
    "Concat": permuted_concat,
    "Select": _permute_select,
    **dict.fromkeys(UNARY, _permute_unary),
    **dict.fromkeys(BINARY, _permute_binary),
}
