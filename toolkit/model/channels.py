"""Which channels of a graph must live or die together, for structured pruning.

Every channel that a convolution makes is a unit. Units are followed through the graph: additions
tie them, a pixel shuffle ties r**2 of them, concatenation lines them up, a depthwise convolution
passes them on. An operator that is not known to keep channels apart freezes those it touches, so
what may be removed is never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import NodeProto

from toolkit.model.channel_rules import RULES
from toolkit.model.graph import arrays, attributes, constants, inferred, shapes_of

Labels = tuple[int | None, ...]  # the unit of every channel; None: not made by a convolution

KEEPS_CHANNELS = frozenset({
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Selu",
    "Softplus", "Softsign", "Mish", "Gelu", "Erf", "Sqrt", "Exp", "Log", "Neg", "Abs", "Sign",
    "Reciprocal", "Floor", "Ceil", "Round", "Not", "Identity", "Cast", "Dropout", "MaxPool",
    "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool",
})  # fmt: skip
ELEMENTWISE = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Mod", "Where", "Equal",
    "Greater", "Less", "And", "Or", "PRelu",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Role:
    """One axis of one weight tensor, with the unit of each index along it."""

    weight: str
    axis: int
    labels: Labels
    kind: Literal["made", "read", "carried"]
    node: str  # the first output of the node, which names it uniquely
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A Split or Slice along the channels, whose numbers depend on how many are left."""

    node: str
    labels: Labels  # of its input


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Everything known about a graph's channels. Units are numbers without meaning."""

    roles: tuple[Role, ...]
    cuts: tuple[Cut, ...]
    depthwise: Mapping[str, Labels]  # node to its input's units: `group` counts them
    frozen: Mapping[int, str]  # unit to the reason

    @property
    def families(self) -> dict[tuple[int, ...], list[int]]:
        """Removable units by the roles they take: those of one family can replace each other."""
        places: dict[int, list[int]] = {}
        for index, role in enumerate(self.roles):
            for unit in role.labels:
                if unit is not None and unit not in self.frozen:
                    seen = places.setdefault(unit, [])
                    if not seen or seen[-1] != index:
                        seen.append(index)
        found: dict[tuple[int, ...], list[int]] = {}
        for unit, roles in places.items():
            found.setdefault(tuple(roles), []).append(unit)
        return found


def channels_of(model: onnx.ModelProto) -> Channels:
    """Follow the channels of a spine network through its graph."""
    follow = Follow(model)
    for node in model.graph.node:
        follow.node(node)
    for output in model.graph.output:
        follow.freeze(follow.labels(output.name), "they are the picture itself")
    return follow.result()


class Follow:
    """The walk through the graph: units so far, with ties as a union-find."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.shapes = shapes_of(inferred(model))
        self.stored = arrays(model.graph)
        named = dict(constants(model.graph))
        self.constants = {n: onnx.numpy_helper.to_array(t) for n, t in named.items()}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.parent: list[int] = []
        self.reasons: dict[int, str] = {}
        self.known: dict[str, Labels] = {}
        self.roles: list[Role] = []
        self.cuts: list[Cut] = []
        self.depthwise: dict[str, Labels] = {}

    def labels(self, name: str) -> Labels:
        """Units of a tensor's axis 1; None for each channel where they are not tracked."""
        if name in self.known:
            return self.known[name]
        shape = self.shapes.get(name, ())
        count = shape[1] if len(shape) == 4 else None
        return (None,) * (count or 0)

    def new(self, count: int) -> Labels:
        """Units that nothing ties yet."""
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return tuple(range(first, first + count))

    def root(self, unit: int) -> int:
        """The unit that stands for all those tied to this one."""
        while self.parent[unit] != unit:
            self.parent[unit] = self.parent[self.parent[unit]]
            unit = self.parent[unit]
        return unit

    def freeze(self, labels: Sequence[int | None], reason: str) -> None:
        """These units stay; the first reason given is the one told."""
        for unit in labels:
            if unit is not None:
                self.reasons.setdefault(self.root(unit), reason)

    def tie(self, labels: Sequence[int | None], reason: str) -> int | None:
        """Make one unit of several; with None among them all are frozen and None is returned."""
        if any(unit is None for unit in labels):
            self.freeze(labels, reason)
            return None
        roots = sorted({self.root(unit) for unit in labels if unit is not None})
        for other in roots[1:]:
            self.parent[other] = roots[0]
            if other in self.reasons:
                self.reasons.setdefault(roots[0], self.reasons[other])
        return roots[0]

    def take(self, role: Role) -> None:
        """Note a role; a weight used by several nodes cannot change for one of them."""
        if len(self.readers[role.weight]) > 1:
            self.freeze(role.labels, f"`{role.weight}` is shared by several layers")
        self.roles.append(role)

    def cut(self, node: NodeProto, labels: Labels) -> None:
        """Note a Split or Slice whose numbers depend on how many channels are left."""
        self.cuts.append(Cut(node=node.output[0], labels=labels))

    def stop(self, node: NodeProto, reason: str = "") -> None:
        """The channels do not stay apart here, or it is not known whether they do."""
        reason = reason or f"`{node.op_type}` at `{node.name or node.output[0]}` mixes channels"
        for name in node.input:
            self.freeze(self.labels(name), reason)

    def node(self, node: NodeProto) -> None:
        """Follow the units through one node."""
        if node.op_type == "Constant":
            return
        handle = HANDLERS.get(node.op_type)
        if node.op_type in KEEPS_CHANNELS:
            self.known[node.output[0]] = self.labels(node.input[0])
        elif node.op_type in ELEMENTWISE:
            _elementwise(self, node)
        elif handle is None or not handle(self, node):
            self.stop(node)

    def result(self) -> Channels:
        """What was found, every unit under the number that stands for its ties."""

        def settled(labels: Labels) -> Labels:
            return tuple(None if unit is None else self.root(unit) for unit in labels)

        reasons: dict[int, str] = {}
        for unit, reason in self.reasons.items():
            reasons.setdefault(self.root(unit), reason)
        return Channels(
            roles=tuple(
                Role(**{**vars(role), "labels": settled(role.labels)}) for role in self.roles
            ),
            cuts=tuple(Cut(node=cut.node, labels=settled(cut.labels)) for cut in self.cuts),
            depthwise={node: settled(labels) for node, labels in self.depthwise.items()},
            frozen=reasons,
        )


def _convolution(follow: Follow, node: NodeProto) -> bool:
    """Conv: weight (outputs, inputs / groups, ...); ConvTranspose: (inputs, outputs / groups, ...).

    In a grouped one the channels at one position of every group are tied, so groups stay equal.
    """
    weight = follow.stored.get(node.input[1])
    inputs = follow.labels(node.input[0])
    if weight is None or not inputs or weight.ndim != 4:
        return False
    groups = attributes(node).get("group", 1)
    transposed = node.op_type == "ConvTranspose"
    if groups == len(inputs) and groups > 1 and not transposed:
        return _depthwise(follow, node, inputs, weight.shape[0])
    if groups > 1 and transposed:
        return False
    per_group = len(inputs) // groups
    why = f"the groups of `{node.name or node.output[0]}` must stay equal"
    read = inputs
    if groups > 1:
        read = tuple(follow.tie(inputs[j::per_group], why) for j in range(per_group))
    outputs = weight.shape[1 if transposed else 0]
    made = follow.new(outputs // groups) * groups
    name = node.output[0]
    in_axis, out_axis = (0, 1) if transposed else (1, 0)
    where = {"weight": node.input[1], "node": name, "groups": groups}
    follow.take(Role(axis=in_axis, labels=read, kind="read", **where))
    follow.take(Role(axis=out_axis, labels=made, kind="made", **where))
    _carry_bias(follow, node, made)
    follow.known[name] = made
    return True


def _depthwise(follow: Follow, node: NodeProto, inputs: Labels, outputs: int) -> bool:
    times = outputs // len(inputs)
    labels = tuple(unit for unit in inputs for _ in range(times))
    follow.take(
        Role(weight=node.input[1], axis=0, labels=labels, kind="carried", node=node.output[0])
    )
    _carry_bias(follow, node, labels)
    follow.depthwise[node.output[0]] = inputs
    follow.known[node.output[0]] = labels
    return True


def _carry_bias(follow: Follow, node: NodeProto, labels: Labels) -> None:
    if len(node.input) > 2 and node.input[2]:
        if node.input[2] in follow.stored:
            follow.take(
                Role(
                    weight=node.input[2], axis=0, labels=labels, kind="carried", node=node.output[0]
                )
            )
        else:
            follow.freeze(labels, f"the bias of `{node.output[0]}` is computed")


def _elementwise(follow: Follow, node: NodeProto) -> None:
    """Operands of one channel count are tied channel by channel; constants follow along."""
    moving = [n for n in node.input if n and n not in follow.constants]
    if not moving or any(len(follow.shapes.get(name, (0,))) not in (0, 4) for name in moving):
        return follow.stop(node)  # of another rank, or of an unknown one
    operands = [labels for labels in map(follow.labels, moving) if labels]
    width = max((len(labels) for labels in operands), default=0)
    full = [labels for labels in operands if len(labels) == width]
    for labels in operands:
        if len(labels) < width:  # one channel that is spread over all
            follow.freeze(labels, f"`{node.output[0]}` spreads it over all channels")
    why = f"`{node.op_type}` at `{node.name or node.output[0]}` ties them to the picture"
    result = full[0] if full else ()
    if len(full) > 1:
        result = tuple(follow.tie(units, why) for units in zip(*full, strict=True))
    for name in node.input:
        shape = follow.constants[name].shape if name in follow.constants else ()
        if len(shape) < 3 or shape[-3] == 1:
            continue
        if shape[-3] != width or name not in follow.stored:
            return follow.stop(node)
        axis = len(shape) - 3
        follow.take(
            Role(weight=name, axis=axis, labels=result, kind="carried", node=node.output[0])
        )
    follow.known[node.output[0]] = result
    return None


def _normalization(follow: Follow, node: NodeProto) -> bool:
    labels = follow.labels(node.input[0])
    if any(name not in follow.stored for name in node.input[1:]):
        return False
    for name in node.input[1:]:
        follow.take(Role(weight=name, axis=0, labels=labels, kind="carried", node=node.output[0]))
    follow.known[node.output[0]] = labels
    return True


HANDLERS: dict[str, Callable[[Follow, NodeProto], bool]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "BatchNormalization": _normalization,
    "InstanceNormalization": _normalization,
    **RULES,
}
