"""A child process that dies, or meets a full disk, at one of the moments of a write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

Act = Callable[[Callable[[str, str], None]], object]  # does the work, with this observer


def moments(act: Act) -> list[tuple[str, str]]:
    """Every (phase, file) that the work passes, in order; it is done afterwards."""
    seen: list[tuple[str, str]] = []
    act(lambda phase, name: seen.append((phase, name)))
    return seen


def different(whole: list[tuple[str, str]], files: str = "") -> list[int]:
    """The moments with another state on disk: what is before a file is after the last one."""
    chosen = [n for n, (_, name) in enumerate(whole) if name.startswith(files)]
    return [n for n in chosen if n == chosen[0] or whole[n][0] != "before"]


def killed_at(act: Act, moment: int) -> bool:
    """Do the work in a child that is killed at its n-th moment; False where it finished before."""
    child = os.fork()
    if child == 0:
        seen = 0

        def observer(_phase: str, _name: str) -> None:
            nonlocal seen
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

        try:
            act(observer)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def full_disk_at(moment: int) -> Callable[[str, str], None]:
    """An observer that says ENOSPC at the n-th moment, as a write there would."""
    import errno

    seen = 0

    def observer(_phase: str, _name: str) -> None:
        nonlocal seen
        seen += 1
        if seen == moment + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return observer
