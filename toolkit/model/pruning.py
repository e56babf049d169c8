"""Structured pruning of a graph: which channels matter least, and the graph without them.

The result is an ordinary smaller graph: weights are cut, no mask and no zero stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from toolkit.errors import UserError
from toolkit.model.channel_rules import channel_slice
from toolkit.model.channels import Channels, Labels, Role
from toolkit.model.graph import arrays, copy_of, inferred
from toolkit.model.layer_sizes import layer_positions, macs_of

MOST_REMOVED = 0.95  # beyond it nothing of a picture is left
LEAST_LEFT = 4  # fewer hold no more than a picture's colours, and a mean shift has three
RATIO_STEP = 0.01


@dataclass(frozen=True, kw_only=True)
class ChannelStatistics:
    """Mean and variance of each channel of a tensor over pixels, float64 (C,) each."""

    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]


Statistics = Mapping[str, ChannelStatistics]  # by node, of what its convolution reads


def separated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every constant is an initializer and each node has its own.

    Exporters store equal tensors once, so two layers may read one bias. Kernels stay shared: a
    network that runs one convolution several times means it.
    """
    copy = copy_of(model)
    graph = copy.graph
    stored = {t.name: t for t in graph.initializer}
    kept: list[NodeProto] = []
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value"]
        if node.op_type == "Constant" and values:
            stored[node.output[0]] = values[0]
        elif node.op_type == "Identity" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
        else:
            kept.append(node)
    tensors: dict[str, TensorProto] = {}
    for node in kept:
        for position, name in enumerate(node.input):
            if name in stored:
                kernel = position == 1 and node.op_type in ("Conv", "ConvTranspose")
                own = name if kernel or name not in tensors else f"{name}.{node.output[0]}"
                tensors[own] = TensorProto()
                tensors[own].CopyFrom(stored[name])
                tensors[own].name = node.input[position] = own
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors.values())
    return copy


def read_tensors_of(model: onnx.ModelProto, channels: Channels) -> dict[str, str]:
    """For each convolution that reads units: its node to the tensor it reads."""
    nodes = {role.node for role in channels.roles if role.kind == "read"}
    return {n.output[0]: n.input[0] for n in model.graph.node if n.output[0] in nodes}


def importance(
    model: onnx.ModelProto, channels: Channels, statistics: Statistics
) -> dict[int, float]:
    """How much each unit contributes to the layers that read it.

    A channel that a layer reads adds variance * |its weights|**2 to the layer's output; its mean
    does not count, since a bias can give it. Each layer's contributions are shares of their sum,
    and a unit has the sum of its shares over the layers that read it.
    """
    weights = arrays(model.graph)
    found: dict[int, float] = {}
    for role in channels.roles:
        if role.kind != "read":
            continue
        # Two axes: groups, channels of a group.
        energy = (_per_group(weights[role.weight], role) ** 2).sum((1, 3))
        energy = energy * statistics[role.node].variance.reshape(energy.shape)
        total = float(energy.sum()) or 1.0
        for position, unit in enumerate(role.labels):
            if unit is not None:
                share = float(energy.reshape(-1, len(role.labels))[:, position].sum()) / total
                found[unit] = found.get(unit, 0.0) + share
    return found


def _per_group(weight: npt.NDArray[np.float32], role: Role) -> npt.NDArray[np.float64]:
    """The weight as (groups, outputs of a group, inputs of a group, taps), float64."""
    moved = np.moveaxis(weight.astype(np.float64), role.axis, 1)
    outputs, inputs = moved.shape[:2]
    return moved.reshape(role.groups, outputs // role.groups, inputs, -1)


def family_step(channels: Channels, family: tuple[int, ...], multiple: int) -> int:
    """How many units of a family make one allowed step of every layer's channel count."""
    times = math.inf
    for index in family:
        role = channels.roles[index]
        if role.kind != "read":
            units = [u for u in role.labels if u is not None]
            times = min(times, len(units) // max(1, len(set(units))))
    return multiple // math.gcd(multiple, int(times) if times < math.inf else 1)


def least_left(step: int) -> int:
    """The smallest count a family may shrink to: a multiple of `step`, not below `LEAST_LEFT`."""
    return -(-LEAST_LEFT // step) * step


def choose(
    channels: Channels, worth: Mapping[int, float], *, ratio: float, multiple: int
) -> set[int]:
    """The units to remove: of each family the least worthy, about `ratio` of them.

    What is left of a family is a multiple of `multiple` channels and at least `LEAST_LEFT`; a
    family that has no more than the least stays whole.
    """
    removed: set[int] = set()
    for family, units in channels.families.items():
        step = family_step(channels, family, multiple)
        wanted = math.floor(len(units) * (1 - ratio) / step + 0.5) * step
        ranked = sorted(units, key=lambda unit: (worth.get(unit, 0.0), unit))
        removed.update(ranked[: max(0, len(units) - max(wanted, least_left(step)))])
    return removed


def without(
    model: onnx.ModelProto, channels: Channels, removed: set[int], statistics: Statistics
) -> onnx.ModelProto:
    """The graph without these units, every weight cut to what is left.

    Each convolution's bias takes over the mean of what it no longer reads.
    """
    smaller = copy_of(model)
    weights = arrays(smaller.graph)
    _add_means_to_biases(smaller, channels, removed, statistics, weights)
    for role in channels.roles:
        weights[role.weight] = np.take(weights[role.weight], _kept(role.labels, removed), role.axis)
    for cut in channels.cuts:
        _recut(smaller, cut.node, cut.labels, removed, weights)
    for node in smaller.graph.node:
        if node.output[0] in channels.depthwise:
            left = len(_kept(channels.depthwise[node.output[0]], removed))
            next(a for a in node.attribute if a.name == "group").i = left
    del smaller.graph.initializer[:]
    smaller.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in weights.items()
    )
    del smaller.graph.value_info[:]
    return inferred(smaller)


def _kept(labels: Sequence[int | None], removed: set[int]) -> list[int]:
    return [index for index, unit in enumerate(labels) if unit is None or unit not in removed]


def _add_means_to_biases(
    model: onnx.ModelProto,
    channels: Channels,
    removed: set[int],
    statistics: Statistics,
    weights: dict[str, npt.NDArray[np.float32]],
) -> None:
    """Exact away from the border, where zero padding takes part of the mean away."""
    nodes = {node.output[0]: node for node in model.graph.node}
    for role in channels.roles:
        node = nodes[role.node]
        gone = [unit is not None and unit in removed for unit in role.labels]
        if role.kind != "read" or node.op_type != "Conv" or not any(gone):
            continue
        if len(node.input) < 3 or node.input[2] not in weights:
            continue
        mean = statistics[role.node].mean.reshape(role.groups, -1) * np.array(gone)
        added = np.einsum("goit,gi->go", _per_group(weights[role.weight], role), mean).ravel()
        weights[node.input[2]] = (weights[node.input[2]] + added).astype(np.float32)


def _recut(
    model: onnx.ModelProto,
    name: str,
    labels: Labels,
    removed: set[int],
    weights: dict[str, npt.NDArray[np.float32]],
) -> None:
    """Give a Split or Slice the numbers that fit the channels left, in tensors of its own."""
    node = next(n for n in model.graph.node if n.output[0] == name)

    def left(start: int, end: int) -> int:
        return len(_kept(labels[start:end], removed))

    def give(position: int, values: npt.ArrayLike) -> None:
        own = f"{name}.cut{position}"
        weights[own] = np.asarray(values, np.int64)
        while len(node.input) <= position:
            node.input.append("")
        node.input[position] = own

    if node.op_type == "Split":
        if len(node.input) > 1:
            sizes = weights[node.input[1]].astype(int).tolist()
        else:
            sizes = [len(labels) // len(node.output)] * len(node.output)
        starts = np.cumsum([0, *sizes]).tolist()
        give(1, [left(start, start + size) for start, size in zip(starts, sizes, strict=False)])
        return
    values = [weights[entry] for entry in node.input[1:] if entry]
    cut = channel_slice(values, rank=4)
    assert cut is not None  # only such slices are noted
    position, start, end = cut
    first = len(labels[:start])
    starts, ends = values[0].copy(), values[1].copy()
    starts[position] = left(0, first)
    ends[position] = left(0, first) + left(start, end)
    give(1, starts)
    give(2, ends)


def pruned_to_ratio(
    model: onnx.ModelProto,
    channels: Channels,
    statistics: Statistics,
    *,
    ratio: float,
    multiple: int,
) -> onnx.ModelProto:
    """The graph with about `ratio` of each layer's removable channels gone."""
    worth = importance(model, channels, statistics)
    removed = choose(channels, worth, ratio=ratio, multiple=multiple)
    return without(model, channels, removed, statistics)


def pruned_to_macs(
    model: onnx.ModelProto,
    channels: Channels,
    statistics: Statistics,
    *,
    share: float,
    multiple: int,
) -> onnx.ModelProto:
    """The graph pruned by the smallest ratio that leaves at most `share` of the MACs.

    Raises UserError where even the largest ratio leaves more.
    """
    positions = layer_positions(model)
    budget = share * macs_of(model, positions)

    def at(percent: int) -> onnx.ModelProto:
        return pruned_to_ratio(
            model, channels, statistics, ratio=percent * RATIO_STEP, multiple=multiple
        )

    low, high = 0, round(MOST_REMOVED / RATIO_STEP)
    best = at(high)
    if (least := macs_of(best, positions)) > budget:
        raise UserError(
            f"`macs_share: {share}` cannot be reached: with {MOST_REMOVED:.0%} of the channels "
            f"removed {least / budget * share:.3f} of the multiply-accumulates are left",
            hint="ask for a larger share, or a smaller `channel_multiple`",
        )
    while high - low > 1:
        middle = (low + high) // 2
        candidate = at(middle)
        if macs_of(candidate, positions) <= budget:
            best, high = candidate, middle
        else:
            low = middle
    return best


def check_prunable(channels: Channels, multiple: int) -> None:
    """Raises UserError, with the reason for each group of channels, where none may be removed."""
    least = {
        family: least_left(family_step(channels, family, multiple)) for family in channels.families
    }
    if any(len(units) > least[family] for family, units in channels.families.items()):
        return
    reasons = [
        f"{len(units)} channels of `{channels.roles[family[0]].weight}`: at least {least[family]}"
        f" must be left, in multiples of {multiple}"
        for family, units in channels.families.items()
    ]
    held: dict[tuple[str, str], int] = {}
    for role in channels.roles:
        if role.kind == "made":
            for unit in {u for u in role.labels if u is not None and u in channels.frozen}:
                place = (role.weight, channels.frozen[unit])
                held[place] = held.get(place, 0) + 1
    reasons += [f"{n} channels of `{weight}`: {why}" for (weight, why), n in held.items()]
    raise UserError(
        "no channel of this network can be removed:" + "".join(f"\n  {r}" for r in reasons),
        hint="leave the step `prune` out, or distil into a smaller network",
    )
