"""Debian's nginx on a free port of loopback, and what it logged."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NGINX = "/usr/sbin/nginx"
TRIES = 200
CONFIG = """\
daemon off;
master_process off;
pid {folder}/pid;
events {{}}
http {{
    log_format asked '$status|$body_bytes_sent|$http_range|$uri';
    access_log {folder}/access asked;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        root {root};
        if (-f {folder}/slow) {{ set $limit_rate {slow_bytes_per_s}; }}
    }}
}}
"""
SLOW_BYTES_PER_S = 20_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as nginx logged it when it was done."""

    status: int
    body_bytes: int
    range: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Nginx:
    """A running server."""

    folder: Path
    url: str

    def asked(self) -> list[Asked]:
        """Every request since the last call."""
        log = self.folder / "access"
        lines = log.read_text().splitlines()
        log.write_text("")  # nginx appends
        fields = [line.split("|", 3) for line in lines]
        return [
            Asked(status=int(s), body_bytes=int(b), range=r, path=path) for s, b, r, path in fields
        ]

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        """No more than SLOW_BYTES_PER_S to each connection."""
        switch = self.folder / "slow"
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()


@contextlib.contextmanager
def serving(root: Path, folder: Path) -> Iterator[Nginx]:
    """`root` as the document root; logs and the rest go to `folder`."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    text = CONFIG.format(folder=folder, port=port, root=root, slow_bytes_per_s=SLOW_BYTES_PER_S)
    config.write_text(text)
    words = [NGINX, "-c", str(config), "-p", str(folder), "-e", str(folder / "error")]
    process = subprocess.Popen(words)
    try:
        _wait_for(port)
        yield Nginx(folder=folder, url=f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(TRIES):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError("nginx does not answer")
