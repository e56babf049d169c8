"""A Validation in the words and the order in which people read it, for every output alike."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from toolkit.report import Verdict
from toolkit.show.rows import bound, number
from toolkit.show.verdict_words import gate_sentence
from toolkit.validation import Comparison, Stage, StageName, Validation

FAILED_EXIT_CODE = 4  # `errors.GateFailed`
STAGE_ORDER: tuple[StageName, ...] = ("total", "conversion", "quantization", "device")
STAGE_MEANING: Mapping[StageName, str] = {
    "total": "the file against the float network",
    "conversion": "the converted float against the float network",
    "quantization": "INT8 against the converted float",
    "device": "the device against this host, same file",
}
DROP = "psnr_drop_db"
TAKE_TIMES = "`edgesr bench BUNDLE --device URL --out times.json`, then `--bench times.json`"
# What a gate needs before it is held, by the start of its name; the first that fits is said.
HOW_TO_MEASURE = (
    ("device.", "name a device: `--device URL`"),
    ("stable", f"take times first: {TAKE_TIMES}"),
    ("latency_", f"take times first: {TAKE_TIMES}"),
)
# gates that say nothing of the picture, so a file may be as good as float though they failed
NOT_OF_THE_PICTURE = ("stable", "latency_", "coverage", "int8_macs_share")
# gates without which the drops themselves prove nothing
GROUNDS = ("reference.", "pairs", "protocol", "digest", "report", "baseline_precision")
# gates that every validation is asked for; those without a verdict were not measured
ASKED = ("device.psnr_drop_db.mean", "device.psnr_drop_db.worst", "stable", "latency_p90_ms")


@dataclass(frozen=True, kw_only=True)
class FileView:
    """One file with its stages, the one against the float network first."""

    file: str
    digest: str
    stages: tuple[Stage, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def headline(self) -> Stage:
        """The stage that answers whether the file is as good as float."""
        return self.stages[0]

    @property
    def passed(self) -> bool:
        """Whether every gate of this file held."""
        return all(v.passed for v in self.verdicts)


@dataclass(frozen=True, kw_only=True)
class StageView:
    """One stage in numbers; levels are of 255."""

    stage: Stage
    mean_db: float
    worst: Comparison
    max_error_levels: int  # over all pictures
    within_one_share: float  # mean over the pictures
    bias_levels: float  # of the picture that is shifted most, sign kept


@dataclass(frozen=True, kw_only=True)
class Check:
    """One gate that is no drop, over all files: the file that is nearest to its limit."""

    gate: str
    passed: bool
    shown: Verdict
    files: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question of QA's and its answer; `good` is None where it is neither good nor bad."""

    question: str
    answer: str
    good: bool | None = None


def file_views(validation: Validation) -> list[FileView]:
    """One per file in the validation's order, with what was measured of it."""
    names = dict.fromkeys(stage.file for stage in validation.stages)
    return [
        FileView(
            file=name,
            digest=validation.digests.get(name, ""),
            stages=_in_order(s for s in validation.stages if s.file == name),
            verdicts=tuple(v for v in validation.verdicts if v.file == name),
        )
        for name in names
    ]


def _in_order(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    return tuple(sorted(stages, key=lambda stage: STAGE_ORDER.index(stage.name)))


def stage_view(stage: Stage) -> StageView:
    """What a stage comes to over its pictures."""
    return StageView(
        stage=stage,
        mean_db=stage.mean_db,
        worst=stage.worst,
        max_error_levels=max(image.max_error_levels for image in stage.images),
        within_one_share=sum(i.within_one_share for i in stage.images) / len(stage.images),
        bias_levels=max((i.bias_levels for i in stage.images), key=_size),
    )


def _size(value: float) -> float:
    """How far from nothing a value is; no number is farther than any."""
    return math.inf if math.isnan(value) else abs(value)


def is_drop(verdict: Verdict) -> bool:
    """Whether a gate is a budget of dB on one of the stages."""
    return DROP in verdict.gate


def failures(validation: Validation) -> list[Verdict]:
    """The gates that failed: drops first, then the rest, each in the order of the validation."""
    failed = [verdict for verdict in validation.verdicts if not verdict.passed]
    return sorted(failed, key=lambda verdict: not is_drop(verdict))


def title(validation: Validation) -> str:
    """What was validated, in the words of the recipe where there is one."""
    if validation.recipe and validation.target:
        return f"{validation.recipe} for {validation.target}"
    return validation.subject


def headline(validation: Validation) -> str:
    """What the verdict means, without the word PASS or FAIL."""
    count = len(validation.verdicts)
    failed = len(failures(validation))
    if not count:
        return f"{title(validation)}: no gate was set"
    if failed:
        return f"{title(validation)}: {failed} of {gates(count)} failed"
    held = f"all {count} gates held" if count > 1 else "1 gate held"
    return f"{title(validation)}: {held}" if validation.passed else f"{title(validation)}: refused"


def gates(count: int) -> str:
    """A number of gates."""
    return f"{count} gate" if count == 1 else f"{count} gates"


def answers(validation: Validation) -> tuple[Answer, ...]:
    """QA's three questions: as good as float, worst picture, may the build fail on it."""
    views = file_views(validation)
    if not views:
        return (exits(validation),)
    return as_good(validation, views), worst_picture(views), exits(validation)


def as_good(validation: Validation, views: Sequence[FileView]) -> Answer:
    """Whether the INT8 files kept every gate of the picture; the one that loses most where so."""
    question = "As good as float?"
    held = [v for v in validation.verdicts if is_drop(v)]
    shipped = shipping(views)
    if failed := _against(validation, {view.file for view in shipped}):
        word = "Not shown" if failed[0].gate.startswith(GROUNDS) else "No"
        return Answer(question=question, answer=f"{word}: {gate_sentence(failed[0])}", good=False)
    view = max(shipped, key=lambda v: how_far(v.headline.mean_db))
    stage = view.headline
    verb = "gains" if is_gain(stage.mean_db) else "loses"
    lost = f"{view.file} {verb} {number(abs(stage.mean_db), 3)} dB on average"
    interval = f"{stage.interval.confidence * 100:.0f} %: {interval_text(stage)}"
    if not held:
        return Answer(question=question, answer=f"Nobody set a limit: {lost} ({interval})")
    means = [v for v in held if v.file == view.file and v.gate == f"{stage.name}.{DROP}.mean"]
    limit = f", {bound(means[0])}" if means else ""
    return Answer(question=question, answer=f"Yes: {lost}{limit} ({interval})", good=True)


def shipping(views: Sequence[FileView]) -> Sequence[FileView]:
    """The INT8 files, which go to the device; all files where none is INT8."""
    int8 = [v for v in views if any(stage.name == "quantization" for stage in v.stages)]
    # an INT8 file without a float file of its own runtime is held against the network alone
    return int8 or [v for v in views if v.headline.name == "total"] or views


def _against(validation: Validation, shipped: Container[str]) -> list[Verdict]:
    """Failed gates of the picture: those of files that ship first, and of them the drops."""
    failed = [v for v in failures(validation) if not v.gate.startswith(NOT_OF_THE_PICTURE)]
    return sorted(failed, key=lambda v: (v.file not in shipped, not is_drop(v)))


def worst_picture(views: Sequence[FileView]) -> Answer:
    """The picture that loses most over the files that ship."""
    view = max(shipping(views), key=lambda v: how_far(v.headline.worst.drop_db))
    worst = view.headline.worst
    verb = "gained" if is_gain(worst.drop_db) else "lost"
    loss = f"{number(abs(worst.drop_db), 3)} dB {verb} by {view.file}"
    return Answer(question="Worst picture?", answer=f"{worst.name}, {loss}")


def is_gain(drop_db: float) -> bool:
    """Whether a drop is shown as less than nothing."""
    return drop_db <= -0.0005


def how_far(drop_db: float) -> float:
    """A drop for comparing: no number is more than any number."""
    return math.inf if math.isnan(drop_db) else drop_db


def exits(validation: Validation) -> Answer:
    """The exit code, and what a build makes of it."""
    question = "May the build fail?"
    if not validation.passed:
        failed, count = len(failures(validation)), len(validation.verdicts)
        why = f"{failed} of {gates(count)} failed" if failed else "it was refused"
        answer = f"It fails, exit code {FAILED_EXIT_CODE}: {why}"
        return Answer(question=question, answer=answer, good=False)
    unsure = "".join(f"; {call}" for call in close_calls(validation)[:1])
    return Answer(question=question, answer=f"It passes, exit code 0{unsure}", good=True)


def close_calls(validation: Validation) -> list[str]:
    """Stages whose mean is within its budget while its interval reaches beyond it."""
    return [
        f"{stage.file} is close: its interval reaches {high} dB, at most {limit:g} dB"
        for stage in validation.stages
        for limit in (stage.budget.mean_db,)
        for high in (number(stage.interval.high, 3),)
        if limit is not None and stage.mean_db <= limit < stage.interval.high
    ]


def checks(validation: Validation) -> list[Check]:
    """The gates that are no drop, one row per gate, those that failed first."""
    names = dict.fromkeys(v.gate for v in validation.verdicts if not is_drop(v))
    found = []
    for name in names:
        held = [v for v in validation.verdicts if v.gate == name]
        shown = max(held, key=lambda v: (not v.passed, _use(v)))
        found.append(Check(gate=name, passed=shown.passed, shown=shown, files=len(held)))
    return sorted(found, key=lambda check: check.passed)


def _use(verdict: Verdict) -> float:
    """How near to its limit a value is: larger is nearer, for ceilings and floors."""
    if math.isnan(verdict.value):
        return math.inf
    gap = verdict.value - verdict.limit
    return -gap if bound(verdict).startswith("at least") else gap


def unmeasured(validation: Validation, file: str) -> list[str]:
    """Gates that one file has no verdict on because nobody measured."""
    held = {v.gate for v in validation.verdicts if v.file in (file, "")}
    return [gate for gate in ASKED if gate not in held]


def measured_nowhere(validation: Validation, *, timed: bool = False) -> dict[str, list[str]]:
    """Gates that no file has a verdict on, by what would give them one; `timed`: times are there,
    only nobody set a limit on them here."""
    found: dict[str, list[str]] = {}
    held = {verdict.gate for verdict in validation.verdicts}
    for gate in ASKED:
        if gate not in held and (gate.startswith("device.") or not timed):
            found.setdefault(how_to_measure(gate), []).append(gate)
    return found


def how_to_measure(gate: str) -> str:
    """What gives a number for a gate that has none."""
    return next(how for start, how in HOW_TO_MEASURE if gate.startswith(start))


def interval_text(stage: Stage) -> str:
    """The interval of the mean, such as `0.051 to 0.070 dB`."""
    return f"{number(stage.interval.low, 3)} to {number(stage.interval.high, 3)} dB"
