"""Pulls under way: one process each, of either client, started without waiting for its end."""

from __future__ import annotations

import atexit
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO

from camera.warm import Warm
from toolkit.child import die_with_parent

WAIT_MOST_S = 20.0  # for something that takes milliseconds
PYTHON_WORDS = (sys.executable, "-m", "toolkit")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended and what it wrote."""

    code: int  # minus the signal's number where it was killed
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, kw_only=True)
class Running:
    """One process under way."""

    pid: int
    stdout: IO[bytes]
    stderr: IO[bytes]
    end: Callable[[], int]  # waits for the exit code

    def kill(self) -> None:
        """SIGKILL; nothing where it has ended by itself."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def wait(self, timeout_s: float = 60.0) -> Ended:
        """Its end. One that hangs is killed after `timeout_s`: its code is then -9."""
        alarm = threading.Timer(timeout_s, self.kill)
        alarm.start()
        try:
            code = self.end()
        finally:
            alarm.cancel()
        with self.stdout, self.stderr:
            self.stdout.seek(0)
            self.stderr.seek(0)
            return Ended(code=code, stdout=self.stdout.read(), stderr=self.stderr.read())


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Look again and again; AssertionError where it does not come true in WAIT_MOST_S."""
    until_s = time.monotonic() + WAIT_MOST_S
    while not holds():
        assert time.monotonic() < until_s, f"never: {what}"
        time.sleep(0.005)


@cache
def warm() -> Warm:
    """The one warm Python process of these tests."""
    made = Warm()
    atexit.register(made.close)
    return made


def start(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    limits: Mapping[int, int] | None = None,
) -> Running:
    """Start a command line; one of `python -m toolkit` in a fork of the warm process."""
    out, err = (os.fdopen(os.memfd_create(name), "w+b") for name in ("stdout", "stderr"))
    if tuple(words[:3]) == PYTHON_WORDS:
        begun = warm().start(
            words[3:], stdout=out.fileno(), stderr=err.fileno(), env=environment, limits=limits
        )
        return Running(pid=begun.pid, stdout=out, stderr=err, end=begun.wait)
    child = subprocess.Popen(
        list(words),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env={**os.environ, **(environment or {})},
        preexec_fn=lambda: _begin(limits or {}),
    )
    return Running(pid=child.pid, stdout=out, stderr=err, end=child.wait)


def _begin(limits: Mapping[int, int]) -> None:
    die_with_parent()
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails, as a full disk does
