"""Talk while a run goes on: a progress bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from toolkit.contracts import Progress
from toolkit.report import StepRecord

LINE_EVERY_S = 15.0  # how often a long step says a line where there is no terminal


class Terminal:
    """A `run.walk.Listener` that writes to stderr."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._title = ""
        self._began = 0.0
        self._spoke = 0.0
        self._bar_width = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def started(self, title: str, reason: str) -> None:
        """Name the step and why it runs."""
        self._title, self._began, self._spoke = title, time.monotonic(), time.monotonic()
        self._line(f"  run   {title:<34} {reason}")

    def progress(self, progress: Progress) -> None:
        """Draw the bar, or say a line now and then."""
        now = time.monotonic()
        done, total = progress.done, max(1, progress.total)
        spent_s = now - self._began
        left_s = spent_s / done * (total - done) if done else 0.0
        text = f"{done}/{total}  {_clock(left_s)} left  {progress.note}"
        if self._live:
            filled = int(24 * done / total)
            self._draw(f"        {'#' * filled}{'.' * (24 - filled)} {text}")
        elif now - self._spoke >= LINE_EVERY_S:
            self._spoke = now
            self._line(f"        {self._title}: {text}")

    def finished(self, title: str, record: StepRecord) -> None:
        """Say that a step is done, or was kept."""
        if record.state == "kept":
            self._line(f"  kept  {title}")
        else:
            self._line(f"  done  {title:<34} {record.seconds:.1f} s")

    def say(self, line: str) -> None:
        """One line."""
        self._line(f"        {line}")

    def _draw(self, text: str) -> None:
        padded = text.ljust(self._bar_width)
        self._bar_width = len(text)
        self._stream.write(f"\r{padded}")
        self._stream.flush()

    def _clear(self) -> None:
        if self._bar_width:
            self._stream.write("\r" + " " * self._bar_width + "\r")
            self._bar_width = 0

    def _line(self, text: str) -> None:
        self._clear()
        self._stream.write(text.rstrip() + "\n")
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
