"""The bad link of the soak: its loopback server, started, killed and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path


class Link:
    """The loopback server: started, broken, killed, always on one port."""

    def __init__(self, channel: Path, place: Path, seed: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.channel, self.log, self.seed = channel, place / "answers", seed
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def url(self) -> str:
        """Of the channel."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, share: float) -> None:
        """Serve, that share of the answers broken."""
        server = Path(__file__).with_name("soak_server.py")
        self.starts += 1
        words = [self.channel, self.port, self.seed + self.starts, share, self.log]
        self.process = subprocess.Popen([sys.executable, str(server), *map(str, words)])

    def kill(self) -> None:
        """End at once, in the middle of whatever it sends."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("the loopback server does not start")

    def answers(self) -> Counter[str]:
        """How it has answered so far."""
        return Counter(self.log.read_text().splitlines())
