"""A first convolution before tanh or sigmoid as a matrix product that keeps every digit.

A sum that is rounded to 8 bits before a tanh loses what the tanh is most sensitive to: small values
beside a few large ones. ONNX Runtime has no integer convolution with a float result, but an integer
matrix product with one (QGemm without an output scale). The windows of a picture are few channels,
so writing them out as rows costs no more than the rounding and restoring that it saves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from toolkit.model.quant_plan import QuantPlan
from toolkit.quant.ranges import SATURATE
from toolkit.quant.view import Array, GraphView, attribute, copied, set_constant, view

LARGEST_WINDOW = 128  # values; the rows of windows are this many times as large as the picture
TO_THE_END = 2**31 - 1


@dataclass
class _Rows:
    """The nodes that take the place of one convolution."""

    model: onnx.ModelProto
    label: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)  # tensors that hold values of the picture

    def whole(self, name: str, *values: int) -> str:
        name = f"{self.label}.{name}"
        set_constant(self.model, name, np.array(values, np.int64))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        out = f"{self.label}.{name}"
        self.nodes.append(helper.make_node(kind, inputs, [out], f"{out}.{kind}", **attributes))
        return out

    def moving(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        out = self.node(kind, inputs, name, **attributes)
        self.moved.append(out)
        return out

    def shifts(self, source: str, count: int, axis: int, name: str) -> str:
        """`count` copies of `source`, each one place further along `axis`, stacked as channels."""
        copies = []
        for shift in range(count):
            left = count - 1 - shift
            start = self.whole(f"{name}{shift}.start", shift)
            stop = self.whole(f"{name}{shift}.stop", -left if left else TO_THE_END)
            along = self.whole(f"{name}{shift}.axis", axis)
            copies.append(self.moving("Slice", [source, start, stop, along], f"{name}{shift}"))
        return self.moving("Concat", copies, name, axis=1)


def _is_head(graph: GraphView, node: onnx.NodeProto) -> bool:
    """A plain convolution of the picture with a small window, read by a curve alone."""
    if node.op_type != "Conv" or node.input[0] != graph.input or len(node.input) < 3:
        return False
    reader = graph.only_consumer(node.output[0])
    weight = graph.constants.get(node.input[1])
    if reader is None or reader.op_type not in SATURATE or weight is None or weight.ndim != 4:
        return False
    plain = all(set(attribute(node, n, [1])) == {1} for n in ("strides", "dilations"))
    same = attribute(node, "auto_pad", b"NOTSET") == b"NOTSET" and attribute(node, "group", 1) == 1
    return (
        plain
        and same
        and node.input[2] in graph.constants
        and weight[0].size <= LARGEST_WINDOW
        and _keeps_size(weight, attribute(node, "pads", [0, 0, 0, 0]))
    )


def _keeps_size(weight: Array, pads: list[int]) -> bool:
    height, width = weight.shape[2:]
    return height % 2 == 1 and width % 2 == 1 and list(pads) == [height // 2, width // 2] * 2


def _product(graph: GraphView, rows: _Rows, conv: onnx.NodeProto, curve: onnx.NodeProto) -> None:
    """Append windows, product and curve; the result is the curve's own tensor."""
    weight = graph.constants[conv.input[1]]
    out, _, height, width = weight.shape
    picture = graph.input
    pads = rows.whole("pads", 0, 0, height // 2, width // 2, 0, 0, height // 2, width // 2)
    padded = rows.moving("Pad", [picture, pads], "padded", mode="constant")
    windows = rows.shifts(rows.shifts(padded, width, 3, "across"), height, 2, "down")
    last = rows.moving("Transpose", [windows], "last", perm=[0, 2, 3, 1])
    flat = rows.moving("Reshape", [last, rows.whole("flat.shape", -1, weight[0].size)], "flat")
    matrix = f"{rows.label}.matrix"
    set_constant(rows.model, matrix, weight.transpose(2, 3, 1, 0).reshape(-1, out))
    sums = rows.node("Gemm", [flat, matrix, conv.input[2]], "sums")
    rows.nodes[-1].name = conv.name
    bent = rows.node(curve.op_type, [sums], "bent")
    sides = rows.node("Shape", [picture], "sides", start=2, end=4)
    parts = [rows.whole("one", 1), sides, rows.whole("channels", out)]
    shape = rows.node("Concat", parts, "shape", axis=0)
    pixels = rows.node("Reshape", [bent, shape], "pixels")
    rows.node("Transpose", [pixels], "planes", perm=[0, 3, 1, 2])
    rows.nodes[-1].output[0] = curve.output[0]


def with_window_products(graph: GraphView, plan: QuantPlan) -> tuple[GraphView, QuantPlan]:
    """The graph with such first convolutions as Gemm, equal in float up to the order of sums.

    The plan gains the ranges of moved copies of the picture; the product's result has none, so it
    is never rounded. Convolutions in `plan.float_nodes` stay.
    """
    heads = [n for n in graph.nodes if _is_head(graph, n) and n.name not in plan.float_nodes]
    if not heads or graph.input not in plan.ranges:
        return graph, plan
    model = copied(graph.model)
    curves = {graph.only_consumer(n.output[0]).name: n for n in heads}  # type: ignore[union-attr]
    nodes: list[onnx.NodeProto] = []
    ranges = dict(plan.ranges)
    for node in graph.nodes:
        if node.name in curves:
            rows = _Rows(model=model, label=f"{node.output[0]}.windows")
            _product(graph, rows, curves[node.name], node)
            ranges |= dict.fromkeys(rows.moved, plan.ranges[graph.input])
            nodes.extend(rows.nodes)
        elif all(node.name != head.name for head in heads):
            nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    del model.graph.value_info[:]
    model.graph.node.extend(copies)
    return view(model), replace(plan, ranges=ranges)
