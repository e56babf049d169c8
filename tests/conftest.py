"""What all tests need, however the suite was started."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

# A shell starts background jobs with Ctrl-C ignored, and their children inherit that: commands that
# tests interrupt would go on for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A process that is killed under faketime leaves these behind, and the next one with its number
# cannot start.
for left in Path("/dev/shm").glob("*faketime_*_[0-9]*"):
    if not Path("/proc", left.name.rpartition("_")[2]).exists():
        with contextlib.suppress(OSError):
            left.unlink()
