"""A real server that misbehaves in one way: its own message and exit code, and a clean device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from device_parts import (
    FORCE,
    IS_FETCH,
    IS_PUSH,
    IS_RUN,
    FaultyDevice,
    execute_tiny,
    picture,
    tiny_artefact,
)
from needs import needs
from ssh_server import programs, ssh_server

from toolkit.errors import EnvironmentFailure, LinkLost, SecurityError
from toolkit.measure.board import open_board

pytestmark = needs("ssh")
CUT_LINK = "kill -9 $PPID; sleep 5"  # the server's process of this connection: the link is gone


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "fault.sh").write_text("")
    with ssh_server(folder, force=FORCE.format(folder=folder)) as server:
        yield FaultyDevice(server=server)


@pytest.fixture
def device(faulty, monkeypatch):
    monkeypatch.setenv("EDGESR_SSH_CONFIG", str(faulty.server.client_config))
    faulty.reset()
    yield faulty
    faulty.reset()


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    return tiny_artefact(tmp_path_factory.mktemp("tiny"))


def is_clean(device):
    """Nothing of ours stays; a shell whose link was cut needs a moment to see it and tidy up."""
    ends = time.monotonic() + 20
    while (left := [*device.server.left(), *device.at_work()]) and time.monotonic() < ends:
        time.sleep(0.05)
    return not left


def failing(device, artefact, kind=EnvironmentFailure, **how):
    """The failure of one run, and that nothing of it stays on the device."""
    with pytest.raises(kind) as raised, open_board(device.url) as board:
        execute_tiny(board, artefact, **how)
    assert raised.value.where == device.url
    assert is_clean(device)
    return raised.value


def test_garbage_before_every_answer(device, artefact):
    device.fault("echo Welcome to the camera")
    failure = failing(device, artefact)
    problem = "the device printed something before the answer: `Welcome to the camera`"
    assert failure.problem == problem
    assert "~/.bashrc" in failure.hint and failure.exit_code == 3


def test_garbage_before_the_runners_answer(device, artefact):
    device.fault_when(IS_RUN, "echo 'W: \033[31mlow battery'")
    failure = failing(device, artefact)
    assert failure.problem.startswith("the device printed something before the answer: `")
    assert "\033" not in str(failure)


def test_a_cut_answer(device, artefact):
    device.fault_when(IS_RUN, 'sh -c "$SSH_ORIGINAL_COMMAND" | head -c 150; exit 0')
    assert "the answer was cut: " in failing(device, artefact).problem


def test_a_damaged_answer(device, artefact):
    device.fault_when(IS_RUN, 'sh -c "$SSH_ORIGINAL_COMMAND" | sed s/numpy/numpx/; exit 0')
    assert "its SHA-256 differs" in failing(device, artefact).problem


def test_words_after_the_answer(device, artefact):
    device.fault_when(IS_RUN, 'sh -c "$SSH_ORIGINAL_COMMAND"; echo bye; exit 0')
    assert failing(device, artefact).problem.endswith("something after the answer: `bye`")


def test_no_answer_at_all(device, artefact):
    device.fault_when(IS_RUN, "echo the card is gone >&2; exit 9")
    problem = failing(device, artefact).problem
    assert problem == "the runner ended without an answer (exit 9); it said: the card is gone"


def test_killed_for_want_of_memory(device, artefact):
    device.python("kill -9 $$")
    failure = failing(device, artefact)
    assert failure.problem.startswith(
        "the runner was killed on the device, usually for want of memory (exit 137)"
    )
    assert "tile" in failure.hint and failure.exit_code == 3


@pytest.mark.parametrize(
    ("script", "words"),
    [("exec /nowhere/python", "no Python any more"), ("kill -4 $$", "instruction that the device")],
)
def test_other_ends_of_the_runner(device, artefact, script, words):
    device.python(script)
    assert words in failing(device, artefact).problem


def test_a_slow_device_is_stopped_by_its_own_limit(device, artefact, monkeypatch):
    monkeypatch.setattr("toolkit.measure.folder.DEVICE_GRACE_S", 0)
    device.python("exec sleep 60")
    problem = failing(device, artefact, timeout_s=1).problem
    assert problem == "the runner did not finish in time and was stopped on the device (exit 124)"


def test_a_slow_device_without_a_limit_of_its_own(device, artefact, monkeypatch, tmp_path):
    monkeypatch.setattr("toolkit.measure.folder.DEVICE_GRACE_S", 0)
    monkeypatch.setattr("toolkit.measure.folder.HOST_GRACE_S", 0)
    device.python("exec sleep 60")
    fault = (device.server.folder / "fault.sh").read_text()
    device.fault(f"{fault}PATH={programs(tmp_path / 'bin', 'timeout')}; export PATH\n")
    assert failing(device, artefact, timeout_s=1).problem == "the device was not done within 1 s"


@pytest.mark.parametrize(
    "without", [("sha256sum",), ("sha256sum", "openssl")], ids=["openssl", "python"]
)
def test_files_are_checked_without_sha256sum(device, artefact, tmp_path, without):
    device.fault(f"PATH={programs(tmp_path / 'bin', *without)}; export PATH\n")
    with open_board(device.url) as board:
        assert board.probe.hash == ("python3" if "openssl" in without else "openssl")
        assert execute_tiny(board, artefact)["error"] is None
    assert is_clean(device)


def test_a_device_that_cannot_hash_is_sent_nothing(device, artefact, tmp_path):
    device.forget()
    path = programs(tmp_path / "bin", "sha256sum", "openssl")
    device.fault(f"PATH={path}; export PATH; EDGESR_PYTHON=\n")
    failed = pytest.raises(EnvironmentFailure, match="nothing to check a file with")
    with failed as raised, open_board(device.url) as board:
        board.put(artefact.path)
    assert "sha256sum" in raised.value.problem and "busybox" in raised.value.hint
    assert device.server.kept() == [] and is_clean(device)


def test_a_device_without_python_is_told_what_to_install(device, artefact, tmp_path):
    device.fault(f"PATH={programs(tmp_path / 'bin')}; export PATH; EDGESR_PYTHON=\n")
    failure = failing(device, artefact)
    assert failure.problem == "the device lacks Python 3.9 or later"
    assert "pip install numpy onnxruntime" in failure.hint


def test_a_device_without_the_runtime_is_told_what_to_install(device, artefact):
    facts = "printf 'python_version=3.8.10\\n'; exit 0"
    device.python("exit 1")
    program = device.server.folder / "python"
    program.write_text(f"#!/bin/sh\n{facts}\n")
    failure = failing(device, artefact)
    assert failure.problem == f"the device lacks Python 3.9 or later (`{program}` is 3.8.10)"
    program.write_text(f"#!/bin/sh\n{facts.replace('3.8.10', '3.11.2')}\n")
    assert failing(device, artefact).problem == (
        "the device lacks numpy and a package for onnxruntime"
    )


def test_no_room_is_seen_before_anything_is_sent(device, artefact, tmp_path):
    device.forget()
    path = Path(programs(tmp_path / "bin", "df"))
    (path / "df").write_text("#!/bin/sh\necho Filesystem\necho /dev/card 9999 8000 999 90% /\n")
    (path / "df").chmod(0o755)
    device.fault(f"PATH={path}; export PATH\n")
    failure = failing(device, artefact)
    assert "no room on the device for edgesr-runner.pyz, tiny.float32.onnx" in failure.problem
    assert "1.0 MB are free" in failure.problem and "--clean" in failure.hint
    assert device.server.kept() == []


def test_a_disk_that_fills_up_in_the_middle(device, artefact):
    device.forget()
    device.fault_when(IS_PUSH, "ulimit -f 2")  # the kernel stops writers above so many blocks
    failure = failing(device, artefact)
    assert failure.problem.startswith("the device could not write `edgesr-runner.pyz`")
    assert device.server.kept() == [] and failure.exit_code == 3


def test_bytes_that_arrive_changed_are_sent_once_more(device, artefact):
    device.forget()
    flag = device.server.folder / "flag-changed"
    spoil = 'sed s/toolkit/toolbox/ | sh -c "$SSH_ORIGINAL_COMMAND"; exit $?'
    device.fault_when(IS_PUSH, f"if mkdir {flag} 2>/dev/null; then {spoil}; fi")
    said: list[str] = []
    with open_board(device.url, say=said.append) as board:
        assert execute_tiny(board, artefact)["error"] is None
    assert [line.endswith("arrived changed; sending it again") for line in said].count(True) == 1
    device.forget()
    device.fault_when(IS_PUSH, spoil)
    failure = failing(device, artefact, SecurityError)
    assert "arrived changed, twice" in failure.problem and failure.exit_code == 5


def test_a_link_lost_while_sending_is_opened_again(device, artefact):
    device.forget()
    flag = device.server.folder / "flag-lost"
    lost = f'head -c 3000 | sh -c "$SSH_ORIGINAL_COMMAND"; {CUT_LINK}'
    device.fault_when(IS_PUSH, f"if mkdir {flag} 2>/dev/null; then {lost}; fi")
    said: list[str] = []
    with open_board(device.url, say=said.append) as board:
        assert execute_tiny(board, artefact)["error"] is None
    assert "the link was lost in the middle; trying again (2/3)" in "\n".join(said)
    assert is_clean(device)


def test_a_link_lost_at_every_sending_is_given_up(device, artefact):
    device.forget()
    device.fault_when(IS_PUSH, f'head -c 3000 | sh -c "$SSH_ORIGINAL_COMMAND"; {CUT_LINK}')
    failure = failing(device, artefact, LinkLost)
    assert failure.exit_code == 3 and device.server.kept() == []


def batch(device, artefact, say=print):
    with open_board(device.url, say=say) as board:
        return board.run_batch(artefact, [picture()], threads=1)


def test_a_result_that_arrives_changed_is_none(device, artefact):
    spoil = 'sh -c "$SSH_ORIGINAL_COMMAND" | LC_ALL=C sed s/NUMPY/NUMPX/; exit 0'
    device.fault_when(IS_FETCH, spoil)
    with pytest.raises(EnvironmentFailure, match=r"`outputs.npy` arrived changed"):
        batch(device, artefact)
    assert is_clean(device)


def test_a_result_of_another_shape_is_none(device, artefact):
    device.python("python_lies=yes")
    program = device.server.folder / "python"
    real = program.read_text().splitlines()[-1]
    lie = "import numpy; numpy.save(open('outputs.npy', 'wb'), numpy.zeros((1, 3, 24, 31)))"
    said = real.replace("exec ", "").replace('"$@"', f'-c "{lie}"')
    program.write_text(
        f'#!/bin/sh\ncase "$1" in *.pyz) {real.replace("exec ", "")}; {said}; exit;; esac\n{real}\n'
    )
    with pytest.raises(EnvironmentFailure, match=r"output 1 .* is float64 \(1, 3, 24, 31\)"):
        batch(device, artefact)
    assert is_clean(device)


def test_a_link_lost_while_fetching_is_opened_again(device, artefact):
    flag = device.server.folder / "flag-fetch"
    lost = f'sh -c "$SSH_ORIGINAL_COMMAND" | head -c 300; {CUT_LINK}'
    device.fault_when(IS_FETCH, f"if mkdir {flag} 2>/dev/null; then {lost}; fi")
    said: list[str] = []
    (made,) = batch(device, artefact, said.append)
    assert made.shape == (1, 3, 24, 32)
    assert "the link was lost in the middle; trying again" in "\n".join(said)
    assert is_clean(device)


def test_a_link_lost_while_running_leaves_no_result_and_nothing_running(device, artefact):
    device.python("exec sleep 60")
    fault = (device.server.folder / "fault.sh").read_text()
    cut = f'sh -c "$SSH_ORIGINAL_COMMAND" & sleep 0.2; {CUT_LINK}'
    device.fault(f'{fault}case "$SSH_ORIGINAL_COMMAND" in {IS_RUN}) {cut};; esac\n')
    failure = failing(device, artefact, LinkLost)
    assert failure.problem == "the link was lost in the middle"
    assert "nothing half-done is kept" in failure.hint


def test_a_device_that_never_came_back_is_cleaned_by_the_next_visit(device, artefact):
    flag = device.server.folder / "flag-gone"
    cut = f'(sh -c "$SSH_ORIGINAL_COMMAND" &) ; mkdir {flag}; {CUT_LINK}'
    device.python("exec sleep 60")
    fault = (device.server.folder / "fault.sh").read_text()
    device.fault(
        f"{fault}if [ -d {flag} ]; then {CUT_LINK}; fi\n"
        f'case "$SSH_ORIGINAL_COMMAND" in {IS_RUN}) {cut};; esac\n'
    )
    said: list[str] = []
    with pytest.raises(LinkLost), open_board(device.url, say=said.append) as board:
        execute_tiny(board, artefact)
    assert "the next visit cleans up and takes over" in said[-1]
    assert "lock/owner" in device.server.left()
    device.fault("")
    with open_board(device.url, say=said.append) as board:
        assert execute_tiny(board, artefact)["error"] is None
    assert "taking over the lock of" in "\n".join(said)
    assert is_clean(device)


PROGRAM = """\
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from device_parts import execute_tiny, tiny_artefact
from toolkit.measure.board import open_board
with open_board({url!r}) as board:
    execute_tiny(board, tiny_artefact(Path({folder!r})))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_gives_the_device_back(device, tmp_path, number):
    device.python("touch working; exec sleep 60")
    program = PROGRAM.format(tests=str(Path(__file__).parent), url=device.url, folder=str(tmp_path))
    words = [sys.executable, "-c", program]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(device.home.glob("jobs/*/working")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(child.pid, number)  # as a terminal does: every process of the job gets it
    assert b"KeyboardInterrupt" in child.communicate(timeout=60)[1]
    assert is_clean(device)
