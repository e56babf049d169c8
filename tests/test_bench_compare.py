"""Two results compared: like with like alone, with intervals, and no verdict on shaky samples."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench_parts import DEVICE, PROTOCOL, noisy_rounds, result, timing

from toolkit.benchmark import Stability
from toolkit.errors import UserError
from toolkit.measure.compare import compare, unpaired

BEFORE = result(timing(noisy_rounds(ms=10, seed=1)))


def after(ms, *, seed=2, **changed):
    return result(timing(noisy_rounds(ms=ms, seed=seed), **changed))


def one(before, later, limit=5.0):
    (found,) = compare(before, later, limit_percent=limit)
    return found


@pytest.mark.parametrize("seed", range(2, 12))
def test_two_results_of_one_speed_show_no_regression(seed):
    found = one(BEFORE, after(10, seed=seed))
    assert not found.is_regression
    assert all(abs(d.percent) < 1 for d in found.differences)


def test_a_result_beside_itself_is_no_difference():
    found = one(BEFORE, BEFORE)
    assert found.verdict == "no difference seen"
    assert [d.share for d in found.differences] == [50, 90]
    assert all(d.percent == 0 and d.interval.low < 0 < d.interval.high for d in found.differences)


def test_ten_percent_slower_is_a_regression_with_an_interval_around_it():
    found = one(BEFORE, after(11))
    assert (found.verdict, found.is_regression) == ("slower", True)
    for difference in found.differences:
        assert difference.percent == pytest.approx(10, abs=1)
        assert 5 < difference.interval.low < difference.percent < difference.interval.high < 15


def test_slower_within_the_limit_is_said_and_no_regression():
    found = one(BEFORE, after(10.3))
    assert (found.verdict, found.is_regression) == ("slower", False)


def test_faster_is_no_regression():
    found = one(BEFORE, after(8))
    assert (found.verdict, found.is_regression) == ("faster", False)


def test_beyond_the_limit_but_within_the_noise_of_rounds_is_no_regression():
    levels = (9.0, 10.0, 11.5)
    rounds = [noisy_rounds(rounds=1, ms=ms, seed=at)[0] for at, ms in enumerate(levels)]
    slower = [tuple(int(ns * 1.08) for ns in samples) for samples in rounds]
    found = one(result(timing(rounds)), result(timing(slower)))
    assert found.differences[0].percent > 5
    assert (found.verdict, found.is_regression) == ("no difference seen", False)


def test_a_tail_that_grew_alone_is_a_regression():
    rounds = [
        tuple(int(ns * 1.3) if at % 6 == 0 else ns for at, ns in enumerate(samples))
        for samples in noisy_rounds(seed=2)
    ]
    found = one(BEFORE, result(timing(rounds)))
    p50, p90 = found.differences
    assert abs(p50.percent) < 1
    assert p90.percent > 20
    assert found.is_regression


@pytest.mark.parametrize("which", ["before", "after"])
def test_unstable_samples_decide_nothing(which):
    shaky = Stability(is_stable=False, reasons=("other processes used 42 % of the CPU",))
    old, new = BEFORE, after(20)
    if which == "before":
        old = result(replace(old.files[0], stability=shaky))
    else:
        new = result(replace(new.files[0], stability=shaky))
    found = one(old, new)
    assert (found.verdict, found.is_regression) == ("not decided", False)
    assert found.why == (f"{which}: other processes used 42 % of the CPU",)
    assert found.differences[0].percent > 50  # the numbers are shown all the same


def test_p90_is_left_out_where_runs_are_too_few():
    few = result(timing(noisy_rounds(runs=8)))
    assert [d.share for d in one(few, few).differences] == [50]


def refusal(before, later):
    with pytest.raises(UserError) as caught:
        compare(before, later, limit_percent=5)
    return str(caught.value)


def test_another_device_is_refused_by_name():
    other = replace(DEVICE, identity="f" * 16, name="Other board")
    text = refusal(BEFORE, result(BEFORE.files[0], device=other))
    assert "these are two devices: Raspberry Pi 5" in text
    assert "Other board" in text


def test_one_device_under_two_addresses_is_one_device():
    again = replace(DEVICE, url="ssh://pi@10.0.0.7")
    assert one(BEFORE, result(BEFORE.files[0], device=again))


def test_every_difference_of_protocol_tool_and_runtime_is_named_at_once():
    protocol = replace(PROTOCOL, threads=4, tuned=True)
    file = replace(BEFORE.files[0], runtime="onnxruntime 1.32.0", tool="trtexec", height_px=128)
    text = refusal(BEFORE, result(file, protocol=protocol))
    for words in (
        "protocol: `threads` was 2, it is 4",
        "protocol: `tuned` was False, it is True",
        "the runtime's version was onnxruntime 1.31.1, it is onnxruntime 1.32.0",
        "the tool was runner, it is trtexec",
        "the input height was 360, it is 128",
    ):
        assert words in text


def test_an_emulated_device_has_no_times():
    emulated = result(BEFORE.files[0], device=replace(DEVICE, is_emulated=True))
    assert "an emulated device has no times" in refusal(emulated, emulated)


def test_files_of_other_names_are_paired_where_runtime_and_precision_leave_no_doubt():
    renamed = after(10, file="student.int8.onnx")
    found = one(BEFORE, renamed)
    assert (found.file, found.before) == ("student.int8.onnx", "tiny.int8.onnx")
    twice = result(*(replace(renamed.files[0], file=name) for name in "ab"))
    assert "no file was timed in both" in refusal(BEFORE, twice)


def test_files_of_one_side_alone_are_named():
    extra = replace(BEFORE.files[0], file="tiny.tflite", backend="litert")
    later = result(BEFORE.files[0], extra)
    compared = compare(BEFORE, later, limit_percent=5)
    assert unpaired(BEFORE, later, compared) == ("tiny.tflite was timed after only",)


def test_a_file_that_was_not_timed_is_not_compared():
    untimed = result(replace(BEFORE.files[0], samples_ns=(), problem="golden vectors"))
    assert "no file was timed in both" in refusal(BEFORE, untimed)
