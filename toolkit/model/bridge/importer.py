"""Builds a torch.fx.GraphModule from the nodes of an ONNX graph."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from toolkit.errors import UserError, raise_all
from toolkit.model.bridge import sizes
from toolkit.model.bridge.layers import LAYERS
from toolkit.model.bridge.operator_table import OPERATORS, Operator
from toolkit.model.bridge.opset import Array, Node
from toolkit.model.bridge.reading import Graph

MULTI_OUTPUT = ("Split",)
TENSOR, ONNX_NODE = "onnx_tensor", "onnx_node"  # keys of `fx.Node.meta`
PLAIN_NUMBER_RANK = 1  # a constant of one element and at most this rank is written as a number


def build_module(graph: Graph) -> fx.GraphModule:
    """A trainable module, in eval mode. Raises UserError for operators that are not understood."""
    raise_all([_unknown(nodes) for nodes in _unknown_nodes(graph).values()])
    builder = _Builder(graph)
    for node in graph.nodes:
        builder.add(node)
    builder.fx_graph.output(builder.values[graph.output])
    module = fx.GraphModule(builder.root, builder.fx_graph, class_name="ImportedNetwork")
    return module.eval()


def understood_operators() -> tuple[str, ...]:
    """Names of the ONNX operators that can be read, sorted."""
    read_away = {"Constant", "Dropout", "Upsample"}
    known = (LAYERS.keys() - {"Linear"}) | OPERATORS.keys() | sizes.SIZE_OPERATORS.keys()
    return tuple(sorted(known | read_away))


def _unknown_nodes(graph: Graph) -> dict[str, list[Node]]:
    known = LAYERS.keys() | OPERATORS.keys() | sizes.SIZE_OPERATORS.keys()
    unknown: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.kind not in known:
            unknown.setdefault(node.kind, []).append(node)
    return unknown


def _unknown(nodes: Sequence[Node]) -> UserError:
    more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    return UserError(
        f"the operator `{nodes[0].kind}` is not understood",
        where=f"node `{nodes[0].name}`{more}",
        hint="re-export the network with it written in other operators; understood are "
        + ", ".join(understood_operators()),
    )


def _identifier(name: str, fallback: str) -> str:
    text = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    text = f"{fallback}_{text}" if not text or text[0].isdigit() else text
    return f"{text}_" if keyword.iskeyword(text) else text


def _literal(value: Any) -> Any:
    """Arrays as numbers and nested tuples, which fx can write as code; empty ones as None."""
    if isinstance(value, np.ndarray):
        return _literal(value.tolist()) if value.size else ()
    if isinstance(value, list | tuple):
        return tuple(_literal(part) for part in value)
    return value


@dataclass
class _Builder:
    """Grows the fx graph; every tensor is an fx node or, while nobody needs one, a constant."""

    graph: Graph
    root: nn.Module = field(default_factory=nn.Module)
    fx_graph: fx.Graph = field(default_factory=fx.Graph)
    values: dict[str, fx.Node] = field(default_factory=dict)
    size_values: set[str] = field(default_factory=set)  # computed from sizes, not from pixels
    buffers: dict[str, fx.Node] = field(default_factory=dict)
    modules: dict[Any, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values[self.graph.input] = self.fx_graph.placeholder("x")

    def add(self, node: Node) -> None:
        """Append what the node computes."""
        present = [name for name in node.inputs if name]
        computed = [name for name in present if name not in self.graph.constants]
        if node.kind in ("Shape", "Size") or all(name in self.size_values for name in computed):
            self._add_on_sizes(node)
        elif not self._add_layer(node):
            self._add_operator(node)

    def _add_on_sizes(self, node: Node) -> None:
        if node.kind not in sizes.SIZE_OPERATORS:
            raise UserError(
                f"`{node.kind}` works on sizes, not on the picture",
                where=f"node `{node.name}`",
                hint="simplify the file with onnxslim, or re-export it with a fixed input size",
            )
        inputs = [self._literal_or_value(name) for name in node.inputs]
        attributes = {key: _literal(value) for key, value in node.attributes.items()}
        self._call(node, sizes.compute, (node.kind, *inputs), attributes)
        self.size_values.update(node.outputs)

    def _add_layer(self, node: Node) -> bool:
        layer = LAYERS.get(node.kind)
        if layer is None:
            return False
        key = (node.kind, node.inputs[1:], repr(sorted(node.attributes.items())))
        if not layer.weighted or key not in self.modules:
            module = layer.build(node, self.graph.constants)
            if module is None:
                return False
            name = self._free_name(_identifier(node.name, node.kind))
            self.root.add_module(name, module)
            self.modules[key] = name
        given = self._feature(node.inputs[0], None)
        name = self._node_name(node.outputs[0])
        result = self.fx_graph.create_node("call_module", self.modules[key], (given,), name=name)
        self._name_result(node.outputs[0], result, node)
        return True

    def _add_operator(self, node: Node) -> None:
        if node.kind not in OPERATORS:
            raise UserError(
                f"this form of `{node.kind}` is not understood",
                where=f"node `{node.name}`, attributes `{dict(node.attributes)}`",
                hint="re-export the network with constant weights and the operator's usual form",
            )
        known = OPERATORS[node.kind]
        like = self._first_feature(node)
        inputs = [
            self._size(node, place, name) if place in known.sizes else self._feature(name, like)
            for place, name in enumerate(node.inputs)
        ]
        while inputs and inputs[-1] is None:
            inputs.pop()
        attributes = {key: _literal(value) for key, value in node.attributes.items()}
        _check_call(node, known, inputs, attributes)
        self._call(node, known.function, tuple(inputs), attributes)

    def _first_feature(self, node: Node) -> fx.Node:
        names = [n for n in node.inputs if n in self.values and n not in self.size_values]
        return self.values[names[0]]

    def _call(self, node: Node, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        several = node.kind in MULTI_OUTPUT
        name = self._node_name(f"{node.name}_parts" if several else node.outputs[0])
        result = self.fx_graph.create_node("call_function", target, args, kwargs, name=name)
        if not several:
            self._name_result(node.outputs[0], result, node)
            return
        for place, output in enumerate(node.outputs):
            part = self.fx_graph.create_node(
                "call_function", item_of, (result, place), name=self._node_name(output)
            )
            self._name_result(output, part, node)

    def _name_result(self, tensor: str, result: fx.Node, node: Node) -> None:
        """Remember what of the ONNX graph an fx node stands for."""
        result.meta[TENSOR], result.meta[ONNX_NODE] = tensor, node.name
        self.values[tensor] = result

    def _literal_or_value(self, name: str) -> Any:
        if not name:
            return None
        if name in self.graph.constants:
            return _literal(self.graph.constants[name])
        return self.values[name]

    def _size(self, node: Node, place: int, name: str) -> Any:
        """An input that holds sizes or plain numbers: a literal, or sizes computed on the way."""
        value = self._literal_or_value(name)
        if value == () and node.kind == "Resize":
            return None  # the empty tensor that stands for an omitted input
        if isinstance(value, fx.Node) and name not in self.size_values and node.kind != "Gather":
            raise UserError(
                f"input {place} of `{node.kind}` depends on the picture's content",
                where=f"node `{node.name}`",
                hint="only shapes that follow from the picture's size can be converted",
            )
        return value

    def _feature(self, name: str, like: fx.Node | None) -> Any:
        """An input that holds features; constants become numbers or buffers."""
        if not name:
            return None
        if name in self.size_values:
            return self.fx_graph.call_function(sizes.as_operand, (self.values[name], like))
        if name in self.values:
            return self.values[name]
        array = self.graph.constants[name]
        if array.size == 1 and array.ndim <= PLAIN_NUMBER_RANK:
            return array.reshape(-1)[0].item()
        if name not in self.buffers:
            self.buffers[name] = self._buffer(name, array)
        return self.buffers[name]

    def _buffer(self, name: str, array: Array) -> fx.Node:
        label = self._free_name(_identifier(name, "constant"))
        self.root.register_buffer(label, torch.from_numpy(np.array(array)))
        return self.fx_graph.get_attr(label)

    def _free_name(self, wanted: str) -> str:
        name, number = wanted, 1
        while hasattr(self.root, name):
            name, number = f"{wanted}_{number}", number + 1
        return name

    def _node_name(self, tensor: str) -> str:
        return _identifier(tensor, "tensor")


def item_of(parts: Sequence[Any], place: int) -> Any:
    """One output of an operator that has several."""
    return parts[place]


def _check_call(
    node: Node, known: Operator, inputs: Sequence[Any], attributes: Mapping[str, Any]
) -> None:
    try:
        inspect.signature(known.function).bind(*inputs, **attributes)
    except TypeError as error:
        raise UserError(
            f"this form of `{node.kind}` is not understood: {error}",
            where=f"node `{node.name}`",
            hint="re-export the network at opset 17",
        ) from None
    except ValueError:  # torch's own functions have no signature to look at
        return
