"""A draft becomes a release that TUF's own client takes; what is there never changes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta

import pytest
from channel_parts import NOW, camera, draft, publish, tree

from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import LIVE_MOST, alive, publish_draft
from toolkit.channel.rotate import rotate
from toolkit.drafts.draft import DraftFile
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.release import Entry, Index, Rollout


@pytest.fixture
def keys(tmp_path):
    return init_keys(tmp_path / "keys", families=["street"], now=NOW)


@pytest.fixture
def channel(tmp_path):
    return tmp_path / "channel"


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


def entry(number, share, word="street", firmware=0):
    return Entry(
        release=number,
        compatible=word,
        min_firmware=firmware,
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


def test_a_release_that_asks_for_newer_firmware_does_not_end_those_that_do_not():
    firmware = [0, 0, 0, 7, 7, 7]
    entries = [entry(n, 10_000, firmware=one) for n, one in enumerate(firmware, start=1)]
    index = alive(Index(family="street", releases=tuple(reversed(entries))))
    assert [one.release for one in index.releases] == [6, 5, 4, 3, 2]


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
    with pytest.raises(UserError, match=r"no camera would take this release: .* is ours"):
        publish_draft(channel, draft(files=(file,)), keys=keys, now=NOW)
    assert tree(channel) == {}


def test_a_clock_that_went_back_signs_nothing(channel, keys):
    publish(channel, keys)
    before = tree(channel)
    with pytest.raises(EnvironmentFailure) as caught:
        publish(channel, keys, 2, now=NOW - timedelta(seconds=1))
    assert str(caught.value) == (
        "error[clock]: the channel was signed at 2026-11-21T18:00:00Z, "
        f"it is 2026-11-21T17:59:59Z here\n  --> {channel}\n\n"
        "hint: set this machine's clock; if it was wrong at that time, make cameras forget it: "
        f"edgesr keys rotate timestamp --channel {channel}"
    )
    assert tree(channel) == before


def test_the_way_back_from_a_clock_that_was_ahead(channel, keys):
    publish(channel, keys)
    publish(channel, keys, 2, now=NOW + timedelta(days=200))
    kept = camera(channel, keys)
    kept.newest(now=NOW + timedelta(days=200))
    rotated = rotate(keys, ["timestamp"], channel=channel, now=NOW)
    assert publish(channel, rotated, 3).release == 3
    assert kept.newest().release == 3


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
