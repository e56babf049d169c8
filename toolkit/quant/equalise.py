"""Scale channels to one size, folded into the weights: exact in float, and free at run time.

Positive scaling commutes with Conv, Relu, LeakyRelu, PRelu and everything that only moves data.
Source of the idea: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019 (arXiv 1906.04721); here the sizes are measured, and carried through adds,
concatenations and shuffles by tying channels into groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from toolkit.quant.calibration import Span
from toolkit.quant.view import Array, GraphView, attribute, copied, set_constant

SCALE_LIMIT = 1e4  # a channel that is (nearly) dead is not blown up beyond this
CHANNELWISE = {
    "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity",
}  # fmt: skip
GATES = {"Sigmoid", "HardSigmoid", "Softmax"}


@dataclass
class Ties:
    """Union-find over the channels of all tensors; a tied group shares one scale."""

    first: dict[str, int] = field(default_factory=dict)  # tensor -> index of its channel 0
    count: dict[str, int] = field(default_factory=dict)
    parent: list[int] = field(default_factory=list)
    pinned: set[int] = field(default_factory=set)

    def add(self, tensor: str, channels: int) -> None:
        """Make a free channel group for every channel of `tensor`."""
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
    """Tie equal channels of several tensors; False where their channel counts differ."""
    counts = {ties.count.get(name, -1) for name in tensors}
    if len(counts) != 1 or -1 in counts:
        return False
    for other in tensors[1:]:
        for i in range(ties.count[tensors[0]]):
            ties.tie(tensors[0], i, other, i)
    return True


def _conv(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    weight = graph.constants.get(node.input[1])
    bias_known = len(node.input) < 3 or not node.input[2] or node.input[2] in graph.constants
    owned = all(len(graph.consumers[name]) == 1 for name in node.input[1:] if name)
    return weight is not None and weight.ndim == 4 and bias_known and owned


def _channelwise(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    return _tie_all(ties, [node.input[0], node.output[0]])


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


def _sum(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    dynamic = graph.dynamic_inputs(node)
    return len(dynamic) == len(node.input) and _tie_all(ties, [*dynamic, node.output[0]])


def _product(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    """Features times a constant, or times a gate whose own scale stays 1."""
    dynamic = graph.dynamic_inputs(node)
    if len(dynamic) == 1:
        return _tie_all(ties, [dynamic[0], node.output[0]])
    made = {name: graph.producer.get(name) for name in dynamic}
    gates = [name for name, maker in made.items() if maker is not None and maker.op_type in GATES]
    features = [name for name in dynamic if name not in gates]
    if len(gates) != 1 or len(features) != 1:
        return False
    ties.pin(gates[0])
    return _tie_all(ties, [features[0], node.output[0]])


def _concat(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    if attribute(node, "axis") not in (1, -3) or any(n not in ties.count for n in node.input):
        return False
    offset = 0
    for name in node.input:
        for i in range(ties.count[name]):
            ties.tie(name, i, node.output[0], offset + i)
        offset += ties.count[name]
    return offset == ties.count[node.output[0]]


def _split(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    if attribute(node, "axis", 0) not in (1, -3):
        return False
    offset = 0
    for name in node.output:
        for i in range(ties.count[name]):
            ties.tie(node.input[0], offset + i, name, i)
        offset += ties.count[name]
    return True


def _depth_to_space(graph: GraphView, ties: Ties, node: onnx.NodeProto) -> bool:
    square = attribute(node, "blocksize") ** 2
    channels = ties.count[node.output[0]]
    is_crd = attribute(node, "mode", b"DCR") == b"CRD"
    for i in range(channels * square):
        ties.tie(node.input[0], i, node.output[0], i // square if is_crd else i % channels)
    return True


Rule = Callable[[GraphView, Ties, onnx.NodeProto], bool]
RULES: Mapping[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "PRelu": _prelu,
    "Pad": _pad,
    "Resize": _resize,
    "Add": _sum,
    "Sub": _sum,
    "Mul": _product,
    "Concat": _concat,
    "Split": _split,
    "DepthToSpace": _depth_to_space,
} | dict.fromkeys(CHANNELWISE, _channelwise)


def tied_channels(graph: GraphView, spans: Mapping[str, Span]) -> Ties:
    """Which channels of which tensors must share a scale, and which must keep theirs."""
    ties = Ties()
    for name, rank in graph.ranks.items():
        if rank == 4 and name in spans:
            ties.add(name, len(spans[name].low))
    for node in graph.nodes:
        touched = [n for n in (*node.input, *node.output) if n in ties.count]
        rule = RULES.get(node.op_type)
        known = all(n in ties.count for n in (*graph.dynamic_inputs(node), *node.output))
        if not touched or (rule and known and rule(graph, ties, node)):
            continue
        for name in touched:
            ties.pin(name)
    for name in (graph.input, graph.output):
        ties.pin(name)
    return ties


def channel_scales(
    graph: GraphView, spans: Mapping[str, Span], ties: Ties, *, white: float
) -> dict[str, Array]:
    """The factor for each channel of each tied tensor: all grow or shrink towards size `white`.

    What a Relu alone reads does not count for the size: every runtime fuses it, so it is never
    stored. What a PRelu or LeakyRelu reads is stored by ONNX Runtime and LiteRT, so it counts.
    """
    size: dict[int, float] = {}
    for name in ties.count:
        reader = graph.only_consumer(name)
        if reader is not None and reader.op_type == "Relu":
            continue
        largest = np.maximum(np.abs(spans[name].low), np.abs(spans[name].high))
        for group, value in zip(ties.roots(name), largest, strict=True):
            size[group] = max(size.get(group, 0.0), float(value))
    factor = {
        group: 1.0 if group in ties.pinned or value <= 0 else min(white / value, SCALE_LIMIT)
        for group, value in size.items()
    }
    return {name: np.array([factor.get(g, 1.0) for g in ties.roots(name)]) for name in ties.count}


def _scale_conv(
    model: onnx.ModelProto, graph: GraphView, node: onnx.NodeProto, into: Array, out: Array
) -> None:
    weight = graph.constants[node.input[1]].astype(np.float64)
    groups = attribute(node, "group", 1)
    if node.op_type == "Conv":  # (out, in / groups, k, k)
        rows = np.repeat(into.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        scaled = weight / rows[:, :, None, None] * out[:, None, None, None]
    else:  # ConvTranspose: (in, out / groups, k, k)
        columns = np.repeat(out.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        scaled = weight / into[:, None, None, None] * columns[:, :, None, None]
    set_constant(model, node.input[1], scaled.astype(np.float32))
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constants[node.input[2]].astype(np.float64) * out
        set_constant(model, node.input[2], bias.astype(np.float32))


def apply_scales(graph: GraphView, scales: Mapping[str, Array]) -> onnx.ModelProto:
    """The same network with every channel multiplied by its factor, folded into convolutions."""
    model = copied(graph.model)
    for node in graph.nodes:
        if node.op_type not in ("Conv", "ConvTranspose") or node.output[0] not in scales:
            continue
        into, out = scales.get(node.input[0]), scales[node.output[0]]
        if into is not None and not (np.all(into == 1) and np.all(out == 1)):
            _scale_conv(model, graph, node, into, out)
    return model


def scaled_spans(spans: Mapping[str, Span], scales: Mapping[str, Array]) -> dict[str, Span]:
    """What the scaled network's tensors do, without running it: factors are positive."""
    one = np.ones(1)
    return {
        name: Span(low=s.low * f, high=s.high * f, mean=s.mean * f)
        for name, s, f in ((name, span, scales.get(name, one)) for name, span in spans.items())
    }
