"""The static ONNX graph as plain values, which is what the TFLite lowering reads and rewrites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from toolkit.errors import UserError

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One ONNX operator; beside ONNX's own kinds there are `Gelu` and `Select`.

    `Select` picks channels: its attribute `channels` lists, for each output channel, the channel
    of the (1, C, H, W) input that it copies.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A graph with one input, one output and no free size. Shapes are in ONNX's axis order."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    input: str
    output: str

    def producers(self) -> dict[str, Node]:
        """Tensor name to the node that makes it."""
        return {out: node for node in self.nodes for out in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Tensor name to the nodes that read it; a node reading it twice is listed twice."""
        table: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                table.setdefault(name, []).append(node)
        return table


def use_counts(nodes: Iterable[Node], output: str) -> Counter[str]:
    """How often each tensor is read; the graph's output counts as one reader."""
    counts = Counter(name for node in nodes for name in node.inputs)
    counts[output] += 1
    return counts


def read_source(model: onnx.ModelProto) -> Source:
    """Take a static, constant-folded model apart. Raises UserError where a size is still free."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = inferred.graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    nodes = []
    for index, proto in enumerate(graph.node):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        if proto.op_type == "Constant":
            constants[proto.output[0]] = _constant(attributes)
            continue
        nodes.append(
            Node(
                kind=proto.op_type if proto.domain in ("", "ai.onnx") else proto.domain,
                name=proto.name or f"{proto.op_type}_{index}",
                inputs=tuple(proto.input),
                outputs=tuple(proto.output),
                attributes=attributes,
            )
        )
    shapes = {name: tuple(array.shape) for name, array in constants.items()}
    for info in (*graph.value_info, *graph.input, *graph.output):
        shapes.setdefault(info.name, _shape(info))
    _refuse_free_sizes(nodes, shapes)
    inputs = [i.name for i in graph.input if i.name not in constants]
    return Source(
        nodes=tuple(nodes),
        constants=constants,
        shapes=shapes,
        input=inputs[0],
        output=graph.output[0].name,
    )


def _constant(attributes: Mapping[str, Any]) -> Array:
    key, value = next(iter(attributes.items()))
    if key == "value":
        return numpy_helper.to_array(value)
    return np.asarray(value, np.float32 if key.startswith("value_float") else np.int64)


def _shape(info: onnx.ValueInfoProto) -> tuple[int, ...]:
    dims = info.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in dims)


def _refuse_free_sizes(nodes: Iterable[Node], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for node in nodes:
        for name in node.outputs:
            if name and (name not in shapes or -1 in shapes[name]):
                raise UserError(
                    f"the size of `{name}` depends on the picture's content or cannot be inferred",
                    where=f"operator {node.kind}, node `{node.name}`",
                    hint="TFLite needs static sizes; export the network without this operator",
                )
