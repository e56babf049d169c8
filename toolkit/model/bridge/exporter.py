"""Writes the ONNX graph of a module that the importer built: node by node, names kept."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn

from toolkit.model.bridge import sizes
from toolkit.model.bridge.importer import item_of
from toolkit.model.bridge.operator_table import OPERATORS
from toolkit.model.bridge.opset import Array
from toolkit.model.bridge.writers import Call, writer_of

Target = Callable[..., Any]
KINDS: dict[Target, str] = {known.function: kind for kind, known in OPERATORS.items()}


def can_write(module: nn.Module) -> bool:
    """Whether every node is one that the importer makes, so that `write_graph` understands it."""
    return isinstance(module, fx.GraphModule) and all(
        _is_known(module, node) for node in module.graph.nodes
    )


def _is_known(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return writer_of(module.get_submodule(str(node.target))) is not None
    if node.op == "call_function":
        ours = (sizes.compute, sizes.as_operand, item_of)
        return node.target in ours or cast(Target, node.target) in KINDS
    return node.op in ("placeholder", "get_attr", "output")


def write_graph(module: fx.GraphModule, *, input_name: str, output_name: str) -> onnx.GraphProto:
    """Nodes and initializers of opset 17; the caller declares input and output."""
    writer = _Writer(module, input_name, output_name)
    for node in module.graph.nodes:
        writer.add(node)
    return helper.make_graph(writer.nodes, "network", [], [], list(writer.initializers.values()))


@dataclass
class _Writer:
    module: fx.GraphModule
    input_name: str
    output_name: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    tensors: dict[fx.Node, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (end,) = (node for node in self.module.graph.nodes if node.op == "output")
        self.last = end.args[0]
        self.taken = (self.input_name, self.output_name)

    def add(self, node: fx.Node) -> None:
        """Append what one fx node computes."""
        if node.op == "placeholder":
            self.tensors[node] = self.input_name
        elif node.op == "get_attr":
            self.tensors[node] = self.store(str(node.target), _buffer(self.module, node))
        elif node.op == "call_module":
            self._add_module(node)
        elif node.op == "call_function":
            self._add_function(node)

    def store(self, name: str, value: Array) -> str:
        """Keep an initializer; the same name means the same value."""
        self.initializers[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def _name(self, node: fx.Node) -> str:
        if node is self.last:
            return self.output_name
        return f"{node.name}." if node.name in self.taken else node.name

    def _add_module(self, node: fx.Node) -> None:
        module = self.module.get_submodule(str(node.target))
        write = writer_of(module)
        assert write is not None and isinstance(node.args[0], fx.Node)
        label, current = str(node.target), self.tensors[node.args[0]]
        calls = write(module)
        first = current
        for number, call in enumerate(calls):
            last = number == len(calls) - 1
            made = self._name(node) if last else f"{node.name}.{number}"
            weights = [
                first if value is Call.INPUT else self.store(f"{label}.{key}", value)
                for key, value in call.operands.items()
            ]
            self._append(call.kind, [current, *weights], [made], made, call.attributes)
            current = made
        self.tensors[node] = current

    def _add_function(self, node: fx.Node) -> None:
        if node.target in (sizes.as_operand, item_of):
            if node.target is sizes.as_operand:
                assert isinstance(node.args[0], fx.Node)
                self.tensors[node] = self.tensors[node.args[0]]
            return
        of_sizes = node.target is sizes.compute
        kind = str(node.args[0]) if of_sizes else KINDS[cast(Target, node.target)]
        given = node.args[1:] if of_sizes else node.args
        name = self._name(node)
        inputs = [self._input(name, place, value) for place, value in enumerate(given)]
        attributes: dict[str, Any] = dict(node.kwargs)
        outputs = [name]
        if (count := attributes.pop("outputs", None)) is not None:
            outputs = self._parts(node, int(count))
        self._append(kind, inputs, outputs, name, attributes)
        self.tensors[node] = outputs[0]

    def _parts(self, node: fx.Node, count: int) -> list[str]:
        names = [f"{node.name}.{number}" for number in range(count)]
        for user in node.users:
            self.tensors[user] = names[cast(int, user.args[1])] = self._name(user)
        return names

    def _input(self, name: str, place: int, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, fx.Node):
            return self.tensors[value]
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        return self.store(f"{name}.input{place}", _typed(array, value))

    def _append(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str,
        attributes: Mapping[str, Any],
    ) -> None:
        plain = dict(attributes)
        if kind == "ConstantOfShape" and "value" in plain:
            value = np.asarray(plain["value"]).reshape(1)
            typed = value.astype(np.float32 if value.dtype.kind == "f" else value.dtype)
            plain["value"] = numpy_helper.from_array(typed)
        self.nodes.append(helper.make_node(kind, inputs, outputs, name, **plain))


def _typed(array: Array, value: Any) -> Array:
    """An empty literal is a list of no sizes."""
    return array.astype(np.int64) if value == () else array


def _buffer(module: fx.GraphModule, node: fx.Node) -> Array:
    value = operator.attrgetter(str(node.target))(module)
    assert isinstance(value, torch.Tensor)
    return value.detach().cpu().numpy()
