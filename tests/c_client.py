"""The C client's program, built once: tests that use it share one build, also between processes."""

from __future__ import annotations

import fcntl
import subprocess
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "clients" / "c"
PROGRAMS = {  # goal of the Makefile to program
    "all": "edgesr-pull",
    "hooks": "build-hooks/edgesr-pull",  # the same, and EDGESR_KILL and EDGESR_NOW work
    "san": "build-san/edgesr-pull",  # and every mistake with memory ends it with a report
    "fuzz": "build-fuzz",  # the folder of the fuzz targets
}


@cache
def binary(kind: str = "san") -> Path:
    """Path of the program of one kind of `PROGRAMS`; make knows what is up to date."""
    with (SOURCE / ".gitignore").open() as lock:  # any file that is always there
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = ["make", "--silent", "--directory", str(SOURCE), kind]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return SOURCE / PROGRAMS[kind]


def edgesr_pull() -> Path:
    """The program that tests use: with sanitizers and with the tests' hooks."""
    return binary("san")
