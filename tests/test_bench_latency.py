"""Latency statistics: known answers from arithmetic, intervals that cover what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bench_parts import noisy_rounds, timing

from toolkit.latency import (
    known_percentile_ms,
    least_samples,
    percentile_interval,
    percentile_ms,
    ratio_interval,
    speed_ups,
    summary,
)

MS = 1_000_000


def test_nearest_rank_is_a_sample_that_was_taken():
    samples = [at * MS for at in range(10, 0, -1)]
    assert [percentile_ms(samples, share) for share in (50, 90, 91, 100)] == [5, 9, 10, 10]
    assert percentile_ms([7 * MS], 99) == 7


def test_no_samples_have_no_percentile():
    with pytest.raises(ValueError, match="no samples"):
        percentile_ms([], 50)


@pytest.mark.parametrize(("share", "least"), [(50, 1), (90, 29), (95, 59), (99, 459)])
def test_a_percentile_needs_its_samples(share, least):
    assert least_samples(share) == least
    assert known_percentile_ms([MS] * least, share) == 1
    if least > 1:
        assert known_percentile_ms([MS] * (least - 1), share) is None


def test_the_least_count_is_where_the_largest_sample_is_surely_beyond():
    for share, confidence in ((90, 0.95), (95, 0.95), (99, 0.99)):
        below = (share / 100) ** least_samples(share)
        assert below <= 1 - confidence < (share / 100) ** (least_samples(share) - 1)


def test_summary_is_of_all_rounds_and_keeps_an_outlier():
    rounds = [[2 * MS] * 30, [2 * MS] * 30, [4 * MS] * 30 + [400 * MS]]
    found = summary(timing(rounds))
    assert (found.runs, found.p50_ms, found.p90_ms, found.max_ms) == (91, 2, 4, 400)
    assert found.p99_ms is None
    assert found.mean_ms == pytest.approx((60 * 2 + 30 * 4 + 400) / 91)
    assert found.std_ms == pytest.approx(np.std([2] * 60 + [4] * 30 + [400]))
    assert (found.load_ms, found.first_ms, found.peak_memory_mb) == (81, 21, (45, 47))


def test_what_a_program_does_not_tell_is_no_number():
    """`trtexec` tells no first inference; NaN would make `edgesr bench --json` no JSON."""
    found = summary(timing([[2 * MS] * 30], first_ms=(), load_ms=()))
    assert (found.first_ms, found.load_ms) == (None, None)


def test_a_file_that_was_not_timed_has_no_summary():
    assert summary(timing([])) is None


def test_an_interval_over_rounds_holds_the_truth_as_often_as_it_says():
    rng, hits, tries = np.random.default_rng(5), 0, 40
    for _ in range(tries):
        levels = 10 * MS * (1 + 0.02 * rng.normal(size=3))
        taken = [[int(level * (1 + 0.01 * x)) for x in rng.random(30)] for level in levels]
        interval = percentile_interval(taken, 50)
        hits += interval.low <= 10 * 1.005 <= interval.high
    assert hits >= 0.85 * tries  # 95 % are promised; without widening it is 70 %


def test_one_lucky_round_does_not_make_a_narrow_interval():
    even = percentile_interval(noisy_rounds(), 50)
    slow = noisy_rounds(ms=12, rounds=1, seed=3)
    uneven = percentile_interval((*noisy_rounds(rounds=2), *slow), 50)
    assert even.high - even.low < 0.2
    assert uneven.high - uneven.low > 2


def test_the_same_seed_gives_the_same_interval():
    assert percentile_interval(noisy_rounds(), 90) == percentile_interval(noisy_rounds(), 90)


def test_a_ratio_is_symmetric_and_never_negative():
    wild = noisy_rounds(spread=3.0)
    one, other = ratio_interval(wild, noisy_rounds(), 50), ratio_interval(noisy_rounds(), wild, 50)
    assert 0 < one.low < one.high
    assert one.low * other.high == pytest.approx(1, rel=0.2)


def test_long_rounds_are_thinned_without_moving_their_percentiles():
    many = noisy_rounds(rounds=1, runs=20_000)
    interval = percentile_interval(many, 90)
    assert interval.low <= percentile_ms(many[0], 90) <= interval.high
    assert interval.high - interval.low < 0.03


def test_speed_up_is_int8_beside_the_float_file_of_the_same_runtime_and_size():
    int8 = timing(noisy_rounds(ms=5))
    right = timing(noisy_rounds(ms=12, seed=1), file="tiny.float32.onnx", precision="float32")
    other = timing(noisy_rounds(ms=99), file="x.tflite", precision="float32", backend="litert")
    small = timing(noisy_rounds(ms=1), file="small.onnx", precision="float32", height_px=128)
    (found,) = speed_ups([other, small, int8, right])
    assert (found.file, found.against) == (int8.file, right.file)
    assert found.ratio == pytest.approx(2.4, rel=0.01)
    assert found.interval.low < found.ratio < found.interval.high
    assert math.isclose(found.interval.high, found.interval.low, rel_tol=0.05)


def test_bfloat16_is_no_baseline():
    int8 = timing(noisy_rounds(ms=5))
    assert speed_ups([int8, timing(noisy_rounds(), file="b", precision="bfloat16")]) == ()
