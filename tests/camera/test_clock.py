"""Cameras without a clock: 1970, 2040, back and forth, and a floor that an attacker moved."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from needs import needs

from camera.attack import AFTER, assert_kept, assert_refused
from camera.models import FAMILY, Model
from camera.repository import Key, moment, text

pytestmark = needs("faketime")

# A camera that booted without a battery. Debian's faketime also sets the monotonic clock back, but
# not for all waits: so it is not set back behind this machine's own.
DAWN = datetime(1970, 1, 2, tzinfo=UTC) + timedelta(seconds=int(time.monotonic()))
FUTURE = datetime(2040, 1, 1, tzinfo=UTC)


def test_a_clock_at_1970_does_not_stop_updates(camera, forge):
    """What is trusted already says that it must be later."""
    forge.publish(Model(2))
    outcome = camera.pull(at=DAWN)
    assert outcome.code == 0, outcome
    assert camera.store.release == 2 and camera.store.is_served()
    assert outcome.result["clock"]["system"].startswith("1970-")
    assert outcome.result["clock"]["now"] > "2026"


def test_a_new_camera_at_1970_takes_its_first_release(new_camera):
    outcome = new_camera.pull(at=DAWN)
    assert outcome.code == 0, outcome
    assert new_camera.store.is_served()


def test_a_clock_at_1970_accepts_no_metadata_that_ran_out(camera, forge):
    """The floor is what the channel's own keys signed last: a day ago this had run out."""
    forge.publish(Model(2))
    forge.signed["timestamp"]["expires"] = text(moment(-1.0))
    forge.write("timestamp")
    before = camera.store.state()
    assert_refused(camera.pull(at=DAWN), "freeze", "timestamp", text(moment(-1.0))[:10])
    assert_kept(camera, before, forge, at=AFTER)


def test_a_floor_that_is_given_counts_without_any_metadata(new_camera, forge):
    """Firmware knows when it was built: nothing from before is accepted, at 1970 neither."""
    forge.signed["timestamp"]["expires"] = text(moment(-1.0))
    forge.write("timestamp")
    outcome = new_camera.pull(at=DAWN, time_floor=text(moment()))
    assert_refused(outcome, "freeze", "timestamp")
    assert new_camera.store.pointer() is None


def test_what_the_timestamp_says_of_the_time_counts_at_once(new_camera, forge):
    """A new camera at 1970: the snapshot ran out a minute before the timestamp was signed."""
    forge.signed["snapshot"]["expires"] = text(moment(-1 / 1440))
    forge.write("snapshot")
    forge.renew("timestamp")
    assert_refused(new_camera.pull(at=DAWN), "freeze", "snapshot")
    assert new_camera.store.pointer() is None


@pytest.mark.parametrize("way", ["clock", "floor"])
def test_a_clock_far_ahead_is_a_wrong_clock_and_no_attack(camera, forge, way):
    """All it may do is to wait: the present model stays, both times are told."""
    forge.publish(Model(2))
    before = camera.store.state()
    options = {"at": FUTURE} if way == "clock" else {"time_floor": text(FUTURE)}
    outcome = camera.pull(**options)
    assert_refused(outcome, "clock", "2040-01-01", text(moment())[:10], code=3)
    assert_kept(camera, before, forge, at=AFTER)
    assert camera.heals() and camera.store.release == 2


def test_a_new_camera_far_ahead_waits_for_its_clock(new_camera):
    assert_refused(new_camera.pull(at=FUTURE), "clock", "2040-01-01", code=3)
    assert new_camera.store.pointer() is None
    assert new_camera.heals()


def test_a_clock_that_jumps_leaves_nothing_behind(camera, forge):
    for number, at in enumerate((FUTURE, DAWN, None, FUTURE, DAWN, None), start=2):
        forge.publish(Model(number))
        outcome = camera.pull(at=at)
        assert outcome.code == (3 if at == FUTURE else 0), outcome
        assert camera.store.is_served()
        assert camera.store.release == (number - 1 if at == FUTURE else number)


def test_a_camera_that_was_off_for_months_takes_up_again(camera, forge):
    """Its clock is right; all that it trusts ran out long ago, the channel's own did not."""
    forge.renew(FAMILY, "snapshot", "timestamp", days=300.0)
    forge.renew("root", "targets", days=300.0)
    forge.renew("snapshot", "timestamp", days=300.0)
    forge.publish(Model(2))
    forge.renew(FAMILY, "snapshot", "timestamp", days=300.0)
    outcome = camera.pull(at=moment(300.0))
    assert outcome.code == 0, outcome
    assert camera.store.release == 2 and camera.store.is_served()


def test_a_floor_that_stolen_keys_moved_goes_with_them(camera, forge):
    """Signed in 2090: everything else seems to have run out, until root replaces the keys."""
    forge.signed["timestamp"].update(
        signed_at="2090-01-01T00:00:00Z", expires="2090-01-04T00:00:00Z"
    )
    forge.signed["timestamp"]["version"] += 1
    forge.write("timestamp")
    camera.pull()
    assert camera.store.is_served()
    forge.keys["timestamp"] = forge.keys["snapshot"] = (Key("online 2"),)
    forge.authorise()
    forge.renew("root")
    forge.publish(Model(2))
    assert camera.heals()
    assert camera.store.release == 2


@pytest.mark.parametrize("said", ["yesterday", 7, None, "2026-11-21"])
def test_a_time_of_signing_that_is_none_is_refused(camera, forge, said):
    forge.publish(Model(2))
    forge.signed["timestamp"]["signed_at"] = said
    forge.write("timestamp")
    before = camera.store.state()
    assert_refused(camera.pull(), "malformed", "timestamp")
    assert_kept(camera, before, forge, at="timestamp")
    forge.renew("timestamp")
    assert camera.heals()
