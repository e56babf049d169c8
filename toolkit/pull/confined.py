"""The self-test's process: limits first, then the runner or a program of the firmware.

Nothing that a model does to its runtime reaches the process that pulls.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import toolkit

PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h: no program started from here gains rights
FILE_MOST_BYTES = 16 << 20  # of a file that a self-test writes; the golden check writes none
START = """\
import json, sys
given = json.loads(sys.argv[1])
sys.path[:] = given["path"]
from toolkit.pull.confined import main
sys.exit(main(given))
"""


def words(memory_mb: int, cpu_s: int, *, job: Path | None, program: Sequence[str]) -> list[str]:
    """A command line that sets limits and then does a runner's job, or becomes a program."""
    given = {
        "path": [str(Path(toolkit.__file__).parent.parent), *filter(None, sys.path)],
        "memory_mb": memory_mb,
        "cpu_s": cpu_s,
        "job": None if job is None else str(job),
        "program": list(program),
    }
    return [sys.executable, "-I", "-B", "-c", START, json.dumps(given)]


def main(given: Mapping[str, Any]) -> int:
    """In the child: returns the runner's exit code; 126 or 127 where a program cannot start."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, given["memory_mb"] << 20)
    _limit(resource.RLIMIT_CPU, given["cpu_s"])
    _limit(resource.RLIMIT_FSIZE, FILE_MOST_BYTES)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if given["job"] is not None:
        from toolkit.runner.program import main as run_job

        return run_job([given["job"]])
    try:
        os.execv(given["program"][0], given["program"])
    except FileNotFoundError:
        return 127
    except OSError:
        return 126


def _limit(which: int, most: int) -> None:
    """Never above what this process was given."""
    hard = resource.getrlimit(which)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))
