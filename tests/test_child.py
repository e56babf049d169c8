"""Child processes: bounded in time and output, and gone when they are not wanted any more."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolkit.child import TooMuchOutput, ended

PATIENCE_S = 60.0  # far less than the children would sleep


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while is_alive(pid):  # a killed process takes a moment
        assert time.monotonic() < deadline, "it was not killed"
        time.sleep(0.01)


def test_both_streams_and_the_code(tmp_path):
    (tmp_path / "given").write_bytes(b"abc" * 100_000)
    done = ended(["sh", "-c", "cat; echo said >&2; exit 7"], timeout_s=30, stdin=tmp_path / "given")
    assert (done.code, done.stdout, done.stderr) == (7, b"abc" * 100_000, "said\n")


def test_a_signal_is_told_as_a_shell_does():
    assert ended(["sh", "-c", "kill -9 $$"], timeout_s=30).code == 137


def test_of_endless_talk_the_end_is_kept():
    done = ended(["sh", "-c", "yes word | head -c 1000000 >&2; echo last >&2"], timeout_s=30)
    assert len(done.stderr) == 16 << 10 and done.stderr.endswith("last\n")


def test_too_much_output_ends_the_child():
    with pytest.raises(TooMuchOutput):
        ended(["sh", "-c", "yes"], timeout_s=30, most_bytes=1 << 16)


@pytest.mark.parametrize("where", ["sleep 600", "exec >&- 2>&-; sleep 600"], ids=["open", "closed"])
def test_a_late_child_is_killed_with_its_children(tmp_path, where):
    script = f"sleep 600 & echo $! > {tmp_path}/pid; {where}"
    with pytest.raises(subprocess.TimeoutExpired):
        ended(["sh", "-c", script], timeout_s=0.5)
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_a_grandchild_that_holds_the_pipes_is_not_waited_for(tmp_path):
    done = ended(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; echo done"], timeout_s=50)
    assert done.stdout == b"done\n"
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        ended(["/nowhere/program"], timeout_s=1)


def test_a_child_of_a_killed_parent_ends_too(tmp_path):
    program = (
        "from toolkit.child import ended\n"
        f"ended(['sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 600'], timeout_s=600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert parent.poll() is None
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    wait_until_gone(int((tmp_path / "pid").read_text()))
