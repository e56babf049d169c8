"""Conditions, use of the cores and energy, taken around the timed runs and between them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from toolkit.runner import conditions
from toolkit.runner.energy import counter
from toolkit.runner.processor import cpu_times, shares

LEAST_INTERVAL_S = 0.25
MOST_SAMPLES = 400


class Recorder:
    """Hands `timing.timed` its two hooks; `began_ns` is when the job began."""

    def __init__(self, system: Path, began_ns: int, *, most_s: float) -> None:
        self._system = system
        self._began_ns = began_ns
        self._interval_ns = round(max(LEAST_INTERVAL_S, most_s / MOST_SAMPLES) * 1e9)
        self._due_ns = 0
        self._sensors = conditions.sensors(system)
        self._energy = counter(system)
        self._cpu = cpu_times(system)
        self._before = conditions.snapshot(system, self._at_s(time.perf_counter_ns()))
        self._during: list[dict[str, Any]] = []

    def _at_s(self, now_ns: int) -> float:
        return (now_ns - self._began_ns) / 1e9

    def starting(self) -> None:
        """The first timed run comes next."""
        self._cpu = cpu_times(self._system)
        now_ns = time.perf_counter_ns()
        self._due_ns = now_ns + self._interval_ns
        if self._energy is not None:
            self._energy.sample(now_ns)

    def between(self, now_ns: int) -> None:
        """A timed run ended at `now_ns`; a sample is taken where one is due."""
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + self._interval_ns
        self._during.append(conditions.glance(self._sensors, self._at_s(now_ns)))
        if self._energy is not None:
            self._energy.sample(now_ns)

    def finished(self, runs: int) -> dict[str, Any]:
        """The answer's `conditions` and energy keys, after the last of `runs` timed runs."""
        now_ns = time.perf_counter_ns()
        if self._energy is not None:
            self._energy.sample(now_ns)
        others, steal = shares(self._cpu, cpu_times(self._system))
        joules = None if self._energy is None else self._energy.joules()
        return {
            "conditions": {
                "before": self._before,
                "during": self._during,
                "after": conditions.snapshot(self._system, self._at_s(now_ns)),
                "other_cpu_share": others,
                "steal_share": steal,
            },
            "energy_j_per_frame": None if joules is None else joules / runs,
            "energy_counter": None if joules is None or not self._energy else self._energy.name,
        }
