"""The guard writes the answer that a runner can no longer write."""

from __future__ import annotations

import subprocess
import sys

import pytest
from runner_jobs import answer

PATIENCE_S = 60.0
# A runner that gets as far as its guard, then does what is put in its place.
RUNNER = """\
import ctypes, os, signal, sys, time
from pathlib import Path
from toolkit.runner import guard
guard.GRACE_S = 0.2
def tidy(runner):
    Path(sys.argv[1]).write_text(str(runner))
answer_fd = os.dup(1)
os.dup2(2, 1)
watched = guard.start_guard(answer_fd, float(sys.argv[2]), tidy)
guard.stop_by_signal()
{act}
"""


def ended(tmp_path, act, expires_s=60.0):
    tidied = tmp_path / "tidied"
    child = subprocess.Popen(
        [sys.executable, "-c", RUNNER.format(act=act), str(tidied), str(expires_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdout, _ = child.communicate(timeout=PATIENCE_S)
    assert tidied.read_text() == str(child.pid)
    return child.returncode, stdout


@pytest.mark.parametrize(
    ("act", "code"), [("os.abort()", -6), ("ctypes.string_at(0)", -11), ("os._exit(3)", 3)]
)
def test_a_runtime_that_takes_the_process_with_it(tmp_path, act, code):
    found, stdout = ended(tmp_path, act)
    assert found == code
    assert answer(stdout)["error"] == {
        "kind": "run",
        "text": "the runner was ended before it answered: killed, out of memory, "
        "or aborted by the runtime",
    }


def test_a_runner_that_does_not_react_is_killed(tmp_path):
    # as if a runtime sat in its own code and Python's handlers never got their turn
    act = "signal.pthread_sigmask(signal.SIG_BLOCK, guard.STOPPING); time.sleep(600)"
    code, stdout = ended(tmp_path, act, expires_s=0.5)
    assert code == -9
    assert answer(stdout)["error"]["text"] == (
        "not done after 0.5 s and did not react: it was killed"
    )


def test_a_runner_that_answered_is_not_answered_for(tmp_path):
    code, stdout = ended(tmp_path, "os.write(answer_fd, b'mine'); watched.leave()")
    assert (code, stdout) == (0, b"mine")


def test_signals_are_one_exception_and_later_ones_are_ignored(tmp_path):
    act = (
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
        "except guard.Stopped as stop:\n"
        "    guard.ignore_signals()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.write(answer_fd, str(stop).encode())\n"
        "watched.leave()"
    )
    assert ended(tmp_path, act) == (0, b"SIGTERM")


def test_a_library_that_swallows_the_exception_does_not_swallow_the_end(tmp_path):
    act = (
        "for _ in range(3):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "    except guard.Stopped as stop:\n"
        "        last = stop\n"
        "guard.ignore_signals()\n"
        "os.write(answer_fd, str(last).encode())\n"
        "watched.leave()"
    )
    assert ended(tmp_path, act) == (0, b"SIGTERM")
