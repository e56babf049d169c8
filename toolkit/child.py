"""Child processes that never outlive the command that started them."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h: the kernel sends this signal when the parent ends


def die_with_parent() -> None:
    """Called first in a child: a killed command leaves nothing running. Linux only, else no-op."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
