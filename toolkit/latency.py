"""Percentiles of raw latencies with the number of samples that each needs, and intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.benchmark import FileTiming
from toolkit.validation import Interval

NS_PER_MS = 1e6
HEADLINE = 90.0  # MLPerf's single stream is judged by its 90th percentile
CONFIDENCE = 0.95
NORMAL = 1.960  # two-sided 95 % quantiles: normal, and Student's t from 1 degree of freedom up
STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
RESAMPLES = 1000  # the ends of a 95 % interval then rest on 25 resamples each
MOST_PER_ROUND = 4000  # more samples of one round are thinned evenly before they are resampled

Rounds = Sequence[Sequence[int]]  # nanoseconds, one sequence per round
Levels = npt.NDArray[np.float64]  # percentiles in ms, one per resample


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All samples of one file; a percentile is None where there are too few samples for it."""

    runs: int
    min_ms: float
    mean_ms: float
    p50_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float
    std_ms: float  # of the population
    load_ms: float | None  # median over the rounds, as is the first inference; None: not told
    first_ms: float | None
    peak_memory_mb: tuple[float, float] | None  # least and most over the rounds


@dataclass(frozen=True, kw_only=True)
class SpeedUp:
    """How many times as fast an INT8 file is as the float32 file of its runtime."""

    file: str
    against: str
    ratio: float  # p50 of the float file over p50 of the INT8 file
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One percentile of one file in two results."""

    share: float  # 50 or 90
    before_ms: float
    after_ms: float
    percent: float  # after over before, less 100; positive is slower
    interval: Interval  # of `percent`


@dataclass(frozen=True, kw_only=True)
class FileComparison:
    """One file in two results; `differences` are p50, and p90 where both know it."""

    file: str
    before: str  # the file's name in the older result
    differences: tuple[Difference, ...]
    verdict: str  # "slower", "faster", "no difference seen", "not decided"
    is_regression: bool  # slower by more than the limit, and surely slower
    why: tuple[str, ...] = ()  # why nothing was decided


def percentile_ms(samples_ns: Sequence[int], share: float) -> float:
    """Nearest-rank percentile in milliseconds; share from 0 to 100.

    Raises ValueError where there are no samples.
    """
    if not samples_ns:
        raise ValueError("no samples")
    rank = max(1, math.ceil(share / 100 * len(samples_ns)))
    return sorted(samples_ns)[rank - 1] / NS_PER_MS


def least_samples(share: float) -> int:
    """Samples that a percentile needs: 29 for p90, 59 for p95, 459 for p99; 1 up to the median.

    With n samples all lie below the true percentile q with probability q ** n, and then even
    the largest sample is too small. The smallest n that keeps this at or below 1 - c is
    ln(1 - c) / ln(q); c is 95 %, and q itself where that is more, so that the rare samples a
    p99 speaks of are surely among them: ln 0.01 / ln 0.99. The rule of order statistics behind
    MLPerf LoadGen's early stopping, without its further margin.
    """
    if share <= 50:
        return 1
    quantile = share / 100
    return math.ceil(math.log(1 - max(CONFIDENCE, quantile)) / math.log(quantile))


def known_percentile_ms(samples_ns: Sequence[int], share: float) -> float | None:
    """The percentile, or None where there are fewer samples than it needs."""
    known = len(samples_ns) >= least_samples(share)
    return percentile_ms(samples_ns, share) if known else None


def all_samples(timing: FileTiming) -> list[int]:
    """Every sample of every round in nanoseconds, outliers included."""
    return [sample for taken in timing.samples_ns for sample in taken]


def summary(timing: FileTiming) -> Summary | None:
    """The numbers of one file over all its rounds; None where it was not timed."""
    samples = all_samples(timing)
    if not samples:
        return None
    memory = timing.peak_memory_mb
    values = np.asarray(samples, np.float64) / NS_PER_MS
    return Summary(
        runs=len(samples),
        min_ms=min(samples) / NS_PER_MS,
        mean_ms=float(values.mean()),
        p50_ms=percentile_ms(samples, 50),
        p90_ms=known_percentile_ms(samples, 90),
        p95_ms=known_percentile_ms(samples, 95),
        p99_ms=known_percentile_ms(samples, 99),
        max_ms=max(samples) / NS_PER_MS,
        std_ms=float(values.std()),
        load_ms=_median(timing.load_ms),
        first_ms=_median(timing.first_ms),
        peak_memory_mb=(min(memory), max(memory)) if memory else None,
    )


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def resampled_ms(rounds: Rounds, share: float, seed: int) -> Levels:
    """The percentile of `RESAMPLES` redrawn measurements, float64 (RESAMPLES,), milliseconds.

    Each draw takes as many rounds as there are, with replacement, then as many samples of each
    as it has, with replacement: a lucky process counts as one draw, not as its thousand runs
    (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
    Raises ValueError where there are no samples.
    """
    rng = np.random.default_rng(seed)
    taken = [_thinned(samples) for samples in rounds if samples]
    if not taken:
        raise ValueError("no samples")
    found = np.empty(RESAMPLES)
    for at in range(RESAMPLES):
        drawn = [taken[i] for i in rng.integers(0, len(taken), len(taken))]
        pooled = np.concatenate([one[rng.integers(0, len(one), len(one))] for one in drawn])
        rank = max(1, math.ceil(share / 100 * len(pooled))) - 1
        found[at] = np.partition(pooled, rank)[rank]
    levels: Levels = found / NS_PER_MS
    return levels


def _thinned(samples: Sequence[int]) -> Levels:
    """The samples in order of size, evenly thinned: quantiles stay, intervals only get wider."""
    ordered = np.sort(np.asarray(samples, np.float64))
    if len(ordered) <= MOST_PER_ROUND:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MOST_PER_ROUND).round().astype(int)]


def interval_of(levels: Levels, *rounds: int) -> Interval:
    """The middle 95 % of redrawn values, widened for how few rounds stand behind them.

    `rounds` has a count per measurement: one for a percentile, two for a ratio of two. A
    bootstrap over R rounds is too narrow by sqrt((R - 1) / R), and the spread of a few rounds is
    itself uncertain: Student's t, with one degree of freedom less than rounds per measurement,
    takes the place of the normal quantile. With one round what differs from process to process
    is not seen, and nothing is widened.
    """
    freedom, fewest = sum(count - 1 for count in rounds), min(rounds)
    widened = 1.0
    if fewest > 1:
        student = STUDENT_T[min(freedom, len(STUDENT_T)) - 1]
        widened = math.sqrt(fewest / (fewest - 1)) * student / NORMAL
    centre = float(levels.mean())
    low, high = np.quantile(levels, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(
        low=centre + (float(low) - centre) * widened,
        high=centre + (float(high) - centre) * widened,
        confidence=CONFIDENCE,
    )


def percentile_interval(rounds: Rounds, share: float = HEADLINE) -> Interval:
    """A 95 % bootstrap interval of a percentile in milliseconds."""
    return interval_of(resampled_ms(rounds, share, seed=0), count_rounds(rounds))


def count_rounds(rounds: Rounds) -> int:
    """Rounds that have samples."""
    return sum(bool(samples) for samples in rounds)


def ratio_interval(above: Rounds, below: Rounds, share: float) -> Interval:
    """A 95 % bootstrap interval of one percentile over another, each redrawn on its own.

    Taken of the logarithm, in which twice and half are alike, and so never negative.
    """
    sides = (
        np.log(resampled_ms(rounds, share, seed)) for seed, rounds in enumerate((above, below))
    )
    found = interval_of(next(sides) - next(sides), count_rounds(above), count_rounds(below))
    return Interval(low=math.exp(found.low), high=math.exp(found.high), confidence=CONFIDENCE)


def speed_ups(files: Sequence[FileTiming]) -> tuple[SpeedUp, ...]:
    """INT8 against the float32 file of the same backend and input size, where both were timed."""
    found = []
    for file in files:
        rival = next((other for other in files if _is_float_of(other, file)), None)
        if file.precision == "int8" and rival is not None:
            found.append(_speed_up(file, rival))
    return tuple(found)


def _is_float_of(other: FileTiming, file: FileTiming) -> bool:
    alike = ("backend", "tool", "height_px", "width_px")
    same = all(getattr(other, name) == getattr(file, name) for name in alike)
    return same and other.precision == "float32" and bool(all_samples(other) and all_samples(file))


def _speed_up(file: FileTiming, rival: FileTiming) -> SpeedUp:
    return SpeedUp(
        file=file.file,
        against=rival.file,
        ratio=percentile_ms(all_samples(rival), 50) / percentile_ms(all_samples(file), 50),
        interval=ratio_interval(rival.samples_ns, file.samples_ns, 50),
    )
