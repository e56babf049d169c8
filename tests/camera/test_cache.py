"""Flash that forgets: metadata, pointers and models lost, empty, zeroed, flipped; all heal."""

from __future__ import annotations

import shutil

import pytest

from camera.attack import ORDER, assert_kept, assert_refused
from camera.models import FAMILY, Model
from camera.repository import Forge, Key

METADATA = [f"metadata/{role}.json" for role in ORDER]
POINTERS = ["current", "previous", "blocked", "trial"]


def lost(file):
    file.unlink(missing_ok=True)


def emptied(file):
    file.write_bytes(b"")


def zeroed(file):
    file.write_bytes(bytes(max(1, file.stat().st_size if file.exists() else 64)))


def halved(file):
    data = file.read_bytes() if file.exists() else b"xy"
    file.write_bytes(data[: len(data) // 2])


def flipped(file):
    data = bytearray(file.read_bytes() if file.exists() else b"xy")
    data[len(data) // 2] ^= 0x20
    file.write_bytes(bytes(data))


DAMAGE = [lost, emptied, zeroed, halved, flipped]


@pytest.fixture
def second(camera, forge):
    """A camera that serves release 2 and has release 1 as its previous one."""
    forge.publish(Model(2))
    assert camera.heals()
    assert camera.store.pointer("previous") == (1, Model(1).id)
    return camera


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__)
def test_metadata_of_each_role_heals(second, forge, damage):
    for number, name in enumerate([*METADATA, None], start=3):
        for file in METADATA if name is None else [name]:
            damage(second.store.folder / file)
        forge.publish(Model(number))
        assert second.heals(), name
        assert second.store.release == number, name


def test_the_folders_of_metadata_and_of_the_camera_itself_heal(second, forge):
    shutil.rmtree(second.store.folder / "metadata")
    forge.publish(Model(3))
    assert second.heals() and second.store.release == 3
    shutil.rmtree(second.store.folder)
    assert second.heals() and second.store.release == 3


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__)
def test_pointers_heal(second, damage):
    for name in [*POINTERS, None]:
        for file in POINTERS if name is None else [name]:
            damage(second.store.folder / file)
        assert second.heals(), name
        assert second.store.release == 2, name


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__)
def test_a_damaged_model_is_fetched_again(second, damage):
    for name in ("model.xml", "release.json"):
        damage(second.store.place / name)
        assert not second.store.is_served()
        assert second.heals(), name
        assert second.store.release == 2, name


def test_a_manifest_that_was_edited_is_fetched_again(second):
    """Valid JSON that says the same of the files; the pointer's id is not its digest any more."""
    file = second.store.place / "release.json"
    file.write_bytes(file.read_bytes().replace(b'"recipe":"tiny"', b'"recipe":"tinx"'))
    assert not second.store.is_served()
    assert second.heals()
    assert second.store.release == 2


def test_a_damaged_model_gives_way_to_the_previous_one_without_a_network(second, server):
    server.stop()
    flipped(second.store.place / "model.bin")
    outcome = second.pull()
    assert (outcome.code, outcome.kind) == (3, "network"), outcome
    assert second.store.release == 1 and second.store.is_served()
    server.start()
    assert second.heals() and second.store.release == 2


def test_a_lost_pointer_finds_the_release_that_is_there_without_a_network(second, server):
    server.stop()
    for name in ("current", "previous"):
        lost(second.store.folder / name)
    assert second.pull().code == 3
    assert second.store.release == 2 and second.store.is_served()


def test_losing_the_timestamp_alone_opens_no_way_back(second, forge, server):
    """What the snapshot says still holds: a family of an older time is refused."""
    old = forge.copy(forge.folder.parent / "old")
    forge.renew("targets", FAMILY, "snapshot", "timestamp")
    assert second.heals()
    server.folder = old.folder
    lost(second.store.folder / "metadata/timestamp.json")
    before = {**second.store.state(), "metadata/timestamp.json": ""}
    assert_refused(second.pull(), "rollback", "snapshot")
    assert_kept(second, before, old, at="snapshot")


def test_losing_all_metadata_takes_no_older_release(second, forge, server, first_channel):
    """The old channel's word is new to this camera; the number of its own release is not."""
    shutil.rmtree(second.store.folder / "metadata")
    server.folder = first_channel.folder
    outcome = second.pull()
    assert outcome.code == 0 and outcome.outcome == "current", outcome
    assert second.store.release == 2 and second.store.is_served()


@pytest.mark.parametrize("version", [1, 99])
def test_a_lying_root_on_disk_is_not_believed(second, forge, server, version):
    """Somebody wrote another channel's root into the store: the given one decides."""

    class Foreign(Forge):
        def authorise(self):
            self.keys = {role: (Key(f"mallory {role}"),) for role in self.keys}
            super().authorise()

    foreign = Foreign(forge.folder.parent / "foreign", Model(9))
    foreign.signed["root"]["version"] = version
    foreign.write("root")
    for role in ORDER:
        (second.store.folder / f"metadata/{role}.json").write_bytes(foreign.file(role).read_bytes())
    forge.publish(Model(3))
    assert second.heals() and second.store.release == 3
    server.folder = foreign.folder
    assert second.pull().code == 5
    assert second.store.release == 3 and second.store.is_served()


def test_a_root_that_cannot_be_used_is_the_users_to_mend(new_camera):
    (new_camera.folder / "root.json").write_text("{}")
    outcome = new_camera.pull()
    assert outcome.code == 2 and "root.json" in outcome.stderr, outcome
    assert new_camera.store.pointer() is None
