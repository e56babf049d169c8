"""Which tensors of a network a scheme rounds to 8 bits, and which of them share one grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from toolkit.model.quant_plan import QuantPlan, TensorRange
from toolkit.quant.prelu_bytes import is_maximum
from toolkit.quant.schemes import QdqScheme
from toolkit.quant.view import GraphView


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Result: `grids` gives each rounded tensor its range, `kernels` the nodes that run in INT8."""

    grids: Mapping[str, TensorRange]
    kernels: frozenset[str]  # node names


def is_kernel(graph: GraphView, node: onnx.NodeProto, scheme: QdqScheme, plan: QuantPlan) -> bool:
    """Whether `node` multiplies in integers: its operator, its ranges and its weights allow it."""
    if node.op_type not in scheme.kernels or node.name in plan.float_nodes:
        return False
    dynamic = graph.dynamic_inputs(node)
    if node.op_type == "Gemm":  # gives float
        return dynamic == [node.input[0]] and dynamic[0] in plan.ranges
    has_ranges = all(name in plan.ranges for name in (*dynamic, node.output[0]))
    if node.op_type == "MatMul":
        return bool(dynamic) and has_ranges
    return (
        len(dynamic) == 1
        and node.input[0] == dynamic[0]
        and node.input[1] in graph.constants
        and has_ranges
    )


def kernel_output(graph: GraphView, node: onnx.NodeProto, scheme: QdqScheme) -> str:
    """The tensor that the integer kernel of `node` stores, past the activation it absorbs."""
    name: str = node.output[0]
    reader = graph.only_consumer(name)
    if reader is not None and reader.op_type in scheme.fused and reader.input[0] == name:
        return str(reader.output[0])
    return name


def is_byte_prelu(
    graph: GraphView, node: onnx.NodeProto, scheme: QdqScheme, plan: QuantPlan
) -> bool:
    """Whether `node` is a PReLU that runs on bytes where what it reads is stored so."""
    return (
        scheme.prelu_bytes
        and is_maximum(graph, node)
        and node.name not in plan.float_nodes
        and all(name in plan.ranges for name in (node.input[0], node.output[0]))
    )


def _light_nodes(
    graph: GraphView, scheme: QdqScheme, plan: QuantPlan, stored: set[str]
) -> set[str]:
    """Names of element-wise nodes all of whose float inputs are 8-bit tensors; grows `stored`."""
    light: set[str] = set()
    for node in graph.nodes:
        dynamic = graph.dynamic_inputs(node)
        if not dynamic or not set(dynamic) <= stored:
            continue
        if node.op_type in scheme.moves:
            stored.update(name for name in node.output if name in plan.ranges)
        elif is_byte_prelu(graph, node, scheme, plan):
            light.add(node.name)
            stored.add(node.output[0])
        elif node.op_type in scheme.light and node.name not in plan.float_nodes:
            constant = [name for name in node.input if name and name not in dynamic]
            if node.output[0] in plan.ranges and not constant:
                light.add(node.name)
                stored.add(kernel_output(graph, node, scheme))
    return light


def tail_tensors(graph: GraphView, scheme: QdqScheme) -> set[str]:
    """The output and what becomes it by moving values or clipping them to its range only."""
    tail = {graph.output}
    pending = [graph.output]
    while pending:
        node = graph.producer.get(pending.pop())
        if node is None or not (node.op_type in scheme.moves or node.op_type == "Clip"):
            continue
        for name in graph.dynamic_inputs(node):
            if all(set(reader.output) <= tail for reader in graph.consumers[name]):
                tail.add(name)
                pending.append(name)
    return tail


def _residual_inputs(graph: GraphView, scheme: QdqScheme, plan: QuantPlan) -> set[str]:
    """Both inputs of every Add inside the body.

    Adds that make the picture itself stay float: 255 symmetric steps from -white to white are half
    as many grey levels as the picture has.
    """
    tail = tail_tensors(graph, scheme)
    wanted: set[str] = set()
    for node in graph.nodes:
        dynamic = graph.dynamic_inputs(node)
        inside = node.op_type == "Add" and node.output[0] not in tail
        if (
            inside
            and len(dynamic) == 2
            and all(graph.ranks[n] == 4 and n in plan.ranges for n in dynamic)
        ):
            wanted.update(dynamic)
    return wanted


def _moved_picture(graph: GraphView, scheme: QdqScheme, wanted: set[str]) -> set[str]:
    """The picture and its moved copies where a kernel reads one of these.

    The picture lies on its grid anyhow, and its bytes move four times as fast as its floats.
    """
    copies = {graph.input}
    for node in graph.nodes:
        dynamic = graph.dynamic_inputs(node)
        moves = node.op_type in scheme.moves or node.op_type == "Pad"
        if dynamic and moves and set(dynamic) <= copies:
            copies.update(node.output)
    return copies if copies & wanted else set()


def wanted_tensors(
    graph: GraphView, scheme: QdqScheme, plan: QuantPlan
) -> tuple[set[str], set[str]]:
    """Tensors to round, and names of the nodes that then run in INT8."""
    kernels = [node for node in graph.nodes if is_kernel(graph, node, scheme, plan)]
    wanted = {name for node in kernels for name in graph.dynamic_inputs(node)}
    names = {node.name for node in kernels}
    if not kernels:
        return set(), names
    if scheme.writes_int8:
        wanted |= {n for n in _moved_picture(graph, scheme, wanted) if n in plan.ranges}
        rounding = [node for node in kernels if node.op_type != "Gemm"]
        stored = wanted | {kernel_output(graph, node, scheme) for node in rounding}
        names |= _light_nodes(graph, scheme, plan, stored)
        wanted = stored
    if scheme.quantized_adds:
        wanted |= _residual_inputs(graph, scheme, plan)
    return wanted, names


def _group_roots(
    graph: GraphView, scheme: QdqScheme, plan: QuantPlan, wanted: set[str]
) -> dict[str, str]:
    """For each wanted tensor the representative of those that must share its grid."""
    tail = tail_tensors(graph, scheme)
    parent = {name: name for name in wanted}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        if node.op_type not in scheme.moves and not is_byte_prelu(graph, node, scheme, plan):
            continue
        touched = [n for n in (*graph.dynamic_inputs(node), *node.output) if n in wanted]
        in_tail = {name in tail for name in touched if name != graph.input}
        for name in touched[1:] if len(in_tail) < 2 else ():
            parent[root(name)] = root(touched[0])
    return {name: root(name) for name in wanted}


def _union(ranges: Iterable[TensorRange]) -> TensorRange:
    spans = list(ranges)
    return TensorRange(low=min(s.low for s in spans), high=max(s.high for s in spans))


def place(graph: GraphView, scheme: QdqScheme, plan: QuantPlan, *, white: float) -> Placement:
    """Decide. The output's grid, where it is rounded, is one grey level per step."""
    wanted, kernels = wanted_tensors(graph, scheme, plan)
    roots = _group_roots(graph, scheme, plan, wanted)
    members: dict[str, list[str]] = {}
    for name, root in roots.items():
        members.setdefault(root, []).append(name)
    tail = tail_tensors(graph, scheme)
    pinned = TensorRange(low=0.0, high=white)
    grids: dict[str, TensorRange] = {}
    for group in members.values():
        if tail & set(group) and not scheme.symmetric:
            span = pinned
        else:
            span = _union(plan.ranges[name] for name in group)
        grids |= dict.fromkeys(group, span)
    return Placement(grids=grids, kernels=frozenset(kernels))
