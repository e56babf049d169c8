"""Times that were taken before, as verdicts: golden vectors on the device, steadiness, latency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from toolkit.benchmark import Benchmark, FileTiming
from toolkit.latency import all_samples, known_percentile_ms
from toolkit.report import Verdict
from toolkit.validate.comparing import at_least, at_most


def time_verdicts(timed: Benchmark | None, file: str, limits: Mapping[str, float]) -> list[Verdict]:
    """What a benchmark says of one file; nothing of a file that it did not run.

    limits: by gate, those that the bundle's report held the file against.
    """
    return [
        verdict
        for timing in (timed.files if timed else ())
        if timing.file == file
        for verdict in _of_file(timing, limits.get("latency_p90_ms"))
    ]


def _of_file(timing: FileTiming, most_p90_ms: float | None) -> list[Verdict]:
    found = []
    if (check := timing.golden) is not None:
        note = f"worst difference {check.worst:.3g} in stored values"
        share, least = check.within_share, check.least_share
        held = at_least("device.golden_share", timing.file, share, least, "at least", note)
        # the share is of all vectors, and one of them may fail where all together hold
        found.append(replace(held, passed=held.passed and check.passed))
    was_timed = bool(all_samples(timing) or timing.stated_ms)
    if was_timed or timing.problem:
        found.append(_stable(timing))
    # an emulated device runs the numbers and has no times: no limit is held against nothing
    if most_p90_ms is not None and (was_timed or timing.problem):
        value = p90_ms(timing)
        note = (timing.problem or "too few runs for a p90") if math.isnan(value) else ""
        found.append(at_most("latency_p90_ms", timing.file, value, most_p90_ms, "ms", note))
    return found


def _stable(timing: FileTiming) -> Verdict:
    reasons = timing.stability.reasons or ((timing.problem,) if timing.problem else ())
    count = max(len(reasons), int(not timing.stability.is_stable))
    return at_most("stable", timing.file, count, 0, "reasons", reasons[0] if reasons else "")


def p90_ms(timing: FileTiming) -> float:
    """p90 of all samples, or the largest that a vendor's program states; NaN for neither."""
    found = known_percentile_ms(all_samples(timing), 90)
    if found is not None:
        return found
    return max((stated["p90"] for stated in timing.stated_ms if "p90" in stated), default=math.nan)
