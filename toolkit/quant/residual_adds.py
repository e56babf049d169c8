"""Sums of features: they have no weights, yet each one in 8 bits rounds the trunk once more."""

from __future__ import annotations

from toolkit.quant.placement import tail_tensors
from toolkit.quant.schemes import SCHEMES
from toolkit.quant.view import GraphView


def residual_adds(graph: GraphView) -> tuple[str, ...]:
    """Names of nodes that add two computed maps of features (N, C, H, W), in the graph's order.

    Adds that make the picture itself are left out: their sums are whole grey levels anyhow, and
    they work on the largest tensor.
    """
    tail = tail_tensors(graph, SCHEMES["onnxruntime"])
    return tuple(
        node.name
        for node in graph.nodes
        if node.op_type == "Add"
        and node.output[0] not in tail
        and len(graph.dynamic_inputs(node)) == 2
        and all(graph.ranks.get(name) == 4 for name in graph.dynamic_inputs(node))
    )
