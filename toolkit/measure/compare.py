"""Two results of one device: slower, faster, or no difference seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from toolkit.benchmark import Benchmark, FileTiming
from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.latency import (
    Difference,
    FileComparison,
    all_samples,
    known_percentile_ms,
    ratio_interval,
)
from toolkit.measure.words import plain
from toolkit.validation import Interval

SHARES = (50.0, 90.0)  # the middle, and the headline
# What must be the same for two times of a file to be comparable, in words.
SAME_OF_FILE = {
    "backend": "runtime", "precision": "precision", "tool": "tool",
    "runtime": "runtime's version", "height_px": "input height", "width_px": "input width",
}  # fmt: skip


def compare(
    before: Benchmark, after: Benchmark, *, limit_percent: float
) -> tuple[FileComparison, ...]:
    """Every file that both results have, in the order of `after`.

    Files are paired by name, or by runtime and precision where that leaves no doubt. Intervals
    are bootstraps over rounds and then samples, each result redrawn on its own. A file of
    UNSTABLE samples is not decided.
    Raises UserError for each way in which the results cannot be compared.
    """
    pairs = paired(before, after)
    refuse_unlike(before, after, pairs)
    return tuple(_compared(one, other, limit_percent) for one, other in pairs)


def paired(before: Benchmark, after: Benchmark) -> list[tuple[FileTiming, FileTiming]]:
    """(older, newer) for each file that was timed in both."""
    old = [timing for timing in before.files if all_samples(timing)]
    found = []
    for timing in after.files:
        rival = _rival(timing, old, after.files)
        if rival is not None and all_samples(timing):
            found.append((rival, timing))
    return found


def _rival(
    timing: FileTiming, old: Sequence[FileTiming], new: Sequence[FileTiming]
) -> FileTiming | None:
    named = [one for one in old if one.file == timing.file]
    if named:
        return named[0]
    alike = [one for one in old if _kind(one) == _kind(timing)]
    only = len(alike) == 1 and sum(_kind(one) == _kind(timing) for one in new) == 1
    return alike[0] if only else None


def _kind(timing: FileTiming) -> tuple[str, str]:
    return timing.backend, timing.precision


def unpaired(
    before: Benchmark, after: Benchmark, compared: Sequence[FileComparison]
) -> tuple[str, ...]:
    """Files that only one of the results times, in words."""
    old, new = {one.before for one in compared}, {one.file for one in compared}
    return (
        *(f"{t.file} was timed before only" for t in before.files if t.file not in old),
        *(f"{t.file} was timed after only" for t in after.files if t.file not in new),
    )


def lost(before: Benchmark, after: Benchmark) -> tuple[str, ...]:
    """Files that the device timed before and cannot time any more: worse than slower."""
    timed = {timing.file for timing in before.files if not timing.problem}
    return tuple(t.file for t in after.files if t.problem and t.file in timed)


def refuse_unlike(
    before: Benchmark, after: Benchmark, pairs: Sequence[tuple[FileTiming, FileTiming]]
) -> None:
    """Raises every reason why the times of two results say nothing about each other."""
    problems = [*_devices(before, after), *_protocols(before, after)]
    for old, new in pairs:
        for name, words in SAME_OF_FILE.items():
            problems += _differs(f"{new.file}: the {words}", getattr(old, name), getattr(new, name))
    if not pairs and not problems:
        problems = ["no file was timed in both results"]
    hint = "measure both on one device with the same options: `edgesr bench`"
    errors: list[ToolkitError] = [UserError(problem, hint=hint) for problem in problems[:1]]
    raise_all(errors + [UserError(problem) for problem in problems[1:]])


def _devices(before: Benchmark, after: Benchmark) -> list[str]:
    if before.device.is_emulated or after.device.is_emulated:
        return ["an emulated device has no times to compare"]
    if before.device.identity == after.device.identity:
        return []
    names = [plain(f"{d.name} ({d.url})") for d in (before.device, after.device)]
    return [f"these are two devices: {names[0]} and {names[1]}"]


def _protocols(before: Benchmark, after: Benchmark) -> list[str]:
    old, new = asdict(before.protocol), asdict(after.protocol)
    return [line for key in old for line in _differs(f"protocol: `{key}`", old[key], new[key])]


def _differs(what: str, old: object, new: object) -> list[str]:
    return [] if old == new else [f"{plain(what)} was {plain(str(old))}, it is {plain(str(new))}"]


def _compared(old: FileTiming, new: FileTiming, limit_percent: float) -> FileComparison:
    differences = tuple(d for share in SHARES if (d := _difference(old, new, share)) is not None)
    doubts = tuple(
        f"{when}: {reason}"
        for when, timing in (("before", old), ("after", new))
        for reason in timing.stability.reasons
    )
    return FileComparison(
        file=new.file,
        before=old.file,
        differences=differences,
        verdict="not decided" if doubts else _verdict(differences),
        is_regression=not doubts
        and any(d.percent > limit_percent and d.interval.low > 0 for d in differences),
        why=doubts,
    )


def _verdict(differences: Sequence[Difference]) -> str:
    if any(one.interval.low > 0 for one in differences):
        return "slower"
    if any(one.interval.high < 0 for one in differences):
        return "faster"
    return "no difference seen"


def _difference(old: FileTiming, new: FileTiming, share: float) -> Difference | None:
    before = known_percentile_ms(all_samples(old), share)
    after = known_percentile_ms(all_samples(new), share)
    if before is None or after is None:
        return None
    ratio = ratio_interval(new.samples_ns, old.samples_ns, share)
    return Difference(
        share=share,
        before_ms=before,
        after_ms=after,
        percent=(after / before - 1) * 100,
        interval=Interval(
            low=(ratio.low - 1) * 100,
            high=(ratio.high - 1) * 100,
            confidence=ratio.confidence,
        ),
    )
