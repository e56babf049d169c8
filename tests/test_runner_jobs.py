"""The runner on real runtimes: numbers before speed, one answer, the same outputs as the host."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from runner_jobs import (
    RUNTIMES,
    answer,
    environment,
    executed,
    int8_file,
    output_here,
    picture_tensor,
    prepared,
    sha256,
)

from toolkit.runner.answer import EMPTY
from toolkit.runner.runtimes import openvino


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    made = {}

    def get(runtime):
        if runtime not in made:
            made[runtime] = int8_file(runtime, tmp_path_factory.mktemp(runtime))
        return made[runtime]

    return get


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_whole_job(files, tmp_path, runtime):
    artefact = files(runtime)
    tensors = [picture_tensor(artefact, seed) for seed in (1, 2, 3)]
    job = prepared(artefact, tmp_path, operators=True)
    with (tmp_path / "inputs.npy").open("wb") as stream:
        for tensor in tensors:
            np.save(stream, tensor)
    job["batch"] = {"inputs": "inputs.npy", "outputs": "outputs.npy"}
    code, found = executed(tmp_path, job)
    assert (code, found["error"], found["remarks"]) == (0, None, [])
    assert set(found) == set(EMPTY)
    assert found["sha256"] == job["sha256"]
    assert found["golden"] == {
        "vectors": 1, "worst": 0.0, "tolerance": 0.0, "within_share": 1.0, "least_share": 1.0,
        "equal_share": 1.0, "passed": True,
    }  # fmt: skip
    assert len(found["samples_ns"]) == 5
    assert min(found["samples_ns"]) > 0
    assert found["warm_up_runs"] >= 2
    assert found["first_ms"] > 0
    assert found["load_ms"] > 0
    assert found["peak_memory_mb"] > 0
    assert found["batch"] == {"count": 3}
    with (tmp_path / "outputs.npy").open("rb") as stream:
        for tensor in tensors:
            assert np.array_equal(np.load(stream), output_here(artefact, tensor))
        assert stream.read() == b""


def test_onnxruntime_says_where_it_ran(files, tmp_path):
    _, found = executed(tmp_path, prepared(files("onnxruntime"), tmp_path, operators=True))
    kinds = [o["kind"] for o in found["operators"]]
    assert kinds.count("QLinearConv") == 3
    assert {o["precision"] for o in found["operators"] if o["kind"] == "QLinearConv"} == {"int8"}
    assert {o["precision"] for o in found["operators"]} == {"int8", ""}
    [unit] = found["units"]
    assert (unit["unit"], unit["operators_share"]) == ("CPU", 1.0)
    assert unit["operators"] == len(kinds)
    assert unit["time_ms"] == pytest.approx(sum(o["time_ms"] for o in found["operators"]))
    assert list(tmp_path.glob("**/profile*")) == []


def test_openvino_says_where_it_ran_and_in_which_precision(files, tmp_path):
    _, found = executed(tmp_path, prepared(files("openvino"), tmp_path, operators=True))
    layers = [o for o in found["operators"] if o["kind"] == "Convolution"]
    assert [o["precision"] for o in layers] == ["int8"] * 3
    assert all(o["time_ms"] >= 0 for o in found["operators"])
    assert not {"Const", "Input", "Output"} & {o["kind"] for o in found["operators"]}
    assert [unit["unit"] for unit in found["units"]] == ["CPU"]


@pytest.mark.parametrize(
    ("precision", "hint"),
    [("int8", "f32"), ("float32", "f32"), ("bfloat16", "bf16")],  # f16 is not there on every CPU
)
def test_openvino_computes_in_the_precision_that_is_stated(files, precision, hint):
    network = openvino.compiled(openvino.read(files("openvino").path), precision, 1)
    assert network.get_property("INFERENCE_PRECISION_HINT").to_string() == hint
    assert network.get_property("INFERENCE_NUM_THREADS") == 1


def test_litert_says_what_xnnpack_took_and_what_it_left(files, tmp_path):
    _, found = executed(tmp_path, prepared(files("litert"), tmp_path, operators=True))
    by_kind = {o["kind"]: o for o in found["operators"]}
    assert by_kind["CONV_2D"]["unit"] == "XNNPACK"
    assert by_kind["CONV_2D"]["precision"] == "int8"
    assert "DELEGATE" not in by_kind
    assert {o["time_ms"] for o in found["operators"]} == {None}
    assert sum(unit["operators"] for unit in found["units"]) == len(found["operators"])
    assert sum(unit["operators_share"] for unit in found["units"]) == pytest.approx(1)


def test_without_a_time_where_it_ran_comes_from_the_golden_input(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path, operators=True, time=None)
    _, found = executed(tmp_path, job)
    assert found["operators"]
    assert (found["samples_ns"], found["conditions"], found["first_ms"]) == ([], None, None)
    code, found = executed(tmp_path, {**job, "golden": []})
    assert (code, found["operators"]) == (0, [])
    assert found["remarks"] == ["where it ran is not known: the job names no input"]


def with_golden(job, folder, change, **more):
    expected = np.load(folder / "golden.output.npy")
    np.save(folder / "golden.output.npy", change(expected))
    job["golden"] = [{**job["golden"][0], **more}]
    return job


def one_more(expected):
    changed = expected.copy()
    changed.flat[0] += 1
    return changed


def test_golden_vectors_that_differ_are_timed_no_longer(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path, operators=True)
    np.save(tmp_path / "inputs.npy", np.load(tmp_path / "golden.input.npy"))
    job["batch"] = {"inputs": "inputs.npy", "outputs": "outputs.npy"}
    code, found = executed(tmp_path, with_golden(job, tmp_path, one_more))
    values = np.load(tmp_path / "golden.output.npy").size
    assert (code, found["error"]) == (0, None)
    assert found["golden"]["passed"] is False
    assert found["golden"]["worst"] == pytest.approx(1, abs=1e-6)
    assert found["golden"]["equal_share"] == pytest.approx((values - 1) / values)
    for key in ("samples_ns", "operators", "units"):
        assert found[key] == []
    assert (found["first_ms"], found["conditions"], found["batch"]) == (None, None, None)
    assert not (tmp_path / "outputs.npy").exists()


def test_a_share_of_values_may_differ_where_the_job_allows_it(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path, time=None)
    _, found = executed(tmp_path, with_golden(job, tmp_path, one_more, least_share=0.999))
    assert found["golden"]["passed"] is True
    assert found["golden"]["within_share"] < 1


@pytest.mark.parametrize("change", [lambda y: y[:, :, 1:], lambda y: y.astype(np.float16)])
def test_an_output_of_another_shape_or_type_is_an_error(files, tmp_path, change):
    job = prepared(files("onnxruntime"), tmp_path)
    code, found = executed(tmp_path, with_golden(job, tmp_path, change))
    assert (code, found["error"]["kind"]) == (1, "golden")
    assert "golden vector float" in found["error"]["text"]
    assert found["samples_ns"] == []


def test_a_golden_vector_with_objects_in_it_is_not_unpickled(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "golden.input.npy").write_bytes(buffer.getvalue())
    code, found = executed(tmp_path, job)
    assert (code, found["error"]["kind"]) == (1, "golden")


def test_another_file_than_the_one_that_is_meant_is_not_loaded(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path)
    file = tmp_path / job["file"]
    file.write_bytes(file.read_bytes() + b"\0")
    code, found = executed(tmp_path, job)
    assert (code, found["error"]["kind"]) == (1, "digest")
    assert sha256(file) in found["error"]["text"]
    assert (found["runtime"], found["load_ms"], found["golden"]) == (None, None, None)


def test_the_weights_beside_an_ir_are_checked_too(files, tmp_path):
    job = prepared(files("openvino"), tmp_path)
    [name] = job["parts"]
    weights = tmp_path / name
    weights.write_bytes(weights.read_bytes()[:-1] + b"\7")
    code, found = executed(tmp_path, job)
    assert (code, found["error"]["kind"]) == (1, "digest")
    assert name in found["error"]["text"]
    code, found = executed(tmp_path, {**job, "parts": {}})
    assert (code, found["error"]["kind"]) == (1, "digest")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_damaged_file_is_refused(files, tmp_path, runtime):
    job = prepared(files(runtime), tmp_path)
    file = tmp_path / job["file"]
    file.write_bytes(file.read_bytes()[:300])
    code, found = executed(tmp_path, {**job, "sha256": sha256(file)})
    assert (code, found["error"]["kind"]) == (1, "load")
    assert found["error"]["text"]
    assert "\n" not in found["error"]["text"]


def test_a_file_that_is_not_there(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path)
    (tmp_path / job["file"]).unlink()
    code, found = executed(tmp_path, job)
    assert (code, found["error"]["kind"]) == (1, "missing")


def test_a_runtime_that_is_not_installed(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "onnxruntime.py").write_text("raise ImportError('not here')")
    code, found = executed(tmp_path, job, PYTHONPATH=str(tmp_path / "hidden"))
    assert (code, found["error"]["kind"]) == (1, "missing")
    assert found["error"]["text"] == "onnxruntime cannot be imported: not here"


def test_an_input_that_the_file_does_not_take(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path)
    job["time"]["shape"] = [1, 4, 8, 8]
    code, found = executed(tmp_path, job)
    assert (code, found["error"]["kind"]) == (1, "run")
    assert found["golden"]["passed"] is True  # what was found before is kept


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file": "../secret.onnx"}, "no path inside the job's folder"),
        ({"file": "/etc/passwd"}, "no path inside the job's folder"),
        ({"schema": 2}, "schema 2, this runner reads 1"),
        ({"threads": 0}, "`threads` must be a whole number from 1"),
        ({"precision": "int4"}, "`precision` must be one of"),
        ({"expires_s": float("nan")}, "`expires_s` must be finite"),
        ({"golden": 7}, "cannot be understood"),
    ],
)
def test_a_job_that_cannot_be_understood(files, tmp_path, change, words):
    code, found = executed(tmp_path, prepared(files("onnxruntime"), tmp_path, **change))
    assert (code, found["error"]["kind"]) == (1, "run")
    assert words in found["error"]["text"]


def test_a_job_that_lacks_a_key(files, tmp_path):
    job = prepared(files("onnxruntime"), tmp_path)
    del job["precision"]
    code, found = executed(tmp_path, job)
    assert (code, found["error"]["text"]) == (1, "the job lacks the key 'precision'")


def test_what_a_runtime_prints_does_not_reach_the_answer(files, tmp_path):
    (tmp_path / "job.json").write_text(
        json.dumps(prepared(files("onnxruntime"), tmp_path, time=None))
    )
    program = (
        "import os, sys\n"
        "from toolkit.runner import program, work\n"
        "work.check_digests = lambda job: (os.write(1, b'chatter'), print('talk'))\n"
        "sys.exit(program.main(sys.argv[1:]))\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "job.json")],
        capture_output=True,
        env=environment(tmp_path),
    )
    assert answer(child.stdout)["golden"]["passed"] is True
    assert b"chatter" in child.stderr
    assert b"talk" in child.stderr
