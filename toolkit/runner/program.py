"""`python3 edgesr-runner.pyz JOB.json`: does one job, prints one framed answer on stdout.

Exit code 0 where the job was done, also where golden vectors differ (the answer says so); 1 where
it could not be, with the reason in the answer.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.runner.answer import EMPTY, framed, with_failure
from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.governor import restore
from toolkit.runner.guard import (
    Stopped,
    end_with_parent,
    ignore_signals,
    start_guard,
    stop_by_signal,
)
from toolkit.runner.job import Job, read_job


def main(arguments: Sequence[str]) -> int:
    """Run the job named by the only argument; whatever a runtime prints goes to stderr.

    Environment: EDGESR_HOME, the folder that is kept between jobs; EDGESR_SYSTEM_ROOT, the folder
    that holds proc/ and sys/.
    """
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    end_with_parent()
    try:
        if len(arguments) != 1:
            raise Failure("run", "usage: edgesr-runner.pyz JOB.json")
        job = read_job(Path(arguments[0]))
    except Failure as failure:
        return _say(answer_fd, with_failure(EMPTY, failure))
    system = Path(os.environ.get("EDGESR_SYSTEM_ROOT") or "/")
    home = _home(Path(arguments[0]).parent)
    guard = start_guard(answer_fd, job.expires_s, lambda runner: _tidy(system, home, runner))
    document = _done(job, system, home)
    ignore_signals()
    code = _say(answer_fd, document)
    guard.leave()  # not where writing failed: then the guard tries
    return code


def _home(folder: Path) -> Path:
    """Where the toolkit keeps things on this machine; the job's folder where there is no home."""
    stated, home = os.environ.get("EDGESR_HOME"), os.environ.get("HOME")
    if stated:
        return Path(stated)
    return Path(home) / ".cache/edgesr" if home else folder


def _tidy(system: Path, home: Path, runner: int) -> None:
    restore(system, home, owner=runner)


def _done(job: Job, system: Path, home: Path) -> dict[str, Any]:
    """The answer, complete or with the reason why it is not."""
    document: dict[str, Any] = {**EMPTY, "remarks": []}
    try:
        stop_by_signal()
        # numpy and the runtimes come after the guard was forked: they start threads
        from toolkit.runner.work import fill

        problem = restore(system, home)
        document["remarks"] += [problem] if problem else []
        fill(document, job, system=system, home=home)
    except Stopped as stop:
        ignore_signals()
        document = with_failure(document, _stop(stop, job))
    except ImportError as error:
        document = with_failure(document, Failure("missing", str(error)))
    except Exception as error:
        document = with_failure(document, failure_of(error, "run"))
    return document


def _stop(stop: Stopped, job: Job) -> Failure:
    if stop.number == signal.SIGALRM:
        return Failure("time", f"not done after {job.expires_s:g} s")
    return Failure("run", f"stopped by {stop}")


def _say(answer_fd: int, document: Mapping[str, Any]) -> int:
    with os.fdopen(answer_fd, "wb") as stream:
        stream.write(framed(document))
    return 1 if document["error"] else 0
