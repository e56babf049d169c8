"""Cores at full clock for the time of a run, and as they were afterwards, whatever happens.

What to restore is written to a file before anything is changed: the next runner finds it even
after the power failed or everything was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

WANTED = "performance"
FILE = "governor.json"
FILE_MAX_BYTES = 1 << 16
# kernel.org Documentation/admin-guide/pm/cpufreq.rst: one folder per policy, else one per core
PLACES = (
    "sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
)
PLACE = re.compile(
    r"sys/devices/system/cpu/(cpufreq/policy[0-9]+|cpu[0-9]+/cpufreq)/scaling_governor"
)
NAME = re.compile(r"[a-z_]{1,16}")  # kernel: CPUFREQ_NAME_LEN is 16


def governors(system: Path) -> dict[str, str]:
    """Governor by its file, a path below `system`; empty where clocks cannot be steered."""
    for pattern in PLACES:
        found = {str(file.relative_to(system)): _read(file) for file in system.glob(pattern)}
        if found:
            return found
    return {}


@contextlib.contextmanager
def tuned(system: Path, home: Path, *, wanted: bool) -> Iterator[str]:
    """Set `performance` on all cores for the time of the block; gives "", or why it is not set.

    Does nothing, and gives "", where it is not `wanted`.
    """
    if not wanted:
        yield ""
        return
    kept = governors(system)
    reason = _obstacle(system, kept)
    if reason or set(kept.values()) == {WANTED}:
        yield reason
        return
    try:
        reason = _set(system, home, kept)
        if reason:
            restore(system, home, owner=os.getpid())
        yield reason
    finally:
        restore(system, home, owner=os.getpid())


def _set(system: Path, home: Path, kept: Mapping[str, str]) -> str:
    """Write down what is there, then change it; "" or why it could not be changed."""
    try:
        _write_atomically(home, {"process": os.getpid(), "governors": kept})
        for place in kept:
            _write(system / place, WANTED)
    except OSError as error:
        return f"{error.strerror or error}: {error.filename or home}"
    return "" if set(governors(system).values()) == {WANTED} else "the kernel kept another"


def _obstacle(system: Path, kept: Mapping[str, str]) -> str:
    if not kept:
        return "this system has no governor"
    for place in kept:
        choices = _read((system / place).with_name("scaling_available_governors")).split()
        if choices and WANTED not in choices:
            return f"no governor `{WANTED}`; there are: {', '.join(choices)}"
    return ""


def restore(system: Path, home: Path, *, owner: int = 0) -> str:
    """Undo what a runner changed that is `owner` or no longer runs; "" or what went wrong.

    The file that says what to restore is removed only when all is restored.
    """
    file = home / FILE
    saved = _saved(file)
    if saved is None:
        return ""
    if saved["process"] != owner and is_running(saved["process"]):
        return ""
    try:
        for place, name in saved["governors"].items():
            _write(system / place, name)
        file.unlink()
    except OSError as error:
        return f"the governors could not be restored: {error}"
    return ""


def is_running(process: int) -> bool:
    """Whether a process with this number runs; one that only waits to be buried does not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2]
    except PermissionError:
        return True
    except FileNotFoundError:  # a system without /proc
        return not Path("/proc/self").exists()
    except (OSError, OverflowError):
        return False
    return state.split()[0] not in ("Z", "X")


def _saved(file: Path) -> Any:
    """What to restore; None where there is nothing. A damaged file is removed: it says nothing."""
    try:
        with file.open("rb") as stream:
            value = json.loads(stream.read(FILE_MAX_BYTES))
        places = value["governors"]
        sound = all(PLACE.fullmatch(key) and NAME.fullmatch(name) for key, name in places.items())
        if not sound or not isinstance(value["process"], int):
            raise ValueError("not what a runner writes")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        file.unlink()
        return None
    except OSError:
        return None
    return value


def _write_atomically(home: Path, value: Mapping[str, Any]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    part = home / f"{FILE}.part"
    with part.open("w", encoding="ascii") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(home / FILE)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _write(file: Path, name: str) -> None:
    place = os.open(file, os.O_WRONLY | os.O_TRUNC)  # never created: a core may have gone offline
    try:
        os.write(place, f"{name}\n".encode("ascii"))
    finally:
        os.close(place)
