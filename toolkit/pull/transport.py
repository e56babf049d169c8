"""One request for one file, by HTTP or from a folder; what comes is limited in time, not trusted.

A server that dribbles is cut off: the connection and the head of an answer have a time of their
own, and a body must keep a least rate.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from toolkit.errors import EnvironmentFailure
from toolkit.pull.watched import CONNECT_S, Pace, watched_pools

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CHUNK_BYTES = 64 << 10
LEAST_BYTES_PER_S = 64  # slower than that over `stall_s` is a stall: a dribble can last for years
REDIRECTS_MOST = 5
RETRY_AFTER_MOST_S = 60.0
REDIRECTS = (301, 302, 303, 307, 308)
OK, PARTIAL, NOT_FOUND, BAD_RANGE = 200, 206, 404, 416
PASSING = (408, 425, 429)  # and 5xx: the same request may work later
RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)")
NO_RANGE = re.compile(r"bytes \*/([0-9]{1,15})")
STAYS = "the present model stays; the next poll tries again"
COPIED = f"perhaps it is being copied there, file by file; {STAYS}"


class HttpStatus(EnvironmentFailure):
    """A server answered with a status that carries no file; kind `missing` for 404, else `http`."""

    def __init__(self, status: int, url: str, *, retry_after_s: float = 0.0) -> None:
        told = "it is not there (404)" if status == NOT_FOUND else f"the server answered {status}"
        kind = "missing" if status == NOT_FOUND else "http"
        super().__init__(told, where=url, hint=COPIED if kind == "missing" else STAYS, kind=kind)
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether asking again can help."""
        return self.status >= 500 or self.status in PASSING


class Elsewhere(HttpStatus):
    """A server sends its clients to another scheme, which is not followed; kind `http`."""

    def __init__(self, status: int, url: str) -> None:
        super().__init__(status, ascii(url)[1:-1][:200])  # the server's words, no escape codes
        self.problem = f"the server redirects from one scheme to another ({status})"
        self.hint = "--channel takes the address that it redirects to"


class Untrusted(EnvironmentFailure):
    """A server has no certificate that this camera trusts; kind `tls`."""

    def __init__(self, found: str, url: str) -> None:
        hint = "--ca FILE names the certificate of a server of your own; look at the clock as well"
        super().__init__(f"the server is not trusted: {found}", where=url, hint=hint, kind="tls")


class WrongRange(EnvironmentFailure):
    """A server sent another part of the file than was asked for; kind `range`."""

    def __init__(self, found: str, url: str) -> None:
        super().__init__(f"the server sent a wrong range: {found}", where=url, kind="range")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A file, or the rest of one, that begins to come."""

    start: int  # offset of its first byte
    length: int | None  # bytes that are announced; None: as many as come
    chunks: Iterator[bytes]  # raises EnvironmentFailure `timeout`, `truncated`


class Transport:
    """Kept connections, one at a time."""

    def __init__(self, *, stall_s: float, ca: Path | None) -> None:
        self.requests = 0
        self._stall_s = stall_s
        self._pace = Pace(step_s=stall_s)
        self._pools = watched_pools(self._pace, ca)

    def close(self) -> None:
        """End the connections."""
        self._pools.clear()

    @contextlib.contextmanager
    def answer(self, url: str, have: int, length: int | None) -> Iterator[Answer]:
        """Ask for a file from byte `have` on; a server may start at 0 all the same.

        `length` is the whole file's, where it is known. Raises HttpStatus, WrongRange,
        EnvironmentFailure `network`, `timeout`, `tls`.
        """
        self.requests += 1
        if urlsplit(url).scheme == "file":
            with _local(url, have) as answer:
                yield answer
            return
        headers = {"Accept-Encoding": "identity", "User-Agent": "edgesr-pull"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with told(url), self._response(url, headers) as response:
            start = _start(response, have, length, url)
            announced = response.headers.get("Content-Length", "")
            count = int(announced) if announced.isdigit() and len(announced) < 16 else None
            yield Answer(start=start, length=count, chunks=self._chunks(response, url))

    @contextlib.contextmanager
    def _response(self, url: str, headers: Mapping[str, str]) -> Iterator[BaseHTTPResponse]:
        """The answer to a request after redirects, which never leave the scheme."""
        scheme = urlsplit(url).scheme
        for _ in range(REDIRECTS_MOST + 1):
            response = self._pools.request(
                "GET", url, headers=dict(headers), preload_content=False, redirect=False,
                retries=False,
            )  # fmt: skip
            if response.status not in REDIRECTS:
                break
            response.close()
            url = urljoin(url, response.headers.get("Location", ""))
            if urlsplit(url).scheme != scheme:
                raise Elsewhere(response.status, url)
            self.requests += 1
        try:
            yield response
        finally:
            if response.closed or getattr(response, "length_remaining", None) == 0:
                response.release_conn()
            else:
                response.close()  # never drained: nobody knows how much would come

    def _chunks(self, response: BaseHTTPResponse, url: str) -> Iterator[bytes]:
        began, since = time.monotonic(), 0
        with told(url, within_body=True):
            while chunk := self._next(response):
                yield chunk
                since += len(chunk)
                taken_s = time.monotonic() - began
                if taken_s >= self._stall_s:
                    if since < LEAST_BYTES_PER_S * taken_s:
                        raise _stalled(f"{since} bytes in {taken_s:.0f} s", url)
                    began, since = time.monotonic(), 0

    def _next(self, response: BaseHTTPResponse) -> bytes:
        self._pace.next_step()
        return response.read1(CHUNK_BYTES, decode_content=False)


def _start(response: BaseHTTPResponse, have: int, length: int | None, url: str) -> int:
    """Offset of an answer's first byte."""
    status = response.status
    if status == OK:
        return 0
    if status == BAD_RANGE and have:
        raise _short(response, length, url) or WrongRange("none (416)", url)
    if status != PARTIAL:
        raise HttpStatus(status, url, retry_after_s=_retry_after_s(response))
    stated = response.headers.get("Content-Range", "")
    match = RANGE.fullmatch(stated.strip())
    if match is None or not have:
        raise WrongRange(f"`{ascii(stated)[1:-1][:60]}`", url)
    first, last, whole = int(match[1]), int(match[2]), match[3]
    is_other = whole != "*" and length is not None and int(whole) != length
    if first != have or last < first or (length is not None and last >= length) or is_other:
        raise WrongRange(f"`{stated[:60]}`, asked was from {have} of {length}", url)
    return have


def _short(response: BaseHTTPResponse, length: int | None, url: str) -> EnvironmentFailure | None:
    """What it means that there is no such range: the server's file is shorter than what is signed.

    None where it does not say how long its file is, or that it is long enough.
    """
    match = NO_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None or length is None or int(match[1]) >= length:
        return None
    text = f"the server's file has {int(match[1])} bytes, {length} are signed"
    return EnvironmentFailure(text, where=url, hint=COPIED, kind="truncated")


def _retry_after_s(response: BaseHTTPResponse) -> float:
    stated = response.headers.get("Retry-After", "")
    return min(float(stated), RETRY_AFTER_MOST_S) if re.fullmatch("[0-9]{1,6}", stated) else 0.0


@contextlib.contextmanager
def told(url: str, *, within_body: bool = False) -> Iterator[None]:
    """Exceptions of urllib3 as ours: `network`, `timeout`, `tls`, and `truncated` in a body."""
    try:
        yield
    except urllib3.exceptions.NewConnectionError as error:  # in urllib3 it is a time-out as well
        raise _silent(_reason(error), url) from error
    except urllib3.exceptions.ConnectTimeoutError as error:
        raise _silent(f"no connection within {CONNECT_S:g} s", url) from error
    except urllib3.exceptions.TimeoutError as error:
        raise _stalled("the server went silent", url) from error
    except SSLError as error:
        if within_body:
            raise _cut(error, url) from error
        if isinstance(_deepest(error), ssl.SSLCertVerificationError):
            raise Untrusted(_reason(error), url) from error
        text = f"no TLS connection: {_reason(error)}"
        raise EnvironmentFailure(text, where=url, hint=STAYS, kind="tls") from error
    except (HTTPError, OSError) as error:
        raise (_cut(error, url) if within_body else _silent(_reason(error), url)) from error


def _deepest(error: BaseException) -> BaseException:
    """What an exception began with."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _reason(error: BaseException) -> str:
    """The system's own words, without the addresses of objects that urllib3 prints.

    Some repeat what a server sent, which may hold escape codes for the terminal: none come through.
    """
    deepest = _deepest(error)
    text = str(getattr(deepest, "strerror", None) or deepest or type(deepest).__name__)
    return ascii(text)[1:-1][:200]


def _silent(text: str, url: str) -> EnvironmentFailure:
    return EnvironmentFailure(f"no answer: {text}", where=url, hint=STAYS, kind="network")


def _stalled(text: str, url: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"the transfer stalled: {text}", where=url, hint=STAYS, kind="timeout"
    )


def _cut(error: BaseException, url: str) -> EnvironmentFailure:
    told_text = f"the transfer was cut: {_reason(error)}"
    return EnvironmentFailure(told_text, where=url, hint=STAYS, kind="truncated")


@contextlib.contextmanager
def _local(url: str, have: int) -> Iterator[Answer]:
    """A file of a channel on a stick or a share; pipes and devices are none."""
    path = Path(unquote(urlsplit(url).path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise HttpStatus(NOT_FOUND, url) from error
    except OSError as error:
        raise _silent(error.strerror or str(error), url) from error
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise HttpStatus(NOT_FOUND, url)
        start = have if have <= found.st_size else 0
        stream.seek(start)
        yield Answer(start=start, length=found.st_size - start, chunks=_read(stream, url))


def _read(stream: BinaryIO, url: str) -> Iterator[bytes]:
    try:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise _cut(error, url) from error
