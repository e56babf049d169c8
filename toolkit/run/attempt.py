"""One rung of quantization on one target: quantize, convert, score the INT8 files, judge them."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from toolkit import __version__
from toolkit.contracts import Artefact
from toolkit.digest import sha256_json
from toolkit.report import STOOD_IN_FOR, Measured, Rung, RungFile, StepRecord, Verdict, psnr_drop
from toolkit.run.convert import convert
from toolkit.run.judge import (
    LEAST_INT8_SHARE,
    content_gates,
    failed,
    is_picture,
    judge,
)
from toolkit.run.measure import SHORT, time_interleaved
from toolkit.run.npu import with_npu
from toolkit.run.score import Scored, Scoring, float_rivals, layers_left, measured_file
from toolkit.run.sources import label
from toolkit.run.steps import Transformed, quantize
from toolkit.spec.recipe import Gates, Recipe, StepSpec
from toolkit.spec.target import Target

File = tuple[Artefact, str]  # with the digest of all its parts
Times = Mapping[str, tuple[float, float]]  # INT8 file -> its p50 and the fastest float mode's, ms


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one rung gave on the real files."""

    rung: str
    made: Transformed
    converted: tuple[File, ...]
    scored: tuple[Scored, ...]  # the INT8 files
    files: tuple[Measured, ...]  # the same, not timed
    reference: Measured
    verdicts: tuple[Verdict, ...]  # of the gates that content decides
    records: tuple[StepRecord, ...]
    key: str  # digest of what a clock would be held against, and how

    @property
    def mean_db(self) -> float:
        """The mean drop of the file that loses most; infinite where it is no number."""
        drops = [psnr_drop(self.reference, file).mean_db for file in self.files]
        return max((d if d == d else float("inf") for d in drops), default=float("inf"))

    @property
    def passed(self) -> bool:
        """Whether every gate that content decides holds."""
        return not failed(self.verdicts)

    @property
    def lacks_only_picture(self) -> bool:
        """Whether another rung could help: nothing but the picture is not good enough."""
        return all(is_picture(verdict) for verdict in failed(self.verdicts))


def attempt(
    scoring: Scoring, target: Target, step: StepSpec, made: Transformed, folder: Path
) -> Attempt:
    """Build and judge one rung's INT8 files; every part is kept by content."""
    walk, recipe = scoring.walk, scoring.recipe
    start = len(walk.records)
    quantized = quantize(walk, recipe, step, made)
    assert quantized is not None
    rung = str(step.params["rung"])
    place = folder / rung
    converted = convert(walk, recipe, target, label(recipe.network), quantized, place, rung)
    integer = [scoring.of(*file) for file in converted if file[0].precision == "int8"]
    scored = with_npu(walk, scoring.slot, target, integer)
    reference = scoring.reference(made.reference)
    return Attempt(
        rung=rung,
        made=quantized,
        converted=tuple(converted),
        scored=scored,
        files=tuple(measured_file(s) for s in scored),
        reference=reference,
        verdicts=tuple(_verdicts(recipe.gates, target, scored, reference)),
        records=tuple(walk.records[start:]),
        key=_key(recipe, converted),
    )


def _verdicts(
    gates: Gates, target: Target, files: Sequence[Scored], reference: Measured
) -> list[Verdict]:
    found = []
    for scored in files:
        measured = measured_file(scored)
        drop = psnr_drop(reference, measured)
        layers = layers_left(scored.operators)
        found += judge(content_gates(gates), measured, drop, layers=layers)
    return [*found, *without_int8(target, {scored.artefact.backend for scored in files})]


def without_int8(target: Target, made: Collection[str]) -> list[Verdict]:
    """The failed gate of each backend that could make no INT8 file at all."""
    return [
        Verdict(
            gate="int8_macs_share",
            file=backend,
            value=0.0,
            limit=LEAST_INT8_SHARE,
            unit="at least",
            passed=False,
            note="no INT8 file could be made",
        )
        for backend in sorted({build.backend for build in target.builds} - set(made))
    ]


def _key(recipe: Recipe, converted: Sequence[File]) -> str:
    return sha256_json(
        {
            "files": {artefact.path.name: digest for artefact, digest in converted},
            "measuring": asdict(recipe.measuring),
            "toolkit": __version__,
            "host": platform.node(),
        }
    )


def time_short(scoring: Scoring, tried: Attempt) -> Times:
    """p50 of each INT8 file beside the fastest float mode of its runtime, a second or two each.

    Files that another runtime stands in for are left out.
    """
    timed = [a for a, _ in tried.converted if a.backend != STOOD_IN_FOR]
    timed += [a for a, _ in float_rivals(tried.converted)]
    if not timed:
        return {}
    scoring.walk.listener.say(f"timing {len(timed)} files in turn, shortly")
    samples = time_interleaved(timed, scoring.recipe.measuring, SHORT)
    p50_ms = [(a, s.percentile_ms(50)) for a, s in zip(timed, samples, strict=True)]
    return {
        a.path.name: (own, min(ms for f, ms in p50_ms if _is_rival(f, a)))
        for a, own in p50_ms
        if a.precision == "int8" and any(_is_rival(f, a) for f, _ in p50_ms)
    }


def _is_rival(file: Artefact, of: Artefact) -> bool:
    return file.backend == of.backend and file.precision != "int8"


def rung_of(tried: Attempt, state: str, why: str, times: Times) -> Rung:
    """The attempt as a report tells it."""
    drops = [(file.file, psnr_drop(tried.reference, file)) for file in tried.files]
    files = tuple(
        RungFile(file=name, mean_db=drop.mean_db, worst_db=drop.worst_db) for name, drop in drops
    )
    rung = Rung(
        name=tried.rung,
        state=state,
        minutes=tried.made.minutes,
        why=why,
        key=tried.key,
        files=files,
    )
    return with_times(rung, times)


def with_times(rung: Rung, times: Times) -> Rung:
    """The rung with the times of those of its files that were timed."""
    files = [
        replace(file, p50_ms=times[file.file][0], float_p50_ms=times[file.file][1])
        if file.file in times
        else file
        for file in rung.files
    ]
    return replace(rung, files=tuple(files))
