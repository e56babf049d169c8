"""What the INT8 benchmark measured, as plain values; no measuring and no printing here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

RUNTIMES = ("onnxruntime", "openvino", "litert")  # those that run here; the spread is over them
TENSORRT = "tensorrt"  # the scheme, run by ONNX Runtime in TensorRT's place
SCHEMES = (*RUNTIMES, TENSORRT)
CHARTS = ("chart-white", "chart-black", "chart-gradient-horizontal", "chart-gradient-vertical",
          "chart-colour-bars")  # fmt: skip
VENDORS = "vendors"  # the variant that holds each vendor's default beside its runtime


@dataclass(frozen=True, kw_only=True)
class ChartError:
    """INT8 against the float network on one chart, in 8-bit levels."""

    largest: int  # of a pixel's absolute difference
    mean: float  # signed: negative is darker


@dataclass(frozen=True, kw_only=True)
class Drops:
    """What one file loses: per image set, float network in ONNX Runtime minus file, mean dB."""

    by_set: Mapping[str, float]
    charts: Mapping[str, ChartError]
    int8_macs_share: float = math.nan

    @property
    def mean_db(self) -> float:
        """Mean over the sets, each set counting once."""
        return statistics.fmean(self.by_set.values())


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to INT8 with its files, by scheme; `failures` says why a file is missing."""

    name: str  # a rung of ours, or VENDORS
    drops: Mapping[str, Drops] = field(default_factory=dict)
    within_one_level: Mapping[str, float] = field(default_factory=dict)  # "a, b" -> share
    minutes: float = math.nan  # wall
    failures: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def worst_db(self, schemes: Iterable[str] = RUNTIMES) -> float:
        """Largest mean drop over the schemes; NaN where one was not measured."""
        return _largest(self.drops[s].mean_db if s in self.drops else math.nan for s in schemes)

    def spread_db(self) -> float:
        """Largest minus smallest mean drop over the three runtimes."""
        found = [self.drops[s].mean_db if s in self.drops else math.nan for s in RUNTIMES]
        return _largest(a - b for a in found for b in found)

    def least_within(self) -> float:
        """Least share of pixels within one level over the pairs of runtimes."""
        pairs = [", ".join(pair) for pair in combinations(RUNTIMES, 2)]
        return -_largest(-self.within_one_level.get(pair, math.nan) for pair in pairs)

    def worst_chart(self) -> ChartError:
        """The largest difference and the mean furthest from 0 over runtimes and charts."""
        errors = [e for s in RUNTIMES if s in self.drops for e in self.drops[s].charts.values()]
        if not errors or any(s not in self.drops for s in RUNTIMES):
            return ChartError(largest=256, mean=math.nan)
        furthest = max((e.mean for e in errors), key=abs)
        return ChartError(largest=max(e.largest for e in errors), mean=furthest)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of one file, timed in turn with all others of its network."""

    median_ms: float
    n: int


@dataclass(frozen=True, kw_only=True)
class NetworkResult:
    """Everything about one network. Timings are keyed (scheme, what), what being `float32`,
    `bfloat16` or the name of a variant."""

    name: str
    float_db: Mapping[str, float]
    variants: Mapping[str, Variant]
    timings: Mapping[tuple[str, str], Timing] = field(default_factory=dict)

    def speedup(self, scheme: str, variant: str) -> float:
        """True float32 of the same runtime over INT8; NaN where one was not timed."""
        return self.ratio((scheme, "float32"), (scheme, variant))

    def ratio(self, slow: tuple[str, str], fast: tuple[str, str]) -> float:
        """Median of `slow` over median of `fast`."""
        if slow not in self.timings or fast not in self.timings:
            return math.nan
        return self.timings[slow].median_ms / self.timings[fast].median_ms


def _largest(values: Iterable[float]) -> float:
    """`max` in which one NaN makes the result NaN: what was not measured never passes."""
    found = list(values)
    return math.nan if not found or any(math.isnan(v) for v in found) else max(found)


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive ratios; NaN where one is NaN or there is none."""
    found = list(values)
    if not found or any(math.isnan(v) for v in found):
        return math.nan
    return statistics.geometric_mean(found)
