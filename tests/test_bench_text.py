"""What a bench and a comparison look like on a terminal of 80 columns or more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench_parts import DEVICE, GOLDEN, noisy_rounds, result, timing

from toolkit.benchmark import Stability, UnitUse
from toolkit.measure.compare import compare
from toolkit.show.bench_text import bench_text, comparison_text, ms, state_words
from toolkit.show.rows import release

CONDITIONS = {
    "before": {"governors": ["ondemand"] * 4, "temperatures_c": {"cpu": 51.2}},
    "during": [{"frequencies_mhz": [2400.0, 1800.0], "temperatures_c": {"cpu": 60.0}}],
    "after": {"governors": ["ondemand"] * 4, "temperatures_c": {"cpu": 66.9}},
    "other_cpu_share": 0.012,
    "remarks": [],
}
FLOAT = timing(
    noisy_rounds(ms=24, runs=160, seed=1),
    file="tiny.float32.onnx",
    precision="float32",
    conditions=(CONDITIONS,) * 3,
)
INT8 = timing(noisy_rounds(ms=10, runs=160), conditions=(CONDITIONS,) * 3)
GOLDEN_FOLDER = Path(__file__).parent / "golden"


@pytest.mark.parametrize("width", [80, 120])
def test_a_good_result_reads_as_a_table_with_its_conditions(width):
    text = bench_text(result(FLOAT, INT8), width=width, colour=False, place=Path("pi.bench/x.json"))
    assert text == (GOLDEN_FOLDER / f"bench-{width}.txt").read_text()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width):
    reasons = ("the rounds differ by 11.3 % in p90: 10.12 to 11.26 ms, and so on " * 3,)
    shaky = replace(INT8, stability=Stability(is_stable=False, reasons=reasons))
    units = tuple(
        UnitUse(unit=name, operators=3, operators_share=0.25, time_ms=1.0, precisions={"int8": 3})
        for name in ("XNNPACK", "CPU", "NPU", "GPU")
    )
    long = {"runtime": "openvino 2026.4.1-22982-e213a147257-releases/2026/4", "units": units}
    text = bench_text(result(FLOAT, replace(shaky, **long)), width=width, colour=False)
    assert max(map(len, text.splitlines())) <= width
    assert ("    min     mean      std" in text) == (width == 120)


def test_an_unstable_file_says_every_reason_on_its_own_line():
    shaky = Stability(is_stable=False, reasons=("one thing", "another"))
    text = bench_text(result(replace(INT8, stability=shaky)), width=80, colour=False)
    assert text.startswith("UNSTABLE  tiny")
    assert "\n  UNSTABLE  one thing\n  UNSTABLE  another\n" in text


def test_numbers_that_differ_are_first_and_no_time_is_shown():
    bad = replace(
        timing(()),
        golden=replace(GOLDEN, passed=False, within_share=0.42, worst=17.0),
        problem="its golden vectors do not hold on the device, so it was not timed",
    )
    text = bench_text(result(bad), width=80, colour=False)
    assert text.startswith("FAIL  tiny")
    assert "  FAIL      its golden vectors do not hold on the device" in text
    assert "42 % within 1 (at least 99.5 %)" in text
    assert "worst 17" in text


def test_an_emulated_device_has_no_table_of_times():
    emulated = replace(DEVICE, is_emulated=True, url="emulated:aarch64")
    text = bench_text(result(timing(()), device=emulated), width=80, colour=False)
    assert text.startswith("NUMBERS HOLD  tiny")
    assert "p50" not in text
    assert "an emulator's times say nothing of the device, so none were taken" in text


def test_percentiles_that_are_not_known_say_what_they_need():
    text = bench_text(result(timing(noisy_rounds(runs=12))), width=80, colour=False)
    assert "        -        -" in text
    assert "- too few runs to know: p95 needs 59, p99 needs 459" in text


def test_a_runtime_is_named_by_its_release():
    build = "openvino 2026.4.1-22982-e213a147257-releases/2026/4"
    text = bench_text(result(replace(INT8, runtime=build)), width=80, colour=False)
    assert "int8 on openvino 2026.4.1, 360 x 640 px" in text
    assert [release(one) for one in ("ai-edge-litert", "", "ai-edge-litert 2.3.0")] == [
        "ai-edge-litert", "", "ai-edge-litert 2.3.0",
    ]  # fmt: skip


def test_what_a_program_states_is_said_to_be_its_own_word():
    stated = tuple({"runs": 50.0, "average": 7.0 + at, "p90": 8.0 + at} for at in range(3))
    file = timing((), stated_ms=stated, tool="benchmark_model", load_ms=(1.0,), golden=None)
    text = bench_text(result(file), width=80, colour=False)
    assert "by benchmark_model" in text
    assert "  stated    average 8.00 ms, p90 9.00 ms; 150 runs (all stated by" in text
    assert "not checked: no golden vectors, or none that this tool checks" in text


def test_a_stand_in_for_tensorrt_is_said():
    text = bench_text(result(replace(INT8, backend="tensorrt")), width=80, colour=False)
    assert "ONNX Runtime ran it in TensorRT's place" in text


def test_a_clock_that_is_held_low_is_said_though_it_is_steady():
    moment = {"frequencies_mhz": [1500.0], "frequencies_max_mhz": [2400.0]}
    said = state_words([{"before": {**moment, "frequencies_limit_mhz": [1500.0]}}])
    assert "clock 1500 MHz, LIMITED to 1500 of 2400 MHz" in said[0]
    free = state_words([{"before": {**moment, "frequencies_limit_mhz": [2400.0]}}])
    assert "LIMITED" not in free[0]


def test_names_cannot_drive_the_terminal():
    hostile = replace(INT8, file="a\x1b[2Jb", runtime="x\x07")
    device = replace(DEVICE, name="\x1b]0;x", cpu="\x1b[31m")
    text = bench_text(result(hostile, device=device, bundle="\r"), width=80, colour=False)
    assert not any(ord(c) < 32 and c != "\n" for c in text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123"), (12.345, "12.35"), (123.45, "123.5"), (4567.8, "4568"), (None, "-")],
)
def test_milliseconds_have_the_digits_that_count(value, text):
    assert ms(value) == text


def compared(after_ms, limit=5.0, **changed):
    before = result(timing(noisy_rounds(seed=1)))
    after = result(timing(noisy_rounds(ms=after_ms, seed=2), **changed))
    return comparison_text(
        DEVICE,
        compare(before, after, limit_percent=limit),
        ("x.onnx was timed after only",),
        places=("a.json", "b.json"),
        limit_percent=limit,
        width=80,
        colour=False,
    )


def test_a_regression_is_the_first_word():
    text = compared(12)
    assert text.startswith("FAIL  Raspberry Pi 5 Model B Rev 1.0, at most 5 % slower\n")
    assert "tiny.int8.onnx  slower, beyond the limit\n  p50      10.07 to     12.0" in text
    assert "x.onnx was timed after only" in text


def test_a_comparison_that_decides_nothing_says_so_first():
    shaky = Stability(is_stable=False, reasons=("the chip throttled itself",))
    text = compared(12, stability=shaky)
    assert text.startswith("NOT DECIDED  ")
    assert "tiny.int8.onnx  not decided" in text
    assert "  UNSTABLE after: the chip throttled itself" in text
