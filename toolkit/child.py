"""Child processes that never outlive the command that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h: the kernel sends this signal when the parent ends
STDOUT_MOST_BYTES = 64 << 20  # what a device may send in one answer; more is not read into memory
STDERR_TAIL_BYTES = 16 << 10  # what is kept of the talk of a child: its end
CHUNK_BYTES = 1 << 16
DRAIN_S = 1.0  # a child that ended may leave a grandchild on its pipes; they are not waited for
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One child process that ran to its end, well or badly."""

    code: int  # exit code; 128 + the signal's number where it was killed
    stdout: bytes
    stderr: str  # its last 16 kB


class TooMuchOutput(Exception):
    """A child wrote more to stdout than is read into memory; it was killed."""


def die_with_parent() -> None:
    """Called first in a child: a killed command leaves nothing running. Linux only, else no-op."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ended(
    words: Sequence[str],
    *,
    timeout_s: float,
    stdin: Path | bytes = b"",
    environment: Mapping[str, str] | None = None,
    most_bytes: int = STDOUT_MOST_BYTES,
) -> Ended:
    """Run a program to its end, `stdin` streamed to it, in a session of its own.

    Ctrl-C reaches only this process, which then kills the child and all that it started. Raises
    subprocess.TimeoutExpired after `timeout_s` seconds and TooMuchOutput above `most_bytes` of
    stdout, both with the child killed; FileNotFoundError where there is no such program.
    """
    with _readable(stdin) as source, started(words, source, environment) as child:
        stdout, stderr = _read_both(child, time.monotonic() + timeout_s, most_bytes)
        code = child.wait()
    return Ended(
        code=code if code >= 0 else 128 - code,
        stdout=bytes(stdout),
        stderr=stderr.decode("utf-8", "replace"),
    )


@contextlib.contextmanager
def started(
    words: Sequence[str], source: IO[bytes] | int, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program with its stdout and stderr on pipes; killed, with its children, on the way out."""
    child = subprocess.Popen(
        list(words),
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if environment is None else dict(environment),
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def _readable(stdin: Path | bytes) -> Iterator[IO[bytes]]:
    """A file as it is, or bytes in a file without a name: the child reads at its own pace."""
    if isinstance(stdin, Path):
        with stdin.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as kept:
        kept.write(stdin)
        kept.seek(0)
        yield kept


def _read_both(
    child: subprocess.Popen[bytes], deadline: float, most_bytes: int
) -> tuple[bytearray, bytearray]:
    """All of stdout and the tail of stderr, until both end or the child has ended."""
    stdout, stderr = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, kept in ((child.stdout, stdout), (child.stderr, stderr)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, kept)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(child.args, 0, stderr=bytes(stderr))
            ready = selector.select(min(left_s, DRAIN_S))
            if not ready and child.poll() is not None:
                break
            for key, _ in ready:
                _take(selector, key, stderr)
            if len(stdout) > most_bytes:
                raise TooMuchOutput(f"more than {most_bytes} bytes on stdout")
    _wait(child, deadline)
    return stdout, stderr


def _take(selector: selectors.BaseSelector, key: Any, stderr: bytearray) -> None:
    data = os.read(key.fd, CHUNK_BYTES)
    if not data:
        selector.unregister(key.fileobj)
        return
    key.data.extend(data)
    if key.data is stderr:
        del stderr[:-STDERR_TAIL_BYTES]


def _wait(child: subprocess.Popen[bytes], deadline: float) -> None:
    """A child may close its pipes and go on: the time limit holds for it as well."""
    try:
        child.wait(max(deadline - time.monotonic(), DRAIN_S))
    except subprocess.TimeoutExpired:
        raise subprocess.TimeoutExpired(child.args, 0) from None
