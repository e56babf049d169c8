"""PReLU of bytes, for runtimes that have none: max(x, slope * x), which it is for slopes up to 1.

Product and maximum are on the grid of x, so the maximum is that of the stored integers. ONNX
Runtime multiplies bytes (QLinearMul) and compares them, but its PRelu is float, between two
conversions of the largest tensors of a network. One slope for all channels is a LeakyRelu, which
has a table of bytes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from toolkit.model.quant_plan import TensorRange
from toolkit.quant.view import GraphView, copied, view


def is_maximum(graph: GraphView, node: onnx.NodeProto) -> bool:
    """Whether `node` is a PRelu with constant slopes that are all up to 1."""
    slopes = graph.constants.get(node.input[1]) if node.op_type == "PRelu" else None
    return slopes is not None and bool(np.all(slopes <= 1))


def slope_range(graph: GraphView, node: onnx.NodeProto) -> TensorRange:
    """From the lowest to the highest slope of a PRelu."""
    slopes = graph.constants[node.input[1]]
    return TensorRange(low=float(slopes.min()), high=float(slopes.max()))


def with_leaky_relus(graph: GraphView) -> GraphView:
    """The graph with each PRelu that has one slope for all channels as LeakyRelu: equal."""
    uniform = {
        n.name: float(graph.constants[n.input[1]].reshape(-1)[0])
        for n in graph.nodes
        if n.op_type == "PRelu"
        and n.input[1] in graph.constants
        and np.ptp(graph.constants[n.input[1]]) == 0
    }
    if not uniform:
        return graph
    model = copied(graph.model)
    for node in model.graph.node:
        if node.name in uniform:
            alpha = uniform[node.name]
            ends = [node.input[0]], [node.output[0]]
            node.CopyFrom(helper.make_node("LeakyRelu", *ends, node.name, alpha=alpha))
    return view(model)
