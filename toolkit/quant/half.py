"""The float16-typed rival of an INT8 file: float32 input and output, half precision between."""

from __future__ import annotations

import warnings

import onnx

from toolkit.quant.view import copied


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` that computes in float16, with casts after its input and before its output.

    Weights beyond 65504 saturate; operators without a half-precision form stay float32.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = copied(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one line per weight that float16 rounds to zero
        converted: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True)
    sort_nodes(converted)
    return converted


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put nodes behind what they read, as ONNX demands; the converter appends its casts."""
    known = {t.name for t in (*model.graph.initializer, *model.graph.input)} | {""}
    waiting = list(model.graph.node)
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise ValueError("the graph has a cycle, or reads a tensor that nothing makes")
        for node in ready:
            known.update(node.output)
        ordered += ready
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(copies)
