"""Whether samples can be trusted, and the cause where they cannot; outliers are kept, not judged.

The limits are one number seen from many sides: MLPerf asks for results within 5 % of each other
in five tries, so whatever may move a latency by 5 % makes it UNSTABLE.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.benchmark import FileTiming, Stability, TimingProtocol
from toolkit.latency import HEADLINE, all_samples, least_samples, percentile_ms, resampled_ms

# MLPerf Mobile's rules (mlcommons/mobile_open, rules/mobile_inference_rules.adoc): replication
# within 5 % in five tries.
MOST_SHIFT = 0.05
# Work of others displaces ours one to one at worst: 5 % of the machine costs 5 % of the speed.
MOST_OTHER_CPU = 0.05
# Steal is taken while we run, never while we idle, and in bursts: 2 % of the time hits more than
# 2 % of the samples, so less of it moves the 90th percentile.
MOST_STEAL = 0.02
MOST_FREQUENCY_FALL = 0.05  # time goes as one over the clock
WARMER_C = 3.0  # a rise that goes with slower samples is named as their likely cause
# Three standard deviations: by chance alone one round in 370 would look as if it drifted.
SURE = 3.0

Conditions = Mapping[str, Any]


def stability(timing: FileTiming, protocol: TimingProtocol) -> Stability:
    """Every reason to distrust one file's samples. A file that was not timed has none."""
    if not all_samples(timing):
        blind = (f"{timing.tool} gives no samples: nothing is known of drift and outliers",)
        return Stability(is_stable=not timing.stated_ms, reasons=blind if timing.stated_ms else ())
    reasons = (
        *_too_few(timing, protocol),
        *_drift(timing),
        *(list(_rounds_differ(timing)) or _unsettled(timing)),
        *_company(timing.conditions),
        *_slower_clock(timing.conditions),
    )
    return Stability(is_stable=not reasons, reasons=reasons)


def _too_few(timing: FileTiming, protocol: TimingProtocol) -> Iterator[str]:
    runs, needed = len(all_samples(timing)), least_samples(90)
    if runs < protocol.min_runs:
        yield f"only {runs} of the {protocol.min_runs} runs asked for fitted into the time"
    elif runs < needed:
        yield f"{runs} runs tell no 90th percentile, which needs {needed}"


def thirds(samples_ns: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """The first and the last third of one round, in the order of time; alike long."""
    third = len(samples_ns) // 3
    return samples_ns[:third], samples_ns[len(samples_ns) - third :]


def drift(samples_ns: Sequence[int]) -> float:
    """Median of the last third over the median of the first, less one; 0 below three samples."""
    first, last = thirds(samples_ns)
    return percentile_ms(last, 50) / percentile_ms(first, 50) - 1 if first else 0.0


def surely_drifts(rounds: Sequence[Sequence[int]]) -> bool:
    """Whether first and last thirds differ by more than chance: Mann-Whitney, one per round.

    The rank sums of the rounds are added, as in van Elteren's test, so that short rounds which
    all drift alike are seen as well, while a short noisy one raises no alarm.
    """
    above, expected, variance = 0.0, 0.0, 0.0
    for samples in rounds:
        first, last = (np.sort(np.asarray(part)) for part in thirds(samples))
        n = len(first)
        below = np.searchsorted(first, last, "left") + np.searchsorted(first, last, "right")
        above, expected = above + float(below.sum()) / 2, expected + n * n / 2
        variance += n * n * (2 * n + 1) / 12
    return variance > 0 and abs(above - expected) > SURE * math.sqrt(variance)


def _drift(timing: FileTiming) -> Iterator[str]:
    rounds = timing.samples_ns
    found = [(drift(samples), at) for at, samples in enumerate(rounds)]
    alone = [one for one in found if abs(one[0]) > MOST_SHIFT and surely_drifts([rounds[one[1]]])]
    if alone:
        shift, at = max(alone, key=lambda one: abs(one[0]))
        yield (
            f"the last third of round {at + 1} was {_percent(shift)} than the first"
            f"{_warmer(timing.conditions[at : at + 1])}"
        )
        return
    middle = float(np.median([shift for shift, _ in found]))
    if abs(middle) > MOST_SHIFT and surely_drifts(rounds):
        yield (
            f"the last third of each round was about {_percent(middle)} than the first"
            f"{_warmer(timing.conditions)}"
        )


def _percent(shift: float) -> str:
    return f"{abs(shift) * 100:.1f} % {'slower' if shift > 0 else 'faster'}"


def _warmer(conditions: Sequence[Conditions]) -> str:
    """What got hotter meanwhile, as a clause; "" where nothing is known to."""
    rises = [_rise(one) for one in conditions]
    before, after = max(
        (rise for rise in rises if rise), key=lambda rise: rise[1] - rise[0], default=(0.0, 0.0)
    )
    return (
        f", while it warmed from {before:.0f} to {after:.0f} °C"
        if after - before > WARMER_C
        else ""
    )


def _rise(conditions: Conditions) -> tuple[float, float] | None:
    """The zone that warmed most, before and after, in °C."""
    before, after = (_zones(conditions.get(when)) for when in ("before", "after"))
    both = [(before[zone], after[zone]) for zone in before if zone in after]
    return max(both, key=lambda pair: pair[1] - pair[0], default=None)


def _zones(moment: Any) -> dict[str, float]:
    zones = moment.get("temperatures_c") if isinstance(moment, Mapping) else None
    known = zones.items() if isinstance(zones, Mapping) else ()
    return {zone: float(c) for zone, c in known if isinstance(c, int | float)}


def _rounds_differ(timing: FileTiming) -> Iterator[str]:
    """p50, and p90 where rounds are long enough to tell one, of the slowest and fastest round."""
    for share in (50, 90):
        known = [s for s in timing.samples_ns if len(s) >= max(2, least_samples(share))]
        levels = [percentile_ms(samples, share) for samples in known]
        if len(levels) > 1 and max(levels) > min(levels) * (1 + MOST_SHIFT):
            apart = (max(levels) / min(levels) - 1) * 100
            yield (
                f"the rounds differ by {apart:.1f} % in p{share}: "
                f"{min(levels):.2f} to {max(levels):.2f} ms"
            )
            return


def _unsettled(timing: FileTiming) -> Iterator[str]:
    """A headline that falls between two modes: redrawn, it jumps although the rounds agree.

    Not widened as an interval is: what is asked is how far the next run may land, and rounds
    that agree have little to add to that.
    """
    runs = len(all_samples(timing))
    if runs < least_samples(HEADLINE):
        return
    low, high = np.quantile(resampled_ms(timing.samples_ns, HEADLINE, seed=0), (0.025, 0.975))
    if high > low * (1 + 2 * MOST_SHIFT):
        yield f"p90 is not settled: redrawn, the samples give {low:.2f} to {high:.2f} ms"


def _company(conditions: Sequence[Conditions]) -> Iterator[str]:
    """Whoever else had the CPU while the clock ran."""
    other = max(_numbers(conditions, "other_cpu_share"), default=0.0)
    if other > MOST_OTHER_CPU:
        yield f"other processes used {other * 100:.0f} % of the CPU"
    steal = max(_numbers(conditions, "steal_share"), default=0.0)
    if steal > MOST_STEAL:
        yield f"the host of this virtual machine took {steal * 100:.1f} % of the CPU for others"


def _numbers(conditions: Iterable[Any], key: str) -> list[float]:
    values = (one.get(key) for one in conditions if isinstance(one, Mapping))
    return [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)]


def _slower_clock(conditions: Sequence[Conditions]) -> Iterator[str]:
    """A clock or its limit that fell while samples were taken, a count of throttling that rose."""
    falls = [fall for one in conditions for fall in (_fall(one), _limit_fall(one)) if fall]
    if falls:
        high, low = max(falls, key=lambda pair: pair[0] / pair[1])
        yield f"the clock fell from {high:.0f} to {low:.0f} MHz{_warmer(conditions)}"
    if sum(_throttles(one) for one in conditions):
        yield f"the chip throttled itself{'' if falls else _warmer(conditions)}"


def _fall(conditions: Conditions) -> tuple[float, float] | None:
    """The clock of the busiest core early and late in the timed part, where it fell too far.

    Only moments under load count: before and after it an idle core clocks down.
    """
    during = conditions.get("during")
    moments = during if isinstance(during, list) else []
    clocks = [max(mhz) for one in moments if (mhz := _mhz(one, "frequencies_mhz"))]
    if len(clocks) < 2:
        return None
    third = max(1, len(clocks) // 3)
    return _too_low(float(np.median(clocks[:third])), float(np.median(clocks[-third:])))


def _limit_fall(conditions: Conditions) -> tuple[float, float] | None:
    """The highest clock that the kernel allowed before and after: cooling lowers it."""
    before, after = (
        _mhz(conditions.get(when), "frequencies_limit_mhz") for when in ("before", "after")
    )
    return _too_low(max(before), max(after)) if before and after else None


def _too_low(early: float, late: float) -> tuple[float, float] | None:
    return (early, late) if late < early * (1 - MOST_FREQUENCY_FALL) else None


def _mhz(moment: Any, key: str) -> list[float]:
    values = moment.get(key) if isinstance(moment, Mapping) else None
    known = values if isinstance(values, list | tuple) else ()
    return [float(v) for v in known if isinstance(v, int | float) and v > 0]


def _throttles(conditions: Conditions) -> int:
    """How much more often the chip had throttled itself after than before."""
    before, after = (_numbers([conditions.get(w)], "throttles") for w in ("before", "after"))
    return max(0, int(after[0] - before[0])) if before and after else 0
