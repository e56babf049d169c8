"""Wall times as MLPerf takes them in its single stream: the next run starts when one ends."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.runner.job import Timing

if TYPE_CHECKING:
    from toolkit.runner.session import Session, Tensor

WARM_UP_RUNS = 2  # at least, however long they take
SEED = 0
NS_PER_S = 1_000_000_000
INTEGERS = {"uint8": (0, 256), "int8": (-128, 128)}


@dataclass(frozen=True)
class Timed:
    """Raw wall times of one file in one process."""

    first_ms: float  # the session's first run
    warm_up_runs: int
    samples_ns: tuple[int, ...]


def noise(timing: Timing) -> Tensor:
    """A seeded input of the file's own type; pictures and noise take the same time."""
    rng = np.random.default_rng(SEED)
    if timing.dtype in INTEGERS:
        made: Any = rng.integers(*INTEGERS[timing.dtype], timing.shape)
    else:
        made = rng.random(timing.shape, np.float32) * np.float32(timing.white)
    tensor: Tensor = made.astype(timing.dtype)
    return tensor


def timed(
    session: Session,
    tensor: Tensor,
    timing: Timing,
    *,
    starting: Callable[[], None],
    between: Callable[[int], None],
) -> Timed:
    """First run, load, warm-up, then samples until there are enough of them and of time.

    `starting` is called once before the first sample, `between(now_ns)` after each sample, its
    time counted nowhere.
    """
    clock = time.perf_counter_ns
    began = clock()
    session.run(tensor)
    first_ms = (clock() - began) / 1e6
    _run_for(session, tensor, timing.sustained_s, runs=0)
    warm_up_runs = _run_for(session, tensor, timing.warm_up_s, runs=WARM_UP_RUNS)
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        starting()
        samples = _samples(session, tensor, timing, between)
    finally:
        if was_enabled:
            gc.enable()
    return Timed(first_ms=first_ms, warm_up_runs=warm_up_runs, samples_ns=tuple(samples))


def _samples(
    session: Session, tensor: Tensor, timing: Timing, between: Callable[[int], None]
) -> list[int]:
    clock, run = time.perf_counter_ns, session.run
    samples: list[int] = []
    began = ended = clock()
    enough = began + round(timing.min_s * NS_PER_S)
    latest = began + round(timing.max_s * NS_PER_S)
    while not samples or (ended < latest and (len(samples) < timing.min_runs or ended < enough)):
        started = clock()
        run(tensor)
        ended = clock()
        samples.append(ended - started)
        between(ended)
    return samples


def _run_for(session: Session, tensor: Tensor, seconds: float, *, runs: int) -> int:
    """Untimed runs: at least `runs`, and for `seconds`; returns how many there were."""
    until = time.perf_counter_ns() + round(seconds * NS_PER_S)
    done = 0
    while done < runs or time.perf_counter_ns() < until:
        session.run(tensor)
        done += 1
    return done
