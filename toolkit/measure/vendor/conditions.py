"""What the device was like before and after a vendor's program ran, asked with POSIX sh alone.

Keys and units are the runner's (`toolkit.runner.conditions`), so that a benchmark judges both
alike; what a device does not tell is absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from toolkit.measure.words import marked, plain

if TYPE_CHECKING:
    from toolkit.measure.board import Board

FIRST_LINE = "edgesr-conditions 1"
ASK_S = 60.0
MOST_VALUES = 512  # cores, or thermal zones
NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)
# Values of one key are separated by commas; EDGESR_SYSTEM_ROOT is where proc/ and sys/ lie.
_SCRIPT = """\
echo 'edgesr-conditions 1'
s=${EDGESR_SYSTEM_ROOT:-}
tell() {
  printf '%s=' "$1"; shift
  for file in "$@"; do head -c 80 "$file" 2>/dev/null | tr -d '\\000\\n,'; printf ','; done
  echo
}
cpus=$s/sys/devices/system/cpu
tell governors "$cpus"/cpu[0-9]*/cpufreq/scaling_governor
tell frequencies_mhz "$cpus"/cpu[0-9]*/cpufreq/scaling_cur_freq
tell frequencies_max_mhz "$cpus"/cpu[0-9]*/cpufreq/cpuinfo_max_freq
tell frequencies_limit_mhz "$cpus"/cpu[0-9]*/cpufreq/scaling_max_freq
tell zones "$s"/sys/class/thermal/thermal_zone*/type
tell temperatures "$s"/sys/class/thermal/thermal_zone*/temp
tell model "$s/proc/device-tree/model"
tell kernel "$s/proc/sys/kernel/osrelease"
tell load "$s/proc/loadavg"
free=$(sed -n 's/^MemAvailable:[[:space:]]*\\([0-9]*\\).*/\\1/p' "$s/proc/meminfo" 2>/dev/null)
echo "free_kb=$free"
"""
T = TypeVar("T")


def around(board: Board, step: Callable[[], T]) -> tuple[T, dict[str, Any]]:
    """Do something; its result, and the conditions `before` and `after` it."""
    before = _asked(board)
    result = step()
    return result, {"before": before, "after": _asked(board)}


def _asked(board: Board) -> dict[str, Any]:
    done = board.command(["sh", "-c", _SCRIPT], {}, timeout_s=ASK_S)
    return conditions_of(marked(done, FIRST_LINE, board.url))


def conditions_of(told: dict[str, str]) -> dict[str, Any]:
    """The runner's keys of what the script printed; every word of it is a stranger's."""
    listed = {key: words.split(",")[:MOST_VALUES] for key, words in told.items()}
    clocks = ("frequencies_mhz", "frequencies_max_mhz", "frequencies_limit_mhz")
    found: dict[str, Any] = {}
    for key in clocks:
        khz = [_number(word) for word in listed.get(key, [])[:-1]]
        found[key] = [one / 1e3 for one in khz if one is not None]
    found["governors"] = [plain(word, 40) for word in listed.get("governors", []) if word]
    found["temperatures_c"] = _temperatures(listed)
    for key in ("model", "kernel"):
        found[key] = plain(words[0]) if (words := listed.get(key, [""]))[0] else None
    found["load_1min"] = _number(listed.get("load", [""])[0].partition(" ")[0])
    free_kb = _number(told.get("free_kb", ""))
    found["free_memory_mb"] = None if free_kb is None else free_kb / 1024
    return {key: value for key, value in found.items() if value not in (None, [], {})}


def _temperatures(listed: dict[str, list[str]]) -> dict[str, float]:
    """Degrees Celsius by zone; a type that comes again gets its place in the list."""
    found: dict[str, float] = {}
    zones, values = listed.get("zones", []), listed.get("temperatures", [])
    for at, (zone, value) in enumerate(zip(zones, values, strict=False)):
        if zone and (milli := _number(value)) is not None:
            name = plain(zone, 60)
            found[f"{name} {at}" if name in found else name] = milli / 1e3
    return found


def _number(word: str) -> float | None:
    return float(word) if NUMBER.fullmatch(word.strip()) else None
