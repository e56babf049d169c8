"""The shells and programs that cameras and Android have, behind a real OpenSSH server."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from device_parts import FaultyDevice, execute_tiny, picture, tiny_artefact
from needs import needs
from ssh_server import ssh_server

from toolkit.contracts import LinkOptions
from toolkit.measure.board import open_board
from toolkit.measure.survey import clean

ONLY = 'PATH="{path}"; export PATH\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n'


def _only(program, words, folder, shell):
    """A PATH with nothing but the programs in `program`, and a shell."""
    folder.mkdir()
    names = subprocess.run([program, *words], capture_output=True, text=True, check=True)
    for name in names.stdout.split():
        if name != "sh":
            (folder / name).symlink_to(shutil.which(program))
    (folder / "sh").symlink_to(shutil.which(shell))
    return folder


@pytest.fixture(
    params=[
        pytest.param(("busybox", ["--list"], "busybox"), marks=needs("busybox"), id="busybox"),
        pytest.param(("toybox", [], "mksh"), marks=needs("android"), id="android"),
    ]
)
def device(request, tmp_path, monkeypatch):
    program, words, shell = request.param
    path = _only(program, words, tmp_path / "bin", shell)
    with ssh_server(tmp_path / "device", force=ONLY.format(path=path)) as server:
        monkeypatch.setenv("EDGESR_SSH_CONFIG", str(server.client_config))
        yield FaultyDevice(server=server)


@needs("ssh")
def test_a_whole_visit(device, tmp_path):
    artefact = tiny_artefact(tmp_path)
    with open_board(device.url) as board:
        assert board.probe.hash and board.probe.free_mb
        assert execute_tiny(board, artefact)["error"] is None
        (made,) = board.run_batch(artefact, [picture()], threads=1)
        assert made.shape == (1, 3, 24, 32)
        board.command(["sh", "-c", "sleep 60 > /dev/null 2>&1 &"], {}, timeout_s=10)
        assert device.at_work() == []  # what a program left running is ended
    assert len(device.server.kept()) == 2 and device.server.left() == []
    assert clean(device.url, LinkOptions(), wait_s=0, say=print).state == "free (cleaned)"
    assert not device.home.exists()
