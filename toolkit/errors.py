"""The kinds of failure and their exit codes; the whole list.

A message answers four questions: what, where, what was found, what to do.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence


class ToolkitError(Exception):
    """A failure that is explained in a sentence and needs no traceback."""

    exit_code = 1
    label = "error"

    def __init__(self, problem: str, *, where: str = "", hint: str = "", kind: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint
        self.kind = kind  # a stable word for programs, e.g. "rollback"; "": the message has none

    def __str__(self) -> str:
        label = f"{self.label}[{self.kind}]" if self.kind else self.label
        text = f"{label}: {self.problem}"
        if self.where:
            text += f"\n  --> {self.where}"
        if self.hint:
            text += f"\n\nhint: {self.hint}"
        return text


class UserError(ToolkitError):
    """What was written or handed in cannot be used: recipe, network, image, operator."""

    exit_code = 2


class EnvironmentFailure(ToolkitError):
    """The machine lacks something; the same input may work later."""

    exit_code = 3


class LinkLost(EnvironmentFailure):
    """A device stopped answering in the middle; trying again may work."""


class DeviceBusy(EnvironmentFailure):
    """Somebody else is at work on a device; waiting may help."""


class GateFailed(ToolkitError):
    """Everything worked; the result is not good enough."""

    exit_code = 4
    label = "gate failed"


class SecurityError(ToolkitError):
    """Something was tampered with, or tries to reach where it must not."""

    exit_code = 5
    label = "refused"


class InternalFailure(ToolkitError):
    """A mistake of ours stopped one rung or one target; the others go on."""

    label = "bug"

    @classmethod
    def of(cls, error: Exception) -> InternalFailure:
        """Any exception that nobody expected, with the way to where it was raised."""
        problem = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
        way = "".join(traceback.format_exception(error)).rstrip()
        hint = "this is a bug in edgesr; please report these lines, with the network if you may"
        return cls(problem, where=way, hint=hint)


class Problems(UserError):
    """Every problem of one file or run, shown at once; exits with the first one's code."""

    def __init__(self, problems: Sequence[ToolkitError]) -> None:
        super().__init__(f"{len(problems)} problems" if len(problems) > 1 else "1 problem")
        self.problems = tuple(problems)
        self.exit_code = problems[0].exit_code

    def __str__(self) -> str:
        return "\n\n".join(str(problem) for problem in self.problems)


def raise_all(problems: Sequence[ToolkitError]) -> None:
    """Nothing for no problem, the problem itself for one, `Problems` for more."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Problems(problems)
