"""Rounds on a scripted board: numbers first, files in turn, nothing half, no claim believed."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from bench_parts import (
    GOLDEN,
    PROTOCOL,
    ScriptedBoard,
    artefact,
    golden,
    noisy_rounds,
    result,
    timing,
)

from toolkit.benchmark import Stability
from toolkit.commands.bench import exit_code
from toolkit.digest import sha256_file, sha256_json
from toolkit.errors import EnvironmentFailure, LinkLost, SecurityError
from toolkit.measure.rounds import bench, golden_failed

FILES = ("tiny.float32.onnx", "tiny.int8.onnx")


def measured(board, folder, *, names=FILES, protocol=PROTOCOL, said=None, vectors=None):
    artefacts = [artefact(folder, name) for name in names]
    vectors = [golden(name) for name in names] if vectors is None else vectors
    lines = [] if said is None else said
    return bench(board, artefacts, vectors, protocol, bundle="tiny", target="pi", say=lines.append)


def turns(board):
    return [(job["file"], bool(job["golden"]), job["time"] is not None) for job in board.jobs]


def test_golden_vectors_of_all_files_come_first_then_files_take_turns(tmp_path):
    board = ScriptedBoard()
    measured(board, tmp_path)
    float32, int8 = FILES
    numbers = [(float32, True, False), (int8, True, False)]
    assert turns(board) == numbers + [(float32, False, True), (int8, False, True)] * 3


def test_with_sustained_load_each_file_keeps_its_own_heat(tmp_path):
    board = ScriptedBoard()
    measured(board, tmp_path, protocol=replace(PROTOCOL, sustained_min=2.0))
    timed = [job for job in board.jobs if job["time"]]
    assert [job["file"] for job in timed] == [FILES[0]] * 3 + [FILES[1]] * 3
    assert [job["time"]["sustained_s"] for job in timed] == [120, 0, 0] * 2
    assert timed[0]["expires_s"] > timed[1]["expires_s"] + 119


def test_a_round_asks_for_its_part_at_the_size_the_file_takes(tmp_path):
    board = ScriptedBoard()
    protocol = replace(PROTOCOL, min_s=6.0, input_px=(100, 203), tuned=True, threads=4)
    measured(board, tmp_path, names=FILES[:1], protocol=protocol)
    job = board.jobs[1]
    assert job["time"]["shape"] == [1, 3, 96, 200]  # rounded down to multiples of 8
    assert (job["time"]["min_runs"], job["time"]["min_s"]) == (34, 2.0)
    assert (job["tune"], job["threads"], job["precision"]) == (True, 4, "float32")
    assert [j["operators"] for j in board.jobs] == [False, True, False, False]


def test_what_the_rounds_say_is_kept_in_order(tmp_path):
    answers = iter(range(100))

    def numbered(job):
        return {"load_ms": 10.0 + next(answers), "samples_ns": [5, 7]} if job["time"] else {}

    found = measured(ScriptedBoard(numbered), tmp_path, names=FILES[:1]).files[0]
    assert found.samples_ns == ((5, 7),) * 3
    assert (found.load_ms, found.first_ms) == ((10, 11, 12), (3, 3, 3))
    assert found.peak_memory_mb == (12, 12, 12)
    assert found.runtime == "onnxruntime 1.31.1"
    assert found.units[0].unit == "CPU"
    assert (found.height_px, found.width_px) == (360, 640)
    assert found.digest == sha256_file(tmp_path / FILES[0])
    assert not found.stability.is_stable  # six runs of the hundred asked for


def test_an_ir_has_the_digest_of_both_its_files_as_in_a_report(tmp_path):
    board = ScriptedBoard()
    name = "tiny.int8.xml"
    found = measured(board, tmp_path, names=(name,), vectors=[golden(name)]).files[0]
    parts = {n: sha256_file(tmp_path / n) for n in (name, "tiny.int8.bin")}
    assert found.digest == sha256_json(parts)
    assert board.jobs[0]["parts"] == {"tiny.int8.bin": parts["tiny.int8.bin"]}


@pytest.mark.parametrize(
    "claim",
    [
        {"within_share": 0.9949},
        {"worst": sys.float_info.max},
        {"vectors": 0},
        {"within_share": 1.5},
    ],
)
def test_a_file_whose_numbers_differ_is_not_timed_and_the_others_are(tmp_path, claim):
    def lying(job):
        if job["file"] != FILES[1] or not job["golden"]:
            return {}
        check = {"vectors": 1, "worst": 9.0, "tolerance": 1.0, "within_share": 0.999,
                 "least_share": 0.0, "equal_share": 0.1, "passed": True}  # fmt: skip
        return {"golden": {**check, **claim}}

    board = ScriptedBoard(lying)
    good, bad = measured(board, tmp_path).files
    assert golden_failed(bad)
    assert not golden_failed(good)
    assert bad.samples_ns == ()
    assert "golden vectors do not hold" in bad.problem
    assert len(good.samples_ns) == 3
    assert (FILES[1], False, True) not in turns(board)


def test_other_bytes_on_the_device_are_refused(tmp_path):
    board = ScriptedBoard(lambda job: {"sha256": "f" * 64})
    with pytest.raises(SecurityError, match=r"did not run `tiny.float32.onnx` .* SHA-256 ffff"):
        measured(board, tmp_path)
    silent = ScriptedBoard(lambda job: {"sha256": None})
    with pytest.raises(SecurityError, match="not stated"):
        measured(silent, tmp_path)


def failing(when, error):
    def answers(job):
        if when(job):
            raise error
        return {}

    return answers


def test_a_file_that_the_device_cannot_run_does_not_stop_the_others(tmp_path):
    error = EnvironmentFailure("the device lacks a package for onnxruntime")
    board = ScriptedBoard(failing(lambda job: job["file"] == FILES[0], error))
    bad, good = measured(board, tmp_path).files
    assert (bad.problem, bad.samples_ns) == (error.problem, ())
    assert (good.problem, len(good.samples_ns)) == ("", 3)


def test_a_round_that_fails_leaves_no_half_of_its_file(tmp_path):
    runs = []

    def second_round(job):
        of_file = bool(job["time"]) and job["file"] == FILES[0]
        runs.append(of_file)
        return of_file and sum(runs) == 2

    error = EnvironmentFailure("the runner was killed on the device")
    said = []
    board = ScriptedBoard(failing(second_round, error))
    bad, good = measured(board, tmp_path, said=said).files
    assert bad.problem == "round 2: the runner was killed on the device"
    assert (bad.samples_ns, bad.load_ms, bad.conditions) == ((), (), ())
    assert len(good.samples_ns) == 3
    assert any(error.problem in line for line in said)


def test_where_nothing_runs_every_cause_is_said_once(tmp_path):
    error = EnvironmentFailure("the device lacks Python 3.9 or later", hint="install it")
    with pytest.raises(EnvironmentFailure) as caught:
        measured(ScriptedBoard(failing(lambda job: True, error)), tmp_path)
    assert caught.value is error


def test_a_lost_link_ends_everything(tmp_path):
    lost = LinkLost("the device stopped answering")
    with pytest.raises(LinkLost):
        measured(ScriptedBoard(failing(lambda job: job["time"] is not None, lost)), tmp_path)


def test_an_emulated_device_is_asked_for_numbers_alone(tmp_path):
    board = ScriptedBoard(is_emulated=True)
    result = measured(board, tmp_path)
    assert all(job["time"] is None for job in board.jobs)
    assert [(t.samples_ns, t.golden.passed, t.problem) for t in result.files] == [
        ((), True, "")
    ] * 2


def test_files_without_golden_vectors_are_timed_and_have_no_check(tmp_path):
    found = measured(ScriptedBoard(), tmp_path, names=FILES[:1], vectors=[]).files[0]
    assert found.golden is None
    assert len(found.samples_ns) == 3


def test_progress_names_file_round_p50_and_what_is_left(tmp_path):
    said = []
    measured(ScriptedBoard(), tmp_path, said=said)
    assert said[0] == ("tiny.float32.onnx: numbers hold: 100 % within 1 (at least 99.5 %), worst 0")
    assert said[2].startswith("tiny.float32.onnx: round 1 of 3, p50 2.00 ms of 34 runs")
    assert len(said) == 8


@pytest.mark.parametrize(
    "damage",
    [
        {"samples_ns": [1.5]},
        {"samples_ns": [-1]},
        {"samples_ns": [True]},
        {"samples_ns": [10**15]},
        {"samples_ns": "1"},
        {"samples_ns": []},
        {"load_ms": -1.0},
        {"load_ms": "4"},
        {"units": [{"unit": "CPU", "operators": 1, "operators_share": 2.0}]},
        {"units": [7]},
        {"runtime": 7},
        {"conditions": [1]},
        {"peak_memory_mb": 1e999},
        {"peak_memory_mb": 10**400},
    ],
    ids=lambda damage: str(damage)[:40],
)
def test_an_answer_of_another_shape_is_a_sentence(tmp_path, damage):
    board = ScriptedBoard(lambda job: damage if job["time"] else {})
    with pytest.raises(EnvironmentFailure) as caught:
        measured(board, tmp_path, names=FILES[:1])
    assert "cannot be understood" in str(caught.value) or "no samples" in str(caught.value)


def test_words_of_the_device_cannot_drive_a_terminal(tmp_path):
    hostile = "\x1b[2Jgone\r\n"

    def answers(job):
        unit = {"unit": hostile, "operators": 1, "operators_share": 1.0, "time_ms": None,
                "precisions": {hostile: 1}}  # fmt: skip
        conditions = {hostile: hostile, "before": {"governors": [hostile]}}
        return {
            "runtime": {"name": hostile, "version": hostile},
            "units": [unit],
            "conditions": conditions if job["time"] else None,
            "remarks": [hostile],
        }

    found = measured(ScriptedBoard(answers), tmp_path, names=FILES[:1]).files[0]
    assert "\x1b" not in repr(found).replace("\\x1b", "\x1b")


def test_conditions_without_end_are_no_numbers(tmp_path):
    endless = {"other_cpu_share": 10**400, "before": {"temperatures_c": {"soc": 10**400}}}
    board = ScriptedBoard(lambda job: {"conditions": endless} if job["time"] else {})
    found = measured(board, tmp_path, names=FILES[:1]).files[0].conditions[0]
    assert found["other_cpu_share"] is found["before"]["temperatures_c"]["soc"] is None


def test_tuned_is_what_the_device_says_it_was(tmp_path):
    protocol = replace(PROTOCOL, tuned=True)
    assert measured(ScriptedBoard(), tmp_path, protocol=protocol).protocol.tuned
    refused = ScriptedBoard(lambda job: {"tuned": False, "remarks": ["not tuned: not root"]})
    result = measured(refused, tmp_path, protocol=protocol)
    assert not result.protocol.tuned
    assert result.files[0].conditions[0]["remarks"] == ["not tuned: not root"]


def test_energy_is_of_a_counter_in_every_round_or_not_at_all(tmp_path):
    board = ScriptedBoard(lambda job: {"energy_j_per_frame": 0.5})
    assert measured(board, tmp_path).files[0].energy_j_per_frame == pytest.approx(0.5)
    counted = iter([None, 0.5, None, 0.5])
    board = ScriptedBoard(lambda job: {"energy_j_per_frame": next(counted)})
    found = measured(board, tmp_path, names=FILES[:1]).files[0]
    assert found.energy_j_per_frame is None


def vendor(monkeypatch, answers=lambda job: {}, *, name="benchmark_model"):
    """The vendor's program, scripted; returns what it was asked."""
    asked = []

    def time_file(board, artefact, protocol, *, timeout_s, golden=(), operators=True):
        asked.append({"golden": len(golden), "operators": operators, "timeout_s": timeout_s,
                      "warm_up_s": protocol.warm_up_s})  # fmt: skip
        stated = {"runs": 50, "average": 7.5, "p90": 8.0}
        answer = {"schema": 1, "runtime": {"name": name, "version": ""}, "tool": name,
                  "sha256": sha256_file(artefact.path), "load_ms": 9.0, "first_ms": 8.5,
                  "samples_ns": [], "stated_ms": stated, "golden": None, "units": []}  # fmt: skip
        return {**answer, **answers(asked)}

    monkeypatch.setattr("toolkit.measure.vendor.available", lambda board, artefact: name)
    monkeypatch.setattr("toolkit.measure.vendor.time_file", time_file)
    return asked


def without_python(board):
    board.probe = replace(board.probe, python="")
    return board


def test_the_runner_is_taken_wherever_it_has_the_files_own_runtime(tmp_path, monkeypatch):
    asked = vendor(monkeypatch)
    assert measured(ScriptedBoard(), tmp_path).files[0].tool == "runner"
    assert asked == []


def test_without_python_the_vendors_program_states_times_but_no_samples(tmp_path, monkeypatch):
    asked = vendor(monkeypatch)
    board = without_python(ScriptedBoard())
    protocol = replace(PROTOCOL, sustained_min=1.0)
    found = measured(board, tmp_path, names=FILES[:1], protocol=protocol).files[0]
    assert board.jobs == []
    assert (found.tool, found.samples_ns, len(found.stated_ms)) == ("benchmark_model", (), 3)
    assert found.load_ms == (9, 9, 9)
    assert found.stability.reasons == (
        "benchmark_model gives no samples: nothing is known of drift and outliers",
    )
    assert [one["operators"] for one in asked] == [True, False, False]
    assert [one["warm_up_s"] for one in asked] == [61, 1, 1]
    assert all(one["timeout_s"] > one["warm_up_s"] + 120 for one in asked)


def test_the_vendors_program_asked_for_beside_a_runner_has_its_numbers_checked(
    tmp_path, monkeypatch
):
    asked = vendor(monkeypatch)
    board = ScriptedBoard()
    artefacts = [artefact(tmp_path, FILES[0])]
    result = bench(
        board, artefacts, [golden(FILES[0])], PROTOCOL,
        bundle="tiny", target="pi", say=lambda line: None, tool="vendor",
    )  # fmt: skip
    assert turns(board) == [(FILES[0], True, False)]
    assert result.files[0].golden.passed
    assert [one["golden"] for one in asked] == [0, 0, 0]


def engine(folder):
    return replace(artefact(folder), backend="tensorrt")


def test_an_engine_checks_its_own_numbers_and_is_not_timed_where_they_differ(tmp_path, monkeypatch):
    check = {"vectors": 1, "worst": 9.0, "tolerance": 1.0, "within_share": 0.5, "equal_share": 0}
    asked = vendor(monkeypatch, lambda job: {"golden": check, "samples_ns": [5]}, name="trtexec")
    board = ScriptedBoard()
    result = bench(
        board, [engine(tmp_path)], [golden()], PROTOCOL,
        bundle="tiny", target="orin", say=lambda line: None,
    )  # fmt: skip
    (found,) = result.files
    assert [one["golden"] for one in asked] == [1]
    assert golden_failed(found)
    assert (found.samples_ns, found.stated_ms, found.tool) == ((), (), "trtexec")
    assert board.jobs == []  # ONNX Runtime in TensorRT's place would check another program


def test_where_no_vendors_program_is_the_runner_stands_in(tmp_path, monkeypatch):
    vendor(monkeypatch, name="")
    result = bench(
        ScriptedBoard(), [engine(tmp_path)], [golden()], PROTOCOL,
        bundle="tiny", target="orin", say=lambda line: None,
    )  # fmt: skip
    assert result.files[0].tool == "runner"
    assert result.files[0].runtime.startswith("onnxruntime")


FAILED = replace(GOLDEN, passed=False)
SHAKY = Stability(is_stable=False, reasons=("a reason",))


@pytest.mark.parametrize(
    ("files", "require_stable", "code"),
    [
        ([{}, {}], True, 0),
        ([{}, {"stability": SHAKY}], False, 0),
        ([{}, {"stability": SHAKY}], True, 4),
        ([{}, {"problem": "the device lacks a package"}], False, 3),
        ([{"golden": FAILED, "problem": "numbers"}, {}], False, 4),
        ([{"golden": FAILED, "problem": "numbers"}, {"problem": "lacks"}], False, 4),
    ],
)
def test_the_exit_code_says_what_is_wrong(files, require_stable, code):
    found = result(*(timing(noisy_rounds(), **changed) for changed in files))
    assert exit_code(found, require_stable=require_stable) == code


def test_every_missing_runtime_is_named_at_once_with_one_line_that_installs_them(tmp_path):
    board = ScriptedBoard()
    board.probe = replace(board.probe, packages={"numpy": "2.4.6"})
    with pytest.raises(EnvironmentFailure) as caught:
        measured(board, tmp_path, names=("a.int8.onnx", "a.int8.tflite", "b.onnx"))
    assert caught.value.problem == "the device lacks packages for onnxruntime, litert"
    assert "pip install numpy onnxruntime ai-edge-litert`" in caught.value.hint
    assert board.jobs == []


def test_a_runtime_that_one_file_lacks_is_said_with_the_line_that_installs_it(tmp_path):
    said: list[str] = []
    result = measured(ScriptedBoard(), tmp_path, names=("a.onnx", "a.tflite"), said=said)
    assert result.files[0].samples_ns
    assert "the device lacks a package for litert; on the device: " in said[0]
    assert "pip install numpy onnxruntime ai-edge-litert`" in said[0]
