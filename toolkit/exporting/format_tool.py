"""The formats' own tools as child processes with a time limit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

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
    hint: str = "",
) -> Ended:
    """Run a tool that must succeed. `otherwise`: what to do without it; `hint`: where it fails.

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
        done = ended(words, timeout_s=LONGEST_S)
    except (subprocess.TimeoutExpired, TooMuchOutput) as error:
        raise EnvironmentFailure(f"`{tool}` did not end within {LONGEST_S:g} s") from error
    if done.code != 0:
        said = [*done.stderr.splitlines(), *done.stdout.decode("utf-8", "replace").splitlines()]
        told = "\n".join(line for line in said if line.strip()) or "it said nothing"
        last = "\n".join(told.splitlines()[-TOLD_LINES:])
        raise EnvironmentFailure(
            f"`{tool}` failed with code {done.code}: {last}",
            hint=hint or "nothing was written; what the tool says above is why",
        )
    return done
