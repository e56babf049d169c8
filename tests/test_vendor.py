"""The vendors' programs: what they say is read strictly, and nothing is invented."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scripted_programs as scripted
from needs import needs
from quant_networks import anchored, quantized, target
from scripted_adb import Phone
from ssh_server import programs, ssh_server

from toolkit import plugins
from toolkit.benchmark import TimingProtocol
from toolkit.bundle.manifest import Golden
from toolkit.contracts import Finished
from toolkit.errors import EnvironmentFailure
from toolkit.measure.board import open_board
from toolkit.measure.engine import build_engine, pull_engine, pull_engines
from toolkit.measure.reading import read_answer
from toolkit.measure.rounds import bench
from toolkit.measure.vendor import (
    available,
    benchmark_app,
    benchmark_model,
    task,
    time_file,
    trtexec,
)
from toolkit.measure.vendor.conditions import around

PROTOCOL = TimingProtocol(threads=1, rounds=3, min_runs=30, min_s=3.0, input_px=(24, 32))
SIZE = (24, 32)


def lowered(tmp_path_factory, name, **build):
    folder = tmp_path_factory.mktemp(name)
    network, plan, _ = quantized(anchored(), folder)
    backend = plugins.load("backends", name)
    return backend.lower(network, plan, target(name, **build), folder, "tiny")[-1]


@pytest.fixture(scope="module")
def qdq(tmp_path_factory):
    """An INT8 file for TensorRT, and a golden vector of it."""
    artefact = lowered(tmp_path_factory, "tensorrt")
    given = np.random.default_rng(1).random((1, 3, *SIZE), dtype=np.float32)
    session = plugins.load("backends", "tensorrt").open(artefact, threads=1)
    golden = Golden(
        file=artefact.path.name, input=given, output=session.run(given), tolerance=1 / 255
    )
    session.close()
    return artefact, golden


@pytest.fixture(scope="module")
def tflite(tmp_path_factory):
    return lowered(tmp_path_factory, "litert", layout="nhwc", io_dtype="uint8", tile=SIZE)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A board without Python, with `trtexec` and what a small device has, behind a real sshd."""
    folder = tmp_path_factory.mktemp("board")
    path = programs(folder / "bin")
    environment = {"PATH": f"{folder / 'tensorrt'}:{path}", "EDGESR_PYTHON": "/no/python"}
    scripted.install(folder / "tensorrt", "trtexec")
    with ssh_server(folder / "server", environment=environment) as found:
        yield found, folder / "tensorrt"


@pytest.fixture
def jetson(server, monkeypatch):
    """(URL, folder of the scripted trtexec, engines on the board), with nothing built yet."""
    found, tools = server
    monkeypatch.setenv("EDGESR_SSH_CONFIG", str(found.client_config))
    scripted.install(tools, "trtexec")
    (tools / "calls").unlink(missing_ok=True)
    engines = found.home / "engines"
    for path in sorted(engines.rglob("*"), reverse=True) if engines.exists() else []:
        path.unlink() if path.is_file() else path.rmdir()
    return found.url, tools, engines


def built(tools):
    return [call for call in scripted.calls(tools) if any("--saveEngine" in w for w in call)]


@needs("ssh")
def test_an_engine_is_built_benched_and_kept_on_the_board(jetson, qdq):
    url, tools, engines = jetson
    artefact, golden = qdq
    with open_board(url) as board:
        assert available(board, artefact) == "trtexec"
        found = [
            time_file(board, artefact, PROTOCOL, timeout_s=60, golden=[golden]) for _ in range(2)
        ]
    assert [one["conditions"]["engine"]["was_built"] for one in found] == [True, False]
    assert {"before", "after"} <= set(found[0]["conditions"])
    assert len(built(tools)) == 1
    read = read_answer(found[0], [golden], where=url)
    assert (read.runtime, found[0]["tool"]) == ("tensorrt 10.3.0", "trtexec")
    assert read.samples_ns == (2_500_000, 2_000_000, 2_250_000, 4_000_000)  # no warm-up in it
    assert read.load_ms == pytest.approx(50.0) and read.first_ms is None
    assert read.golden.passed and read.golden.within_share == 1.0
    assert [(u.unit, u.operators, dict(u.precisions)) for u in read.units] == [
        ("GPU", 3, {"int8": 1, "float16": 1}),
        ("DLA", 1, {}),
    ]
    assert read.units[0].time_ms == pytest.approx(1.5)
    names = sorted(path.name for path in engines.rglob("*.engine"))
    assert len(names) == 1 and names[0].endswith(".trt10.3.engine")
    assert f"--optShapes={artefact.contract.input.name}:1x3x24x32" in built(tools)[0]


@needs("ssh")
def test_another_file_size_or_damaged_engine_is_built_anew(jetson, qdq):
    url, tools, engines = jetson
    with open_board(url) as board:
        program = board.probe.tools["trtexec"]
        first = build_engine(board, qdq[0], size_px=SIZE, trtexec=program)
        again = build_engine(board, qdq[0], size_px=SIZE, trtexec=program)
        other = build_engine(board, qdq[0], size_px=(48, 32), trtexec=program)
        place = next(path for path in engines.rglob(first.name) if first.place.split("/")[-2] in
                     path.parts)  # fmt: skip
        place.write_bytes(place.read_bytes()[:-1])
        mended = build_engine(board, qdq[0], size_px=SIZE, trtexec=program)
    assert [e.was_built for e in (first, again, other, mended)] == [True, False, True, True]
    assert mended.digest == first.digest and len(built(tools)) == 3


@needs("ssh")
def test_the_engine_is_pulled_back_by_its_digest(jetson, qdq, tmp_path):
    url, _, _ = jetson
    with open_board(url) as board:
        engine = build_engine(board, qdq[0], size_px=SIZE, trtexec=board.probe.tools["trtexec"])
        path = pull_engine(board, engine, tmp_path / "bundle.engines")
    assert path.name == engine.name
    assert path.read_bytes() == qdq[0].path.read_bytes()  # the scripted trtexec copies


@needs("ssh")
def test_a_bench_keeps_the_engine_beside_the_bundle(jetson, qdq, tmp_path):
    url, tools, engines = jetson
    file = tmp_path / qdq[0].path.name
    file.write_bytes(qdq[0].path.read_bytes())
    with open_board(url) as board:
        artefact = replace(qdq[0], path=file)
        result = bench(board, [artefact], [qdq[1]], PROTOCOL, bundle="b", target="t",
                       say=lambda _: None)  # fmt: skip
        (path,) = pull_engines(board, result, tmp_path / "bundle")
        path.write_bytes(b"damaged")
        pull_engines(board, result, tmp_path / "bundle")
    timing = result.files[0]
    assert (timing.tool, timing.problem, len(timing.samples_ns)) == ("trtexec", "", 3)
    assert timing.golden.passed and timing.samples_ns[0][0] == 2_500_000
    assert path.parent == tmp_path / "bundle.engines"
    assert path.read_bytes() == file.read_bytes()
    assert len(built(tools)) == 1 and len(list(engines.rglob("*.engine"))) == 1


@needs("ssh")
def test_an_engine_with_other_numbers_is_not_timed(jetson, qdq):
    url, tools, _ = jetson
    artefact, golden = qdq
    scripted.install(tools, "trtexec", shift=0.1)
    with open_board(url) as board:
        found = time_file(board, artefact, PROTOCOL, timeout_s=60, golden=[golden])
    read = read_answer(found, [golden], where=url)
    assert not read.golden.passed and read.samples_ns == ()
    assert not any("--exportTimes" in word for call in scripted.calls(tools) for word in call)


@needs("ssh")
@pytest.mark.parametrize(
    ("does", "problem"),
    [
        ({"digits": "8602"}, "TensorRT 8.6 is too old"),
        ({"fails": "out of GPU memory"}, "out of GPU memory"),
        ({"times": "[" * 100_000}, "times.json"),
        ({"layers": []}, "layers.json has no `Layers`"),
    ],
)
def test_what_trtexec_may_say_instead(jetson, qdq, does, problem):
    url, tools, _ = jetson
    scripted.install(tools, "trtexec", **does)
    with open_board(url) as board, pytest.raises(EnvironmentFailure) as told:
        time_file(board, qdq[0], PROTOCOL, timeout_s=60)
    assert problem in told.value.problem and told.value.where == url


@pytest.mark.parametrize(
    ("runs", "problem"),
    [
        ([], "lists no runs"),
        ({}, "lists no runs"),
        ([3], "times.json: 3"),
        ([{"latencyMs": 1}], "startComputeMs: None"),
        ([{"startComputeMs": 1e6, "latencyMs": -1}], "latencyMs: -1"),
        ([{"startComputeMs": 1e6, "latencyMs": True}], "latencyMs: True"),
        ([{"startComputeMs": 1e6, "latencyMs": 1e300}], "latencyMs: 1e"),
        ([{"startComputeMs": 0, "latencyMs": 1}], "only warm-up runs"),
    ],
)
def test_times_that_are_none_are_refused(runs, problem):
    with pytest.raises(EnvironmentFailure) as told:
        trtexec.samples_of(runs, 200.0, "")
    assert problem in told.value.problem


@pytest.mark.parametrize("value", ["nan", 300.0, 10**400], ids=["nan", "300", "endless"])
def test_a_value_that_the_output_cannot_hold_is_no_other_value(value):
    """NaN as uint8 is 0, 300 is 44: both could be what the golden vector expects."""
    output = np.zeros((1, 2), np.uint8)
    vector = Golden(file="x", input=np.zeros(1), output=output, tolerance=1.0)
    said = [{"name": "sr", "dimensions": "1x2", "values": [0.0, value]}]
    with pytest.raises(EnvironmentFailure, match="cannot be understood"):
        trtexec.output_of(said, vector, "")


def test_nan_is_no_json(tmp_path):
    path = tmp_path / "times.json"
    path.write_text('[{"latencyMs": NaN}]')
    with pytest.raises(EnvironmentFailure, match="`NaN` is no number"):
        task.read_json(path, "trtexec", "")


@pytest.mark.parametrize("layers", [None, [{"LayerType": "x"}], [3], {"Layers": 3}])
def test_layers_that_are_none_are_refused(layers):
    information = {"Layers": layers} if isinstance(layers, list) else layers
    with pytest.raises(EnvironmentFailure, match=r"layers\.json"):
        trtexec.operators_of(information, [], "")


def test_layers_of_which_only_names_are_known_have_no_precision():
    found = trtexec.operators_of({"Layers": ["conv", "relu"], "Bindings": []}, [{"count": 2}], "")
    assert [(o.name, o.precision, o.unit, o.time_ms) for o in found] == [
        ("conv", "", "GPU", None),
        ("relu", "", "GPU", None),
    ]


@pytest.mark.parametrize(
    ("banner", "release"), [("v100300", "10.3.0"), ("v110401", "11.4.1"), ("v8602", "8.6.2")]
)
def test_releases_are_read_from_the_banner(banner, release):
    assert trtexec.release_of(f"&&&& RUNNING TensorRT.trtexec [TensorRT {banner}] #", "") == release


# benchmark_model


def test_a_phone_without_python_is_timed_by_benchmark_model(tmp_path, monkeypatch, tflite):
    phone = Phone(tmp_path / "phone", python="/no/python")
    monkeypatch.setenv("EDGESR_ADB", str(phone.program))
    scripted.install(phone.tools, "benchmark_model")
    with open_board("adb:R58M123ABC") as board:
        assert board.probe.python == "" and available(board, tflite) == "benchmark_model"
        found = time_file(board, tflite, PROTOCOL, timeout_s=60)
    read = read_answer(found, (), where="")
    assert read.samples_ns == () and read.golden is None
    assert (read.load_ms, read.first_ms) == (18.777, 64.791)
    assert read.peak_memory_mb == 18.7227
    assert found["stated_ms"] == {
        "runs": 50.0, "average": pytest.approx(55.0432), "min": 53.077, "max": 60.727,
        "p5": 53.1, "p50": 54.9, "p95": 58.1,
    }  # fmt: skip
    assert [(u.unit, u.operators, u.time_ms) for u in read.units] == [
        ("XNNPACK", 1, 6.441), ("NNAPI", 1, 1.078), ("CPU", 1, 3.221),
    ]  # fmt: skip
    assert set(found["conditions"]) == {"before", "after"}
    timing, profiled = scripted.calls(phone.tools)
    assert "--num_runs=10" in timing and "--min_secs=1" in timing and "--num_threads=1" in timing
    assert not any("profiling" in word for word in timing) and len(profiled) == 6


def test_older_releases_state_less():
    found = benchmark_model.times_of(scripted.OLD_BENCHMARK_MODEL, "")
    assert found["stated_ms"] == {
        "runs": 50.0, "average": 880.688, "min": 851.668, "max": 903.937,
    }  # fmt: skip
    assert found["peak_memory_mb"] is None


def test_a_single_run_has_only_an_average():
    text = scripted.OLD_BENCHMARK_MODEL.replace(
        "count=50 first=885931 curr=881142 min=851668 max=903937 avg=880688 std=12426",
        "count=1 curr=880688",
    )
    assert benchmark_model.times_of(text, "")["stated_ms"] == {"runs": 1.0, "average": 880.688}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (scripted.INSIDE_PROFILE, [("XNNPACK", 2.1), ("XNNPACK", 1.05), ("CPU", 1.0)]),
        (scripted.OLD_PROFILE, [("CPU", 0.719), ("CPU", 0.849)]),
    ],
    ids=["XNNPACK's own rows", "older"],
)
def test_tables_of_operators(table, expected):
    found = benchmark_model.operators_of(table, "")
    assert [(operator.unit, operator.time_ms) for operator in found] == expected


@pytest.mark.parametrize(
    ("does", "problem"),
    [
        ({"fails": "Failed to mmap model"}, "Failed to mmap model"),
        ({"profile": "no table"}, "cannot be understood: `no table`"),
    ],
)
def test_what_benchmark_model_may_say_instead(tmp_path, monkeypatch, tflite, does, problem):
    phone = Phone(tmp_path / "phone", python="/no/python")
    monkeypatch.setenv("EDGESR_ADB", str(phone.program))
    scripted.install(phone.tools, "benchmark_model", **does)
    with open_board("adb:R58M123ABC") as board, pytest.raises(EnvironmentFailure) as told:
        time_file(board, tflite, PROTOCOL, timeout_s=60)
    assert problem in told.value.problem


def test_words_of_benchmark_model_that_are_others():
    with pytest.raises(EnvironmentFailure, match="cannot be understood: `Killed`"):
        benchmark_model.times_of("STARTING!\nKilled\n", "")
    with pytest.raises(EnvironmentFailure, match=r"CONV_2D 1\.0 oops"):
        benchmark_model.operators_of("= Run Order =\n[node type]\nCONV_2D\t1.0\toops\n", "")


# benchmark_app: the real one, which comes with OpenVINO


@pytest.fixture(scope="module")
def ir_file(tmp_path_factory):
    return lowered(tmp_path_factory, "openvino")


def test_the_real_benchmark_app_is_understood(tmp_path, monkeypatch, ir_file):
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path / "device"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    with open_board("local:") as board:
        assert available(board, ir_file) == "benchmark_app"
        found = time_file(board, ir_file, PROTOCOL, timeout_s=60)
    read = read_answer(found, (), where="")
    assert read.runtime.startswith("openvino 20") and read.samples_ns == ()
    stated = found["stated_ms"]
    assert stated["runs"] > 1
    assert 0 < stated["min"] <= stated["p90"] <= stated["max"]
    assert read.load_ms > 0 and read.first_ms > 0
    (unit,) = read.units
    assert unit.unit == "CPU" and unit.precisions["int8"] >= 3


def test_benchmark_app_is_asked_for_true_float_in_one_stream(ir_file):
    """Left to itself it runs float in bfloat16 where the CPU has it, in as many streams as fit."""

    class Asked:
        url = ""

        def command(self, words, files, **_):
            self.words, self.files = words, files
            return Finished(code=0, stdout=b"", stderr="")

    board = Asked()
    given = task.task_of(ir_file, PROTOCOL, [], timeout_s=60, operators=True)
    benchmark_app._run(board, "/bin/benchmark_app", given, 1.0, ["no_counters"], {})
    words = board.words
    asked = {flag: words[words.index(flag) + 1] for flag in words if flag.startswith("-n")}
    assert asked == {"-nstreams": "1", "-nireq": "1", "-nthreads": "1", "-niter": "10"}
    assert words[words.index("-infer_precision") + 1] == "f32"
    assert words[words.index("-data_shape") + 1] == "[1,3,24,32]"
    assert sorted(Path(name).suffix for name in board.files) == [".bin", ".xml"]


def test_a_report_that_lacks_something_is_refused(tmp_path):
    results = {"read model time (ms)": "1", "compile model time (ms)": "none"}
    with pytest.raises(EnvironmentFailure, match="compile model time"):
        benchmark_app.times_of({"execution_results": results}, "")
    for report in ([], {}, {"detailed_performance": []}, {"detailed_performance": [{"nodes": 3}]}):
        with pytest.raises(EnvironmentFailure, match="cannot be understood"):
            benchmark_app.operators_of(report, "CPU", "")


def test_conditions_are_asked_before_and_after(tmp_path, monkeypatch):
    system = tmp_path / "system"
    told = {
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "54321\n",
        "sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "40000\n",
        "sys/class/thermal/thermal_zone2/type": "broken\n",
        "proc/device-tree/model": "Some Board\x00",
        "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
        "proc/meminfo": "MemTotal: 4096000 kB\nMemAvailable:  2048000 kB\n",
    }
    for name, text in told.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)
    monkeypatch.setenv("EDGESR_SYSTEM_ROOT", str(system))
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path / "device"))

    def warmer():
        (system / "sys/class/thermal/thermal_zone0/temp").write_text("60000\n")
        return "done"

    with open_board("local:") as board:
        result, conditions = around(board, warmer)
    assert result == "done"
    assert conditions["before"] == {
        "governors": ["schedutil", "performance"], "frequencies_mhz": [1800.0],
        "frequencies_max_mhz": [2400.0], "model": "Some Board", "load_1min": 0.52,
        "temperatures_c": {"cpu-thermal": 54.321, "cpu-thermal 1": 40.0},
        "free_memory_mb": 2000.0,
    }  # fmt: skip
    assert conditions["after"]["temperatures_c"]["cpu-thermal"] == 60.0


def test_without_a_program_the_message_names_it(tmp_path, monkeypatch, tflite):
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path / "device"))
    with open_board("local:") as board:
        other = replace(tflite, backend="onnxruntime")
        assert available(board, tflite) == "" and available(board, other) == ""
        with pytest.raises(EnvironmentFailure) as told:
            time_file(board, tflite, PROTOCOL, timeout_s=60)
        assert "benchmark_model" in told.value.hint
        with pytest.raises(EnvironmentFailure) as told:
            time_file(board, other, PROTOCOL, timeout_s=60)
        assert "this runtime has none" in told.value.hint


def test_json_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(task, "RESULT_MOST_BYTES", 10)
    path = tmp_path / "times.json"
    path.write_text(json.dumps(["x" * 100]))
    with pytest.raises(EnvironmentFailure, match="more than 10 bytes"):
        task.read_json(path, "trtexec", "")
