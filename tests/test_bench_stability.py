"""Stability from scripted samples and conditions: each fault is named, quiet runs are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench_parts import PROTOCOL, noisy_rounds, timing

from toolkit.latency import percentile_ms
from toolkit.measure.stability import stability


def reasons(samples, conditions=(), protocol=PROTOCOL):
    found = stability(timing(samples, conditions=tuple(conditions)), protocol)
    assert found.is_stable == (not found.reasons)
    return list(found.reasons)


def scaled(samples, by):
    """One round with each sample multiplied by `by(share of the round passed)`."""
    return tuple(int(ns * by(at / len(samples))) for at, ns in enumerate(samples))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("spread", [0.002, 0.01, 0.03])
def test_quiet_runs_raise_no_alarm(seed, spread):
    assert reasons(noisy_rounds(seed=seed, spread=spread)) == []


@pytest.mark.parametrize("seed", range(10))
def test_short_quiet_rounds_raise_no_alarm(seed):
    protocol = replace(PROTOCOL, min_runs=30)
    assert reasons(noisy_rounds(seed=seed, runs=10, spread=0.01), protocol=protocol) == []


def test_slow_drift_within_one_round_is_named_with_the_round():
    one, two, three = noisy_rounds()
    drifting = scaled(two, lambda passed: 1 + 0.12 * passed)
    (reason,) = [r for r in reasons((one, drifting, three)) if "third" in r]
    assert reason.startswith("the last third of round 2 was ")
    assert reason.endswith("% slower than the first")
    assert 6 < float(reason.split(" was ")[1].split(" %")[0]) < 10


def test_rounds_too_short_to_tell_alone_tell_together():
    rounds = [scaled(r, lambda passed: 1 + 0.15 * passed) for r in noisy_rounds(runs=10)]
    found = reasons(rounds, protocol=replace(PROTOCOL, min_runs=30))
    assert len(found) == 1
    assert found[0].startswith("the last third of each round was about 1")


def test_a_warm_up_that_had_not_ended_is_drift_too():
    rounds = [scaled(r, lambda passed: 1.3 - 0.3 * passed) for r in noisy_rounds()]
    assert any("faster than the first" in reason for reason in reasons(rounds))


def test_four_percent_of_drift_is_within_the_limit():
    rounds = [scaled(r, lambda passed: 1 + 0.05 * passed) for r in noisy_rounds()]
    assert reasons(rounds) == []  # thirds lie two thirds of a round apart: 3.3 %


def test_one_outlier_of_a_hundredfold_is_kept_and_no_alarm():
    one, two, three = noisy_rounds()
    with_outlier = (*two[:50], two[50] * 100, *two[51:])
    assert max(with_outlier) > 900_000_000
    assert reasons((one, with_outlier, three)) == []


def test_rounds_in_two_modes_differ():
    rounds = (*noisy_rounds(rounds=2), *noisy_rounds(rounds=1, ms=11.5, seed=9))
    (reason,) = reasons(rounds)
    assert reason.startswith("the rounds differ by 1")
    assert "in p50: 10.08 to 11.5" in reason


def test_rounds_that_differ_in_their_tails_alone_differ():
    one, two, three = noisy_rounds()
    tailed = tuple(ns * 2 if at % 5 == 0 else ns for at, ns in enumerate(three))
    (reason,) = reasons((one, two, tailed))
    assert "in p90" in reason


def test_a_second_mode_at_the_headline_is_not_settled():
    rounds = [
        tuple(int(ns * 1.4) if at % 10 == 0 else ns for at, ns in enumerate(samples))
        for samples in noisy_rounds()
    ]  # every tenth run is slow: the next p90 lies in either mode, although these rounds agree
    (reason,) = reasons(rounds)
    assert reason.startswith("p90 is not settled: redrawn, the samples give 10.")
    assert " to 14." in reason


def test_background_load_is_named():
    conditions = [{"other_cpu_share": 0.01}, {"other_cpu_share": 0.42}, {"other_cpu_share": None}]
    assert reasons(noisy_rounds(), conditions) == ["other processes used 42 % of the CPU"]


def test_steal_is_named():
    conditions = [{"other_cpu_share": 0.0, "steal_share": 0.031}]
    (reason,) = reasons(noisy_rounds(), conditions)
    assert reason == "the host of this virtual machine took 3.1 % of the CPU for others"


def moments(*mhz):
    return {"during": [{"at_s": at, "frequencies_mhz": [600.0, x]} for at, x in enumerate(mhz)]}


def test_a_clock_that_fell_under_load_is_named():
    (reason,) = reasons(noisy_rounds(), [moments(2400, 2400, 2400, 1500, 1500, 1500)])
    assert reason == "the clock fell from 2400 to 1500 MHz"


def test_an_idle_clock_before_and_after_is_no_fall():
    idle = {"frequencies_mhz": [600.0, 600.0], "frequencies_limit_mhz": [2400.0, 2400.0]}
    conditions = {**moments(2400, 2380, 2400), "before": idle, "after": idle}
    assert reasons(noisy_rounds(), [conditions]) == []


def test_a_limit_that_the_kernel_lowered_is_a_fall():
    ends = {
        when: {"frequencies_limit_mhz": [1800.0, mhz], "temperatures_c": {"cpu-thermal": degrees}}
        for when, mhz, degrees in (("before", 2400.0, 61.0), ("after", 1500.0, 84.0))
    }
    (reason,) = reasons(noisy_rounds(), [ends])
    assert reason == "the clock fell from 2400 to 1800 MHz, while it warmed from 61 to 84 °C"


def test_throttling_that_was_counted_meanwhile_is_named():
    old = {"before": {"throttles": 7}, "after": {"throttles": 7}}
    new = {"before": {"throttles": 7}, "after": {"throttles": 9}}
    assert reasons(noisy_rounds(), [old]) == []
    assert reasons(noisy_rounds(), [old, new]) == ["the chip throttled itself"]


def test_a_rise_in_temperature_alone_is_no_reason_and_with_drift_its_cause():
    warm = {
        "before": {"temperatures_c": {"cpu": 60.0, "wifi": 40.0}},
        "after": {"temperatures_c": {"cpu": 78.0, "wifi": 41.0}},
    }
    rounds = noisy_rounds()
    assert reasons(rounds, [warm, warm, warm]) == []
    drifting = [scaled(r, lambda passed: 1 + 0.2 * passed) for r in rounds]
    found = reasons(drifting, [warm, warm, warm])
    assert found[0].endswith("slower than the first, while it warmed from 60 to 78 °C")


def test_too_few_runs_for_what_was_asked_or_for_a_p90():
    asked = replace(PROTOCOL, min_runs=300)
    short = noisy_rounds(runs=24)
    assert reasons(short, protocol=asked) == [
        "only 72 of the 300 runs asked for fitted into the time"
    ]
    few = replace(PROTOCOL, min_runs=9)
    assert reasons(noisy_rounds(runs=3), protocol=few) == [
        "9 runs tell no 90th percentile, which needs 29"
    ]


def test_a_file_that_was_not_timed_is_not_unstable():
    assert reasons(()) == []


@pytest.mark.parametrize(
    "hostile",
    [
        {"during": 7, "before": [], "after": "x"},
        {"during": [{"frequencies_mhz": "2400"}, None], "before": {"temperatures_c": [1]}},
        {"other_cpu_share": "all", "steal_share": True, "before": {"throttles": {}}},
        {"before": {"temperatures_c": {"cpu": "hot"}}, "after": {"temperatures_c": {"cpu": 3}}},
    ],
)
def test_conditions_of_another_shape_are_no_crash(hostile):
    assert isinstance(reasons(noisy_rounds(), [hostile]), list)


def machine(rng, *, runs, noise, spikes, rounds_apart):
    """A bench on a machine with log-normal noise, runs of half again the time, unequal rounds."""
    made = []
    for level in 1 + rounds_apart * rng.normal(size=3):
        slow = np.where(rng.random(runs) < spikes, 1.5, 1.0)
        taken = 10e6 * level * np.exp(noise * rng.normal(size=runs)) * slow
        made.append(tuple(int(ns) for ns in taken))
    return made


@pytest.mark.parametrize("runs", [34, 330])
@pytest.mark.parametrize(
    ("noise", "spikes", "rounds_apart"),
    [(0.01, 0.0, 0.002), (0.03, 0.03, 0.01), (0.02, 0.01, 0.03), (0.03, 0.1, 0.005)],
)
def test_five_benches_agree_within_five_percent_or_one_is_marked(runs, noise, spikes, rounds_apart):
    rng = np.random.default_rng(7)
    benches = [
        machine(rng, runs=runs, noise=noise, spikes=spikes, rounds_apart=rounds_apart)
        for _ in range(5)
    ]
    p90 = [percentile_ms([ns for one in bench for ns in one], 90) for bench in benches]
    marked = [reasons(bench) != [] for bench in benches]
    assert max(p90) <= 1.05 * min(p90) or any(marked)
    if noise == 0.01:
        assert not any(marked)
    if spikes == 0.1 or rounds_apart == 0.03:
        assert sum(marked) >= 2
