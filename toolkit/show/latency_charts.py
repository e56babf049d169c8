"""Latencies as a histogram and as a series over time, in the units of an SVG's view box."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from toolkit.benchmark import FileTiming
from toolkit.latency import NS_PER_MS, summary

WIDTH, HEIGHT = 520, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 508, 22, 158  # edges of the plot in the view box
SERIES_RIGHT = 432  # room for the labels of the marks
LINE = 14  # between two labels
MOST_BINS = 48
COLUMNS = 194  # of the series; with more samples each column spans the least to the largest
TICKS = 5
REACH = 1.15  # the axis ends this much above the 99th percentile; beyond it runs are counted

Milliseconds = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A label on an axis and where it stands."""

    at: float
    label: str
    label_at: float = 0.0  # where the label stands, so that two do not cover each other


@dataclass(frozen=True, kw_only=True)
class Box:
    """A bar of the histogram, in view box units."""

    left: float
    top: float
    width: float
    height: float
    told: str  # what it counts, for a pointer that rests on it


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often each latency was seen, with the median and the 90th percentile marked."""

    bars: tuple[Box, ...]
    ticks: tuple[Tick, ...]
    marks: tuple[Tick, ...]  # vertical lines
    beyond: str  # runs that lie right of the axis, in words; "" for none


@dataclass(frozen=True, kw_only=True)
class Series:
    """Latency over the runs in their order, each round in its own stretch."""

    path: str  # SVG path: one upright stroke per column
    ticks: tuple[Tick, ...]  # of the latency
    rounds: tuple[Tick, ...]  # where each round begins
    marks: tuple[Tick, ...]  # horizontal lines
    gathered: int  # runs in one column at the most


@dataclass(frozen=True, kw_only=True)
class Charts:
    """Both pictures of one file's times."""

    histogram: Histogram
    series: Series


def charts(timing: FileTiming) -> Charts | None:
    """The pictures of one file's samples; None where no time was taken."""
    rounds = [np.asarray(one, np.float64) / NS_PER_MS for one in timing.samples_ns if one]
    taken = summary(timing)
    if not rounds or taken is None:
        return None
    whole = np.concatenate(rounds)
    low, high = _axis(whole)
    named = [("p50", taken.p50_ms), ("p90", taken.p90_ms)]
    held = [(name, value) for name, value in named if value is not None]
    return Charts(
        histogram=_histogram(whole, low, high, held), series=_series(rounds, low, high, held)
    )


def _axis(values: Milliseconds) -> tuple[float, float]:
    """From just below the fastest run to just above the 99th percentile."""
    low, top = float(values.min()), float(np.quantile(values, 0.99))
    high = min(float(values.max()), top * REACH)
    room = max(high - low, 0.02 * high, 1e-6)
    return max(0.0, low - 0.06 * room), high + 0.06 * room


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: round(start + (value - low) / (high - low) * (end - start), 1)


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, about five of them: 1, 2 or 5 times a power of ten."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]


def _ticks(low: float, high: float, place: Callable[[float], float]) -> tuple[Tick, ...]:
    values = nice_ticks(low, high)
    return tuple(Tick(at=place(value), label=f"{value:.6g}") for value in values)


def _marks(named: Sequence[tuple[str, float]], place: Callable[[float], float]) -> tuple[Tick, ...]:
    return tuple(Tick(at=place(v), label=f"{name} {v:.2f}") for name, v in named)


def _histogram(
    values: Milliseconds, low: float, high: float, named: Sequence[tuple[str, float]]
) -> Histogram:
    bins = min(MOST_BINS, 2 * math.ceil(math.sqrt(len(values))))
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    across = _scale(low, high, LEFT, RIGHT)
    tall = (BOTTOM - TOP) / max(1, int(counts.max()))
    bars = tuple(
        Box(
            left=across(float(edges[i])),
            top=round(BOTTOM - int(count) * tall, 1),
            width=round((RIGHT - LEFT) / bins - 1, 1),
            height=round(int(count) * tall, 1),
            told=f"{edges[i]:.2f} to {edges[i + 1]:.2f} ms: {count} runs",
        )
        for i, count in enumerate(counts)
        if count
    )
    out = int((values > high).sum())
    runs = "1 run lies" if out == 1 else f"{out} runs lie"
    return Histogram(
        bars=bars,
        ticks=_ticks(low, high, across),
        marks=_marks(named, across),
        beyond=f"{runs} beyond, up to {values.max():.2f} ms" if out else "",
    )


def _series(
    rounds: Sequence[Milliseconds], low: float, high: float, named: Sequence[tuple[str, float]]
) -> Series:
    count = sum(len(one) for one in rounds)
    gathered = -(-count // COLUMNS)
    up, along = _scale(low, high, BOTTOM, TOP), _scale(0, count, LEFT, SERIES_RIGHT)
    strokes, starts, begun = [], [], 0
    for number, one in enumerate(rounds, 1):
        starts.append(Tick(at=along(begun), label=f"round {number}"))
        for first in range(0, len(one), gathered):
            part = np.minimum(one[first : first + gathered], high)
            x = along(begun + first + len(part) / 2)
            top, bottom = up(float(part.max())), up(float(part.min()))
            strokes.append(f"M{x} {bottom + 0.8:.1f}V{top - 0.8:.1f}")
        begun += len(one)
    return Series(
        path="".join(strokes),
        ticks=_ticks(low, high, up),
        rounds=tuple(starts),
        marks=_beside(_marks(named, up)),
        gathered=gathered,
    )


def _beside(marks: Sequence[Tick]) -> tuple[Tick, ...]:
    """The marks with their labels one above the other, the median's lowest."""
    placed: list[Tick] = []
    for mark in marks:
        at = mark.at + 4
        if placed:
            at = min(at, placed[-1].label_at - LINE)
        placed.append(replace(mark, label_at=round(at, 1)))
    return tuple(placed)
