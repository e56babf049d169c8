"""A child that outlives the runner by a moment: ends it when it must end, tidies up after it.

It costs nothing while files are timed: it sleeps in one `poll` until the runner is gone, its time
is over, or nobody is left to read the answer (a lost link).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.runner.answer import EMPTY, framed, with_failure
from toolkit.runner.failure import Failure

GRACE_S = 5.0  # from the polite signal to SIGKILL: a runtime may hang in its own code
REMIND_S = 0.5
DONE = b"d"
POLL_MOST_MS = 86_400_000  # poll(2) takes an int of milliseconds
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Stopped(BaseException):
    """A signal asked the runner to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def ignore_signals() -> None:
    """From now on no signal that asks to end has any effect."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def stop_by_signal() -> None:
    """From now on the first signal that asks to end raises Stopped; later ones are ignored.

    It is raised again and again until `ignore_signals` is called: extension modules swallow
    exceptions that they did not expect (numpy.random does while it is imported).
    """

    def stop(number: int, _frame: object) -> None:
        ignore_signals()

        def remind(_number: int, _frame: object) -> None:
            raise Stopped(number)

        signal.signal(signal.SIGALRM, remind)
        signal.setitimer(signal.ITIMER_REAL, REMIND_S, REMIND_S)
        raise Stopped(number)

    for number in STOPPING:
        signal.signal(number, stop)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent ends. Linux only, elsewhere nothing."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (ImportError, OSError, AttributeError, TypeError):
        return


@dataclass(frozen=True)
class Guard:
    """The child, seen from the runner."""

    process: int
    pipe: int

    def leave(self) -> None:
        """The answer is written; the child ends."""
        os.write(self.pipe, DONE)
        os.close(self.pipe)
        os.waitpid(self.process, 0)


def start_guard(answer_fd: int, expires_s: float, tidy: Callable[[int], None]) -> Guard:
    """Fork the child, before any library starts a thread.

    `tidy` gets the runner's process id and is called in the child once the runner is gone. Where
    the runner was killed before it answered, the child writes an answer that says so.
    """
    runner = os.getpid()
    there, here = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(here)
            _guard(runner, there, answer_fd, expires_s, tidy)
        finally:
            os._exit(0)
    os.close(there)
    return Guard(process=process, pipe=here)


def _guard(
    runner: int, pipe: int, answer_fd: int, expires_s: float, tidy: Callable[[int], None]
) -> None:
    os.setsid()  # whoever kills the runner's group must not kill this
    ignore_signals()
    failure = _wait(runner, pipe, answer_fd, expires_s)
    try:
        tidy(runner)
    finally:
        if failure is not None:
            os.write(answer_fd, framed(with_failure(EMPTY, failure)))


def _wait(runner: int, pipe: int, answer_fd: int, expires_s: float) -> Failure | None:
    """Until the runner is gone; None where it answered, else what to say in its place."""
    until, signals = time.monotonic() + expires_s, [signal.SIGKILL, signal.SIGALRM]
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.register(answer_fd, 0)  # errors and hang-ups are always reported
    while True:
        left_ms = max(0, round((until - time.monotonic()) * 1000))
        events = dict(poll.poll(min(left_ms, POLL_MOST_MS) if signals else None))
        if pipe in events:
            return None if os.read(pipe, 1) == DONE else _death(expires_s, not signals)
        if answer_fd in events:
            poll.unregister(answer_fd)
            until, signals = time.monotonic() + GRACE_S, [signal.SIGKILL]
            os.kill(runner, signal.SIGTERM)
        elif signals and time.monotonic() >= until:
            until = time.monotonic() + GRACE_S
            os.kill(runner, signals.pop())


def _death(expires_s: float, was_killed: bool) -> Failure:
    if was_killed:
        text = f"not done after {expires_s:g} s and did not react: it was killed"
        return Failure("time", text)
    return Failure(
        "run",
        "the runner was ended before it answered: killed, out of memory, or aborted by the runtime",
    )
