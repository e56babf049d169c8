"""The ladder of one target: rungs of quantization, cheapest first, until the gates hold.

Every rung is judged on the real files by the gates that content decides. Time decides only for
`mixed`, whose float layers cost some: the other rungs all give the same operators to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.errors import EnvironmentFailure, InternalFailure, SecurityError, ToolkitError
from toolkit.report import Rung, Verdict
from toolkit.run.attempt import Attempt, Times, attempt, rung_of, time_short
from toolkit.run.judge import failed
from toolkit.run.key import tool_versions
from toolkit.run.rungs import at_rung, rungs_to_try
from toolkit.run.score import Scoring
from toolkit.run.steps import TRAINING_RUNG, TRAINING_TOOLS, Transformed
from toolkit.show.rows import sentence
from toolkit.spec.recipe import Gates, StepSpec
from toolkit.spec.target import Target


@dataclass(frozen=True, kw_only=True)
class Climbed:
    """Where a target's ladder ended."""

    taken: Attempt
    rungs: tuple[Rung, ...]  # all that were tried, in order; the taken one without its times


def climb(
    scoring: Scoring,
    target: Target,
    step: StepSpec,
    made: Transformed,
    folder: Path,
    earlier: Mapping[str, Rung],
) -> Climbed:
    """Try rungs until one passes; else take the one whose worst file loses least.

    `earlier` holds rungs of the report that lies there from a run before, by their keys: times
    that were taken of the same files on this host are not taken again.
    Raises what refused the first rung where none could be built at all.
    """
    walk, gates = scoring.walk, scoring.recipe.gates
    names = rungs_to_try(step, gates)
    start = len(walk.records)
    tried: list[Attempt] = []
    rungs: list[Rung] = []
    refusals: list[ToolkitError] = []
    for name in names:
        if name == TRAINING_RUNG and refusals and not tried:
            break  # nothing runs untrained, and training changes no operator
        walk.listener.say(f"rung {name}")
        try:
            found = _attempt(scoring, target, at_rung(step, name, gates, target), made, folder)
        except (SecurityError, EnvironmentFailure):
            raise
        except ToolkitError as refusal:
            refusals.append(refusal)
            rungs.append(_refused(name, refusal))
            walk.listener.say(f"rung {name} was refused: {refusal.problem}")
            continue
        tried.append(found)
        times: Times = {}
        is_last = name == names[-1]
        if not found.passed or (name == "mixed" and not is_last):
            times = _times(scoring, found, earlier)
        rungs.append(rung_of(found, "failed", why_not(found, times, gates), times))
        if is_enough(found, rungs[-1]):
            break
        walk.listener.say(f"rung {name} will not do: {rungs[-1].why}")
    if not tried:
        raise refusals[0]
    taken = _best(tried, rungs)
    walk.records[start:] = taken.records
    return Climbed(taken=taken, rungs=tuple(_marked(rungs, taken)))


def _attempt(
    scoring: Scoring, target: Target, step: StepSpec, made: Transformed, folder: Path
) -> Attempt:
    """The attempt; a rung that trains where there is nothing to train with is only refused.

    So is one that a mistake of ours stops: another rung may still come through.
    """
    if step.params["rung"] == TRAINING_RUNG:
        try:
            tool_versions(TRAINING_TOOLS)
        except EnvironmentFailure as missing:
            raise ToolkitError(missing.problem, hint=missing.hint) from missing
    try:
        return attempt(scoring, target, step, made, folder)
    except (ToolkitError, OSError):
        raise
    except Exception as broken:
        raise InternalFailure.of(broken) from broken


def _refused(name: str, refusal: ToolkitError) -> Rung:
    return Rung(name=name, state="refused", minutes=0.0, why=refusal.problem, key="", files=())


def _times(scoring: Scoring, found: Attempt, earlier: Mapping[str, Rung]) -> Times:
    kept = earlier.get(found.key)
    if kept is None or any(file.p50_ms is None for file in kept.files):
        return time_short(scoring, found)
    return {
        file.file: (file.p50_ms, file.float_p50_ms)
        for file in kept.files
        if file.p50_ms is not None and file.float_p50_ms is not None
    }


def why_not(found: Attempt, times: Times, gates: Gates) -> str:
    """The first gate that fails, as a sentence; "" where all hold and INT8 is fast enough."""
    lost = failed(found.verdicts)
    if lost:
        return short(lost[0])
    least = gates.int8_speedup or 1.0
    for file, (int8_ms, float_ms) in times.items():
        if not float_ms / int8_ms > least:
            return f"{file} is {float_ms / int8_ms:.2f} times as fast as float, {least:g} wanted"
    return ""


def short(verdict: Verdict) -> str:
    """One failed gate for the talk of a run, such as `net.int8.onnx lost 0.312 dB, 0.1 allowed`."""
    if verdict.gate.startswith("psnr_drop_db"):
        where = " on its worst image" if verdict.gate.endswith("worst") else ""
        return f"{verdict.file} lost {verdict.value:.3f} dB{where}, {verdict.limit:g} allowed"
    return sentence(verdict)


def is_enough(found: Attempt, rung: Rung) -> bool:
    """Whether climbing on is of no use: all holds, or what fails no other rung brings back.

    Only `mixed` takes layers out of INT8, so only there share, size and time may be better on the
    next one.
    """
    return not rung.why or (rung.name != "mixed" and not found.lacks_only_picture)


def _best(tried: Sequence[Attempt], rungs: Sequence[Rung]) -> Attempt:
    """The one that passed; else the least loss among those whose work is INT8; first of equals."""
    passed = {rung.name for rung in rungs if rung.state != "refused" and not rung.why}
    for found in tried:
        if found.rung in passed:
            return found
    return min(tried, key=lambda t: (not t.passed, not t.lacks_only_picture, t.mean_db))


def _marked(rungs: Sequence[Rung], taken: Attempt) -> list[Rung]:
    return [
        replace(r, state="best" if r.why else "passed") if r.name == taken.rung else r
        for r in rungs
    ]
