"""A new model proves itself on this camera before it is served: golden vectors, then time."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.child import Ended, TooMuchOutput, ended
from toolkit.errors import EnvironmentFailure
from toolkit.pull.confined import words
from toolkit.pull.disk import replace_file
from toolkit.pull.golden_job import job_of
from toolkit.pull.settings import Testing
from toolkit.pull.store import Stored
from toolkit.pull.strict_answer import answer_of

GOLDEN, SLOW, CRASH = "golden", "slow", "crash"
JOB = "self-test.part"  # in the release's folder; no file of a release ends so
NO_HOME = "home.part"  # never made: a runner believes, and removes, some of what it finds there
SPARE_S = 10.0  # for the runner to tell that its time is over, before it is killed
ANSWER_MOST_BYTES = 4 << 20
TIMED_OUT, CANNOT_RUN, NOT_FOUND, SIGNALLED = 124, 126, 127, 128
HEADLINE_PERCENT = 90  # as gates and benches judge; MLPerf's single stream
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "TZ", "TMPDIR")
KINDS: Mapping[str, str] = {"golden": GOLDEN, "time": SLOW}  # of a runner's failure; else crash


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a self-test found; `kind` is "" for a good model."""

    kind: str = ""
    text: str = ""


def self_test(stored: Stored, testing: Testing) -> Verdict:
    """Run a stored release in a child process with limits.

    Raises EnvironmentFailure `runtime` where this camera cannot run the test at all, which says
    nothing about the model; `disk-full`, `read-only`, `store` where the job cannot be written.
    """
    if testing.program is not None:
        return _by_program(stored, testing, testing.program)
    job = stored.folder / JOB
    replace_file(job, job_of(stored, testing))
    try:
        done = _ended(stored, testing, job=job)
    finally:
        with contextlib.suppress(OSError):
            job.unlink()
    return _late(testing) if done is None else _judged(done, stored, testing)


def _by_program(stored: Stored, testing: Testing, program: Path) -> Verdict:
    """The firmware's own test: its exit code is the verdict."""
    done = _ended(stored, testing, program=(str(program), str(stored.folder)))
    if done is None or done.code == TIMED_OUT:
        return _late(testing)
    if done.code in (CANNOT_RUN, NOT_FOUND):
        raise _unable(f"the program cannot be run (exit {done.code})", str(program))
    said = _last_line(done.stderr)
    if done.code >= SIGNALLED:
        return Verdict(kind=CRASH, text=f"it ended by signal {done.code - SIGNALLED}{said}")
    if done.code:
        return Verdict(kind=GOLDEN, text=f"the self-test program exits with {done.code}{said}")
    return Verdict()


def _ended(
    stored: Stored, testing: Testing, *, job: Path | None = None, program: tuple[str, ...] = ()
) -> Ended | None:
    """The child at its end; None where its time was over."""
    cores = os.cpu_count() or 1
    cpu_s = max(1, round(testing.limit_s * cores + SPARE_S))
    line = words(testing.memory_mb, cpu_s, job=job, program=program)
    try:
        return ended(
            line,
            timeout_s=testing.limit_s + (SPARE_S if job is not None else 0),
            environment=_environment(stored),
            most_bytes=ANSWER_MOST_BYTES,
        )
    except subprocess.TimeoutExpired:
        return None
    except (OSError, subprocess.SubprocessError) as error:  # no memory for a process, no Python
        raise _unable(f"no process can be started: {error}", line[0]) from error
    except TooMuchOutput:
        return Ended(code=SIGNALLED + 9, stdout=b"", stderr="it wrote without end")


def _environment(stored: Stored) -> dict[str, str]:
    """Little of ours: no proxies, no tokens; a runtime's threads share few memory arenas."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, "EDGESR_HOME": str(stored.folder / NO_HOME), "MALLOC_ARENA_MAX": "2"}


def _judged(done: Ended, stored: Stored, testing: Testing) -> Verdict:
    answer = answer_of(done.stdout)
    if answer is None:
        return Verdict(kind=CRASH, text=f"its process ended with {done.code}, no answer")
    error = answer["error"]
    if isinstance(error, dict):
        return _failed(str(error.get("kind")), str(error.get("text")))
    check = answer["golden"]
    if check is not None and not check["passed"]:
        share = f"{check['within_share']:.4%} of the values are within {check['tolerance']:g}"
        return Verdict(kind=GOLDEN, text=f"{share}, at least {check['least_share']:.4%} must be")
    return _in_time(answer, limit_us(stored, testing))


def _failed(kind: str, text: str) -> Verdict:
    if kind == "missing":
        raise _unable(_plain(text), "self-test")
    return Verdict(kind=KINDS.get(kind, CRASH), text=f"{_plain(kind)}: {_plain(text)}")


def limit_us(stored: Stored, testing: Testing) -> int | None:
    """The limit on p90 latency, the camera's own before the release's."""
    own = testing.max_latency_us
    return own if own is not None else stored.release.latency_limit_us


def _in_time(answer: Mapping[str, Any], limit: int | None) -> Verdict:
    samples = sorted(answer["samples_ns"])
    if limit is None or not samples:
        return Verdict()
    rank = -(-len(samples) * HEADLINE_PERCENT // 100)  # nearest rank, from 1
    p90_us = samples[rank - 1] / 1e3
    if p90_us <= limit:
        return Verdict()
    return Verdict(kind=SLOW, text=f"p90 {p90_us / 1e3:.3g} ms, at most {limit / 1e3:g} ms")


def _late(testing: Testing) -> Verdict:
    return Verdict(kind=SLOW, text=f"not done after {testing.limit_s:g} s")


def _last_line(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return f": {_plain(lines[-1])}" if lines else ""


def _plain(text: str) -> str:
    """What a child says may come from a hostile model: no escape codes for a terminal."""
    return ascii(text)[1:-1][:300]


def _unable(text: str, where: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"this camera cannot run the self-test: {text}",
        where=where,
        hint="install what is missing; the present model stays, and nothing is blocked",
        kind="runtime",
    )
