"""Other keys: every camera follows, a stolen key is worth nothing, and no kill leaves it half."""

from __future__ import annotations

import json
import shutil

import pytest
from channel_crash import different, killed_at, moments
from channel_parts import NOW, Camera, draft, tree
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from toolkit.channel.folder import metadata_file
from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.channel.refresh import refresh
from toolkit.channel.rollout import roll_back, set_share
from toolkit.channel.rotate import rotate
from toolkit.channel.state import read_state
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.keys.files import signer_of
from toolkit.keys.ring import open_keys

ROLES = ["root", "targets", "snapshot", "timestamp", "street"]


@pytest.fixture
def keys(tmp_path):
    return init_keys(tmp_path / "keys", families=["street"], now=NOW)


@pytest.fixture
def channel(tmp_path, keys):
    publish_draft(tmp_path / "channel", draft(), keys=keys, now=NOW)
    return tmp_path / "channel"


@pytest.fixture
def camera(channel, keys):
    """One that has polled before, with the first root in its firmware."""
    made = Camera(channel, keys.folder / "1.root.json")
    made.newest()
    return made


@pytest.mark.parametrize("role", ROLES)
def test_cameras_old_and_new_follow(channel, keys, camera, role):
    old = keys.role(role).keys
    ring = rotate(keys, [role], channel=channel, now=NOW)
    assert not set(ring.role(role).keys) & set(old)
    assert len(ring.role(role).keys) == len(old)
    assert all(ring.keys[name].retired == "2026-11-21T18:00:00Z" for name in old)
    assert all((keys.folder / f"{name}.key").exists() for name in (*old, *ring.role(role).keys))
    assert open_keys(keys.folder).roles == ring.roles
    for one in (camera, Camera(channel, keys.folder / "root.json")):
        assert one.newest().release == 1
    publish_draft(channel, draft(2), keys=ring, now=NOW)
    for one in (camera, Camera(channel, keys.folder / "root.json")):
        assert one.newest().release == 2


def signed_with(file, ring, name):
    """The metadata file, signed by this key alone."""
    metadata = Metadata.from_bytes(file.read_bytes())
    metadata.sign(signer_of(ring, name))
    return metadata.to_bytes()


@pytest.mark.parametrize("role", ["snapshot", "timestamp", "street", "targets"])
def test_a_replaced_key_signs_nothing_any_more(channel, keys, role):
    ring = rotate(keys, [role], channel=channel, now=NOW)
    ring = rotate(ring, ["snapshot", "timestamp"], channel=channel, now=NOW)
    version = (
        None
        if role == "timestamp"
        else max(
            int(file.name.split(".")[0]) for file in (channel / "metadata").glob(f"*.{role}.json")
        )
    )
    file = metadata_file(channel, role, version)
    file.write_bytes(signed_with(file, ring, f"{role}-1"))
    with pytest.raises(RepositoryError):
        Camera(channel, keys.folder / "root.json").newest()


def test_between_two_roots_both_are_served(channel, keys, camera):
    """The moment before the new root appears, cameras of the old one can verify everything."""
    seen = []

    def observer(phase, name):
        if (phase, name) == ("before", "metadata/2.root.json"):
            seen.append(camera.newest().release)

    rotate(keys, ["timestamp", "snapshot", "targets"], channel=channel, now=NOW, on_file=observer)
    assert seen == [1] and camera.newest().release == 1


def test_fast_forward_is_undone_by_new_keys(channel, keys, camera):
    stolen = {role: signer_of(keys, f"{role}-1") for role in ("snapshot", "timestamp")}
    real = tree(channel)
    far = 2**31 - 1
    timestamp = Metadata.from_bytes(real["metadata/timestamp.json"])
    snapshot = Metadata.from_bytes(real["metadata/1.snapshot.json"])
    snapshot.signed.version = far
    snapshot.sign(stolen["snapshot"])
    metadata_file(channel, "snapshot", far).write_bytes(snapshot.to_bytes())
    timestamp.signed.version = far
    timestamp.signed.snapshot_meta.version = far
    timestamp.signed.snapshot_meta.length = timestamp.signed.snapshot_meta.hashes = None
    timestamp.sign(stolen["timestamp"])
    metadata_file(channel, "timestamp").write_bytes(timestamp.to_bytes())
    camera.newest()  # believes it: both keys are real
    metadata_file(channel, "timestamp").write_bytes(real["metadata/timestamp.json"])
    metadata_file(channel, "snapshot", far).unlink()
    publish_draft(channel, draft(2), keys=keys, now=NOW)
    with pytest.raises(RepositoryError):
        camera.newest()  # all that is honest is older now
    rotate(keys, ["snapshot", "timestamp"], channel=channel, now=NOW)
    assert camera.newest().release == 2


def test_one_of_the_root_keys(channel, keys, camera):
    ring = rotate(keys, ["root"], only="root-2", channel=channel, now=NOW)
    assert ring.role("root").keys == ("root-1", "root-3", "root-4")
    assert ring.role("root").threshold == 2
    assert camera.newest().release == 1


def test_several_roles_are_one_new_root(channel, keys, camera):
    rotate(keys, ["timestamp", "snapshot", "root"], channel=channel, now=NOW)
    assert sorted(file.name for file in keys.folder.glob("*.root.json")) == [
        "1.root.json", "2.root.json"]  # fmt: skip
    assert camera.newest().release == 1


def test_a_channel_far_away_is_served_to_who_has_not_seen_the_new_root(channel, keys, camera):
    """A cache may go on saying that 2.root.json is missing."""
    ring = rotate(keys, ["timestamp", "snapshot", "targets"], now=NOW)
    refresh(channel, keys=ring, now=NOW)
    newer = (channel / "metadata/2.root.json").read_bytes()
    (channel / "metadata/2.root.json").unlink()
    assert camera.newest().release == 1
    (channel / "metadata/2.root.json").write_bytes(newer)
    assert camera.newest().release == 1


def test_a_replaced_key_that_cannot_sign_holds_nothing_up(channel, keys, camera):
    ring = rotate(keys, ["timestamp"], now=NOW)
    (keys.folder / "timestamp-1.key").write_bytes(b"no key")
    refresh(channel, keys=open_keys(ring.folder), now=NOW)
    assert camera.newest().release == 1


def test_a_channel_far_away_is_brought_along_by_refresh(channel, keys, camera):
    before = tree(channel)
    ring = rotate(keys, ["timestamp", "snapshot", "targets", "street"], now=NOW)
    assert tree(channel) == before and camera.newest().release == 1
    signed = refresh(channel, keys=ring, now=NOW)
    assert signed == ("snapshot", "street", "targets", "timestamp")
    assert camera.newest().release == 1
    publish_draft(channel, draft(2), keys=ring, now=NOW)
    assert camera.newest().release == 2


def test_three_rotations_later_a_camera_still_finds_its_way(channel, keys, camera):
    ring = keys
    for role in ("root", "timestamp", "root"):
        ring = rotate(ring, [role], channel=channel, now=NOW)
    assert ring.role("root").keys == ("root-7", "root-8", "root-9")
    assert camera.newest().release == 1


def test_root_keys_that_are_elsewhere(channel, keys, tmp_path, camera):
    stick = tmp_path / "stick"
    stick.mkdir()
    for file in keys.folder.glob("root-*.key"):
        shutil.move(file, stick)
    before = tree(keys.folder)
    with pytest.raises(EnvironmentFailure) as caught:
        rotate(open_keys(keys.folder), ["timestamp"], channel=channel, now=NOW)
    assert str(caught.value) == (
        "error[key-missing]: `root` must be signed by 2 of its 3 keys, "
        "none of them is on this machine\n"
        "  --> not here: root-1.key, root-2.key, root-3.key\n\n"
        "hint: run this where the key is, or name its folder too: --keys KEYS --keys /media/stick"
    )
    assert tree(keys.folder) == before  # no new key was made for nothing
    ring = open_keys(keys.folder, elsewhere=(stick,))
    rotate(ring, ["timestamp"], channel=channel, now=NOW)
    assert camera.newest().release == 1


def test_a_family_needs_targets_but_no_root(channel, keys, camera):
    for file in keys.folder.glob("root-*.key"):
        file.unlink()
    ring = rotate(open_keys(keys.folder), ["street"], channel=channel, now=NOW)
    assert camera.newest().release == 1
    (keys.folder / "targets-1.key").unlink()
    with pytest.raises(EnvironmentFailure, match="`targets` must be signed"):
        rotate(open_keys(keys.folder), ["street"], channel=channel, now=NOW)
    assert open_keys(keys.folder).roles == ring.roles


def test_an_old_key_that_is_lost_does_not_hinder(channel, keys, camera):
    (keys.folder / "timestamp-1.key").unlink()
    rotate(open_keys(keys.folder), ["timestamp"], channel=channel, now=NOW)
    assert camera.newest().release == 1


def test_what_cannot_be_rotated(channel, keys):
    with pytest.raises(UserError, match="no role `stret`"):
        rotate(keys, ["stret"], channel=channel, now=NOW)
    with pytest.raises(UserError, match="`root-9` signs none"):
        rotate(keys, ["root"], only="root-9", channel=channel, now=NOW)


@pytest.mark.parametrize("roles", [["timestamp", "root"], ["street"]], ids=str)
def test_killed_at_every_file_of_the_channel(tmp_path, channel, keys, roles):
    work = tmp_path / "work"

    def fresh():
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(channel, work / "channel")
        shutil.copytree(keys.folder, work / "keys")

    def act(observer):
        rotate(open_keys(work / "keys"), roles, channel=work / "channel", now=NOW, on_file=observer)

    fresh()
    whole = moments(act)
    for moment in different(whole):
        fresh()
        camera = Camera(work / "channel", keys.folder / "1.root.json")
        camera.newest()
        assert killed_at(act, moment)
        assert camera.newest().release == 1, whole[moment]
        act(lambda *_: None)
        ring = open_keys(work / "keys")
        assert not any(role.leaving for role in ring.roles.values())
        expected = {"timestamp": ("timestamp-2",), "root": ("root-4", "root-5", "root-6")}
        if "root" in roles:
            assert {name: ring.role(name).keys for name in roles} == expected
        assert camera.newest().release == 1
        publish_draft(work / "channel", draft(2), keys=ring, now=NOW)
        assert camera.newest().release == 2


def test_killed_while_the_keys_folder_changes(tmp_path, channel, keys, monkeypatch):
    """Before and after each of the three steps that change the keys folder."""
    from toolkit.channel import rotate as module

    for dying in ("save", "write_root", "_bring_along"):
        work = tmp_path / dying
        shutil.copytree(channel, work / "channel")
        shutil.copytree(keys.folder, work / "keys")
        for late in (False, True):
            with monkeypatch.context() as patch:
                real = getattr(module, dying)

                def die(*given, real=real, late=late):
                    if late:
                        real(*given)
                    raise KeyboardInterrupt

                patch.setattr(module, dying, die)
                with pytest.raises(KeyboardInterrupt):
                    rotate(
                        open_keys(work / "keys"), ["timestamp"], channel=work / "channel", now=NOW
                    )
        ring = rotate(open_keys(work / "keys"), ["timestamp"], channel=work / "channel", now=NOW)
        assert ring.role("timestamp").keys == ("timestamp-2",)
        assert Camera(work / "channel", keys.folder / "1.root.json").newest().release == 1


def test_a_publish_between_the_halves_of_a_rotation_says_so(channel, keys, monkeypatch):
    from toolkit.channel import rotate as module

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_root", die)
        with pytest.raises(KeyboardInterrupt):
            rotate(keys, ["timestamp"], channel=channel, now=NOW)
    before = tree(channel)
    with pytest.raises(UserError, match="names other keys than root 1"):
        publish_draft(channel, draft(2), keys=open_keys(keys.folder), now=NOW)
    assert tree(channel) == before


@pytest.mark.parametrize("write", ["publish", "rollout", "rollback", "refresh"])
def test_who_waited_for_a_rotation_does_not_put_the_old_key_back(channel, keys, write):
    publish_draft(channel, draft(2), keys=keys, now=NOW)
    before = open_keys(keys.folder)  # and then it waits for the lock that the rotation holds
    after = rotate(keys, ["street"], channel=channel, now=NOW)
    writes = {
        "publish": lambda: publish_draft(channel, draft(3), keys=before, now=NOW),
        "rollout": lambda: set_share(channel, 0, keys=before, now=NOW),
        "rollback": lambda: roll_back(channel, keys=before, now=NOW),
        "refresh": lambda: refresh(channel, keys=before, now=NOW),
    }
    writes[write]()
    delegations = read_state(channel, after).targets.signed.delegations
    assert delegations.roles["street"].keyids == [after.keys["street-2"].keyid]


def test_a_keys_folder_that_missed_a_rotation(channel, keys, tmp_path):
    shutil.copytree(keys.folder, tmp_path / "old")
    rotate(keys, ["timestamp"], channel=channel, now=NOW)
    with pytest.raises(UserError, match="the channel has root 2, the keys folder has 1"):
        publish_draft(channel, draft(2), keys=open_keys(tmp_path / "old"), now=NOW)


def test_the_root_for_firmware_is_the_newest(channel, keys):
    rotate(keys, ["root"], channel=channel, now=NOW)
    newest = (keys.folder / "root.json").read_bytes()
    assert newest == (keys.folder / "2.root.json").read_bytes()
    assert newest == (channel / "metadata/2.root.json").read_bytes()
    assert json.loads(newest)["signed"]["version"] == 2
