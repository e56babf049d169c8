"""All 256 grey levels for schemes without a zero point: the picture is shifted before rounding.

Symmetric int8 has 127 steps for values from 0 to white. Convolutions that read the picture read
(picture - 128 grey levels) instead, which fills -128 to 127 exactly; their bias takes the shift
back, and padding is made explicit, because black is no longer 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from toolkit.model.quant_plan import TensorRange
from toolkit.quant.carried import set_bias
from toolkit.quant.view import GraphView, attribute, copied, set_constant, view


@dataclass(frozen=True, kw_only=True)
class Centred:
    """The changed graph, and the ranges of the tensors that were added."""

    graph: GraphView
    ranges: dict[str, TensorRange]


def _is_centrable(graph: GraphView, node: onnx.NodeProto) -> bool:
    constants = all(name in graph.constants for name in node.input[1:] if name)
    is_plain = attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
    return node.op_type == "Conv" and node.input[0] == graph.input and constants and is_plain


def _shifted(
    graph: GraphView, node: onnx.NodeProto, source: str, shift: float
) -> list[onnx.NodeProto]:
    """The padding of `source` and the convolution that reads it, in place of `node`."""
    model = graph.model
    top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
    conv = onnx.NodeProto()
    conv.CopyFrom(node)
    weight = graph.constants[node.input[1]]
    bias = graph.constants.get(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight))
    set_bias(model, conv, (bias + shift * weight.sum(axis=(1, 2, 3))).astype(np.float32))
    kept = [a for a in conv.attribute if a.name != "pads"]
    del conv.attribute[:]
    conv.attribute.extend(kept)
    if not any((top, left, bottom, right)):
        conv.input[0] = source
        return [conv]
    pads, fill, padded = f"{node.name}.pads", f"{node.name}.black", f"{node.name}.padded"
    set_constant(model, pads, np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    set_constant(model, fill, np.array(-shift, np.float32))
    conv.input[0] = padded
    pad = helper.make_node("Pad", [source, pads, fill], [padded], pads, mode="constant")
    return [pad, conv]


def with_centred_input(graph: GraphView, *, white: float) -> Centred:
    """Shift the picture for every convolution that reads it; other readers keep the original."""
    heads = [node.name for node in graph.nodes if _is_centrable(graph, node)]
    if not heads:
        return Centred(graph=graph, ranges={})
    shift = white * 128 / 255
    model = copied(graph.model)
    source = f"{graph.input}.centred"
    set_constant(model, f"{source}.shift", np.array(shift, np.float32))
    subtract = helper.make_node("Sub", [graph.input, f"{source}.shift"], [source], source)
    nodes, ranges = [subtract], {}
    changed = view(model)
    one_level = TensorRange(low=-white * 127 / 255, high=white * 127 / 255)
    for node in changed.nodes:
        if node.name not in heads:
            nodes.append(node)
            continue
        made = _shifted(changed, node, source, shift)
        ranges[made[-1].input[0]] = one_level
        nodes.extend(made)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return Centred(graph=view(model), ranges=ranges)
