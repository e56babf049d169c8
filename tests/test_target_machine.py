"""Times of another kind of device than the target are said to be that, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench_parts import DEVICE, noisy_rounds, result, timing

from toolkit.commands.bench import _remarks
from toolkit.measure.remarks import engine_remarks, machine_remarks
from toolkit.show.bench_text import bench_text
from toolkit.spec.read_target import read_target

PI = read_target("raspberry-pi-5")
OTHER = ("the device is x86_64, Raspberry Pi 5 is aarch64: its times are not the target's",)


@pytest.mark.parametrize(
    ("machine", "target", "remarks"),
    [
        ("x86_64", "raspberry-pi-5", OTHER),
        ("aarch64", "raspberry-pi-5", ()),
        ("arm64", "raspberry-pi-5", ()),
        ("x86_64", "generic-cpu", ()),
        ("", "raspberry-pi-5", ()),
    ],
)
def test_a_device_of_another_instruction_set_is_not_the_target(machine, target, remarks):
    assert machine_remarks(replace(DEVICE, machine=machine), read_target(target)) == remarks


def test_an_emulated_device_gives_no_times_to_doubt():
    assert machine_remarks(replace(DEVICE, machine="x86_64", is_emulated=True), PI) == ()


def test_bench_says_so_in_a_line():
    taken = result(timing(noisy_rounds()), device=replace(DEVICE, machine="x86_64"))
    assert _remarks(taken) == OTHER
    text = bench_text(taken, width=80, colour=False, remarks=OTHER)
    assert f"warning: {OTHER[0]}" in " ".join(text.split())
    assert _remarks(replace(taken, target="my-own-board")) == ()


def test_an_engine_that_was_not_built_is_said():
    engine = timing(noisy_rounds(), backend="tensorrt", runtime="tensorrt 10", tool="trtexec")
    stand_in = replace(engine, runtime="onnxruntime 1.31.1", tool="runner")
    assert engine_remarks(result(engine)) == ()
    (told,) = engine_remarks(result(stand_in))
    assert "no TensorRT engine was built of tiny.int8.onnx" in told
    assert "no engine was built" in bench_text(result(stand_in), width=80, colour=False)
