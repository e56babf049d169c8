"""How a poll ended, as people and programs read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from toolkit.errors import Problems, ToolkitError, UserError
from toolkit.pull.choose import HeldBack
from toolkit.pull.store import Standing

SCHEMA = 1
Outcome = Literal["updated", "current", "waiting", "kept", "refused", "failed"]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What a poll cost."""

    requests: int = 0
    bytes_fetched: int = 0
    bytes_resumed: int = 0  # of partial files that an earlier poll left


@dataclass(frozen=True, kw_only=True)
class Result:
    """One poll. `standing` is what the camera serves afterwards, whatever happened."""

    outcome: Outcome
    standing: Standing
    held_back: tuple[HeldBack, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    error: ToolkitError | None = None
    clock: Mapping[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, else that of the error."""
        return 0 if self.error is None else self.error.exit_code

    def as_json(self) -> dict[str, Any]:
        """The JSON value of `edgesr pull --json`."""
        return {
            "schema": SCHEMA,
            "outcome": self.outcome,
            **served(self.standing),
            "held_back": [dict(vars(one)) for one in self.held_back],
            **vars(self.traffic),
            "error": None if self.error is None else error_json(self.error),
            "clock": None if self.clock is None else dict(self.clock),
        }


def served(standing: Standing) -> dict[str, Any]:
    """What firmware wants to know: which model, and where its file is."""
    current, previous = standing.current, standing.previous
    return {
        "release": None if current is None else current.release.release,
        "id": None if current is None else current.id,
        "path": None if current is None else str(current.model.absolute()),
        "previous": None if previous is None else previous.release.release,
    }


def error_json(error: ToolkitError) -> dict[str, Any]:
    """What went wrong, for programs."""
    told = error.problems if isinstance(error, Problems) else (error,)
    text = "; ".join(one.problem for one in told)
    return {"kind": error.kind, "text": text, "exit_code": error.exit_code}


def name_usage(error: ToolkitError) -> None:
    """Mistakes of whoever typed the options have the kind `usage`, where they have no other."""
    for one in error.problems if isinstance(error, Problems) else ():
        name_usage(one)
    if isinstance(error, UserError) and not error.kind:
        error.kind = "usage"
