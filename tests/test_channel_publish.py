"""A draft becomes a release that TUF's own client takes; what is there never changes."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest
from channel_crash import different, full_disk_at, killed_at, moments
from channel_parts import NOW, Camera, draft, tree

from toolkit.channel.draft import DraftFile
from toolkit.channel.keys_init import init_keys
from toolkit.channel.publish import LIVE_MOST, alive, publish_draft
from toolkit.errors import EnvironmentFailure, SecurityError, UserError
from toolkit.release import Entry, Index, Rollout


@pytest.fixture
def keys(tmp_path):
    return init_keys(tmp_path / "keys", families=["street"], now=NOW)


@pytest.fixture
def channel(tmp_path):
    return tmp_path / "channel"


def camera(channel, keys):
    return Camera(channel, keys.folder / "root.json")


def publish(channel, keys, seed=1, /, **options):
    return publish_draft(channel, draft(seed), keys=keys, **{"now": NOW, **options})


def test_tufs_own_client_takes_a_release_whole(channel, keys):
    published = publish(channel, keys)
    release = camera(channel, keys).newest()
    assert (release.release, release.compatible) == (published.release, "street") == (1, "street")
    assert release.created == "2026-11-21T18:00:00Z"
    entry = camera(channel, keys).index().releases[0]
    assert entry.rollout == Rollout(basis_points=10_000, salt=published.id[:16])


def test_a_second_release_changes_no_file_but_timestamp(channel, keys):
    publish(channel, keys, 1)
    before = tree(channel)
    publish(channel, keys, 2, basis_points=1000)
    after = tree(channel)
    assert [name for name in before if after[name] != before[name]] == ["metadata/timestamp.json"]
    assert camera(channel, keys).newest().release == 2


def test_a_web_server_of_another_user_may_read_all_of_it(channel, keys):
    before = os.umask(0o077)
    try:
        publish(channel, keys)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in channel.rglob("*") if path.is_file()}
    places = (channel, *channel.rglob("*"))
    folders = {path.stat().st_mode & 0o777 for path in places if path.is_dir()}
    assert (modes, folders) == ({0o644}, {0o755})


def test_metadata_says_in_its_own_bytes_what_was_signed(channel, keys):
    publish(channel, keys)
    for file in (channel / "metadata").iterdir():
        data = file.read_bytes()
        value = json.loads(data)
        signed = data.partition(b'],"signed":')[2][:-1]
        plain = json.dumps(value["signed"], sort_keys=True, separators=(",", ":"))
        assert data.isascii() and signed == plain.encode(), file.name


def test_lives_are_those_that_cameras_count_on(channel, keys):
    publish(channel, keys)
    lives = {}
    for file in (channel / "metadata").iterdir():
        signed = json.loads(file.read_bytes())["signed"]
        lives[file.name] = signed["expires"]
    assert lives == {
        "1.root.json": "2027-11-21T18:00:00Z",
        "1.targets.json": "2027-02-19T18:00:00Z",
        "1.street.json": "2027-02-19T18:00:00Z",
        "1.snapshot.json": "2026-12-05T18:00:00Z",
        "timestamp.json": "2026-11-24T18:00:00Z",
    }
    timestamp = json.loads((channel / "metadata/timestamp.json").read_bytes())["signed"]
    assert timestamp["signed_at"] == "2026-11-21T18:00:00Z"


def test_the_same_bundle_again_changes_nothing(channel, keys):
    first = publish(channel, keys, basis_points=1000)
    before = tree(channel)
    again = publish(channel, keys)
    assert (again.changed, again.release, again.id) == (False, first.release, first.id)
    assert tree(channel) == before


def test_the_same_bundle_with_another_share_is_a_rollout(channel, keys):
    publish(channel, keys, basis_points=1000)
    with pytest.raises(UserError) as caught:
        publish(channel, keys, basis_points=5000)
    assert str(caught.value) == (
        "error: this bundle is release 1 of `street` already, at 10 %\n\n"
        f"hint: edgesr channel rollout 50% --channel {channel} --family street"
    )


def test_another_firmware_for_the_same_model_is_another_release(channel, keys):
    publish(channel, keys)
    wants = replace(draft(), min_firmware=7)
    second = publish_draft(channel, wants, keys=keys, now=NOW)
    releases = camera(channel, keys).index().releases
    assert second.release == 2 and [one.min_firmware for one in releases] == [7, 0]


def test_a_number_is_never_used_twice(channel, keys):
    publish(channel, keys)
    (channel / "targets/street/7").mkdir()  # a killed publish came so far
    assert publish(channel, keys, 2).release == 8


def test_versions_of_a_killed_publish_are_left_out(channel, keys):
    publish(channel, keys)
    orphan = channel / "metadata/2.snapshot.json"
    orphan.write_bytes(b"of a killed publish")
    publish(channel, keys, 2)
    assert (channel / "metadata/3.snapshot.json").exists()
    assert orphan.read_bytes() == b"of a killed publish"
    assert camera(channel, keys).newest().release == 2


def entry(number, share, word="street"):
    return Entry(
        release=number,
        compatible=word,
        min_firmware=0,
        rollout=Rollout(basis_points=share, salt="0" * 16),
        manifest=f"street/{number}/release.json",
    )


@pytest.mark.parametrize(
    "shares, kept",
    [
        ([10_000], [1]),
        ([10_000, 10_000, 10_000], [3, 2]),
        ([10_000, 10_000, 10_000, 100], [4, 3, 2]),
        ([0, 100], [2, 1]),
        ([10_000, *[100] * 9], [10, 9, 8, 7, 6, 5, 1]),
        ([10_000, 10_000, *[100] * 9], [11, 10, 9, 8, 7, 6, 2, 1]),
        ([100] * 12, [12, 11, 10, 9, 8, 7, 6, 5]),
    ],
)
def test_what_stays_alive(shares, kept):
    entries = [entry(number, share) for number, share in enumerate(shares, start=1)]
    index = alive(Index(family="street", releases=tuple(reversed(entries))))
    assert [one.release for one in index.releases] == kept
    assert len(kept) <= LIVE_MOST


def test_each_kind_of_camera_keeps_its_own():
    entries = [entry(1, 10_000, "old"), *(entry(n, 10_000, "new") for n in range(2, 6))]
    index = alive(Index(family="street", releases=tuple(reversed(entries))))
    assert [one.release for one in index.releases] == [5, 4, 1]


def test_two_families_have_keys_and_files_of_their_own(channel, tmp_path):
    keys = init_keys(tmp_path / "keys", families=["street", "yard"], now=NOW)
    publish(channel, keys)
    publish_draft(channel, draft(2, compatible="yard"), keys=keys, now=NOW)
    signed = json.loads((channel / "metadata/2.targets.json").read_bytes())["signed"]
    assert signed["targets"] == {}
    roles = {one["name"]: one for one in signed["delegations"]["roles"]}
    assert roles["yard"]["paths"] == ["yard/*", "yard/*/*"] and roles["yard"]["terminating"]
    assert roles["street"]["keyids"] != roles["yard"]["keyids"]
    assert [camera(channel, keys).newest(f).release for f in ("street", "yard")] == [1, 1]


def test_a_family_that_comes_later(channel, keys):
    publish(channel, keys)
    taken = camera(channel, keys)
    taken.newest()
    with pytest.raises(UserError, match="no key for `yard`"):
        publish_draft(channel, draft(2), keys=keys, family="yard", now=NOW)
    more = init_keys(keys.folder, families=["yard"], now=NOW)
    publish_draft(channel, draft(2), keys=more, family="yard", now=NOW)
    assert (taken.newest("yard").release, taken.newest("street").release) == (1, 1)


@pytest.mark.parametrize("family", ["root", "timestamp", "Street", "../x", "", "a" * 33])
def test_a_name_that_no_family_can_have(channel, keys, family):
    with pytest.raises(UserError, match="cannot be the name of a family"):
        publish(channel, keys, family=family)
    assert not (channel / "metadata").exists()


def test_what_no_client_would_take_is_not_published(channel, keys):
    file = DraftFile(name="a.part", role="model", content=b"x")
    with pytest.raises(SecurityError, match="is ours"):
        publish_draft(channel, draft(files=(file,)), keys=keys, now=NOW)
    assert tree(channel) == {}


def changed_byte(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    "name",
    ["metadata/timestamp.json", "metadata/1.snapshot.json", "metadata/1.targets.json",
     "metadata/1.street.json", "targets/street/*.index.json", "targets/street/1/*.release.json"],
)  # fmt: skip
def test_a_channel_that_somebody_changed_is_not_signed_again(channel, keys, name):
    publish(channel, keys)
    file = next(channel.glob(name))
    changed_byte(file)
    before = tree(channel)
    with pytest.raises(SecurityError) as caught:
        publish(channel, keys, 2)
    assert caught.value.kind == "tampered" and str(file) in str(caught.value) + caught.value.where
    assert tree(channel) == before


def test_a_channel_signed_by_other_keys_is_refused(channel, keys, tmp_path):
    publish(channel, keys)
    others = init_keys(tmp_path / "others", families=["street"], now=NOW)
    with pytest.raises(UserError, match="root 1 of the channel is another one"):
        publish(channel, others, 2)


def test_a_damaged_model_of_a_living_release_stops_the_next_publish(channel, keys):
    publish(channel, keys)
    changed_byte(next((channel / "targets/street/1").glob("*.tiny.onnx")))
    before = tree(channel)
    with pytest.raises(SecurityError, match="is not what was published"):
        publish(channel, keys, 2)
    assert tree(channel) == before


def test_keys_in_the_channels_folder_would_be_served(channel):
    keys = init_keys(channel / "keys", families=["street"], now=NOW)
    with pytest.raises(UserError, match="would be served"):
        publish(channel, keys)


def test_a_clock_that_went_back_signs_nothing(channel, keys):
    publish(channel, keys)
    before = tree(channel)
    with pytest.raises(EnvironmentFailure) as caught:
        publish(channel, keys, 2, now=NOW - timedelta(seconds=1))
    assert str(caught.value) == (
        "error[clock]: the channel was signed at 2026-11-21T18:00:00Z, "
        f"it is 2026-11-21T17:59:59Z here\n  --> {channel}\n\nhint: set this machine's clock"
    )
    assert tree(channel) == before


@pytest.mark.parametrize("earlier", [0, 1], ids=["first", "second"])
def test_a_clock_far_ahead_would_stop_every_camera_for_years(channel, keys, earlier):
    for seed in range(earlier):
        publish(channel, keys, seed)
    before = tree(channel)
    with pytest.raises(EnvironmentFailure, match="root 1 expired at 2027-11-21") as caught:
        publish(channel, keys, 9, now=NOW.replace(year=2040))
    assert caught.value.kind == "root-expired"
    assert tree(channel) == before


def test_a_publish_after_a_long_rest_signs_what_expired(channel, keys):
    publish(channel, keys)
    late = NOW + timedelta(days=120)
    publish(channel, keys, 2, now=late)
    assert camera(channel, keys).newest(now=late).release == 2
    assert (channel / "metadata/2.targets.json").exists()


def test_every_full_disk_leaves_the_channel_as_it_was(channel, keys):
    publish(channel, keys, 1)
    before = tree(channel)
    whole = moments(lambda observer: publish(channel, keys, 2, on_file=observer))
    shutil.rmtree(channel)
    publish(channel, keys, 1)
    before = tree(channel)
    last = whole.index(("in", "metadata/timestamp.json"))
    for moment in range(last + 1):
        with pytest.raises(EnvironmentFailure, match="cannot write: No space left"):
            publish(channel, keys, 2, on_file=full_disk_at(moment))
        assert tree(channel) == before, whole[moment]
    assert publish(channel, keys, 2).release == 2


def test_a_failure_after_the_last_rename_takes_nothing_back(channel, keys):
    publish(channel, keys, 1)

    def observer(phase, name):
        if (phase, name) == ("after", "metadata/timestamp.json"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(channel, keys, 2, on_file=observer)
    assert camera(channel, keys).newest().release == 2


def test_a_file_system_that_refuses_large_files(channel, keys):
    publish(channel, keys, 1)
    before = tree(channel)
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            publish(channel, keys, 2)
        except EnvironmentFailure:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert tree(channel) == before


def whole_blobs(channel):
    for file in (channel / "targets").rglob("*"):
        if file.is_file() and not file.name.endswith(".part"):
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name[:64], file


@pytest.mark.parametrize("earlier, files", [(0, "metadata"), (1, "")], ids=["first", "second"])
def test_killed_at_every_file(tmp_path, keys, earlier, files):
    start = tmp_path / "start"
    start.mkdir()
    for seed in range(earlier):
        publish(start, keys, seed)
    shutil.copytree(start, tmp_path / "dry")
    whole = moments(lambda observer: publish(tmp_path / "dry", keys, 9, on_file=observer))
    assert len(whole) > 20
    done = whole.index(("after", "metadata/timestamp.json"))
    for moment in different(whole, files):
        channel = tmp_path / f"killed-{moment}"
        shutil.copytree(start, channel)
        before = tree(channel)
        assert killed_at(lambda o, c=channel: publish(c, keys, 9, on_file=o), moment)
        after = tree(channel)
        whole_blobs(channel)
        changed = [name for name in before if after[name] != before[name]]
        assert changed == ["metadata/timestamp.json"] * (moment >= done and earlier)
        if earlier or moment >= done:
            assert camera(channel, keys).newest().release == earlier + (moment >= done)
        again = publish(channel, keys, 9)
        assert again.changed == (moment < done), whole[moment]
        assert (
            camera(channel, keys).newest().content
            == camera(tmp_path / "dry", keys).newest().content
        )
        shutil.rmtree(channel)


def test_publishers_at_once_wait_for_each_other(channel, keys):
    children = []
    for worker in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for step in range(3):
                    publish(channel, keys, 10 * worker + step)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    folders = sorted(
        int(one.name) for one in (channel / "targets/street").iterdir() if one.is_dir()
    )
    assert folders == list(range(1, 13))
    assert camera(channel, keys).newest().release == 12
    assert json.loads((channel / "metadata/timestamp.json").read_bytes())["signed"]["version"] == 12


def test_somebody_who_waits_is_told_why(channel, keys):
    from toolkit.writing import locked

    said = []
    channel.mkdir()
    with locked(channel):
        child = os.fork()
        if child == 0:
            told = []
            publish(channel, keys, say=lambda line: (told.append(line), os._exit(7)))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 7
    publish(channel, keys, say=said.append)
    assert said == []
