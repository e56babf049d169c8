"""Old words, words of different times, and words of a time that never was: TUF's versions."""

from __future__ import annotations

import shutil

import pytest

from camera.attack import AFTER, Attack, assert_kept, assert_refused, suffered
from camera.models import FAMILY, Model
from camera.repository import Key, moment, text
from toolkit.digest import sha256_bytes
from toolkit.release import file_bytes

FAR = 1 << 31
DAY_EARLIER = -1.0


def replayed(role):
    """What is wrong: a role of version 1 where version 2 was seen already."""

    def forged(forge):
        if role == "whole":
            return forge.file("timestamp").write_bytes(forge.old["timestamp"])
        forge.signed[role]["version"] = 1
        for name in (role, "snapshot", "timestamp"):
            if name != role:
                forge.signed[name]["version"] += 1
            forge.link(name)
            forge.write(name)
        return None

    return forged


@pytest.fixture
def twice(camera, forge):
    """The camera has seen version 2 of every role but root; the files of version 1 are kept."""
    forge.old = {"timestamp": forge.file("timestamp").read_bytes()}
    forge.renew("targets", FAMILY, "snapshot", "timestamp")
    assert camera.heals()
    assert camera.store.release == 1
    return forge


@pytest.mark.parametrize(
    ("role", "at", "says"),
    [
        ("whole", "timestamp", ("timestamp", "1", "2")),
        ("snapshot", "timestamp", ("snapshot", "1", "2")),  # timestamp says so already
        ("targets", "snapshot", ("targets", "1", "2")),
        (FAMILY, "snapshot", (FAMILY, "1", "2")),
    ],
    ids=["whole-repository", "snapshot", "targets", "family"],
)
def test_nothing_goes_back_in_time(twice, camera, server, role, at, says):
    attack = Attack(name="", kind="rollback", at=at, says=says, forge=replayed(role))
    suffered(attack, camera, twice, server)


def test_a_snapshot_does_not_forget_a_family(twice, camera, server):
    def forged(forge):
        forge.signed["snapshot"]["version"] += 1
        del forge.signed["snapshot"]["meta"][f"{FAMILY}.json"]
        forge.write("snapshot")
        forge.renew("timestamp")

    attack = Attack(
        name="", kind="rollback", at="snapshot", says=("snapshot", FAMILY), forge=forged
    )
    suffered(attack, camera, twice, server)


def test_an_index_of_older_releases_changes_nothing(camera, forge):
    """Rolling back is publishing the old model forward, with a higher number."""
    forge.publish(Model(3))
    assert camera.heals() and camera.store.release == 3
    del forge.models[3]
    forge.publish(Model(2))
    outcome = camera.pull()
    assert (outcome.code, outcome.outcome) == (0, "current"), outcome
    assert camera.store.release == 3 and camera.store.is_served()


def expired(role, days=-500.0, signed_days=DAY_EARLIER):
    """`role` ran out; everything is signed by the right keys, the timestamp a day ago."""

    def forged(forge):
        forge.publish(Model(2))
        if role in ("root", "targets"):
            forge.renew(role)
        forge.signed[role]["expires"] = text(moment(days))
        forge.write(role)
        forge.renew("snapshot", "timestamp") if role not in ("snapshot", "timestamp") else None
        forge.renew("timestamp") if role == "snapshot" else None
        forge.signed["timestamp"]["signed_at"] = text(moment(signed_days))
        forge.write("timestamp")

    return forged


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", FAMILY])
def test_what_ran_out_is_not_taken(camera, forge, server, role):
    says = (role, text(moment(-500.0))[:10])
    attack = Attack(name="", kind="freeze", at=AFTER, says=says, forge=expired(role))
    suffered(attack, camera, forge, server)


def test_an_attacker_who_only_withholds_news_is_seen_when_they_run_out(camera, forge):
    """Frozen: the same timestamp as before, a second past its end."""
    forge.signed["timestamp"]["version"] += 1
    forge.signed["timestamp"]["expires"] = text(moment(-1 / 86_400))
    forge.write("timestamp")
    before = camera.store.state()
    assert_refused(camera.pull(), "freeze", "timestamp")
    assert_kept(camera, before, forge, at=AFTER)


def other_time(role, number):
    """The file that is asked for holds the role of version `number`, rightly signed."""

    def forged(forge):
        roles = (*(["targets"] if role == "targets" else []), FAMILY, "snapshot", "timestamp")
        forge.put(Model(2))
        forge.renew(*roles)
        stated = forge.signed[role]["version"]
        forge.signed[role]["version"] = number
        data = forge.envelope(role)
        forge.signed[role]["version"] = stated
        forge.put_raw(role, file_bytes(data))

    return forged


@pytest.mark.parametrize("number", [1, 3], ids=["older", "newer"])
@pytest.mark.parametrize("role", ["snapshot", "targets", FAMILY])
def test_roles_of_different_times_do_not_mix(camera, forge, server, role, number):
    attack = Attack(
        name="",
        kind="mix-and-match",
        at=role,
        says=(role, str(number), "2"),
        forge=other_time(role, number),
    )
    suffered(attack, camera, forge, server)


@pytest.mark.parametrize("fact", ["hashes", "length"])
@pytest.mark.parametrize("role", ["snapshot", "targets", FAMILY])
def test_where_a_digest_or_length_of_a_role_is_stated_it_holds(camera, forge, server, role, fact):
    def forged(forge):
        forge.renew(*(["targets"] if role == "targets" else []), FAMILY, "snapshot", "timestamp")
        teller = "timestamp" if role == "snapshot" else "snapshot"
        data = forge.file(role).read_bytes()
        stated = {"hashes": {"sha256": sha256_bytes(data + b" ")}, "length": len(data) - 1}
        told = forge.signed[teller]["meta"][f"{role}.json"]
        del told["hashes"], told["length"]
        told[fact] = stated[fact]
        forge.write(teller)
        if teller == "snapshot":
            forge.link("timestamp")
            forge.write("timestamp")

    kind = {"hashes": "mix-and-match", "length": "endless-data"}[fact]
    attack = Attack(name="", kind=kind, at=role, says=(role,), forge=forged)
    suffered(attack, camera, forge, server)


def forward(forge, *roles):
    """Somebody with the online keys claims a far version of these roles."""
    for role in ("snapshot", "timestamp"):
        forge.signed[role]["version"] += FAR if role in roles else 1
        forge.link(role)
        forge.write(role)


def test_fast_forward_is_recovered_from_by_new_online_keys(camera, forge, server):
    """Versions of the stolen keys count no more once root names others; nothing else helps."""
    good = forge.copy(forge.folder.parent / "good")
    forward(forge, "snapshot", "timestamp")
    assert camera.pull().code == 0  # nothing wrong with it: the keys were the right ones
    server.folder = good.folder
    good.publish(Model(2))
    before = camera.store.state()
    assert_refused(camera.pull(), "rollback", "timestamp", "2", str(FAR + 1))
    assert_kept(camera, before, good, at="timestamp")
    good.keys["timestamp"] = good.keys["snapshot"] = (Key("online 2"),)
    good.authorise()
    good.renew("root", "snapshot", "timestamp")
    assert camera.heals()
    assert camera.store.release == 2


def test_fast_forward_of_one_role_alone_is_recovered_from(camera, forge):
    """Only the snapshot's key was stolen: only that one is replaced."""
    forge.keys["snapshot"] = (Key("snapshot"),)
    forge.authorise()
    forge.renew("root", "snapshot", "timestamp")
    assert camera.heals()
    forward(forge, "snapshot")
    assert camera.pull().code == 0
    forge.signed["snapshot"]["version"] = 3
    forge.keys["snapshot"] = (Key("snapshot 2"),)
    forge.authorise()
    forge.publish(Model(2))
    forge.renew("root", "timestamp")
    assert camera.heals()
    assert camera.store.release == 2


def test_a_family_of_an_old_copy_of_the_channel_is_refused(twice, camera, server):
    """A mirror that keeps yesterday's whole folder, byte for byte."""
    old = twice.folder.parent / "yesterday"
    shutil.copytree(twice.folder, old)
    twice.publish(Model(2))
    assert camera.heals() and camera.store.release == 2
    server.folder = old
    before = camera.store.state()
    assert_refused(camera.pull(), "rollback", "timestamp", "2", "3")
    assert_kept(camera, before)
    server.folder = twice.folder
    assert camera.heals()
