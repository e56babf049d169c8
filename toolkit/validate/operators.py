"""What each file is really computed in: work in INT8, and a baseline that is true float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit import plugins
from toolkit.contracts import Artefact
from toolkit.errors import UserError
from toolkit.report import Verdict
from toolkit.run.judge import LEAST_INT8_SHARE
from toolkit.run.score import int8_shares, layers_left
from toolkit.run.trial import try_out
from toolkit.validate.comparing import at_least, at_most

TRIAL_PX = 96  # of the first run, where sizes are free

Operators = Sequence[Mapping[str, Any]]  # `contracts.Operator` as dicts


def operators_of(artefact: Artefact, *, threads: int, in_child: bool) -> Operators:
    """The file's operators as its runtime executes them; `in_child` runs it there once before.

    Raises UserError where the child died: the file would have ended this process.
    """
    if in_child:
        side = max(TRIAL_PX, artefact.contract.image.minimum_px)
        return try_out(artefact, threads=threads, input_px=(side, side)).operators
    from dataclasses import asdict

    try:
        return [asdict(o) for o in plugins.load("backends", artefact.backend).operators(artefact)]
    except (RuntimeError, ValueError) as problem:
        raise UserError(f"`{artefact.path.name}`: {problem}") from problem


def precision_verdicts(
    artefact: Artefact, operators: Operators, limits: Mapping[str, float]
) -> list[Verdict]:
    """That the work of an INT8 file is INT8, and that of a float32 file is float32."""
    name = artefact.path.name
    if artefact.precision == "int8":
        share, limit = int8_shares(operators)[1], limits.get("int8_macs_share", LEAST_INT8_SHARE)
        note = layers_left(operators)
        return [at_least("int8_macs_share", name, share, limit, "at least", note)]
    if artefact.precision == "float32":
        wrong = float32_share(operators) < 1
        note = _others(operators)
        return [at_most("baseline_precision", name, float(wrong), 0, "files", note)]
    return []


def float32_share(operators: Operators) -> float:
    """Share of the computing operators that run in true float32, 0 to 1."""
    counted = [o for o in operators if o["precision"]]
    return sum(o["precision"] == "float32" for o in counted) / len(counted) if counted else 0.0


def _others(operators: Operators) -> str:
    found = sorted({o["precision"] for o in operators} - {"", "float32"})
    return f"computes in {', '.join(found)} as well" if found else "true float32"
