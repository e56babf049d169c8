"""A model that proves bad on this camera: never served, never tried again, and the next one is."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from camera.attack import AFTER, assert_kept, assert_refused
from camera.cameras import GOOD_MODEL
from camera.models import Model

WRONG = "#!/bin/sh\nexit 1\n"
SLOW = "#!/bin/sh\nexit 124\n"
CRASHING = "#!/bin/sh\nkill -SEGV $$\n"
HANGING = "#!/bin/sh\nexec sleep 60\n"
MACHINE_DIES = "#!/bin/sh\nkill -9 $PPID\nsleep 1\n"
GREEDY = """#!/usr/bin/env python3
import os
try:
    bytearray(6 << 30)
except MemoryError:
    os.abort()
"""
BAD = {
    "golden": (WRONG, "golden"),
    "slow": (SLOW, "slow"),
    "crash": (CRASHING, "crash"),
    "hang": (HANGING, "slow"),
    "memory": (GREEDY, "crash"),
}


@pytest.mark.parametrize("how", BAD)
def test_a_bad_model_is_never_served(camera, forge, how):
    program, kind = BAD[how]
    camera.judge(program)
    forge.publish(Model(2))
    before = camera.store.state()
    outcome = camera.pull(self_test_s="1" if how == "hang" else None)
    assert_refused(outcome, kind, "2", code=3)
    blocked = {Model(2).content: kind}
    assert camera.store.blocked() == blocked
    assert_kept(camera, {**before, "blocked": camera.store.state()["blocked"]}, forge, at=AFTER)


def test_a_blocked_model_is_not_tried_again_and_the_next_release_is(camera, forge, server):
    camera.judge(WRONG)
    forge.publish(Model(2))
    camera.pull()
    camera.judge(GOOD_MODEL)
    server.well()
    again = camera.pull()
    assert (again.code, again.kind) == (3, "golden"), again
    assert server.asked("*model*") == []
    assert [one["release"] for one in again.result["held_back"]] == [2]
    assert camera.store.release == 1
    forge.publish(Model(3))
    assert camera.heals()
    assert camera.store.release == 3


def test_a_blocked_model_stays_blocked_under_another_number(camera, forge, server):
    """What is blocked is the content: publishing it again is not a repair."""
    camera.judge(WRONG)
    forge.publish(Model(2))
    camera.pull()
    camera.judge(GOOD_MODEL)
    forge.publish(Model(3, files=Model(2).blobs))
    server.well()
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (3, "golden"), outcome
    assert server.asked("*model*") == []
    assert camera.store.release == 1 and camera.store.is_served()


def test_a_good_release_below_a_bad_one_is_taken(camera, forge):
    camera.judge("#!/bin/sh\n! grep -q '\"release\":3' $1/release.json\n")
    forge.publish(Model(2), Model(3))
    outcome = camera.pull()
    assert camera.store.release == 2 and camera.store.is_served(), outcome
    assert list(camera.store.blocked().values()) == ["golden"]


def test_a_model_that_takes_the_machine_down_is_given_up_after_five_attempts(camera, forge):
    """No verdict is ever written: the attempts are counted before each."""
    camera.judge(MACHINE_DIES)
    forge.publish(Model(2))
    for _ in range(5):
        assert camera.killed() == signal.SIGKILL
        assert camera.store.release == 1 and camera.store.is_served()
    outcome = camera.pull()
    assert_refused(outcome, "crash", "5", code=3)
    assert camera.store.blocked() == {Model(2).content: "crash"}
    assert not (camera.store.folder / "trial").exists()
    camera.judge(GOOD_MODEL)
    forge.publish(Model(3))
    assert camera.heals() and camera.store.release == 3


def test_two_lost_attempts_do_not_condemn_a_good_model(camera, forge):
    """The power went twice while it was tested."""
    camera.judge(MACHINE_DIES)
    forge.publish(Model(2))
    for _ in range(2):
        camera.killed()
    camera.judge(GOOD_MODEL)
    assert camera.heals() and camera.store.release == 2
    assert not (camera.store.folder / "trial").exists()


def test_what_a_crashed_self_test_started_ends_with_it(camera, forge, tmp_path):
    beat = tmp_path / "alive"
    camera.judge(f"#!/bin/sh\n(sleep 60; touch {beat}) & echo $! > {beat}.pid\nkill -SEGV $$\n")
    forge.publish(Model(2))
    assert_refused(camera.pull(), "crash", code=3)
    pid = int((tmp_path / "alive.pid").read_text())
    assert not is_running(pid)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_first_release_is_tested_as_well(new_camera):
    new_camera.judge(WRONG)
    assert_refused(new_camera.pull(), "golden", code=3)
    assert new_camera.store.pointer() is None


def test_rolling_back_is_publishing_the_old_model_forward(camera, forge, server):
    forge.publish(Model(2))
    assert camera.heals() and camera.store.release == 2
    server.well()
    forge.publish(Model(3, files=Model(1).blobs))
    assert camera.heals()
    assert camera.store.release == 3
    assert server.asked("*model*") == []  # the files of release 1 were still there
