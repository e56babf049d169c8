"""What a poll says while it works: lines, and on a terminal a bar for each file."""

from __future__ import annotations

import time
from typing import TextIO

BAR_WIDTH = 24
REDRAW_S = 0.1
LINE_EVERY_S = 10.0  # where there is no terminal: a slow link is not taken for a dead one


class Progress:
    """Lines on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown_s = time.monotonic()
        self._open = False

    def say(self, line: str) -> None:
        """A line of its own."""
        self.close()
        print(f"  {line}", file=self._stream, flush=True)

    def bytes(self, name: str, have: int, length: int) -> None:
        """How far a file is."""
        now_s, done = time.monotonic(), have >= length
        wait_s = REDRAW_S if self._is_terminal else LINE_EVERY_S
        if not done and now_s - self._shown_s < wait_s:
            return
        self._shown_s = now_s
        if not self._is_terminal:
            self.say(f"{name}: {have} of {length} bytes")
            return
        filled = BAR_WIDTH * have // max(length, 1)
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        print(f"\r  [{bar}] {have:>11,} of {length:,} bytes  {name}", end="",
              file=self._stream, flush=True)  # fmt: skip
        self._open = True
        if done:
            self.close()

    def close(self) -> None:
        """Leave the bar's line."""
        if self._open:
            print(file=self._stream, flush=True)
            self._open = False
