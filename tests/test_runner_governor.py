"""Governors are as they were, however a run ends; a fake tree stands for /sys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_system import fake_board, governor_files, put
from runner_jobs import (
    answer,
    environment,
    executed,
    int8_file,
    prepared,
    timing,
    written,
)

from toolkit.runner import governor
from toolkit.runner.governor import FILE, is_running, restore, tuned

PATIENCE_S = 60.0


def names(board):
    return [file.read_text().strip() for file in governor_files(board)]


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def leftover(board, home, process, **more):
    saved = {str(f.relative_to(board)): f.read_text().strip() for f in governor_files(board)}
    put(home, FILE, json.dumps({"process": process, "governors": {**saved, **more}}))
    for file in governor_files(board):
        file.write_text("performance\n")


def test_set_for_a_while_and_put_back(tmp_path):
    board, home = fake_board(tmp_path / "board"), tmp_path / "home"
    governor_files(board)[0].write_text("ondemand\n")
    with tuned(board, home, wanted=True) as reason:
        assert reason == ""
        assert names(board) == ["performance", "performance"]
        assert (home / FILE).exists()
    assert names(board) == ["ondemand", "schedutil"]
    assert list(home.iterdir()) == []


def test_put_back_after_an_exception(tmp_path):
    board = fake_board(tmp_path / "board")
    with pytest.raises(KeyboardInterrupt), tuned(board, tmp_path, wanted=True):
        raise KeyboardInterrupt
    assert names(board) == ["schedutil", "schedutil"]


def test_nothing_is_touched_where_it_was_not_asked_for(tmp_path):
    board = fake_board(tmp_path / "board")
    with tuned(board, tmp_path / "home", wanted=False) as reason:
        assert (reason, names(board)) == ("", ["schedutil", "schedutil"])
    assert not (tmp_path / "home").exists()


def test_nothing_is_written_where_it_is_set_already(tmp_path):
    board = fake_board(tmp_path / "board", governor="performance")
    with tuned(board, tmp_path / "home", wanted=True) as reason:
        assert reason == ""
    assert not (tmp_path / "home").exists()


def test_a_system_without_governors_says_so(tmp_path):
    with tuned(tmp_path, tmp_path / "home", wanted=True) as reason:
        assert reason == "this system has no governor"


def test_a_board_without_that_governor_says_so(tmp_path):
    board = fake_board(tmp_path / "board", choices="powersave schedutil")
    with tuned(board, tmp_path, wanted=True) as reason:
        assert reason == "no governor `performance`; there are: powersave, schedutil"
    assert names(board) == ["schedutil", "schedutil"]


def test_where_it_is_not_permitted_it_says_why_and_undoes_the_first(tmp_path, monkeypatch):
    board, home = fake_board(tmp_path / "board"), tmp_path / "home"
    write, locked = governor._write, governor_files(board)[1]

    def refuse(file, name):
        if file == locked and name == "performance":
            raise PermissionError(13, "Permission denied", str(file))
        write(file, name)

    monkeypatch.setattr(governor, "_write", refuse)
    with tuned(board, home, wanted=True) as reason:
        assert reason == f"Permission denied: {locked}"
        assert names(board) == ["schedutil", "schedutil"]
    assert list(home.iterdir()) == []


def test_a_kernel_that_keeps_another_governor_is_noticed(tmp_path, monkeypatch):
    board = fake_board(tmp_path / "board")
    monkeypatch.setattr(governor, "_write", lambda file, name: None)
    with tuned(board, tmp_path, wanted=True) as reason:
        assert reason == "the kernel kept another"


def test_what_a_killed_runner_left_is_put_back(tmp_path):
    board, home = fake_board(tmp_path / "board"), tmp_path / "home"
    leftover(board, home, dead_process())
    assert restore(board, home) == ""
    assert names(board) == ["schedutil", "schedutil"]
    assert not (home / FILE).exists()


def test_what_a_running_runner_set_is_left_alone(tmp_path):
    board, home = fake_board(tmp_path / "board"), tmp_path / "home"
    leftover(board, home, os.getppid())
    assert restore(board, home) == ""
    assert names(board) == ["performance", "performance"]
    assert restore(board, home, owner=os.getppid()) == ""
    assert names(board) == ["schedutil", "schedutil"]


def test_a_process_that_waits_to_be_buried_does_not_run():
    child = subprocess.Popen([sys.executable, "-c", ""])
    until = time.monotonic() + PATIENCE_S
    while is_running(child.pid):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(child.pid, 0)  # still has its number
    child.wait()
    assert is_running(os.getpid())
    assert not is_running(child.pid)
    assert not is_running(1 << 70)


@pytest.mark.parametrize(
    "more",
    [
        {"sys/devices/system/cpu/../../../../victim": "schedutil"},
        {"victim": "schedutil"},
        {"sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "a\nb"},
    ],
)
def test_a_saved_file_that_was_tampered_with_is_not_followed(tmp_path, more):
    board, home = fake_board(tmp_path / "board"), tmp_path / "home"
    victim = put(board, "victim", "kept")
    leftover(board, home, dead_process(), **more)
    assert restore(board, home) == ""
    assert victim.read_text() == "kept\n"
    assert names(board) == ["performance", "performance"]
    assert not (home / FILE).exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"process": "1", "governors": {}}'])
def test_a_damaged_saved_file_is_removed(tmp_path, text):
    put(tmp_path, FILE, text)
    assert restore(tmp_path, tmp_path) == ""
    assert not (tmp_path / FILE).exists()


def test_what_could_not_be_put_back_is_tried_again(tmp_path):
    board, home = fake_board(tmp_path / "board"), tmp_path / "home"
    leftover(board, home, dead_process())
    file = governor_files(board)[1]
    file.unlink()  # the core is offline
    assert "could not be restored" in restore(board, home)
    put(board, str(file.relative_to(board)), "performance")
    assert restore(board, home) == ""
    assert names(board) == ["schedutil", "schedutil"]


# The runner itself, as a process.


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    return int8_file("onnxruntime", tmp_path_factory.mktemp("file"))


def test_an_answer_says_whether_it_is_tuned(artefact, tmp_path):
    board = fake_board(tmp_path / "board")
    job = prepared(artefact, tmp_path, tune=True)
    _, found = executed(tmp_path, job, EDGESR_SYSTEM_ROOT=str(board))
    assert (found["tuned"], found["conditions"]["tuned"], found["remarks"]) == (True, True, [])
    for moment in ("before", "after"):
        assert found["conditions"][moment]["governors"] == ["performance"] * 4
    assert names(board) == ["schedutil", "schedutil"]
    _, found = executed(tmp_path, job, EDGESR_SYSTEM_ROOT=str(tmp_path))
    assert (found["tuned"], found["conditions"]["tuned"]) == (False, False)
    assert found["remarks"] == ["not tuned: this system has no governor"]
    _, found = executed(tmp_path, {**job, "tune": False}, EDGESR_SYSTEM_ROOT=str(board))
    assert (found["tuned"], found["conditions"]["tuned"], found["remarks"]) == (False, None, [])


def started(artefact, folder, board):
    """A runner in the middle of a long run, governors set."""
    job = prepared(artefact, folder, tune=True)
    job["time"] = timing(np.load(folder / "golden.input.npy"), min_s=600.0, max_s=600.0)
    command = written(folder, job)
    surroundings = environment(folder, EDGESR_SYSTEM_ROOT=str(board))
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=surroundings
    )
    until = time.monotonic() + PATIENCE_S
    while set(names(board)) != {"performance"}:
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.01)
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_and_puts_them_back(artefact, tmp_path, number):
    board = fake_board(tmp_path / "board")
    child = started(artefact, tmp_path, board)
    child.send_signal(number)
    stdout, _ = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 1
    found = answer(stdout)["error"]
    assert found == {"kind": "run", "text": f"stopped by {number.name}"}
    assert names(board) == ["schedutil", "schedutil"]
    assert not (tmp_path / "home" / FILE).exists()


def test_a_killed_runner_is_cleaned_up_after_by_its_guard(artefact, tmp_path):
    board = fake_board(tmp_path / "board")
    child = started(artefact, tmp_path, board)
    child.kill()
    stdout, _ = child.communicate(timeout=PATIENCE_S)  # ends when the guard is gone
    assert child.returncode == -signal.SIGKILL
    assert "ended before it answered" in answer(stdout)["error"]["text"]
    assert names(board) == ["schedutil", "schedutil"]
    assert not (tmp_path / "home" / FILE).exists()


def children(process):
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in text.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the guard through /proc")
def test_where_the_guard_was_killed_too_the_next_runner_puts_them_back(artefact, tmp_path):
    board = fake_board(tmp_path / "board")
    child = started(artefact, tmp_path, board)
    for process in (*children(child.pid), child.pid):
        os.kill(process, signal.SIGKILL)
    stdout, _ = child.communicate(timeout=PATIENCE_S)
    assert stdout == b""
    assert names(board) == ["performance", "performance"]
    job = prepared(artefact, tmp_path)
    code, found = executed(tmp_path, job, EDGESR_SYSTEM_ROOT=str(board))
    assert (code, found["remarks"]) == (0, [])
    assert found["conditions"]["before"]["governors"] == ["schedutil"] * 4
    assert names(board) == ["schedutil", "schedutil"]
    assert not (tmp_path / "home" / FILE).exists()


def test_the_time_limit_puts_them_back(artefact, tmp_path):
    board = fake_board(tmp_path / "board")
    job = prepared(artefact, tmp_path, tune=True, expires_s=1.5)
    job["time"] = timing(np.load(tmp_path / "golden.input.npy"), min_s=600.0, max_s=600.0)
    code, found = executed(tmp_path, job, EDGESR_SYSTEM_ROOT=str(board))
    assert (code, found["error"]) == (1, {"kind": "time", "text": "not done after 1.5 s"})
    assert names(board) == ["schedutil", "schedutil"]


def test_a_runner_whose_answer_nobody_reads_ends(artefact, tmp_path):
    board = fake_board(tmp_path / "board")
    child = started(artefact, tmp_path, board)
    child.stdout.close()  # what a lost link looks like from the device
    assert child.wait(timeout=PATIENCE_S) == 1
    assert names(board) == ["schedutil", "schedutil"]
    child.stderr.close()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_runner_ends_with_its_parent(artefact, tmp_path):
    board = fake_board(tmp_path / "board")
    job = prepared(artefact, tmp_path, tune=True)
    job["time"] = timing(np.load(tmp_path / "golden.input.npy"), min_s=600.0, max_s=600.0)
    command = written(tmp_path, job)
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *command],
        stdout=subprocess.PIPE,
        env=environment(tmp_path, EDGESR_SYSTEM_ROOT=str(board)),
    )
    until = time.monotonic() + PATIENCE_S
    while set(names(board)) != {"performance"}:
        assert time.monotonic() < until
        time.sleep(0.01)
    parent.kill()
    stdout, _ = parent.communicate(timeout=PATIENCE_S)
    assert answer(stdout)["error"]["text"] == "stopped by SIGTERM"
    assert names(board) == ["schedutil", "schedutil"]
