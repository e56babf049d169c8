"""Latency on this host: several files of one target in turn, so that drift hits all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit import plugins
from toolkit.contracts import Artefact, Session, Tensor
from toolkit.latency import percentile_ms
from toolkit.model.contract import TensorSpec, input_size
from toolkit.spec.recipe import Measuring

ROUND_RUNS = 10  # timed runs of one file before the next one gets its turn
WARM_RUNS = 2  # untimed ones at the start of each turn: caches and clocks settle
BUDGET_S_PER_FILE = 20.0  # a network that takes seconds per frame is not run a hundred times
SLOW_NS = 1e9  # within a run as long as this caches and clocks have settled


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long each file is run, and how often before the next one gets its turn."""

    min_runs: int
    min_s: float
    budget_s: float = BUDGET_S_PER_FILE
    turn_runs: int = ROUND_RUNS


# Enough to tell which of two files is faster; the figures of a report take longer.
SHORT = Pace(min_runs=9, min_s=0.3, budget_s=2.0, turn_runs=3)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Raw wall times of one file."""

    nanoseconds: tuple[int, ...]
    height_px: int
    width_px: int

    def percentile_ms(self, share: float) -> float:
        """Nearest-rank percentile in milliseconds; share from 0 to 100."""
        return percentile_ms(self.nanoseconds, share)


def noise_tensor(spec: TensorSpec, height: int, width: int, channels: int, white: float) -> Tensor:
    """A seeded input of the file's own type; pictures and noise take the same time."""
    shape = (1, channels, height, width) if spec.layout == "nchw" else (1, height, width, channels)
    rng = np.random.default_rng(0)
    if spec.dtype in ("uint8", "int8"):
        low, high = (0, 256) if spec.dtype == "uint8" else (-128, 128)
        return rng.integers(low, high, shape).astype(spec.dtype)
    return (rng.random(shape) * white).astype(spec.dtype)


def artefact_input(artefact: Artefact, free_px: tuple[int, int]) -> tuple[Tensor, int, int]:
    """An input tensor for one file, with its height and width."""
    image = artefact.contract.image
    height, width = input_size(artefact.contract.input, free_px, image.multiple_of)
    tensor = noise_tensor(artefact.contract.input, height, width, image.channels, image.white)
    return tensor, height, width


def time_interleaved(
    artefacts: Sequence[Artefact], measuring: Measuring, pace: Pace | None = None
) -> list[Samples]:
    """Time all files in turns until each has enough, and close them."""
    pace = pace or Pace(min_runs=measuring.min_runs, min_s=measuring.min_s)
    inputs = [artefact_input(artefact, measuring.input_px) for artefact in artefacts]
    sessions: list[Session] = []
    try:
        for artefact in artefacts:
            backend = plugins.load("backends", artefact.backend)
            sessions.append(backend.open(artefact, threads=measuring.threads))
        taken: list[list[int]] = [[] for _ in sessions]
        while any(not _enough(times, pace) for times in taken):
            for session, (tensor, _, _), times in zip(sessions, inputs, taken, strict=True):
                if not _enough(times, pace):
                    _take_turn(session, tensor, times, pace)
    finally:
        for session in sessions:
            session.close()
    return [
        Samples(nanoseconds=tuple(times), height_px=height, width_px=width)
        for times, (_, height, width) in zip(taken, inputs, strict=True)
    ]


def _enough(times: Sequence[int], pace: Pace) -> bool:
    total_s = sum(times) / 1e9
    complete = len(times) >= pace.min_runs and total_s >= pace.min_s
    return complete or total_s >= pace.budget_s


def _take_turn(session: Session, tensor: Tensor, times: list[int], pace: Pace) -> None:
    many = len(times) < pace.turn_runs or sum(times) < 5e9
    for _ in range(WARM_RUNS if many and pace.turn_runs >= ROUND_RUNS else 1):
        started = time.perf_counter_ns()
        session.run(tensor)
        if time.perf_counter_ns() - started >= SLOW_NS:
            break
    for _ in range(pace.turn_runs):
        started = time.perf_counter_ns()
        session.run(tensor)
        times.append(time.perf_counter_ns() - started)
        if sum(times) > pace.budget_s * 1e9:
            return
