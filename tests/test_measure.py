"""How often a file is run: often where it is quick, within a budget where a frame takes seconds."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.run import measure


class Clocked:
    """A session whose runs take a stated time on a clock of its own."""

    def __init__(self, ns):
        self.ns, self.now, self.runs = ns, 0, 0

    def run(self, tensor):
        self.runs += 1
        self.now += self.ns
        return tensor


@pytest.mark.parametrize(
    ("run_s", "warm", "timed"),
    [(0.001, 2, 10), (4.0, 1, 6), (60.0, 1, 1)],  # 20 s of budget: the sixth run goes over it
)
def test_a_turn_of_a_slow_file_is_cut_short(run_s, warm, timed, monkeypatch):
    session = Clocked(int(run_s * 1e9))
    monkeypatch.setattr(measure.time, "perf_counter_ns", lambda: session.now)
    taken = []
    pace = measure.Pace(min_runs=100, min_s=3.0)
    measure._take_turn(session, np.zeros(1), taken, pace)
    assert (session.runs, len(taken)) == (warm + timed, timed)
