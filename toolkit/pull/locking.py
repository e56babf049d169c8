"""One process at a time in a store."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from toolkit.errors import EnvironmentFailure
from toolkit.pull.disk import read_small, telling

LOOK_S = 0.2  # between two tries
TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def locked(
    store: Path, wait_s: float, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Hold STORE/lock; the kernel frees it when this process ends, however it ends.

    `say` is told once where another process holds it and is waited for.

    Raises EnvironmentFailure `busy` where another holds it for longer than `wait_s`; `read-only`,
    `disk-full`, `store` where there can be no lock.
    """
    path = store / "lock"
    with telling(path):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o644)
    try:
        _wait(descriptor, path, wait_s, say)
        with telling(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, wait_s: float, say: Callable[[str], None]) -> None:
    until, is_told = time.monotonic() + wait_s, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in TAKEN:
                with telling(path):
                    raise
            if time.monotonic() >= until:
                raise _busy(path, wait_s) from error
            if not is_told:
                say(f"{_owner(path)} is at work in this store: waiting up to {wait_s:g} s")
                is_told = True
            time.sleep(min(LOOK_S, max(0.0, until - time.monotonic())))
        else:
            return


def _owner(path: Path) -> str:
    owner = (read_small(path, 32) or b"").decode("ascii", "replace").strip()
    return f"process {owner}" if owner.isdigit() else "another process"


def _busy(path: Path, wait_s: float) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"{_owner(path)} is at work in this store, also after {wait_s:g} s",
        where=str(path),
        hint="it will finish the same work; a longer --wait waits for it",
        kind="busy",
    )
