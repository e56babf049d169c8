"""DepthToSpace as two copies of whole blocks, for runtimes that shuffle one byte at a time.

Written in the column, row, depth order (CRD), a shuffle by r is: interleave r planes along the row,
then interleave r rows. ONNX Runtime moves one axis by a fast transposition (MlasTranspose), but its
DepthToSpace goes value by value on one thread.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from toolkit.model.quant_plan import QuantPlan
from toolkit.quant.view import GraphView, attribute, copied, set_constant, view


def with_interleaving(graph: GraphView, plan: QuantPlan) -> tuple[GraphView, QuantPlan]:
    """The graph without DepthToSpace (CRD) of 8-bit tensors; moves values only, so it is equal.

    Shuffles of tensors without a range, and those whose channels are unknown, stay. The plan gains
    the ranges of added tensors.
    """
    model = copied(graph.model)
    channels = _channels(graph)
    nodes: list[onnx.NodeProto] = []
    ranges = dict(plan.ranges)
    for node in graph.nodes:
        source = node.input[0] if node.input else ""
        is_crd = node.op_type == "DepthToSpace" and attribute(node, "mode", b"DCR") == b"CRD"
        if not is_crd or source not in plan.ranges or source not in channels:
            nodes.append(node)
            continue
        made = _interleaved(model, node, channels[source], attribute(node, "blocksize"))
        ranges |= {out: plan.ranges[source] for new in made[:-1] for out in new.output}
        nodes.extend(made)
    if len(nodes) == len(graph.nodes):
        return graph, plan
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return view(model), replace(plan, ranges=ranges)


def _channels(graph: GraphView) -> dict[str, int]:
    """Channels of each tensor of rank 4 where shape inference knows them."""
    inferred = onnx.shape_inference.infer_shapes(graph.model).graph
    shapes = {
        v.name: v.type.tensor_type.shape.dim for v in (*inferred.value_info, *inferred.output)
    }
    return {n: d[1].dim_value for n, d in shapes.items() if len(d) == 4 and d[1].dim_value}


def _interleaved(
    model: onnx.ModelProto, node: onnx.NodeProto, channels: int, block: int
) -> list[onnx.NodeProto]:
    """(1, C r r, H, W) to (1, C, H r, W r); every Reshape keeps the bytes where they are."""
    colours = channels // block**2
    nodes: list[onnx.NodeProto] = []
    tensor = node.input[0]

    def step(kind: str, label: str, values: list[int]) -> None:
        nonlocal tensor
        out = node.output[0] if label == "picture" else f"{node.output[0]}.{label}"
        if kind == "Transpose":
            made = helper.make_node(kind, [tensor], [out], f"{node.name}.{label}", perm=values)
        else:
            constant = f"{node.name}.{label}.axes"
            set_constant(model, constant, np.array(values, np.int64))
            made = helper.make_node(kind, [tensor, constant], [out], f"{node.name}.{label}")
        nodes.append(made)
        tensor = out

    step("Unsqueeze", "ranked", [0])  # lines axis 3 and 4 up with H and W, which 0 then copies
    step("Reshape", "planes", [1, colours * block, block, 0, 0])
    step("Transpose", "columns", [0, 1, 3, 4, 2])
    step("Reshape", "rows", [1, colours * block, 0, -1])
    step("Reshape", "groups", [colours, block, 0, 0])
    step("Transpose", "stacked", [0, 2, 1, 3])
    step("Reshape", "picture", [1, colours, -1, 0])
    return nodes
