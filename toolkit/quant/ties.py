"""Which channels of which tensors must be scaled together: one rule for each operator.

Positive scaling commutes with convolutions, with activations that are linear on each side of zero,
with everything that only moves data, and with arithmetic on constants that can be scaled too. What
reads a tensor's shape alone does not care; what is in no rule keeps its operands as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from toolkit.quant.calibration import Span
from toolkit.quant.view import GraphView, attribute

CHANNELWISE = {
    "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity",
    "Abs", "Dropout",
}  # fmt: skip
GATES = {"Sigmoid", "HardSigmoid", "Softmax"}
SPATIAL = {2, 3, -1, -2}


@dataclass
class Ties:
    """Union-find over the channels of all tensors; a tied group shares one scale."""

    first: dict[str, int] = field(default_factory=dict)  # tensor -> index of its channel 0
    count: dict[str, int] = field(default_factory=dict)
    parent: list[int] = field(default_factory=list)
    pinned: set[int] = field(default_factory=set)
    power: dict[str, float] = field(default_factory=dict)  # a square scales by the factor squared
    last: set[str] = field(default_factory=set)  # tensors whose channels are their last axis

    def add(self, tensor: str, channels: int) -> None:
        """Make a free channel group for every channel of `tensor`."""
        self.power[tensor] = 1.0
        self.first[tensor], self.count[tensor] = len(self.parent), channels
        self.parent.extend(range(len(self.parent), len(self.parent) + channels))

    def root(self, index: int) -> int:
        """The group that a channel belongs to."""
        while self.parent[index] != index:
            self.parent[index] = self.parent[self.parent[index]]
            index = self.parent[index]
        return index

    def tie(self, a: str, i: int, b: str, j: int) -> None:
        """Channel i of tensor a and channel j of tensor b must have one scale."""
        one, other = self.root(self.first[a] + i), self.root(self.first[b] + j)
        if one != other:
            self.parent[one] = other
            if one in self.pinned:
                self.pinned.add(other)

    def pin(self, tensor: str) -> None:
        """Leave every channel of `tensor` as it is."""
        for i in range(self.count.get(tensor, 0)):
            self.pinned.add(self.root(self.first[tensor] + i))

    def roots(self, tensor: str) -> list[int]:
        """The group of each channel, in order."""
        return [self.root(self.first[tensor] + i) for i in range(self.count[tensor])]


def _tie_all(ties: Ties, tensors: list[str]) -> bool:
    """Tie equal channels of several tensors; False where their counts or powers differ."""
    counts = {ties.count.get(name, -1) for name in tensors}
    if len(counts) != 1 or -1 in counts or len({ties.power[name] for name in tensors}) != 1:
        return False
    for other in tensors[1:]:
        for i in range(ties.count[tensors[0]]):
            ties.tie(tensors[0], i, other, i)
    return True


def _conv(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    weight = graph.constants.get(node.input[1])
    bias_known = len(node.input) < 3 or not node.input[2] or node.input[2] in graph.constants
    owned = all(len(graph.consumers[name]) == 1 for name in node.input[1:] if name)
    plain = ties.power[node.input[0]] == 1
    return weight is not None and weight.ndim == 4 and bias_known and owned and plain


def _channelwise(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    return _to_power(ties, node, 1.0)


def _to_power(ties: Ties, node: onnx.NodeProto, exponent: float) -> bool:
    """The output is the input to a power, channel by channel."""
    ties.power[node.output[0]] = ties.power[node.input[0]]
    tied = _tie_all(ties, [node.input[0], node.output[0]])
    ties.power[node.output[0]] *= exponent
    return tied


def _power(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    exponent = graph.constants.get(node.input[1])
    return exponent is not None and exponent.size == 1 and _to_power(ties, node, exponent.item())


def _square_root(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    return _to_power(ties, node, 0.5)


def _reduce(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    stored = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    axes = set(attribute(node, "axes", []) if stored is None else stored.tolist())
    kept = attribute(node, "keepdims", 1) == 1
    return bool(axes) and axes <= SPATIAL and kept and _channelwise(graph, ties, node)


def _clip(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    """Only a limit of zero grows with the values."""
    limits = [graph.constants.get(name) for name in node.input[1:] if name]
    return all(v is not None and not v.any() for v in limits) and _channelwise(graph, ties, node)


def _transpose(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    """Channels last and back; a tensor with channels last counts them all the same."""
    there, back = attribute(node, "perm") == [0, 2, 3, 1], attribute(node, "perm") == [0, 3, 1, 2]
    is_last = node.input[0] in ties.last
    return (back if is_last else there) and _channelwise(graph, ties, node)


def _layer_norm(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    """The input stays; weights and bias take up the scale of the output."""
    vectors = [graph.constants.get(name) for name in node.input[1:] if name]
    count = ties.count[node.output[0]]
    owned = all(len(graph.consumers[name]) == 1 for name in node.input[1:] if name)
    ties.pin(node.input[0])
    known = node.input[0] in ties.last and attribute(node, "axis", -1) in (-1, 3)
    return owned and known and all(v is not None and v.shape == (count,) for v in vectors)


def _prelu(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    return node.input[1] in graph.constants and _channelwise(graph, ties, node)


def _pad(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    fill = graph.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    is_zero = len(node.input) < 3 or not node.input[2] or (fill is not None and not fill.any())
    return (attribute(node, "mode", b"constant") != b"constant" or is_zero) and _channelwise(
        graph, ties, node
    )


def _resize(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    return attribute(node, "coordinate_transformation_mode") != b"tf_crop_and_resize" and (
        _channelwise(graph, ties, node)
    )


def per_channel(graph: GraphView, name: str, channels: int) -> bool:
    """True for a constant of its one reader that has at most one number for each channel."""
    value = graph.constants.get(name)
    if value is None or len(graph.consumers[name]) != 1:
        return False
    shape = (1,) * (4 - value.ndim) + value.shape
    return value.ndim <= 4 and shape[1] in (1, channels) and value.size == shape[1]


def _sum(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    dynamic = graph.dynamic_inputs(node)
    fixed = [name for name in node.input if name not in dynamic]
    channels = ties.count[node.output[0]]
    ties.power[node.output[0]] = ties.power[dynamic[0]]
    if fixed and (ties.power[dynamic[0]] != 1 or not per_channel(graph, fixed[0], channels)):
        return False
    return _tie_all(ties, [*dynamic, node.output[0]])


def absorbs(graph: GraphView, node: onnx.NodeProto, channels: int) -> str | None:
    """The constant of a product that has a number for each channel, and can take up scales."""
    fixed = [name for name in node.input if name in graph.constants]
    if node.op_type != "Mul" or len(fixed) != 1 or channels == 1:
        return None
    whole = graph.constants[fixed[0]].size == channels
    return fixed[0] if whole and per_channel(graph, fixed[0], channels) else None


def _quotient(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    return graph.dynamic_inputs(node) == [node.input[0]] and _channelwise(graph, ties, node)


def _product(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    """Features times a constant, or times a gate whose own scale stays 1."""
    dynamic, out = graph.dynamic_inputs(node), node.output[0]
    if len(dynamic) == 1:
        if absorbs(graph, node, ties.count[out]):
            return ties.power[dynamic[0]] == 1
        ties.power[out] = ties.power[dynamic[0]]
        return _tie_all(ties, [dynamic[0], out])
    if dynamic[0] == dynamic[1]:
        return _to_power(ties, node, 2.0)

    def stays(name: str) -> tuple[bool, bool, bool]:
        maker = graph.producer.get(name)
        is_pinned = any(root in ties.pinned for root in ties.roots(name))
        is_gate = maker is not None and maker.op_type in GATES
        return ties.count[name] != ties.count[out], is_gate, is_pinned

    one, other = sorted(dynamic, key=stays)
    ties.pin(other)
    ties.power[out] = ties.power[one]
    return _tie_all(ties, [one, out])


def _concat(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    if attribute(node, "axis") not in (1, -3) or any(n not in ties.count for n in node.input):
        return False
    offset = 0
    for name in node.input:
        for i in range(ties.count[name]):
            ties.tie(name, i, node.output[0], offset + i)
        offset += ties.count[name]
    plain = all(ties.power[name] == 1 for name in node.input)
    return plain and offset == ties.count[node.output[0]]


def _split(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    if attribute(node, "axis", 0) not in (1, -3):
        return False
    offset = 0
    for name in node.output:
        for i in range(ties.count[name]):
            ties.tie(node.input[0], offset + i, name, i)
        offset += ties.count[name]
    return ties.power[node.input[0]] == 1


def _slice(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    known = [graph.constants.get(name) for name in node.input[1:] if name]
    if len(known) < 3 or known[2] is None or known[2].size != 1:
        return False
    if known[2].item() in SPATIAL:
        return _channelwise(graph, ties, node)
    if known[2].item() not in (1, -3) or known[0] is None or known[1] is None:
        return False
    count, steps = ties.count[node.input[0]], known[3] if len(known) > 3 else np.array(1)
    if steps is None:
        return False
    kept = range(count)[slice(known[0].item(), known[1].item(), steps.item())]
    ties.power[node.output[0]] = ties.power[node.input[0]]
    for i, channel in enumerate(kept):
        ties.tie(node.input[0], channel, node.output[0], i)
    return len(kept) == ties.count[node.output[0]]


def _space_to_depth(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    channels = ties.count[node.input[0]]
    for i in range(ties.count[node.output[0]]):
        ties.tie(node.input[0], i % channels, node.output[0], i)
    return ties.power[node.input[0]] == 1


def _depth_to_space(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    square = attribute(node, "blocksize") ** 2
    channels = ties.count[node.output[0]]
    is_crd = attribute(node, "mode", b"DCR") == b"CRD"
    for i in range(channels * square):
        ties.tie(node.input[0], i, node.output[0], i // square if is_crd else i % channels)
    return ties.power[node.input[0]] == 1


Rule = Callable[[GraphView, Ties, onnx.NodeProto], bool]
RULES: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "PRelu": _prelu,
    "Pad": _pad,
    "Resize": _resize,
    "Add": _sum,
    "Sub": _sum,
    "Mul": _product,
    "Div": _quotient,
    "Pow": _power,
    "Sqrt": _square_root,
    "Clip": _clip,
    "Transpose": _transpose,
    "LayerNormalization": _layer_norm,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Concat": _concat,
    "Split": _split,
    "DepthToSpace": _depth_to_space,
}
RULES |= dict.fromkeys(CHANNELWISE, _channelwise)
RULES |= dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"), _reduce)
SHAPE_READERS = {"Shape", "Size"}


def _with_channels(graph: GraphView, spans: Mapping[str, Span]) -> Ties:
    """Free groups for every tensor (N, C, H, W), and for those (N, H, W, C) that norms read."""
    counts = {n: len(spans[n].low) for n, rank in graph.ranks.items() if rank == 4 and n in spans}
    ties = Ties()
    for node in graph.nodes:
        source = next((name for name in graph.dynamic_inputs(node) if name in counts), "")
        perm = attribute(node, "perm") if node.op_type == "Transpose" else None
        was_last = not ties.last.isdisjoint(node.input)
        if (perm == [0, 2, 3, 1] and not was_last) or (was_last and perm is None):
            ties.last.update(node.output)
            is_norm = perm is not None or node.op_type == "LayerNormalization"
            for name in node.output:
                counts.pop(name, None)
            if is_norm and source:
                counts[node.output[0]] = counts[source]
    for name, channels in counts.items():
        ties.add(name, channels)
    return ties


def tied_channels(graph: GraphView, spans: Mapping[str, Span]) -> Ties:
    """Which channels of which tensors must share a scale, and which must keep theirs."""
    ties = _with_channels(graph, spans)
    for node in graph.nodes:
        touched = [n for n in (*node.input, *node.output) if n in ties.count]
        rule = RULES.get(node.op_type)
        known = all(n in ties.count for n in (*graph.dynamic_inputs(node), *node.output))
        if not touched or node.op_type in SHAPE_READERS:
            continue
        if not (rule and known and rule(graph, ties, node)):
            for name in touched:
                ties.pin(name)
    for name in (graph.input, graph.output):
        ties.pin(name)
    return ties
