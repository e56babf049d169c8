"""A benchmark's files as the page shows them: times, what else is known, the device's readings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.benchmark import Benchmark, FileTiming
from toolkit.latency import SpeedUp, Summary, speed_ups, summary
from toolkit.show.bench_text import stated_words
from toolkit.show.latency_charts import Charts, charts
from toolkit.show.rows import number, percent
from toolkit.show.verdict_words import share_text

MOMENT = "at_s"  # when a reading was taken: no reading itself
Reading = tuple[str, str, str, str]  # what, before, during, after


@dataclass(frozen=True, kw_only=True)
class TimedFile:
    """One file's times with their pictures."""

    timing: FileTiming
    taken: Summary | None
    charts: Charts | None
    notes: tuple[str, ...]  # sentences
    readings: tuple[Reading, ...]


def timed_files(benchmark: Benchmark) -> list[TimedFile]:
    """One per file in the benchmark's order."""
    ratios = {ratio.file: ratio for ratio in speed_ups(benchmark.files)}
    return [
        TimedFile(
            timing=timing,
            taken=summary(timing),
            charts=charts(timing),
            notes=tuple(_notes(timing, ratios.get(timing.file))),
            readings=tuple(readings(timing.conditions)),
        )
        for timing in benchmark.files
    ]


def _notes(timing: FileTiming, ratio: SpeedUp | None) -> Iterable[str]:
    if timing.problem:
        yield f"Not timed: {timing.problem}."
    if timing.stated_ms:
        yield f"{stated_words(timing)}."
    if timing.backend == "tensorrt" and timing.runtime.startswith("onnxruntime"):
        yield "ONNX Runtime ran it in TensorRT's place; an engine's time differs."
    if ratio is not None:
        low, high = (number(x, 2) for x in (ratio.interval.low, ratio.interval.high))
        faster = f"{number(ratio.ratio, 2)} times as fast as {ratio.against}"
        yield f"{faster} (p50; {ratio.interval.confidence * 100:.0f} %: {low} to {high})."
    check = timing.golden
    if check is not None:
        said = "passed" if check.passed else "FAILED"
        yield (
            f"Golden vectors on the device: {check.vectors} checked before the clock, {said}; "
            f"{share_text(check.within_share)} of the values within {check.tolerance:.3g}, "
            f"{share_text(check.equal_share)} the very same."
        )
    elif not timing.problem:
        yield "Golden vectors were not checked on the device."


def readings(rounds: Sequence[Mapping[str, Any]]) -> list[Reading]:
    """What was read of the device: before the first round, while all ran, after the last one.

    Numbers of several cores, zones or moments are shown as their least and their largest.
    """
    if not rounds:
        return []
    before = _flat(rounds[0].get("before"))
    during = [_flat(one) for taken in rounds for one in taken.get("during") or []]
    after = _flat(rounds[-1].get("after"))
    names = dict.fromkeys([*(name for one in during for name in one), *before, *after])
    rows = [
        (
            name.replace("_", " "),
            _range([before.get(name)]),
            _range([one.get(name) for one in during]),
            _range([after.get(name)]),
        )
        for name in names
        if name != MOMENT
    ]
    return [row for row in rows if any(row[1:])] + _others(rounds)


def _others(rounds: Sequence[Mapping[str, Any]]) -> list[Reading]:
    shares = [taken.get("other_cpu_share") for taken in rounds]
    known = [share for share in shares if isinstance(share, int | float)]
    return [("other processes", "", f"up to {percent(max(known))} of the CPU", "")] if known else []


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items() if isinstance(value, Mapping) else ():
        name = f"{path} {key}".strip()
        found.update(_flat(item, name) if isinstance(item, Mapping) else {name: item})
    return found


def _range(values: Iterable[Any]) -> str:
    """One value, the least to the largest of numbers, or every text there was."""
    lists = [value if isinstance(value, list | tuple) else [value] for value in values]
    known = [value for one in lists for value in one if value is not None]
    numbers = [v for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    if numbers and len(numbers) == len(known):
        low, high = (f"{value:.6g}" for value in (min(numbers), max(numbers)))
        return low if low == high else f"{low} to {high}"
    return ", ".join(dict.fromkeys(str(value) for value in known))
