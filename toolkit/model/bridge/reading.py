"""Reads an ONNX graph into plain nodes: one opset form, constants folded, known chains fused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from toolkit.errors import UserError
from toolkit.model.bridge.operator_table import OPERATORS
from toolkit.model.bridge.opset import (
    NEWEST,
    OLDEST,
    Array,
    Node,
    Surroundings,
    as_opset_17,
    narrowed_type,
)
from toolkit.model.bridge.sizes import NUMPY_TYPES, SIZE_OPERATORS


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One input, one output, nodes in running order, and constants as float32, int64 or bool."""

    input: str
    output: str
    input_shape: tuple[int | None, ...]  # None where free
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]


def read_graph(model: onnx.ModelProto) -> Graph:
    """Raises UserError for several inputs or outputs, foreign operators and unknown opsets."""
    opset = _opset(model)
    stored = {
        tensor.name: _narrowed(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer
    }
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise UserError(
            f"the network has {len(inputs)} inputs and {len(model.graph.output)} outputs",
            hint="export it with one image in and one image out",
        )
    around = Surroundings(opset=opset, constants=stored, ranks=_ranks(model))
    nodes, renamed = _folded_nodes(model, around)
    output = model.graph.output[0].name
    shape = inputs[0].type.tensor_type.shape.dim
    graph = Graph(
        input=inputs[0].name,
        output=renamed.get(output, output),
        input_shape=tuple(d.dim_value if d.HasField("dim_value") else None for d in shape),
        nodes=nodes,
        constants=stored,
    )
    return _alive(_with_linear(_with_gelu(graph)))


def _opset(model: onnx.ModelProto) -> int:
    foreign = sorted({n.domain for n in model.graph.node if n.domain not in ("", "ai.onnx")})
    if foreign:
        names = sorted(
            {f"{n.domain}::{n.op_type}" for n in model.graph.node if n.domain in foreign}
        )
        raise UserError(
            f"the network uses operators outside the ONNX standard: `{'`, `'.join(names)}`",
            hint="export it with standard operators only (no contrib or custom operators)",
        )
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    opset = max(versions, default=0)
    if not OLDEST <= opset <= NEWEST:
        raise UserError(
            f"opset `{opset}` is not understood",
            hint=f"export the network at opset 17; {OLDEST} to {NEWEST} can be read",
        )
    return opset


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }


def _narrowed(array: Array) -> Array:
    kind = narrowed_type(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
    return array.astype(NUMPY_TYPES[kind])


def _plain_attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return _narrowed(numpy_helper.to_array(value))
    if isinstance(value, onnx.GraphProto | onnx.SparseTensorProto):
        raise UserError(
            f"attribute `{attribute.name}` holds a {type(value).__name__}",
            hint="loops, branches and sparse weights are not understood; export by tracing",
        )
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _plain_node(proto: onnx.NodeProto, number: int) -> Node:
    name = proto.name or f"{proto.op_type}_{number}"
    try:
        attributes = {a.name: _plain_attribute(a) for a in proto.attribute}
    except UserError as error:
        problem = f"`{proto.op_type}`: {error.problem}"
        raise UserError(problem, where=f"node `{name}`", hint=error.hint) from None
    return Node(
        kind=proto.op_type,
        name=name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
    )


def _folded_nodes(
    model: onnx.ModelProto, around: Surroundings
) -> tuple[tuple[Node, ...], dict[str, str]]:
    """Nodes that depend on the picture, and the Identities left out as {output: input}.

    What the other nodes compute is added to the constants.
    """
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for number, proto in enumerate(model.graph.node):
        node = _plain_node(proto, number)
        node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        if node.kind == "Constant":
            (value,) = node.attributes.values()
            around.constants[node.outputs[0]] = _narrowed(np.asarray(value))
            continue
        node = as_opset_17(node, around)
        if node.kind == "Identity" and node.inputs[0] in around.constants:
            # torch writes equal weights of different layers once: they are not to be tied
            around.constants[node.outputs[0]] = around.constants[node.inputs[0]]
        elif node.kind == "Identity":
            renamed[node.outputs[0]] = node.inputs[0]
        elif (values := _fold(node, around.constants)) is not None:
            around.constants.update(zip(node.outputs, values, strict=True))
        else:
            nodes.append(node)
    return tuple(nodes), renamed


def _fold(node: Node, constants: Mapping[str, Array]) -> tuple[Array, ...] | None:
    """What the node computes where every input is constant, else None."""
    if any(name and name not in constants for name in node.inputs):
        return None
    values = [constants[name] if name else None for name in node.inputs]
    if node.kind in SIZE_OPERATORS:
        result = SIZE_OPERATORS[node.kind](*values, **node.attributes)
        results = result if isinstance(result, tuple) else (result,)
    elif node.kind in OPERATORS:
        known = OPERATORS[node.kind]
        tensors = [
            value if value is None or place in known.sizes else torch.from_numpy(np.array(value))
            for place, value in enumerate(values)
        ]
        results = (known.function(*tensors, **node.attributes).numpy(),)
    else:
        return None
    return tuple(_narrowed(np.asarray(value)) for value in results)


@dataclass(frozen=True)
class _Links:
    """Who makes each tensor and who reads it."""

    graph: Graph
    makers: Mapping[str, Node]
    readers: Mapping[str, tuple[Node, ...]]

    def only_reader(self, name: str, kind: str) -> Node | None:
        readers = self.readers.get(name, ())
        alone = len(readers) == 1 and readers[0].kind == kind and name != self.graph.output
        return readers[0] if alone else None

    def scaled(self, name: str) -> tuple[str, float] | None:
        """(x, factor) where the tensor is x times or divided by one number."""
        node = self.makers.get(name)
        if node is None or node.kind not in ("Mul", "Div"):
            return None
        factor = self.number(node.inputs[1])
        if factor is not None:
            return node.inputs[0], factor if node.kind == "Mul" else 1 / factor
        factor = self.number(node.inputs[0])
        if factor is None or node.kind == "Div":
            return None
        return node.inputs[1], factor

    def number(self, name: str) -> float | None:
        value = self.graph.constants.get(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _links(graph: Graph) -> _Links:
    makers = {name: node for node in graph.nodes for name in node.outputs}
    readers: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers[name] = (*readers.get(name, ()), node)
    return _Links(graph, makers, readers)


def _other(node: Node, name: str) -> str:
    return node.inputs[1] if node.inputs[0] == name else node.inputs[0]


def _gelu_end(erf: Node, links: _Links) -> tuple[str, Node] | None:
    """(x, last node) where `erf` is inside 0.5 * x * (1 + erf(x / sqrt(2))), in any order."""
    inner = links.scaled(erf.inputs[0])
    plus = links.only_reader(erf.outputs[0], "Add")
    if inner is None or not math.isclose(inner[1], math.sqrt(0.5), rel_tol=1e-4) or plus is None:
        return None
    x = inner[0]
    first = links.only_reader(plus.outputs[0], "Mul")
    if first is None or links.number(_other(plus, erf.outputs[0])) != 1.0:
        return None
    factor = _other(first, plus.outputs[0])
    if links.scaled(factor) == (x, 0.5):
        return x, first
    last = links.only_reader(first.outputs[0], "Mul")
    if last is None:
        return None
    rest = _other(last, first.outputs[0])
    halved = factor == x and links.number(rest) == 0.5
    return (x, last) if halved or (links.number(factor) == 0.5 and rest == x) else None


def _with_gelu(graph: Graph) -> Graph:
    links = _links(graph)
    ends: dict[str, str] = {}
    for node in graph.nodes:
        found = _gelu_end(node, links) if node.kind == "Erf" else None
        if found is not None:
            ends[found[1].name + found[1].outputs[0]] = found[0]
    nodes = tuple(
        replace(n, kind="Gelu", inputs=(ends[n.name + n.outputs[0]],), attributes={})
        if n.name + n.outputs[0] in ends
        else n
        for n in graph.nodes
    )
    return replace(graph, nodes=nodes)


def _with_linear(graph: Graph) -> Graph:
    """MatMul by a constant matrix, with the Add of a vector that follows, as one `Linear`."""
    links = _links(graph)
    swallowed: dict[str, Node] = {}
    for node in graph.nodes:
        weight = graph.constants.get(node.inputs[1]) if node.kind == "MatMul" else None
        if weight is None or weight.ndim != 2:
            continue
        linear = replace(node, kind="Linear")
        plus = links.only_reader(node.outputs[0], "Add")
        if plus is not None:
            bias = _other(plus, node.outputs[0])
            value = graph.constants.get(bias)
            if value is not None and value.shape == weight.shape[1:]:
                linear = replace(linear, inputs=(*node.inputs, bias), outputs=plus.outputs)
        swallowed[linear.outputs[0]] = linear
    nodes = tuple(swallowed.get(node.outputs[0], node) for node in graph.nodes)
    return replace(graph, nodes=nodes)


def _alive(graph: Graph) -> Graph:
    """Without nodes that the output does not need."""
    wanted = {graph.output}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return replace(graph, nodes=tuple(reversed(kept)))
