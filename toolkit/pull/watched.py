"""Connections whose handshake and head of an answer cannot take for ever.

A socket's own time-out starts anew with every byte, and a hostile server can send one byte each
time: a second thread shuts the socket down instead.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

CONNECT_S = 10.0


class _Watched(HTTPConnection):
    """A connection that is cut where a step of it takes longer than `step_s`."""

    step_s = 30.0
    _handle: socket.socket | None = None  # the same connection under TLS and without

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        self._handle = made.dup()
        return made

    def connect(self) -> None:
        """See HTTPConnection; TLS included. Raises TimeoutError."""
        with self._limited(CONNECT_S + self.step_s):
            super().connect()

    def getresponse(self) -> Any:
        """See HTTPConnection; up to the head's last line. Raises TimeoutError."""
        with self._limited(self.step_s):
            return super().getresponse()

    def close(self) -> None:
        """See HTTPConnection."""
        super().close()
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    @contextlib.contextmanager
    def _limited(self, limit_s: float) -> Iterator[None]:
        is_late = threading.Event()

        def cut() -> None:
            is_late.set()
            with contextlib.suppress(OSError, AttributeError):
                self._handle.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

        timer = threading.Timer(limit_s, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if is_late.is_set():
                raise TimeoutError(f"not done after {limit_s:g} s") from error
            raise
        finally:
            timer.cancel()
        if is_late.is_set():  # a head that was cut off reads like one that ended
            raise TimeoutError(f"not done after {limit_s:g} s")


class _WatchedTls(_Watched, HTTPSConnection):
    """The same, with TLS."""


def watched_pools(stall_s: float, ca: Path | None) -> urllib3.PoolManager:
    """Pools of such connections, certificates checked; `ca` instead of the system's."""
    plain = type("Plain", (_Watched,), {"step_s": stall_s})
    tls = type("Tls", (_WatchedTls,), {"step_s": stall_s})
    pools = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_S, read=stall_s),
        retries=False,
        ca_certs=None if ca is None else str(ca),
    )
    pools.pool_classes_by_scheme = {
        "http": type("HttpPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("HttpsPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }
    return pools
