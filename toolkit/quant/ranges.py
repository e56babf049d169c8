"""Ranges of tensors whose only reader is flat at an end: there, values may be cut.

After tanh and sigmoid both ends count for nothing. After LeakyRelu and PRelu an error below zero
counts by the slope, so the low end may be cut; the high end never is: it carries edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from toolkit.quant.calibration import Batch, Function, gather_histograms, mse_range
from toolkit.quant.view import Array, GraphView, attribute

SHUFFLES = ("DepthToSpace", "SpaceToDepth", "Reshape", "Transpose")
LOW_FACTORS = np.linspace(1.0, 0.0, 41)
STEEPEST = 0.5  # a slope above it leaves nothing to cut


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The function that alone reads a tensor; beyond `flat` its 8-bit result does not change."""

    function: Function
    flat: float = np.inf
    low_only: bool = False


SATURATE: Mapping[str, Reader] = {
    "Tanh": Reader(function=np.tanh, flat=3.2),
    "Sigmoid": Reader(function=lambda x: 1 / (1 + np.exp(-x)), flat=6.3),
}


def _slope(graph: GraphView, node: onnx.NodeProto) -> float | None:
    """The steepest slope below zero of a LeakyRelu or PRelu; None for any other node."""
    if node.op_type == "LeakyRelu":
        return abs(float(attribute(node, "alpha", 0.01)))
    slopes = graph.constants.get(node.input[1]) if node.op_type == "PRelu" else None
    return None if slopes is None else float(np.abs(slopes).max())


def _reader(graph: GraphView, name: str) -> Reader | None:
    node = graph.only_consumer(name)
    slope = None if node is None else _slope(graph, node)
    if slope is not None:
        found = Reader(function=lambda x: np.where(x < 0, slope * x, x), low_only=True)
        return found if slope <= STEEPEST else None
    while node is not None and node.op_type in SHUFFLES:
        node = graph.only_consumer(node.output[0])
    return SATURATE.get(node.op_type) if node is not None else None


def low_end(counts: Array, low: float, high: float, function: Function) -> float:
    """The low end within [low, 0] whose 255 steps up to `high` give the least squared error after
    `function`; `counts` are of equal bins from low to high."""
    if low >= 0 or high <= 0:
        return low
    centres = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    slope = np.gradient(function(centres), centres)
    errors = []
    for end in low * LOW_FACTORS:
        kept = np.maximum(centres, end)
        step = (high - end) / 255
        inside = (kept == centres) * slope**2 * step**2 / 12
        errors.append(float((counts * ((function(centres) - function(kept)) ** 2 + inside)).sum()))
    return float(low * LOW_FACTORS[int(np.argmin(errors))])


def flat_ends(
    graph: GraphView, whole: Mapping[str, tuple[float, float]], patches: Iterable[Batch]
) -> dict[str, tuple[float, float]]:
    """New ranges for those of the tensors in `whole` (name to range) that have a flat reader."""
    readers = {name: _reader(graph, name) for name in whole if name != graph.input}
    limits = {
        name: (max(whole[name][0], -reader.flat), min(whole[name][1], reader.flat))
        for name, reader in readers.items()
        if reader is not None
    }
    if not limits:
        return {}
    found = {}
    for name, counts in gather_histograms(graph, patches, limits).items():
        reader, (low, high) = readers[name], limits[name]
        assert reader is not None
        if reader.low_only:
            found[name] = (low_end(counts, low, high, reader.function), high)
        else:
            found[name] = mse_range(counts, low, high, reader.function)
    return found
