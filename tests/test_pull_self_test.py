"""The self-test of a camera: what it may do, and what its end means."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from camera.models import Blob, Model
from camera.running import wait_until
from pull_parts import served, stored

from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.pull.activate import ATTEMPTS_MOST, try_out
from toolkit.pull.golden_job import job_of
from toolkit.pull.self_test import self_test
from toolkit.pull.settings import Testing as Trial  # pytest takes `Testing` for tests
from toolkit.pull.store import attempts, begin_trial, blocked
from toolkit.pull.strict_answer import answer_of
from toolkit.runner.answer import EMPTY, framed

CONTRACT = {
    "input": {"name": "lr", "shape": [1, 1, None, None], "dtype": "float32", "layout": "nchw"},
    "output": {"name": "sr"},
    "image": {"white": 255.0},
}


def npy(array) -> bytes:
    kept = io.BytesIO()
    np.save(kept, array)
    return kept.getvalue()


def model(contract=CONTRACT, golden=None, **changes) -> Model:
    """A release whose contract and golden input can be read; its model is no model."""
    vector = npy(np.zeros((1, 1, 6, 5), np.float32)) if golden is None else golden
    files = (
        Blob(name="model.onnx", role="model", data=b"no model"),
        Blob(name="golden-input.npy", role="golden", data=vector),
        Blob(name="golden-output.npy", role="golden", data=npy(np.zeros(3, np.float32))),
        Blob(name="contract.json", role="contract", data=json.dumps(contract).encode()),
    )
    return Model(1, files=files, changes=changes)


def program(folder, script: str, **options) -> Trial:
    file = folder / "self-test"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return Trial(program=file, **options)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("exit 0", ""),
        ("echo worse than before >&2; exit 1", "golden"),
        ("exit 123", "golden"),
        ("exit 124", "slow"),
        ("sleep 60", "slow"),
        ("kill -SEGV $$", "crash"),
        ("exit 137", "crash"),
        ("exec cat /dev/zero", "crash"),
    ],
)  # fmt: skip
def test_an_exit_code_is_a_verdict(tmp_path, script, kind):
    found = stored(tmp_path / "store", model())
    verdict = self_test(found, program(tmp_path, script, limit_s=0.5))
    assert verdict.kind == kind
    assert ("worse than before" in verdict.text) == ("worse" in script)


@pytest.mark.parametrize("script", ["exit 126", "exit 127"])
def test_a_test_that_cannot_run_says_nothing_about_the_model(tmp_path, script):
    found = stored(tmp_path / "store", model())
    testing = program(tmp_path, script)
    with pytest.raises(EnvironmentFailure) as failed:
        try_out(tmp_path / "store", found, testing, print, lambda: None)
    assert failed.value.kind == "runtime"
    assert blocked(tmp_path / "store") == {} and not (tmp_path / "store/trial").exists()


def test_a_camera_that_can_start_no_process_says_nothing_about_the_model(tmp_path, monkeypatch):
    store = tmp_path / "store"
    found = stored(store, Model(1))
    monkeypatch.setattr("sys.executable", "/nothing/python")
    with pytest.raises(EnvironmentFailure) as failed:
        try_out(store, found, program(tmp_path, "exit 0"), print, lambda: None)
    assert failed.value.kind == "runtime"
    assert blocked(store) == {} and attempts(store, found.id) == 0


def test_a_test_that_cannot_be_written_down_is_no_attempt(tmp_path):
    store = tmp_path / "store"
    found = stored(store, model(contract={}))
    with pytest.raises(SecurityError):
        try_out(store, found, Trial(), print, lambda: None)
    assert blocked(store) == {} and attempts(store, found.id) == 0


def test_the_child_is_limited_and_knows_nothing_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("CHANNEL_TOKEN", "secret")
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy")
    found = stored(tmp_path / "store", model())
    told = tmp_path / "told"
    script = f"""{{ ulimit -c; ulimit -v; grep NoNewPrivs /proc/self/status; env; }} > {told}
    [ "$1" = "{found.folder}" ]"""
    assert self_test(found, program(tmp_path, script, memory_mb=512)).kind == ""
    core, memory_kb, privileges, *environment = told.read_text().splitlines()
    assert (core, memory_kb, privileges.split()) == ("0", str(512 << 10), ["NoNewPrivs:", "1"])
    assert "secret" not in " ".join(environment)


def test_no_escape_codes_of_a_model_reach_the_terminal(tmp_path):
    found = stored(tmp_path / "store", model())
    script = r"printf 'a\033[2Jb\n' >&2; exit 1"
    verdict = self_test(found, program(tmp_path, script))
    assert verdict.text.endswith(r"a\x1b[2Jb") and verdict.text.isprintable()


def test_the_whole_family_of_a_test_ends_with_it(tmp_path):
    found = stored(tmp_path / "store", model())
    told = tmp_path / "told"
    script = f"sleep 60 & echo $! > {told}; exit 0"
    assert self_test(found, program(tmp_path, script)).kind == ""
    status = Path(f"/proc/{told.read_text().strip()}/stat")
    # dead at least, if nobody has collected it yet
    wait_until(lambda: not status.exists() or status.read_text().split()[2] == "Z", "its end")


def test_a_failed_test_blocks_the_content_and_leaves_the_pointer(tmp_path):
    store = tmp_path / "store"
    present, found = served(store, Model(1)), stored(store, Model(2))
    verdict = try_out(store, found, program(tmp_path, "exit 9"), print, lambda: None)
    assert verdict.kind == "golden"
    assert blocked(store) == {found.release.content: "golden"}
    assert (store / "current").read_text() == f"1 {present.id}\n" and not (store / "trial").exists()


def test_a_machine_that_dies_each_time_is_a_verdict_after_five(tmp_path):
    store = tmp_path / "store"
    found = stored(store, Model(1))
    good = program(tmp_path, "exit 0")

    class PowerCut(BaseException):
        pass

    def dies():
        raise PowerCut

    for count in range(1, ATTEMPTS_MOST + 1):
        with pytest.raises(PowerCut):
            try_out(store, found, good, print, dies)
        assert attempts(store, found.id) == count
    assert try_out(store, found, good, print, dies).kind == "crash"
    assert list(blocked(store).values()) == ["crash"] and attempts(store, found.id) == 0


def test_attempts_that_ended_well_are_forgotten(tmp_path):
    store = tmp_path / "store"
    found = stored(store, Model(1))
    for _ in range(ATTEMPTS_MOST - 1):
        begin_trial(store, found.id)
    good = program(tmp_path, "exit 0")
    assert try_out(store, found, good, print, lambda: None).kind == ""
    assert attempts(store, found.id) == 0 and blocked(store) == {}


def test_files_of_a_release_are_no_modules_of_the_runner(tmp_path, monkeypatch):
    """A release may name a file numpy.py; nothing of its folder is imported."""
    found = stored(tmp_path / "store", model(runtime="onnxruntime"))
    canary = tmp_path / "canary"
    for name in ("numpy.py", "onnxruntime.py", "json.py"):
        (found.folder / name).write_text(f"open({str(canary)!r}, 'w')\nraise SystemExit(0)\n")
    monkeypatch.chdir(found.folder)
    verdict = self_test(found, Trial())
    assert verdict.kind == "crash" and "load" in verdict.text
    assert not canary.exists() and not (found.folder / "self-test.part").exists()


def test_no_file_of_a_release_is_taken_for_one_of_the_runner(tmp_path):
    """The runner keeps what it must restore in `governor.json`, and removes a damaged one."""
    files = (*model().blobs, Blob(name="governor.json", role="golden", data=b"{}"))
    found = stored(tmp_path / "store", Model(1, files=files))
    assert self_test(found, Trial()).kind == "crash"
    assert (found.folder / "governor.json").read_bytes() == b"{}"


def test_an_unknown_runtime_blocks_nothing(tmp_path):
    found = stored(tmp_path / "store", model(runtime="tomorrow"))
    with pytest.raises(EnvironmentFailure) as failed:
        self_test(found, Trial())
    assert failed.value.kind == "runtime"


def test_a_limit_on_time_has_the_runner_take_times(tmp_path):
    found = stored(tmp_path / "store", model())
    assert json.loads(job_of(found, Trial()))["time"] is None
    timed = json.loads(job_of(found, Trial(max_latency_us=5)))["time"]
    assert timed["shape"] == [1, 1, 6, 5] and timed["white"] == 255.0  # of the golden input


def test_the_size_and_threads_are_those_that_the_limit_was_set_for(tmp_path):
    figures = {"latency_height_px": 36, "latency_width_px": 64, "latency_threads": 4}
    found = stored(tmp_path / "store", model(latency_limit_us=900, figures=figures))
    job = json.loads(job_of(found, Trial()))
    assert job["time"]["shape"] == [1, 1, 36, 64] and job["threads"] == 4
    assert json.loads(job_of(found, Trial(threads=1)))["threads"] == 1


@pytest.mark.parametrize(
    "header",
    [b"", b"\x93NUMPY\x01\x00\xff\xff", b"\x93NUMPY\x01\x00\x10\x00__import__('os')",
     b"\x93NUMPY\x01\x00\x14\x00{'shape': (1, 2)}   ", b"\x93NUMPY\x01\x00\x40\x00" + b"(" * 64],
)  # fmt: skip
def test_a_hostile_vector_is_no_shape(tmp_path, header):
    found = stored(tmp_path / "store", model(golden=header))
    with pytest.raises(SecurityError) as refused:
        job_of(found, Trial(max_latency_us=5))
    assert refused.value.kind == "malformed"


@pytest.mark.parametrize("contract", [[], {}, {"input": 3}, {**CONTRACT, "output": None}])
def test_a_contract_that_is_none_is_malformed(tmp_path, contract):
    found = stored(tmp_path / "store", model(contract))
    with pytest.raises(SecurityError) as refused:
        job_of(found, Trial())
    assert refused.value.kind == "malformed"


def test_only_a_whole_answer_counts():
    answer = framed({**EMPTY, "load_ms": 1.0})
    assert answer_of(answer)["load_ms"] == 1.0
    digest = hashlib.sha256(b"[]").hexdigest()
    polluted = [b"", answer[:-2], b"x" + answer, answer + b"x", answer.replace(b"1.0", b"2.0"),
                f"edgesr-answer 1 2 {digest}\n[]\n".encode()]  # fmt: skip
    assert [answer_of(one) for one in polluted] == [None] * len(polluted)
