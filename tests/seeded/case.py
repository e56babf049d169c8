"""A fault that was put in, and what the product says of it."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from seeded.builds import Build, Made
from toolkit.errors import Problems, ToolkitError
from toolkit.report import Verdict
from toolkit.show.rows import AT_LEAST

# A file is judged by what comes first: behind a wrong picture nothing else can be right.
STAGES = (
    "data", "metric", "packaging", "conversion", "quantization", "device", "latency",
)  # fmt: skip
MOST_NOTE = 60  # characters
MOST_OTHERS = 4  # gates named beside the first one that failed
LEAST = AT_LEAST | {"device.golden"}
GATE_STAGES = {
    "pairs": "data",
    "protocol": "metric",
    "digest": "packaging",
    "golden": "packaging",
    "report": "packaging",  # its figures are of other files
    "reference": "data",  # the network that was handed in, or what was said of it
    "seams": "packaging",  # the tile contract of the manifest, or a file that breaks it
    "baseline_precision": "conversion",
    "int8_macs_share": "quantization",
    "stable": "latency",
    "latency_p90_ms": "latency",
    "coverage": "latency",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the product is asked, by whom it is answered."""

    made: Made
    bundle: Path
    ask: Callable[[Case], Sequence[Verdict]]  # raises ToolkitError, or gives verdicts
    more: dict[str, Any] = field(default_factory=dict)  # for `ask`


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault: `put_in` takes a good build and an empty folder, and holds while it is open."""

    name: str
    where: str
    stage: str
    build: Build
    put_in: Callable[[Made, Path], AbstractContextManager[Case]]
    error: str = ""  # what an error says that counts as caught here; it names no stage itself
    quick: bool = True  # in the test suite as well
    lacks: Callable[[], str] = lambda: ""  # why it cannot be put in on this machine


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The first thing that the product found wrong; `stage` is "" where it found nothing."""

    stage: str
    said: str


def find(case: Case, fault: Fault | None = None) -> tuple[Finding, tuple[Verdict, ...]]:
    """Ask the product, and read its answer: the failed gate of the earliest stage, or the error.

    An error that says something else than the fault is about is one of ours, and not caught.
    """
    try:
        verdicts = tuple(case.ask(case))
    except ToolkitError as problem:
        first = problem.problems[0] if isinstance(problem, Problems) else problem
        said = f"{type(problem).__name__}: {first.problem}"
        is_about_it = fault is not None and fault.error and fault.error in first.problem
        return Finding(stage=fault.stage if is_about_it else "", said=said), ()
    failed = [v for v in verdicts if not v.passed]
    if not failed:
        return Finding(stage="", said="nothing found"), verdicts
    first = min(failed, key=lambda v: STAGES.index(stage_of(v, verdicts)))
    head = first.gate.split(".")[0]
    others = dict.fromkeys(v.gate for v in failed if v.gate.split(".")[0] not in (head, "total"))
    also = f"; also {', '.join(list(others)[:MOST_OTHERS])}" if others else ""
    return Finding(stage=stage_of(first, verdicts), said=words(first) + also), verdicts


def stage_of(verdict: Verdict, verdicts: Sequence[Verdict]) -> str:
    """The stage that a gate belongs to; a picture's is conversion where the float file fails."""
    head = verdict.gate.split(".")[0]
    if head in STAGES:
        return head
    if head in GATE_STAGES and verdict.value == verdict.value:  # NaN: there was no picture
        return GATE_STAGES[head]
    same = [v for v in verdicts if v.gate == verdict.gate and not v.passed]
    floats = [v for v in (*same, verdict) if ".int8." not in v.file]
    return "conversion" if floats else "quantization"


def distance(verdict: Verdict) -> float:
    """How much of its limit a gate used, 1 at the limit; what is no number counts most."""
    value, limit = verdict.value, verdict.limit
    if value != value:
        return float("inf")
    if verdict.gate in LEAST:
        return limit / value if limit > 1 else (1 - value) / max(1 - limit, 1e-9)
    if limit == 0:
        return float("inf") if value > 0 else 0.0
    return value / limit


def words(verdict: Verdict) -> str:
    """A gate in a cell of the table."""
    sign = "of" if verdict.passed else (">" if verdict.value > verdict.limit else "<")
    said = f"{verdict.gate} {verdict.value:.4g} {sign} {verdict.limit:.4g} {verdict.unit}"
    note = textwrap.shorten(verdict.note, MOST_NOTE, placeholder=" ...")
    return said if verdict.passed or not note else f"{said} ({note})"


def validate(case: Case) -> Sequence[Verdict]:
    """`edgesr validate`."""
    from toolkit.validate.asked import Asked
    from toolkit.validate.validating import validate_bundle

    asked = Asked(data=case.made.pictures, threads=1, crops=0, in_child=False)
    return validate_bundle(case.bundle, replace(asked, **case.more)).validation.verdicts


@contextlib.contextmanager
def patched(*changes: tuple[str, Any]) -> Iterator[None]:
    """Functions of the toolkit replaced while open."""
    with ExitStack() as stack:
        for place, new in changes:
            stack.enter_context(patch(place, new))
        yield
