"""Rewriting the ONNX graph before it is lowered: erf GELU, pixel shuffles, channel selections.

Every pixel shuffle, however it was exported, becomes a `Select` of channels and a DepthToSpace in
TFLite's channel order (DCR); the `Select` is then pushed into the weights around it, where it
costs nothing. What cannot be pushed stays and is lowered to a one-hot 1x1 convolution.
"""

from __future__ import annotations

from dataclasses import replace

from toolkit.lowering.tflite_channels import push_down, push_up
from toolkit.lowering.tflite_editor import BINARY, Editor
from toolkit.lowering.tflite_shuffles import recognise_movements, turn_to_dcr
from toolkit.lowering.tflite_source import Source


def rewrite(source: Source) -> Source:
    """The same function of the picture, in operators that TFLite has."""
    editor = Editor(source)
    _fuse_gelu(editor)
    _drop_expands(editor)
    recognise_movements(editor)
    turn_to_dcr(editor)
    push_down(editor)
    push_up(editor)
    return editor.finish()


def _fuse_gelu(editor: Editor) -> None:
    """x * (1 + erf(x / sqrt 2)) / 2 and x * HardSigmoid(x), in whatever order they multiply."""
    for node in list(editor.nodes):
        if node.kind != "Mul":
            continue
        scale, factors = _factors(editor, node.outputs[0])
        if len(factors) != 2:
            continue
        for x, gate in (factors, factors[::-1]):
            kind = _gate_of(editor, gate, x, scale)
            if kind:
                editor.swap(node, replace(node, kind=kind, inputs=(x,)))
                break


def _drop_expands(editor: Editor) -> None:
    """An Expand in front of arithmetic that broadcasts anyway does nothing."""
    for node in [n for n in editor.nodes if n.kind == "Expand"]:
        out = node.outputs[0]
        readers = editor.readers(out)
        fits = all(
            reader.kind in BINARY - {"PRelu"}
            and any(editor.shapes[i] == editor.shapes[out] for i in reader.inputs if i != out)
            for reader in readers
        )
        if fits and out != editor.source.output:
            for reader in readers:
                inputs = tuple(node.inputs[0] if i == out else i for i in reader.inputs)
                editor.swap(reader, replace(reader, inputs=inputs))


def _factors(editor: Editor, name: str) -> tuple[float, list[str]]:
    """A product as a constant and the tensors that are multiplied."""
    made_by = editor.producer(name)
    scale, tensors = 1.0, []
    if made_by is None or made_by.kind not in ("Mul", "Div"):
        return 1.0, [name]
    for position, part in enumerate(made_by.inputs):
        value = editor.scalar(part)
        if value is not None and (made_by.kind == "Mul" or position == 1):
            scale *= value if made_by.kind == "Mul" else 1 / value
        elif made_by.kind == "Div" and position == 1:
            return 1.0, [name]
        else:
            inner, names = _factors(editor, part)
            scale *= inner
            tensors += names
    return scale, tensors


def _gate_of(editor: Editor, gate: str, x: str, scale: float) -> str:
    made_by = editor.producer(gate)
    if made_by is None:
        return ""
    if made_by.kind == "HardSigmoid" and made_by.inputs[0] == x and abs(scale - 1) < 1e-6:
        alpha, beta = (made_by.attributes.get(k, d) for k, d in (("alpha", 0.2), ("beta", 0.5)))
        return "HardSwish" if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5 else ""
    if made_by.kind != "Add" or abs(scale - 0.5) > 1e-6:
        return ""
    one = [i for i in made_by.inputs if editor.scalar(i) == 1.0]
    erf = [editor.producer(i) for i in made_by.inputs if editor.scalar(i) is None]
    if not one or len(erf) != 1 or erf[0] is None or erf[0].kind != "Erf":
        return ""
    inner, names = _factors(editor, erf[0].inputs[0])
    return "Gelu" if names == [x] and abs(inner - 0.5**0.5) < 1e-6 else ""
