"""What a machine was like while it was measured: clocks, temperatures, load, memory.

`system` is the folder that holds proc/ and sys/. What a machine does not tell is None.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.runner.reading import is_there, kib_as_mb, lines_by_key, number_of, text_of

CPUS = "sys/devices/system/cpu"
ZONES = "sys/class/thermal/thermal_zone*"
COOLERS = "sys/class/thermal/cooling_device*"
# A fan that turns is no throttling; these lower a clock. Source: drivers/thermal of Linux.
THROTTLING = ("cpufreq", "thermal-cpufreq", "cpu-freq", "Processor", "devfreq", "thermal-devfreq")
# Raspberry Pi: bits 0 to 3 are true now: under-voltage, clock capped, throttled, soft limit.
PI_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
PI_NOW = 0xF


@dataclass(frozen=True)
class Sensors:
    """Files that are read again and again between runs, found once."""

    clocks: tuple[Path, ...]  # one per core, kHz
    zones: tuple[tuple[str, Path], ...]  # thousandths of a degree Celsius


def sensors(system: Path) -> Sensors:
    """What this machine can tell while files are timed."""
    clocks = [folder / "scaling_cur_freq" for folder in _steered(system)]
    return Sensors(clocks=tuple(clocks), zones=tuple(_zones(system)))


def glance(found: Sensors, at_s: float) -> dict[str, Any]:
    """Clocks and temperatures: a few small files, well under a millisecond on most boards."""
    return {
        "at_s": round(at_s, 3),
        "frequencies_mhz": [number_of(clock, 1e-3) for clock in found.clocks],
        "temperatures_c": {name: number_of(file, 1e-3) for name, file in found.zones},
    }


def snapshot(system: Path, at_s: float) -> dict[str, Any]:
    """Everything that is recorded before and after the timed runs."""
    folders = _steered(system)
    return {
        **glance(sensors(system), at_s),
        "model": model(system),
        "soc": soc(system),
        "kernel": text_of(system / "proc/sys/kernel/osrelease"),
        "machine": os.uname().machine,
        "cores": len(cores(system)),
        "cpu_affinity": affinity(),
        "governors": [text_of(folder / "scaling_governor") for folder in folders],
        "frequencies_min_mhz": [number_of(f / "cpuinfo_min_freq", 1e-3) for f in folders],
        "frequencies_max_mhz": [number_of(f / "cpuinfo_max_freq", 1e-3) for f in folders],
        "frequencies_limit_mhz": [number_of(f / "scaling_max_freq", 1e-3) for f in folders],
        "throttles": throttles(system),
        "load_1min": load_1min(system),
        "free_memory_mb": free_memory_mb(system),
    }


def cores(system: Path) -> list[Path]:
    """The folder of each core in sys/, in the kernel's order."""
    found = [path for path in (system / CPUS).glob("cpu*") if re.fullmatch("cpu[0-9]+", path.name)]
    return sorted(found, key=lambda path: int(path.name[3:]))


def _steered(system: Path) -> list[Path]:
    """The clock's folder of each core that is online and has one, in the kernel's order."""
    folders = [core / "cpufreq" for core in cores(system)]
    return [folder for folder in folders if is_there(folder)]


def affinity() -> list[int] | None:
    """The cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _zones(system: Path) -> list[tuple[str, Path]]:
    """Thermal zones by type; a type that comes again gets its zone's number."""
    found: dict[str, Path] = {}
    folders = system.glob(ZONES)
    for folder in sorted(folders, key=lambda path: int(re.sub("[^0-9]", "", path.name) or 0)):
        name = text_of(folder / "type") or folder.name
        if number_of(folder / "temp") is not None:
            found[f"{name} {folder.name[12:]}" if name in found else name] = folder / "temp"
    return list(found.items())


def throttles(system: Path) -> int | None:
    """Times that a core was throttled since the start, and devices that throttle now."""
    counts = [
        number_of(core / f"thermal_throttle/{which}_throttle_count")
        for core in cores(system)
        for which in ("core", "package")
    ]
    counts += [_throttling_now(folder) for folder in system.glob(COOLERS)]
    counts.append(_pi_throttling(system))
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known else None


def _throttling_now(folder: Path) -> float | None:
    kind, state = text_of(folder / "type") or "", number_of(folder / "cur_state")
    if state is None or not kind.startswith(THROTTLING):
        return None
    return float(state > 0)


def _pi_throttling(system: Path) -> float | None:
    text = text_of(system / PI_THROTTLED)
    try:
        return None if text is None else float(bin(int(text, 16) & PI_NOW).count("1"))
    except ValueError:
        return None


def model(system: Path) -> str | None:
    """The machine in its maker's words: device tree, else the firmware's product name."""
    tree = text_of(system / "proc/device-tree/model")
    return tree or text_of(system / "sys/class/dmi/id/product_name")


def soc(system: Path) -> str | None:
    """The chip: the device tree's last word, else the kernel's name of the CPU."""
    tree = text_of(system / "proc/device-tree/compatible")
    if tree:
        return tree.split("\0")[-1]
    facts = lines_by_key(system / "proc/cpuinfo")
    return facts.get("model name") or facts.get("Hardware")


def load_1min(system: Path) -> float | None:
    """Average number of tasks that wanted to run in the last minute."""
    words = (text_of(system / "proc/loadavg") or "").split()
    return float(words[0]) if words else None


def free_memory_mb(system: Path) -> float | None:
    """What programs may still use without swapping."""
    return kib_as_mb(lines_by_key(system / "proc/meminfo").get("MemAvailable"))


def memory_mb(system: Path, key: str) -> float | None:
    """A figure of this process: `VmRSS` now, `VmHWM` at its peak."""
    return kib_as_mb(lines_by_key(system / "proc/self/status").get(key))
