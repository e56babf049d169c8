"""Whole files of a channel: resumed, limited to what was signed, and never half under a name."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from toolkit.digest import sha256_file
from toolkit.errors import EnvironmentFailure, SecurityError, ToolkitError
from toolkit.pull.disk import open_part, part_of, put_in_place, settle, telling
from toolkit.pull.transport import Answer, HttpStatus, Transport, Untrusted, WrongRange

__all__ = ["Http", "HttpStatus"]

PASSING = ("network", "timeout", "truncated", "range", "tls")  # kinds that another try may mend
RETRY_MOST_S = 60.0
SIGNER = "the present model stays; tell whoever runs the channel"

T = TypeVar("T")


class Http:
    """Files over one kept connection. Not for use by two threads."""

    def __init__(
        self,
        *,
        stall_s: float = 30.0,
        tries: int = 5,
        retry_s: float = 1.0,
        ca: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`tries` of each file, the first counted; `retry_s` before the second, then doubled."""
        self.bytes_fetched = 0  # of bodies, those thrown away too
        self.bytes_resumed = 0  # that earlier polls left in `.part` files
        self._tries = tries
        self._retry_s = retry_s
        self._say = say
        self._transport = Transport(stall_s=stall_s, ca=ca)

    @property
    def requests(self) -> int:
        """Sent so far, redirects and repeated ones counted."""
        return self._transport.requests

    def close(self) -> None:
        """End the connections."""
        self._transport.close()

    def get(self, url: str, most_bytes: int) -> bytes:
        """A whole file of at most `most_bytes`.

        Raises EnvironmentFailure `network`, `timeout`, `truncated`, `tls`, and HttpStatus with
        `missing` or `http`; SecurityError `endless-data` where there is more.
        """
        return self._trying(lambda: self._got(url, most_bytes))

    def download(
        self,
        url: str,
        goal: Path,
        length: int,
        sha256: str,
        *,
        on_bytes: Callable[[int], None] = lambda have: None,
    ) -> None:
        """A file of exactly `length` bytes under its final name, resumed from `<name>.part`.

        `on_bytes` is told how many bytes are there after each chunk. What does not have its digest
        is fetched afresh once where an earlier poll left some of it or it came in several answers.
        Raises as `get` does; `range`; `disk-full`, `read-only`, `store`; SecurityError
        `arbitrary-file`.
        """
        part = part_of(goal)
        found = _size(part)
        self.bytes_resumed += found if found <= length else 0
        answers = self._filled(url, part, length, on_bytes)
        is_signed = _is(part, sha256)
        if not is_signed and (found or answers > 1):  # what is found may be damaged
            self._say(f"`{goal.name}` was put together wrongly: fetched afresh")
            _drop(part)
            self._filled(url, part, length, on_bytes)
            is_signed = _is(part, sha256)
        if not is_signed:
            _drop(part)
            raise SecurityError(
                "the file is not the one that was signed: its SHA-256 differs",
                where=url,
                hint=SIGNER,
                kind="arbitrary-file",
            )
        with telling(goal):
            put_in_place(part, goal)

    def _got(self, url: str, most_bytes: int) -> bytes:
        body = bytearray()
        with self._transport.answer(url, 0, None) as answer:
            _refuse_endless(answer, most_bytes, url)
            for chunk in answer.chunks:
                self.bytes_fetched += len(chunk)
                if len(body) + len(chunk) > most_bytes:
                    raise _endless(most_bytes, url)
                body += chunk
        return bytes(body)

    def _filled(self, url: str, part: Path, length: int, on_bytes: Callable[[int], None]) -> int:
        """Bring a partial file to its length; returns how many answers that took."""
        answers = 0

        def once() -> None:
            nonlocal answers
            have = _size(part)
            if have > length:
                _drop(part)
                have = 0
            if have < length or not length:
                answers += 1
                self._appended(url, part, have, length, on_bytes)

        self._trying(once)
        return answers

    def _appended(
        self, url: str, part: Path, have: int, length: int, on_bytes: Callable[[int], None]
    ) -> None:
        """One answer's bytes, on the medium before anything else is decided."""
        try:
            with self._transport.answer(url, have, length) as answer:
                if answer.start < have:
                    self._say("the server sends no ranges: from the start")
                _refuse_endless(answer, length - answer.start, url)
                self._written(answer, part, length, url, on_bytes)
        except (WrongRange, SecurityError):
            _drop(part)
            raise
        except EnvironmentFailure as error:
            if error.kind not in PASSING or _size(part) < length:
                raise
            return  # every byte is there; only the end of the answer is missing
        if (size := _size(part)) < length:
            text = f"the transfer was cut short: {size} of {length} bytes"
            raise EnvironmentFailure(text, where=url, kind="truncated")

    def _written(
        self, answer: Answer, part: Path, length: int, url: str, on_bytes: Callable[[int], None]
    ) -> None:
        have = answer.start
        with telling(part), open_part(part, keep=have > 0) as stream:
            try:
                for chunk in answer.chunks:
                    self.bytes_fetched += len(chunk)
                    if have + len(chunk) > length:
                        raise _endless(length, url)
                    stream.write(chunk)
                    have += len(chunk)
                    on_bytes(have)
            finally:
                settle(stream)

    def _trying(self, once: Callable[[], T]) -> T:
        """Again and again, with growing pauses, while another try may help."""
        for attempt in range(1, self._tries + 1):
            try:
                return once()
            except ToolkitError as problem:
                if attempt == self._tries or not _may_pass(problem):
                    raise
                pause_s = self._pause_s(attempt, problem)
                self._say(f"{problem.problem}; try {attempt + 1} of {self._tries}")
            time.sleep(pause_s)
        raise ValueError("`tries` must be at least 1")

    def _pause_s(self, attempt: int, problem: ToolkitError) -> float:
        """Doubled each time, with jitter: cameras that were cut off together come back apart."""
        pause_s = min(self._retry_s * 2.0 ** (attempt - 1), RETRY_MOST_S)
        asked_s = problem.retry_after_s if isinstance(problem, HttpStatus) else 0.0
        return max(pause_s * random.uniform(0.5, 1.0), asked_s)


def _may_pass(problem: ToolkitError) -> bool:
    if isinstance(problem, HttpStatus):
        return problem.may_pass
    return problem.kind in PASSING and not isinstance(problem, Untrusted)


def _refuse_endless(answer: Answer, room: int, url: str) -> None:
    if answer.length is not None and answer.length > room:
        raise _endless(room, url)


def _endless(most_bytes: int, url: str) -> SecurityError:
    return SecurityError(
        f"the server sends more than the {most_bytes} bytes that may come",
        where=url,
        hint=SIGNER,
        kind="endless-data",
    )


def _size(part: Path) -> int:
    """Bytes that are there; a missing file, or something else in its place, has none."""
    try:
        return part.stat().st_size if part.is_file() and not part.is_symlink() else 0
    except OSError:
        return 0


def _is(part: Path, sha256: str) -> bool:
    with telling(part):
        return sha256_file(part) == sha256


def _drop(part: Path) -> None:
    with telling(part), contextlib.suppress(FileNotFoundError):
        part.unlink()
