"""Bytes of a channel by HTTP or from a folder, with limits; nothing here is trusted yet."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from toolkit.digest import sha256_file
from toolkit.errors import EnvironmentFailure, SecurityError, ToolkitError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CONNECT_S = 10.0
CHUNK_BYTES = 64 << 10


class HttpStatus(EnvironmentFailure):
    """A server answered with a status that carries no file; kind `missing` for 404, else `http`."""

    def __init__(self, status: int, url: str) -> None:
        told = "it is not there" if status == 404 else f"the server answered {status}"
        super().__init__(told, where=url, kind="missing" if status == 404 else "http")
        self.status = status


class Http:
    """Requests over kept connections. Not for use by two threads."""

    def __init__(
        self,
        *,
        stall_s: float = 30.0,
        tries: int = 5,
        retry_s: float = 1.0,
        ca: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.requests = 0
        self.bytes_fetched = 0  # of bodies, also of those thrown away
        self.bytes_resumed = 0  # found in `.part` files and kept
        self._tries = tries
        self._retry_s = retry_s
        self._say = say
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=min(CONNECT_S, stall_s), read=stall_s),
            retries=False,
            ca_certs=None if ca is None else str(ca),
        )

    def get(self, url: str, most_bytes: int) -> bytes:
        """A whole file of at most `most_bytes`.

        Raises EnvironmentFailure `network`, `timeout`, `http`, `missing` (both as `HttpStatus`),
        `truncated` or `tls`; SecurityError `endless-data` where there is more.
        """
        return self._trying(lambda: self._got(url, most_bytes))

    def download(self, url: str, goal: Path, length: int, sha256: str) -> None:
        """A file of exactly `length` bytes under its final name, resumed from `<name>.part`.

        Raises as `get` does; SecurityError `arbitrary-file` where its digest is another.
        """
        part = goal.with_name(goal.name + ".part")
        part.write_bytes(self.get(url, length))
        if part.stat().st_size != length or sha256_file(part) != sha256:
            part.unlink()
            raise SecurityError("the file is not what was signed", where=url, kind="arbitrary-file")
        part.replace(goal)

    def _got(self, url: str, most_bytes: int) -> bytes:
        body = bytearray()
        with self._asked(url) as response:
            while chunk := response.read1(CHUNK_BYTES, decode_content=False):
                self.bytes_fetched += len(chunk)
                body += chunk
                if len(body) > most_bytes:
                    response.close()
                    raise SecurityError(
                        f"more than {most_bytes} bytes came", where=url, kind="endless-data"
                    )
        return bytes(body)

    @contextlib.contextmanager
    def _asked(self, url: str) -> Iterator[BaseHTTPResponse]:
        self.requests += 1
        headers = {"Accept-Encoding": "identity"}
        try:
            response = self._pool.request("GET", url, headers=headers, preload_content=False)
            if response.status != 200:
                response.drain_conn()
                raise HttpStatus(response.status, url)
            yield response
            response.release_conn()
        except urllib3.exceptions.TimeoutError as error:
            raise EnvironmentFailure(str(error), where=url, kind="timeout") from error
        except urllib3.exceptions.SSLError as error:
            raise EnvironmentFailure(str(error), where=url, kind="tls") from error
        except urllib3.exceptions.HTTPError as error:
            raise EnvironmentFailure(str(error), where=url, kind="network") from error

    def _trying(self, once: Callable[[], bytes]) -> bytes:
        for attempt in range(self._tries):
            try:
                return once()
            except ToolkitError as problem:
                again = problem.kind in ("network", "timeout", "truncated", "http")
                if not again or attempt == self._tries - 1:
                    raise
            time.sleep(self._retry_s * 2**attempt * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")
