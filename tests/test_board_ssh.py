"""A board over a real OpenSSH server on loopback: pushed once, run, given back clean."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest
from device_parts import execute_tiny, picture, tiny_artefact
from needs import needs
from ssh_server import ssh_server

from toolkit.backends import onnxruntime
from toolkit.cli import main
from toolkit.errors import EnvironmentFailure
from toolkit.measure.board import files_of, job_of, open_board
from toolkit.measure.folder import job_folder

pytestmark = needs("ssh")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ssh_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(autouse=True)
def client(server, monkeypatch):
    monkeypatch.setenv("EDGESR_SSH_CONFIG", str(server.client_config))


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    return tiny_artefact(tmp_path_factory.mktemp("tiny"))


def test_the_device_computes_what_the_host_computes(server, artefact):
    tensors = [picture(0), picture(1, 8, 20)]
    session = onnxruntime.open(artefact, threads=1)
    with open_board(server.url) as board:
        made = board.run_batch(artefact, tensors, threads=1)
    for tensor, output in zip(tensors, made, strict=True):
        assert output.shape == (1, 3, 2 * tensor.shape[2], 2 * tensor.shape[3])
        np.testing.assert_array_equal(output, session.run(tensor))
    session.close()
    assert server.left() == []


def test_a_second_visit_sends_nothing_and_changed_bytes_are_sent_anew(
    server, artefact, monkeypatch
):
    said: list[str] = []
    with open_board(server.url, say=said.append) as board:
        assert execute_tiny(board, artefact)["sha256"] == board.put(artefact.path)
        digest = board.put(artefact.path)
    assert said == []  # small files are there before one has read that they are sent
    monkeypatch.setattr("toolkit.measure.shelf.TOLD_BYTES", 0)
    with open_board(server.url, say=said.append) as board:
        assert execute_tiny(board, artefact)["error"] is None
    assert said == []
    kept = server.home / "files" / digest
    kept.write_bytes(b"x" + kept.read_bytes()[1:])  # a card that forgets
    with open_board(server.url, say=said.append) as board:
        assert execute_tiny(board, artefact)["error"] is None
    assert len(said) == 1 and "sending tiny.float32.onnx" in said[0]
    assert server.left() == []


def test_golden_vectors_are_judged_on_the_device(server, artefact, tmp_path):
    session = onnxruntime.open(artefact, threads=1)
    np.save(tmp_path / "in.npy", picture())
    np.save(tmp_path / "out.npy", session.run(picture()))
    np.save(tmp_path / "wrong.npy", session.run(picture()) + np.float32(0.5))
    session.close()
    files = {**files_of(artefact), **{p.name: p for p in tmp_path.iterdir()}}
    with open_board(server.url) as board:
        for name, passed in (("out.npy", True), ("wrong.npy", False)):
            vector = {"input": "in.npy", "output": name, "tolerance": 1e-4, "least_share": 1.0}
            job = {**job_of(artefact, threads=1, expires_s=60), "golden": [vector]}
            assert board.execute(job, files, timeout_s=60)["golden"]["passed"] is passed


def test_a_busy_device_names_who_is_at_work_on_it(server, capsys):
    with open_board(server.url):
        busy = pytest.raises(EnvironmentFailure, match=r"busy: .+@.+ has held it for")
        with busy as raised, open_board(server.url):
            pass
        assert raised.value.where == server.url
        assert main(["devices", server.url]) == 0
        assert "busy: " in capsys.readouterr().out
    assert main(["devices", server.url]) == 0
    assert f"{server.url}  free\n" in capsys.readouterr().out
    assert server.left() == []


def test_waiting_for_a_busy_device_says_for_whom(server, monkeypatch):
    said: list[str] = []
    with contextlib.ExitStack() as first:
        first.enter_context(open_board(server.url))
        sleep = time.sleep
        monkeypatch.setattr(time, "sleep", lambda s: first.close() if s >= 1 else sleep(s))
        with open_board(server.url, wait_s=60, say=said.append) as second:
            assert second.device.machine
    assert len(said) == 1 and "is busy: " in said[0] and said[0].endswith("; waiting")
    assert server.left() == []


def test_results_are_fetched_whole_or_not_at_all(server, artefact, tmp_path, monkeypatch):
    monkeypatch.setattr("toolkit.measure.folder.PIECE_MB", 1)
    words = ["sh", "-c", "head -c 2500000 /dev/urandom > made.bin"]
    with open_board(server.url) as board:
        done = board.command(words, {}, timeout_s=30, fetch={"made.bin": tmp_path / "made.bin"})
        assert done.code == 0
        assert (tmp_path / "made.bin").stat().st_size == 2_500_000
        with pytest.raises(EnvironmentFailure, match=r"should have written `none.bin`.*nothing"):
            board.command(["true"], {}, timeout_s=30, fetch={"none.bin": tmp_path / "none.bin"})
        with (
            job_folder(board._shelf, {}) as folder,
            pytest.raises(EnvironmentFailure, match="at most 10 bytes, found 20 bytes"),
        ):
            folder.run(["sh", "-c", "head -c 20 /dev/zero > big"], timeout_s=30)
            folder.fetch("big", tmp_path / "big", most_bytes=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made.bin"]
    assert server.left() == []


def test_what_is_left_running_is_asked_to_end_before_it_is_killed(server):
    polite = "(trap 'touch ../../put-back; exit' TERM; while :; do sleep 0.05; done)"
    with open_board(server.url) as board:
        board.command(["sh", "-c", f"{polite} > /dev/null 2>&1 &"], {}, timeout_s=30)
    (server.home / "put-back").unlink()
    assert server.left() == []


def test_clean_removes_the_files_but_not_what_is_the_users(server, artefact, capsys):
    with open_board(server.url) as board:
        board.put(artefact.path)
    (server.home / "venv").mkdir()
    assert server.kept() != []
    assert main(["devices", server.url, "--clean"]) == 0
    assert "free (cleaned)" in capsys.readouterr().out
    assert [p.name for p in server.home.iterdir()] == ["venv"]
    (server.home / "venv").rmdir()


def test_clean_does_not_disturb_who_is_at_work(server, artefact, capsys):
    with open_board(server.url) as board:
        digest = board.put(artefact.path)
        assert main(["devices", server.url, "--clean"]) == 3
        assert "busy: " in capsys.readouterr().err
        assert digest in server.kept()
