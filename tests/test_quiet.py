"""Nothing is sent or stored about the user, and nothing outlives the command."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from toolkit import plugins

STILL_THERE = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "from toolkit.child import die_with_parent; die_with_parent(); "
    "print('ready', flush=True); import time; time.sleep(60)"], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("backend", plugins.names("backends"))
def test_no_runtime_leaves_anything_in_the_users_home(backend, tmp_path):
    """ONNX Runtime and OpenVINO collect usage events by default."""
    program = f"from toolkit.run.selftest import main; main({backend!r})"
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        check=True,
        capture_output=True,
    )
    assert list(tmp_path.rglob("*")) == []


def test_a_child_ends_when_its_parent_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", STILL_THERE], stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{child}/stat") as stat:  # noqa: PTH123
            if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                return
        time.sleep(0.05)
    pytest.fail("the child is still running")
