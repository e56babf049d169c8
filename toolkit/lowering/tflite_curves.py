"""Convolutions before a tanh or sigmoid, split so that 8 bits hold more of what they make.

TFLite stores a convolution's output in 8 bits before the curve, with one grid for all channels.
Here output channels of like range share a convolution, and so a grid; behind the curve, whose own
grid is fixed, they are joined again without rounding. The multiplications stay the same, and in
float so does the function: readers' weights are put in the new order. Tanh is odd: a channel whose
range reaches further down than up is negated before it, and its readers' weights are too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolkit.lowering.tflite_flat import Array, FlatGraph, FlatOp, FlatTensor
from toolkit.model.quant_plan import TensorRange

CURVES = ("TANH", "LOGISTIC")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A convolution, the curve that alone reads it and the convolutions that alone read that."""

    conv: str  # names of what both make
    curve: str
    readers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Output channels that share a grid, and the sign (+1, -1) that each takes."""

    channels: Array
    signs: Array
    span: TensorRange


def split_curves(
    graph: FlatGraph,
    ranges: Mapping[str, TensorRange],
    channel_ranges: Mapping[str, Sequence[TensorRange]],
    float_nodes: Collection[str] = (),
) -> tuple[FlatGraph, dict[str, TensorRange]]:
    """The same function with a convolution and a curve for each group of channels.

    `channel_ranges` (by spine tensor name) holds a range for each channel; channels of the same
    range, or before a tanh of its mirror image, are a group. The ranges returned are those given
    and those of the new tensors. What is in `float_nodes` stays as it is.
    """
    splitting = _Splitting(graph, ranges)
    for site in _sites(graph, frozenset(float_nodes)):
        spine = graph.tensors[site.conv].spine
        spans = channel_ranges.get(spine, ())
        if len(spans) == graph.tensors[site.conv].shape[3]:
            is_odd = splitting.maker(site.curve).kind == "TANH"
            splitting.split(site, _groups(spans, is_odd=is_odd))
    return splitting.written(), splitting.ranges


def _sites(graph: FlatGraph, float_nodes: frozenset[str]) -> list[Site]:
    makers = {op.outputs[0]: op for op in graph.ops}
    readers: dict[str, list[FlatOp]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    found = []
    for curve in (op for op in graph.ops if op.kind in CURVES):
        conv, (out,) = makers.get(curve.inputs[0]), curve.outputs
        named = {*curve.nodes, *(conv.nodes if conv else ())}
        if conv is None or conv.kind != "CONV_2D" or not float_nodes.isdisjoint(named):
            continue
        after = readers.get(out, [])
        is_alone = len(readers[conv.outputs[0]]) == 1 and out != graph.output
        if is_alone and after and all(_reads_all(graph, op, out) for op in after):
            names = tuple(op.outputs[0] for op in after)
            found.append(Site(conv=conv.outputs[0], curve=out, readers=names))
    return found


def _reads_all(graph: FlatGraph, op: FlatOp, name: str) -> bool:
    """True for a convolution that is not grouped."""
    channels = graph.tensors[name].shape[-1]
    return op.kind == "CONV_2D" and graph.tensors[op.inputs[1]].shape[3] == channels


def _groups(spans: Sequence[TensorRange], *, is_odd: bool) -> list[Group]:
    signs = np.array([-1.0 if is_odd and -s.low > s.high else 1.0 for s in spans])
    found: dict[TensorRange, list[int]] = {}
    for channel, (span, sign) in enumerate(zip(spans, signs, strict=True)):
        turned = TensorRange(low=-span.high, high=-span.low) if sign < 0 else span
        found.setdefault(turned, []).append(channel)
    return [
        Group(channels=np.array(channels), signs=signs[channels], span=span)
        for span, channels in found.items()
    ]


class _Splitting:
    """A graph while its convolutions are split; the ranges grow with its tensors."""

    def __init__(self, graph: FlatGraph, ranges: Mapping[str, TensorRange]) -> None:
        self.graph = graph
        self.ranges = dict(ranges)
        self._tensors = dict(graph.tensors)
        self._ops = list(graph.ops)

    def written(self) -> FlatGraph:
        """The graph as it is now."""
        return replace(self.graph, tensors=self._tensors, ops=tuple(self._ops))

    def maker(self, name: str) -> FlatOp:
        """The operator that makes a tensor, as it is now."""
        return next(op for op in self._ops if op.outputs[0] == name)

    def split(self, site: Site, groups: Sequence[Group]) -> None:
        """Put a convolution and a curve for each group in the place of the site's."""
        conv, curve = self.maker(site.conv), self.maker(site.curve)
        place = self._ops.index(conv)
        self._ops.remove(conv)
        self._ops.remove(curve)
        new: list[FlatOp] = []
        for number, group in enumerate(groups):
            new += self._grouped(conv, curve, group, f"{site.conv}/{number}")
        if len(groups) > 1:
            parts = tuple(op.outputs[0] for op in new[1::2])
            new.append(replace(curve, kind="CONCATENATION", inputs=parts, options={"axis": 3}))
        else:
            new[-1] = replace(new[-1], outputs=curve.outputs)
        self._ops[place:place] = new
        order = np.concatenate([group.channels for group in groups])
        signs = np.concatenate([group.signs for group in groups])
        for name in site.readers:
            self._reorder(name, order, signs)

    def _grouped(self, conv: FlatOp, curve: FlatOp, group: Group, stem: str) -> list[FlatOp]:
        weight, bias = (self._tensors[name].data for name in conv.inputs[1:3])
        assert weight is not None
        assert bias is not None
        signs, count = group.signs, len(group.channels)
        made = self._tensor(stem, self._tensors[conv.outputs[0]], count, spine=stem)
        self.ranges[stem] = group.span
        out = self._tensors[curve.outputs[0]]
        curved = self._tensor(f"{stem}/curve", out, count, spine=out.spine)
        inputs = (
            conv.inputs[0],
            self._constant(f"{stem}/weight", weight[group.channels] * signs[:, None, None, None]),
            self._constant(f"{stem}/bias", bias[group.channels] * signs),
        )
        return [
            replace(conv, inputs=inputs, outputs=(made,)),
            replace(curve, inputs=(made,), outputs=(curved,)),
        ]

    def _reorder(self, reader: str, order: Array, signs: Array) -> None:
        """The weights of a reader take its input channels in their new order and sign."""
        op = self.maker(reader)
        weight = self._tensors[op.inputs[1]]
        assert weight.data is not None
        name = self._constant(f"{weight.name}/ordered", weight.data[..., order] * signs)
        inputs = (op.inputs[0], name, *op.inputs[2:])
        self._ops[self._ops.index(op)] = replace(op, inputs=inputs)

    def _tensor(self, name: str, like: FlatTensor, channels: int, *, spine: str) -> str:
        name = self._free(name)
        shape = (*like.shape[:3], channels)
        self._tensors[name] = FlatTensor(name=name, shape=shape, dtype=like.dtype, spine=spine)
        return name

    def _constant(self, name: str, data: Array) -> str:
        name = self._free(name)
        data = np.asarray(data, np.float32)
        self._tensors[name] = FlatTensor(name=name, shape=data.shape, dtype="float32", data=data)
        return name

    def _free(self, name: str) -> str:
        while name in self._tensors:
            name += "_"
        return name
