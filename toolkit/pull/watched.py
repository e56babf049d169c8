"""Connections on which no step can take for ever, however slowly or long a server talks.

A socket's own time-out starts anew with every byte, and a hostile server can send one byte each
time: heads, the sizes of chunks and trailers are read here against one moment for the whole step.
(Python's `ssl` itself gives a handshake one limit in all.)
"""

from __future__ import annotations

import http.client
import io
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

CONNECT_S = 10.0


@dataclass(kw_only=True)
class Pace:
    """The step of a transfer that is under way: a head, or the next bytes of a body."""

    step_s: float
    until_s: float = math.inf  # of the monotonic clock

    def next_step(self) -> None:
        """The time of a step begins."""
        self.until_s = time.monotonic() + self.step_s


class _Paced(io.RawIOBase):
    """What comes from a socket until the time of a step is over; TimeoutError from then on."""

    def __init__(self, stream: Any, pace: Pace) -> None:
        self._stream, self._pace = stream, pace

    def readable(self) -> bool:
        """See RawIOBase."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """See RawIOBase. One read of the socket, which has a time-out of its own."""
        if time.monotonic() > self._pace.until_s:
            raise TimeoutError(f"not done after {self._pace.step_s:g} s")
        count: int | None = self._stream.readinto(buffer)
        return count

    def close(self) -> None:
        """See RawIOBase."""
        self._stream.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that is read at a pace; nothing of it was read when it is made."""

    pace: Pace

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.fp = io.BufferedReader(_Paced(self.fp.detach(), self.pace))


class _Watched(HTTPConnection):
    """A connection with such answers."""

    pace: Pace

    def getresponse(self) -> Any:
        """See HTTPConnection; up to the head's last line."""
        self.pace.next_step()
        return super().getresponse()


class _WatchedTls(_Watched, HTTPSConnection):
    """The same, with TLS."""


def watched_pools(pace: Pace, ca: Path | None) -> urllib3.PoolManager:
    """Pools of such connections, certificates checked; `ca` instead of the system's."""
    pools = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_S, read=pace.step_s),
        retries=False,
        ca_certs=None if ca is None else str(ca),
    )
    paced = {"pace": pace, "response_class": type("Answer", (_Answer,), {"pace": pace})}
    plain, tls = (type("Paced", (one,), paced) for one in (_Watched, _WatchedTls))
    pools.pool_classes_by_scheme = {
        "http": type("HttpPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("HttpsPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }
    return pools
