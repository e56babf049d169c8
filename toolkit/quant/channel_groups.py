"""Ranges for groups of channels before a tanh or sigmoid that a runtime stores in 8 bits.

One grid for all channels of such a tensor is as coarse as its widest channel needs. Channels are
put into a few groups of like range; the group's range is the one whose steps give the least squared
error after the curve. Tanh is odd, so before it a channel may be negated (its reader's weights take
the sign back): each channel's longer end counts as its high one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from toolkit.model.quant_plan import TensorRange
from toolkit.quant.calibration import Batch, probe
from toolkit.quant.ranges import SATURATE
from toolkit.quant.view import Array, GraphView

GROUPS = 3
MULTIPLE = 8  # channels of a group: what kernels make at once
BINS = 1024
ENDS = np.geomspace(1 / 16, 1.0, 48)  # candidate ends of a range, of where the curve is flat
LEVELS = 255
GAIN = 0.9  # another group leaves less than this part of the error, or is not worth its join


@dataclass(frozen=True, kw_only=True)
class _Side:
    """Squared errors of channels on one side of zero, (C, len(ENDS)): cut off, and per step**2."""

    cut: Array
    slope: Array

    def of(self, channels: Array) -> tuple[Array, Array]:
        """Both summed over channels."""
        return self.cut[channels].sum(0), self.slope[channels].sum(0)


def _is_grouped(graph: GraphView, name: str) -> bool:
    """True for a convolution's output that a curve alone reads, which convolutions alone read."""
    made_by, curve = graph.producer.get(name), graph.only_consumer(name)
    if made_by is None or made_by.op_type != "Conv" or curve is None:
        return False
    readers = [n for n in graph.nodes if curve.output[0] in n.input]
    return curve.op_type in SATURATE and bool(readers) and all(n.op_type == "Conv" for n in readers)


def channel_ranges(
    graph: GraphView, names: Iterable[str], patches: Iterable[Batch]
) -> dict[str, tuple[TensorRange, ...]]:
    """For each of the tensors in `names` that groups help: the range of every channel.

    Channels of a group have the same range, or before a tanh its mirror image.
    """
    found = {}
    for name, counts in _histograms(graph, [n for n in names if _is_grouped(graph, n)], patches):
        curve = graph.only_consumer(name)
        if curve is not None and len(counts) >= 2 * MULTIPLE:
            reader = SATURATE[curve.op_type]
            may_mirror = curve.op_type == "Tanh"
            found[name] = _grouped(counts, reader.function, reader.flat, may_mirror)
    return found


def _histograms(
    graph: GraphView, names: list[str], patches: Iterable[Batch]
) -> Iterable[tuple[str, Array]]:
    """Counts, (C, BINS), of equal bins between the ends where the curve is flat."""
    counts: dict[str, Array] = {}
    flat = {name: _flat(graph, name) for name in names}
    source = None
    for patch in patches if names else ():
        source = source or probe(graph, names, patch)
        for name, value in source.fetch(patch):
            rows = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1)
            place = ((rows / flat[name] + 1) * (BINS / 2)).clip(0, BINS - 1).astype(np.int64)
            place += np.arange(len(rows))[:, None] * BINS
            now = np.bincount(place.ravel(), minlength=len(rows) * BINS).reshape(-1, BINS)
            counts[name] = counts.get(name, 0) + now
    return counts.items()


def _flat(graph: GraphView, name: str) -> float:
    curve = graph.only_consumer(name)
    assert curve is not None
    return SATURATE[curve.op_type].flat


def _grouped(
    counts: Array, function: Callable[[Array], Array], flat: float, may_mirror: bool
) -> tuple[TensorRange, ...]:
    each = _ranges_of(_sides(counts, function, flat), [np.array([c]) for c in range(len(counts))])
    mirrored = (each[:, 0] > each[:, 1]) & may_mirror
    counts = np.where(mirrored[:, None], counts[:, ::-1], counts)
    sides = _sides(counts, function, flat)
    each = np.where(mirrored[:, None], each[:, ::-1], each)
    groups = _best_groups(sides, np.argsort(each[:, 1] if may_mirror else each.sum(1)))
    ends = np.zeros((len(counts), 2))
    for channels, (low, high) in zip(groups, _ranges_of(sides, groups), strict=True):
        ends[channels] = (low, max(high, low)) if may_mirror else (low, high)
    ends = np.where(mirrored[:, None], ends[:, ::-1], ends) * flat
    return tuple(TensorRange(low=-float(low), high=float(high)) for low, high in ends)


def _sides(counts: Array, function: Callable[[Array], Array], flat: float) -> tuple[_Side, _Side]:
    """Errors below and above zero."""
    centres = (np.arange(BINS) + 0.5) * (2 / BINS) - 1
    after = function(centres * flat)
    slope = np.gradient(after, centres) ** 2 / 12
    sides = []
    for sign in (-1, 1):
        here = np.flatnonzero(centres * sign > 0)
        lost = [(after[here] - function(np.minimum(centres[here] * sign, e) * sign * flat)) ** 2
                for e in ENDS]  # fmt: skip
        kept = [slope[here] * (centres[here] * sign <= e) for e in ENDS]
        sides.append(_Side(cut=counts[:, here] @ np.array(lost).T,
                           slope=counts[:, here] @ np.array(kept).T))  # fmt: skip
    return sides[0], sides[1]


def _errors(sides: tuple[_Side, _Side], channels: Array) -> Array:
    """Squared error by the low end (rows) and the high end."""
    (cut, slope), (high_cut, high_slope) = (side.of(channels) for side in sides)
    step = (ENDS[:, None] + ENDS) / LEVELS
    return np.asarray(cut[:, None] + high_cut + (slope[:, None] + high_slope) * step**2)


def _ranges_of(sides: tuple[_Side, _Side], groups: list[Array]) -> Array:
    """How far each group's range reaches below and above zero, in parts of `flat`."""
    found = []
    for channels in groups:
        errors = _errors(sides, channels)
        low, high = np.unravel_index(int(errors.argmin()), errors.shape)
        found.append((ENDS[low], ENDS[high]))
    return np.array(found)


def _best_groups(sides: tuple[_Side, _Side], order: Array) -> list[Array]:
    """`order` cut into at most GROUPS runs with the least error: dynamic programming."""
    edges = [*range(0, len(order), MULTIPLE), len(order)]
    cost: Mapping[tuple[int, int], float] = {
        (a, b): float(_errors(sides, order[a:b]).min()) for a in edges for b in edges if a < b
    }
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [0])}
    cuts, error = [0], np.inf
    for _ in range(GROUPS):
        best = {
            b: min((best[a][0] + cost[a, b], [*best[a][1], b]) for a in best if a < b)
            for b in edges[1:]
            if any(a < b for a in best)
        }
        if best.get(len(order), (np.inf,))[0] < GAIN * error:
            error, cuts = best[len(order)]
    return [np.sort(order[a:b]) for a, b in pairwise(cuts)]
