"""The formats' own tools as child processes with a time limit."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from toolkit.child import Ended, TooMuchOutput, ended
from toolkit.errors import EnvironmentFailure

LONGEST_S = 300.0  # they pack some hundred kB; signing by an HSM takes seconds
TOLD_LINES = 6  # of what a tool says when it fails


def has_tool(tool: str) -> bool:
    """Whether the format's tool is on this machine."""
    return shutil.which(tool) is not None


def run_tool(
    words: Sequence[str],
    *,
    package: str,
    otherwise: str,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a tool that must succeed. `otherwise`: what to do without it, for the hint.

    Raises EnvironmentFailure where it is not installed, fails or does not end.
    """
    tool = words[0]
    if not has_tool(tool):
        raise EnvironmentFailure(
            f"`{tool}` is not installed",
            hint=f"apt install {package}; {otherwise}",
            kind="missing",
        )
    try:
        done = ended(words, timeout_s=LONGEST_S, environment={**os.environ, **(environment or {})})
    except (subprocess.TimeoutExpired, TooMuchOutput) as error:
        raise EnvironmentFailure(f"`{tool}` did not end within {LONGEST_S:g} s") from error
    if done.code != 0:
        said = [*done.stderr.splitlines(), *done.stdout.decode("utf-8", "replace").splitlines()]
        told = "\n".join(line for line in said if line.strip()) or "it said nothing"
        last = "\n".join(told.splitlines()[-TOLD_LINES:])
        raise EnvironmentFailure(
            f"`{' '.join(words[:2])}` failed with code {done.code}: {last}",
            hint="nothing was written; what the tool says above is why",
        )
    return done
