"""Parts of the runner by themselves: comparing, timing, framing, where it ran."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toolkit.runner import work
from toolkit.runner.answer import EMPTY, framed
from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.golden import BEYOND, compared
from toolkit.runner.job import Golden, Job, Timing
from toolkit.runner.runtimes import litert, onnxruntime, openvino
from toolkit.runner.session import Executed, Opening, runtime
from toolkit.runner.timing import noise, timed
from toolkit.runner.units import units_of


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_never_passes(value):
    good = np.zeros((1, 1, 10, 10), np.float32)
    bad = good.copy()
    bad[0, 0, 3, 3] = value
    for found, expected in ((bad, good), (good, bad), (bad, bad)):
        check = compared(found, expected, 1e9, 0.5)
        assert not check.passed
        assert check.worst == BEYOND
        assert (check.within_share, check.equal_share) == (0.99, 0.99)


def test_integers_do_not_wrap_around():
    check = compared(np.array([0, 255], np.uint8), np.array([255, 255], np.uint8), 1.0, 0.5)
    assert (check.worst, check.within_share, check.equal_share) == (255.0, 0.5, 0.5)
    assert check.passed


def test_the_tolerance_itself_is_within():
    found, expected = np.array([2, 3], np.uint8), np.array([1, 3], np.uint8)
    assert compared(found, expected, 1.0, 1.0).passed
    assert not compared(found, expected, 0.99, 1.0).passed


class Counting:
    """A session that only counts."""

    def __init__(self):
        self.runs = 0

    def run(self, tensor):
        self.runs += 1
        return tensor

    def close(self):
        pass


def asked(**more):
    stated = {
        "shape": (1, 1, 4, 4), "dtype": "float32", "white": 1.0, "warm_up_s": 0.0, "min_runs": 7,
        "min_s": 0.0, "max_s": 60.0, "sustained_s": 0.0,
    }  # fmt: skip
    return Timing(**{**stated, **more})


def taken(session, **more):
    calls = []
    found = timed(
        session,
        np.zeros(1),
        asked(**more),
        starting=lambda: calls.append(session.runs),
        between=lambda now_ns: calls.append(session.runs),
    )
    return found, calls


def test_the_first_run_and_two_warm_up_runs_are_no_samples():
    session = Counting()
    found, calls = taken(session)
    assert (found.warm_up_runs, len(found.samples_ns), session.runs) == (2, 7, 10)
    assert calls == [3, *range(4, 11)]  # once before the first sample, then after each


def test_time_is_filled_as_well_as_runs():
    found, _ = taken(Counting(), min_runs=1, min_s=0.02, warm_up_s=0.01)
    assert len(found.samples_ns) > 1
    assert found.warm_up_runs > 2


def test_load_before_the_first_sample_is_not_counted():
    session = Counting()
    found, calls = taken(session, sustained_s=0.01)
    assert calls[0] > 3
    assert (found.warm_up_runs, len(found.samples_ns)) == (2, 7)


def test_no_run_starts_after_the_longest_time_but_one_is_always_taken():
    found, _ = taken(Counting(), min_runs=1_000_000, max_s=0.0)
    assert len(found.samples_ns) == 1


class Openings:
    """A runtime that counts how often a file is opened."""

    def __init__(self):
        self.sessions = []

    def version(self):
        return "counting", "1"

    def open(self, opening):
        self.sessions.append(Counting())
        return self.sessions[-1]


def opened(tmp_path, monkeypatch, *, golden, time):
    used = Openings()
    monkeypatch.setattr(work, "runtime", lambda name: used)
    path = tmp_path / "a.onnx"
    path.write_bytes(b"a")
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 4, 4), np.float32))
    vector = Golden(tmp_path / "x.npy", tmp_path / "x.npy", 0.0, 1.0)
    job = Job(
        runtime="counting",
        opening=Opening(path=path, precision="int8", threads=1, input="x", output="y"),
        sha256=work.sha256_file(path),
        parts={},
        golden=(vector,) if golden else (),
        time=asked() if time else None,
        batch=None,
        operators=False,
        tune=False,
        expires_s=60.0,
    )
    document = {**EMPTY, "remarks": []}
    work.fill(document, job, system=tmp_path, home=tmp_path)
    assert document["load_ms"] >= 0
    return [session.runs for session in used.sessions]


def test_times_are_of_a_session_that_has_seen_no_input(tmp_path, monkeypatch):
    assert opened(tmp_path, monkeypatch, golden=True, time=True) == [1, 10]
    assert opened(tmp_path, monkeypatch, golden=False, time=True) == [10]
    assert opened(tmp_path, monkeypatch, golden=True, time=False) == [1]
    assert opened(tmp_path, monkeypatch, golden=False, time=False) == [0]  # it loads: that is all


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("float32", 0, 255), ("uint8", 0, 255), ("int8", -128, 127)]
)
def test_the_input_is_seeded_and_uses_its_whole_range(dtype, low, high):
    timing = asked(shape=(1, 3, 64, 64), dtype=dtype, white=255.0)
    tensor = noise(timing)
    assert tensor.dtype == dtype
    assert tensor.shape == (1, 3, 64, 64)
    assert np.array_equal(tensor, noise(timing))
    assert low <= tensor.min() < low + 2
    assert high - 2 < tensor.max() <= high


def test_a_document_with_nan_is_never_sent():
    with pytest.raises(ValueError, match="not JSON compliant"):
        framed({**EMPTY, "load_ms": math.nan})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 7"), "memory"),
        (RuntimeError("bad model"), "load"),
        (Failure("digest", "kept"), "digest"),
    ],
)
def test_lack_of_memory_is_told_apart(error, kind):
    assert failure_of(error, "load").kind == kind


def test_a_runtime_that_nobody_knows():
    with pytest.raises(Failure, match="no runtime `os`; there are: onnxruntime, openvino, litert"):
        runtime("os")


def operator(unit, precision="int8", time_ms=1.0):
    return Executed(name="x", kind="Conv", precision=precision, unit=unit, time_ms=time_ms)


def test_units_share_the_operators():
    found = units_of(
        [operator("XNNPACK"), operator("CPU", "", None), operator("XNNPACK", "float32", 2.5)]
    )
    assert found == [
        {
            "unit": "XNNPACK", "operators": 2, "operators_share": 2 / 3, "time_ms": 3.5,
            "precisions": {"int8": 1, "float32": 1},
        },
        {
            "unit": "CPU", "operators": 1, "operators_share": 1 / 3, "time_ms": None,
            "precisions": {},
        },
    ]  # fmt: skip
    assert units_of([]) == []


def node(index, kind, inputs, outputs):
    return {"index": index, "op_name": kind, "inputs": inputs, "outputs": outputs}


def test_two_partitions_with_an_operator_between_them():
    nodes = [
        node(0, "CONV_2D", [0, 1, -1], [2]),
        node(1, "CUSTOM", [2], [3]),
        node(2, "RELU", [3], [4]),
        node(3, "ADD", [4, 2], [5]),  # reads what the first partition made
        node(4, "DELEGATE", [0, 1], [2]),
        node(5, "DELEGATE", [3, 2], [5]),
    ]
    assert litert.delegated(nodes) == {0, 2, 3}
    assert litert.delegated(nodes[:4]) == set()


def profile(name, kind, provider, durations, first="float"):
    return [
        {
            "cat": "Node", "name": f"{name}_kernel_time", "dur": duration,
            "args": {"op_name": kind, "provider": provider, "input_type_shape": [{first: [1]}]},
        }
        for duration in durations
    ]  # fmt: skip


def test_a_profile_is_read_without_its_first_two_runs():
    events = [
        {"cat": "Session", "name": "model_run", "dur": 1},
        *profile("a", "Conv", "CUDAExecutionProvider", [900, 800, 3, 1, 2]),
        *profile("b", "Transpose", "CPUExecutionProvider", [900, 800, 5]),
        *profile("c", "Conv", "QNNExecutionProvider", [900, 800, 5], "uint8"),
    ]
    assert onnxruntime.executed(events) == [
        Executed(name="a", kind="Conv", precision="float32", unit="GPU", time_ms=0.002),
        Executed(name="b", kind="Transpose", precision="", unit="CPU", time_ms=0.005),
        Executed(name="c", kind="Conv", precision="int8", unit="NPU", time_ms=0.005),
    ]


@pytest.mark.parametrize(
    ("devices", "unit"),
    [(["CPU"], "CPU"), (["GPU.0"], "GPU"), (["(NPU)"], "NPU"), (["GPU.1", "CPU"], "CPU+GPU")],
)
def test_openvino_devices_are_units(devices, unit):
    assert openvino.unit_of(devices) == unit
