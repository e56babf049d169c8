"""Scripts in a child of this machine: what its links share, whichever program they go through."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.child import TooMuchOutput, ended
from toolkit.contracts import Finished, Link
from toolkit.errors import EnvironmentFailure


def finished(
    words: Sequence[str],
    *,
    url: str,
    timeout_s: float,
    stdin: Path | bytes,
    environment: Mapping[str, str],
    late: str,
) -> Finished:
    """Run a program with everything it starts for at most `timeout_s` seconds.

    `late` is what to do where that is too short. Raises EnvironmentFailure, also for an answer
    that is too large.
    """
    try:
        done = ended(words, timeout_s=timeout_s, stdin=stdin, environment=environment)
    except subprocess.TimeoutExpired:
        raise EnvironmentFailure(
            f"not done within {timeout_s:.0f} s, and stopped", where=url, hint=late
        ) from None
    except TooMuchOutput as found:
        raise EnvironmentFailure(f"the answer is too large: {found}", where=url) from None
    return Finished(code=done.code, stdout=done.stdout, stderr=done.stderr)


def write(link: Link, local: Path, remote: str, *, timeout_s: float, full: str) -> None:
    """Write a file through `cat`. `full` is where to look where it could not be written.

    Raises EnvironmentFailure.
    """
    done = link.run(f"cat > {shlex.quote(remote)}", timeout_s=timeout_s, stdin=local)
    if done.code != 0:
        raise EnvironmentFailure(
            f"could not write `{remote}`: {done.stderr.strip()[-300:]}", where=link.url, hint=full
        )
