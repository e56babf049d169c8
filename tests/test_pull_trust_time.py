"""Old words, words of different times, and clocks that are wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timezone
from types import SimpleNamespace

import pytest
from camera.models import FAMILY
from camera.repository import Key, moment, read, text
from trusting import (
    MALLORY,
    ORDER,
    PARENTS,
    STAYS,
    Camera,
    attacked,
    camera_before,
    refused_at,
    rotate,
)

from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure
from toolkit.release import file_bytes


@pytest.fixture
def new(tmp_path) -> Camera:
    return camera_before(tmp_path)


@pytest.fixture
def camera(new) -> Camera:
    new.refresh()
    return new


@pytest.fixture
def twice(camera):
    """A camera that has seen version 2 of every role but root."""
    camera.forge.renew(*ORDER[1:])
    camera.refresh()
    return camera


def test_rollback_of_timestamp(twice):
    twice.forge.signed["timestamp"]["version"] = 1
    error = refused_at(twice, "timestamp", twice.forge.envelope("timestamp"), "rollback")
    assert str(error) == (
        "refused[rollback]: the channel offers `timestamp` version 1, version 2 was trusted "
        "before\n  --> CHANNEL/metadata/timestamp.json\n\n"
        "hint: an old copy of the channel is served, by mistake or by an attacker; " + STAYS
    )


def test_rollback_of_snapshot(twice):
    forge = twice.forge
    forge.signed["timestamp"]["version"] = 3
    forge.signed["timestamp"]["meta"]["snapshot.json"]["version"] = 1
    error = refused_at(twice, "timestamp", forge.envelope("timestamp"), "rollback")
    assert error.problem == (
        "the channel offers `snapshot` version 1, version 2 was trusted before"
    )


@pytest.mark.parametrize("role", ["targets", FAMILY])
@pytest.mark.parametrize("gone", [False, True], ids=["older", "gone"])
def test_rollback_inside_snapshot(twice, role, gone):
    forge = twice.forge
    meta = forge.signed["snapshot"]["meta"]
    forge.signed["snapshot"]["version"] = 3
    if gone:
        del meta[f"{role}.json"]
    else:
        meta[f"{role}.json"] = {"version": 1}
    forge.write("snapshot")
    forge.renew("timestamp")
    error = refused_at(twice, "snapshot", forge.envelope("snapshot"), "rollback")
    offers = f"no `{role}`" if gone else f"`{role}` version 1"
    assert error.problem == f"the channel offers {offers}, version 2 was trusted before"


@pytest.mark.parametrize(("stated", "kind"), [(1, "rollback"), (3, "mix-and-match")])
def test_a_root_of_another_version(camera, stated, kind):
    camera.forge.signed["root"]["version"] = stated
    (camera.forge.folder / "metadata/2.root.json").write_bytes(
        file_bytes(camera.forge.envelope("root"))
    )
    error = camera.refused()
    assert error.kind == kind and f"version {stated}" in error.problem
    assert error.where == "CHANNEL/metadata/2.root.json"


def test_what_a_failed_run_verified_is_remembered(camera):
    """The timestamp of a run that failed later stays: an older one is a rollback from then on."""
    old = camera.forge.file("timestamp").read_bytes()
    camera.forge.renew("snapshot", "timestamp")
    camera.forge.file("snapshot").write_bytes(b"{}")
    assert camera.refused().kind == "malformed"
    assert read(camera.metadata / "timestamp.json")["signed"]["version"] == 2
    camera.forge.file("timestamp").write_bytes(old)
    assert camera.refused().kind == "rollback"


@pytest.mark.parametrize("role", ["snapshot", "targets", FAMILY])
@pytest.mark.parametrize("which", ["version", "length", "digest"])
def test_mix_and_match(twice, role, which):
    """A role that its own keys signed, at another time than its parent says."""
    forge = twice.forge
    parent = PARENTS[role][0]
    forge.renew(role, *PARENTS[role])
    signed = forge.envelope(role)
    if which == "version":
        signed["signed"]["version"] = 2
    if which == "digest":
        signed["signed"]["expires"] = text(moment(77.0))
    if which == "length":
        signed["signed"]["x"] = "1"
    data = file_bytes(signed["signed"])
    signed["signatures"] = [key.signature(data) for key in forge.keys[role]]
    body = file_bytes(signed)
    meta = forge.signed[parent]["meta"][f"{role}.json"]
    if which == "length":  # shorter than signed; longer is endless data
        meta["length"] = len(body) + 1
        forge.signed[parent]["version"] += 1
        forge.write(parent)
        for above in PARENTS[parent]:
            forge.renew(above)
    error = refused_at(twice, role, body, "mix-and-match")
    told = {
        "version": "version 3 is signed, found version 2",
        "length": f"{len(body) + 1} bytes are signed, found {len(body)}",
        "digest": f"sha256 {meta.get('hashes', {}).get('sha256')} is signed, "
        f"found {sha256_bytes(body)}",
    }[which]
    file = f"{forge.signed[role]['version']}.{role}.json"
    assert error.problem == f"`{file}` is not the one that `{parent}.json` names: {told}"


@pytest.mark.parametrize("role", ["targets", FAMILY])
def test_a_role_that_no_snapshot_lists(new, role):
    del new.forge.signed["snapshot"]["meta"][f"{role}.json"]
    new.forge.signed["snapshot"]["version"] = 2
    new.forge.write("snapshot")
    new.forge.renew("timestamp")
    error = new.refused()
    assert error.kind == "mix-and-match" and role in error.problem
    assert "snapshot.json" in new.kept()  # verified itself: remembered against a rollback


# Time


@pytest.mark.parametrize("role", ORDER)
def test_freeze(camera, role):
    expires = text(moment(-0.5))
    envelope = attacked(camera, role, expires=expires)
    if role == "root":
        before = camera.kept()
        camera.forge.write("root")
        camera.forge.renew("timestamp")
        error = camera.refused()
        assert error.kind == "freeze"
        assert camera.kept() == {  # the root is valid, for a next one
            **before,
            "root.json": (camera.forge.folder / "metadata/2.root.json").read_bytes(),
            "root_history/2.root.json": (camera.forge.folder / "metadata/2.root.json").read_bytes(),
        }
    else:
        error = refused_at(camera, role, envelope, "freeze")
    assert error.problem.startswith(f"`{role}` expired at {expires}, it is 20")
    assert error.hint == (
        "the channel must be signed anew, or newer files are kept from this camera; " + STAYS
    )


def set_system_clock(monkeypatch, when):
    """For us and for python-tuf, which asks by itself."""
    from tuf.ngclient._internal import trusted_metadata_set

    from toolkit.pull import clock

    class Frozen(datetime):
        @classmethod
        def now(cls, tz=None):
            return when

    module = SimpleNamespace(datetime=Frozen, timezone=timezone)
    monkeypatch.setattr(trusted_metadata_set, "datetime", module)
    monkeypatch.setattr(clock, "system_now", lambda: when)
    monkeypatch.setattr("toolkit.pull.workflow.system_now", lambda: when)


DAWN = datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)
FAR = datetime(2040, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("news", [False, True])
def test_a_clock_that_is_behind_uses_what_was_signed(camera, monkeypatch, news):
    if news:
        camera.forge.renew(*ORDER)
    set_system_clock(monkeypatch, DAWN)
    found = camera.refresh().clock.as_json()
    signed = camera.forge.signed["timestamp"]["signed_at"]
    assert found == {
        "system": "1970-01-01T00:00:10Z",
        "floor": "2020-01-01T00:00:00Z",
        "now": signed,
        "corrected": True,
    }


def test_a_clock_that_is_behind_accepts_nothing_from_before_what_was_signed(camera, monkeypatch):
    """python-tuf alone would take it: in 1970 nothing has run out."""
    camera.forge.renew("timestamp")
    camera.forge.signed["timestamp"].update(
        expires=text(moment(-1.0)), signed_at=text(moment(-4.0))
    )
    camera.forge.write("timestamp")
    set_system_clock(monkeypatch, DAWN)
    before = camera.kept()
    error = camera.refused()
    assert error.kind == "freeze"
    assert error.problem.endswith("(the system's clock says 1970-01-01T00:00:10Z)")
    assert camera.kept() == before


@pytest.mark.parametrize("news", [False, True])
@pytest.mark.parametrize("seen", [False, True])
def test_a_system_clock_far_ahead_is_told_as_such(new, monkeypatch, news, seen):
    """Whatever python-tuf stumbles over first: root, timestamp, or what is stored."""
    if seen:
        new.refresh()
    if news:
        new.forge.renew(*ORDER)
    set_system_clock(monkeypatch, FAR)
    before = new.kept()
    error = new.refused()
    assert isinstance(error, EnvironmentFailure) and error.kind == "clock"
    assert "it is 2040-01-01T00:00:00Z here" in error.problem
    now = new.kept()
    assert {name: now.get(name) for name in before if "root" not in name} == {
        name: data for name, data in before.items() if "root" not in name
    }
    monkeypatch.undo()
    new.refresh()


@pytest.mark.parametrize("role", ORDER)
def test_what_ran_out_by_the_floor_is_frozen(camera, role):
    """python-tuf sees the system's clock only: it takes this, we do not."""
    forge = camera.forge
    forge.renew(*ORDER[1:])
    forge.signed[role]["expires"] = text(moment(10.0))
    if role == "root":
        rotate(forge, "root 4")
    else:
        forge.write(role)
        for parent in {"timestamp": (), "snapshot": ("timestamp",)}.get(
            role, ("snapshot", "timestamp")
        ):
            forge.signed[parent]["version"] += 1
            forge.link(parent)
            forge.write(parent)
    if role not in ("root", "timestamp"):
        forge.signed["timestamp"]["expires"] = text(moment(20.0))
    forge.signed["timestamp"]["signed_at"] = text(moment(11.0))
    if role == "timestamp":
        forge.signed["timestamp"]["signed_at"] = text(moment(0.0))
        camera.floor = moment(11.0)
    forge.write("timestamp")
    before = camera.kept()
    error = camera.refused()
    assert error.kind == "freeze", str(error)
    assert (
        error.problem.startswith(f"`{role}` expired at {text(moment(10.0))[:-3]}")
        and "(the system's clock says 20" in error.problem
    ), error.problem
    assert camera.kept().get(f"{role}.json") == before[f"{role}.json"] or role == "root"


def test_a_clock_far_ahead_is_told_as_such(camera):
    camera.floor = moment(365.0 * 14)
    before = camera.kept()
    error = camera.refused()
    assert isinstance(error, EnvironmentFailure) and error.kind == "clock"
    signed = camera.forge.signed["timestamp"]["signed_at"]
    assert f"the channel was signed at {signed}, more than a year before" in error.problem
    assert text(camera.floor) in error.problem
    assert error.hint == "set this camera's clock; the present model stays"
    assert camera.kept() == before


def test_a_year_and_a_day_make_the_difference(camera):
    camera.floor = moment(364.0)
    assert camera.refused().kind == "freeze"
    camera.floor = moment(367.0)
    assert camera.refused().kind == "clock"


def test_a_forged_timestamp_cannot_blame_the_clock(camera):
    """`signed_at` counts where the role's keys signed it, and nowhere else."""
    camera.forge.signed["timestamp"].update(
        version=2, signed_at="2001-01-01T00:00:00Z", expires="2001-01-04T00:00:00Z"
    )
    camera.forge.write("timestamp", keys=[MALLORY])
    assert camera.refused().kind == "wrong-key"


def test_a_channel_that_states_no_time_of_signing_is_frozen_not_late(camera):
    del camera.forge.signed["timestamp"]["signed_at"]
    camera.forge.signed["timestamp"]["version"] = 2
    camera.forge.write("timestamp")
    camera.floor = moment(365.0 * 14)
    assert camera.refused().kind == "freeze"


def test_stolen_time_goes_with_its_key(camera):
    """A timestamp of the year 2090 stops a camera only until root names another key."""
    forge = camera.forge
    good = forge.copy(forge.folder.parent / "good")
    forge.signed["timestamp"].update(
        version=2, signed_at="2090-01-01T00:00:00Z", expires="2099-01-01T00:00:00Z"
    )
    forge.write("timestamp")
    assert camera.refused().kind in ("freeze", "clock")
    camera.forge = good
    good.keys["timestamp"] = (Key("timestamp anew"),)
    good.authorise()
    good.renew("root", "snapshot", "timestamp")
    assert camera.versions()["timestamp"] == 2
