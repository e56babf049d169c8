"""Who used the cores during a run: this process, others, or the host of a virtual machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.runner.reading import text_of

STAT_LEAST_FIELDS = 8  # user nice system idle iowait irq softirq steal: proc_stat(5)


@dataclass(frozen=True)
class CpuTimes:
    """Clock ticks since the start of the system, over all cores."""

    busy: int  # of all processes, this one included; without steal
    steal: int  # a virtual core wanted to run and its host did not let it
    idle: int
    own: int  # of this process and its threads


def cpu_times(system: Path) -> CpuTimes | None:
    """The kernel's account up to now. Source: proc_stat(5), proc_pid_stat(5)."""
    lines = (text_of(system / "proc/stat") or "").splitlines()
    total = lines[0].split()[1:] if lines and lines[0].startswith("cpu ") else []
    # the name in brackets may hold spaces and brackets
    own = (text_of(system / "proc/self/stat") or "").rpartition(")")[2].split()
    if len(total) < STAT_LEAST_FIELDS or len(own) < STAT_LEAST_FIELDS + 5:
        return None
    user, nice, kernel, idle, iowait, irq, softirq, steal = map(int, total[:STAT_LEAST_FIELDS])
    return CpuTimes(
        busy=user + nice + kernel + irq + softirq,
        steal=steal,
        idle=idle + iowait,
        own=int(own[11]) + int(own[12]),  # utime and stime, fields 14 and 15 of the whole line
    )


def shares(before: CpuTimes | None, after: CpuTimes | None) -> tuple[float | None, float | None]:
    """Shares of all cores' time that other processes used and that was stolen, 0 to 1."""
    if before is None or after is None:
        return None, None
    busy, steal = after.busy - before.busy, after.steal - before.steal
    total = busy + steal + after.idle - before.idle
    if total <= 0:
        return None, None
    others = max(0, busy - (after.own - before.own))  # ticks of two accounts may differ by one
    return round(others / total, 4), round(max(0, steal) / total, 4)
