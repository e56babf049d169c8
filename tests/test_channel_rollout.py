"""More cameras, fewer cameras, and the way back by going forward."""

from __future__ import annotations

import json

import pytest
from channel_parts import NOW, Camera, draft, tree

from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.channel.rollout import basis_points_of, roll_back, set_share
from toolkit.channel.rotate import rotate
from toolkit.errors import UserError
from toolkit.release import Rollout


@pytest.fixture
def keys(tmp_path):
    return init_keys(tmp_path / "keys", families=["street"], now=NOW)


@pytest.fixture
def channel(tmp_path, keys):
    """Three releases: 1 and 2 for all, 3 for a tenth."""
    channel = tmp_path / "channel"
    for seed, share in ((1, 10_000), (2, 10_000), (3, 1000)):
        publish_draft(channel, draft(seed), keys=keys, basis_points=share, now=NOW)
    return channel


def shares(channel, keys, family="street"):
    index = Camera(channel, keys.folder / "root.json").index(family)
    return {one.release: one.rollout.basis_points for one in index.releases}


@pytest.mark.parametrize(
    "text, points",
    [("10%", 1000), ("0.5%", 50), ("100%", 10_000), ("0%", 0), ("0.01%", 1), ("99.99%", 9999),
     ("100.00%", 10_000), (" 12.5% ", 1250)],
)  # fmt: skip
def test_a_share(text, points):
    assert basis_points_of(text) == points


@pytest.mark.parametrize(
    "text", ["10", "101%", "0.001%", "-1%", "%", "100.01%", "1e1%", "ten%", "", "٣%", "10%%"]
)
def test_what_is_no_share(text):
    with pytest.raises(UserError, match="from 0% to 100%"):
        basis_points_of(text)


def test_a_number_without_its_sign_is_told_the_way():
    with pytest.raises(UserError) as caught:
        basis_points_of("10")
    assert caught.value.hint == "10%"


def test_a_share_grows_and_keeps_its_salt(channel, keys):
    before = Camera(channel, keys.folder / "root.json").index().releases[0].rollout
    done = set_share(channel, 5000, keys=keys, now=NOW)
    after = Camera(channel, keys.folder / "root.json").index().releases[0].rollout
    assert (done.release, done.basis_points, done.changed) == (3, 5000, True)
    assert after == Rollout(basis_points=5000, salt=before.salt)  # who is in stays in


@pytest.mark.parametrize("points", [500, 0])
def test_a_share_goes_down_or_stops(channel, keys, points):
    set_share(channel, points, keys=keys, now=NOW)
    assert shares(channel, keys) == {3: points, 2: 10_000, 1: 10_000}


def test_a_release_for_all_lets_the_oldest_go_but_keeps_its_files(channel, keys):
    before = tree(channel)
    set_share(channel, 10_000, keys=keys, now=NOW)
    assert shares(channel, keys) == {3: 10_000, 2: 10_000}
    assert set(before) < set(tree(channel))


def test_the_share_it_has_already_signs_nothing(channel, keys):
    before = tree(channel)
    assert set_share(channel, 1000, keys=keys, now=NOW).changed is False
    assert tree(channel) == before


def test_an_older_living_release(channel, keys):
    set_share(channel, 9000, keys=keys, release=2, now=NOW)
    assert shares(channel, keys) == {3: 1000, 2: 9000, 1: 10_000}


def test_a_release_that_does_not_live(channel, keys):
    with pytest.raises(UserError) as caught:
        set_share(channel, 9000, keys=keys, release=7, now=NOW)
    assert str(caught.value) == (
        "error: `street` has no living release 7\n\nhint: there are: 1, 2, 3"
    )


def test_several_kinds_of_cameras_need_a_number(channel, keys):
    other = draft(4, compatible="yard")
    publish_draft(channel, other, keys=keys, family="street", now=NOW)
    with pytest.raises(UserError, match="several kinds of cameras: street, yard"):
        set_share(channel, 5000, keys=keys, now=NOW)
    set_share(channel, 5000, keys=keys, release=3, now=NOW)
    assert shares(channel, keys) == {4: 10_000, 3: 5000, 2: 10_000, 1: 10_000}


def test_a_mistyped_channel_is_told_and_not_made(tmp_path, keys):
    folder = tmp_path / "chanel"
    before = {file: file.read_bytes() for file in keys.folder.iterdir()}
    for change in (
        lambda: set_share(folder, 5000, keys=keys, now=NOW),
        lambda: roll_back(folder, keys=keys, now=NOW),
        lambda: rotate(keys, ["timestamp"], channel=folder, now=NOW),
    ):
        with pytest.raises(UserError, match="there is no channel"):
            change()
    assert not folder.exists()
    assert {file: file.read_bytes() for file in keys.folder.iterdir()} == before


def test_which_family_must_be_said_where_there_are_two(channel, keys):
    more = init_keys(keys.folder, families=["yard"], now=NOW)
    publish_draft(channel, draft(4, compatible="yard"), keys=more, now=NOW)
    with pytest.raises(UserError, match="which family"):
        set_share(channel, 5000, keys=more, now=NOW)
    with pytest.raises(UserError, match="no family `lane`"):
        set_share(channel, 5000, keys=more, family="lane", now=NOW)
    assert set_share(channel, 0, keys=more, family="yard", now=NOW).family == "yard"


def newest(channel, keys):
    return Camera(channel, keys.folder / "root.json").newest()


def test_back_is_forward_to_all_and_stops_what_was_newer(channel, keys):
    index = Camera(channel, keys.folder / "root.json").index()
    two = Camera(channel, keys.folder / "root.json")
    old = json.loads(two.take(index.releases[1].manifest))
    done = roll_back(channel, keys=keys, now=NOW)
    release = newest(channel, keys)
    assert (done.release, release.release, release.content) == (4, 4, old["content"])
    assert shares(channel, keys) == {4: 10_000, 3: 0}
    assert release.as_json() == {**old, "release": 4}


def test_back_twice_is_not_back_to_the_bad_one(channel, keys):
    set_share(channel, 10_000, keys=keys, now=NOW)
    first = roll_back(channel, keys=keys, now=NOW)
    before = tree(channel)
    with pytest.raises(UserError, match="no living release before 4"):
        roll_back(channel, keys=keys, now=NOW)
    assert tree(channel) == before and first.release == 4


def test_back_to_a_release_that_lives_no_more(channel, keys):
    set_share(channel, 10_000, keys=keys, now=NOW)
    assert 1 not in shares(channel, keys)
    done = roll_back(channel, keys=keys, to=1, now=NOW)
    assert (done.release, newest(channel, keys).files[0].length) == (4, 1600)
    assert newest(channel, keys).model.sha256 == sha_of_model(1)
    assert shares(channel, keys) == {4: 10_000, 3: 0}


def sha_of_model(seed):
    import hashlib

    return hashlib.sha256(draft(seed).files[0].content).hexdigest()


def test_back_to_where_it_is_changes_nothing(channel, keys):
    roll_back(channel, keys=keys, to=2, now=NOW)
    before = tree(channel)
    assert roll_back(channel, keys=keys, to=2, now=NOW).changed is False
    assert tree(channel) == before


@pytest.mark.parametrize("number", [0, 9, -1])
def test_back_to_a_release_that_never_was(channel, keys, number):
    with pytest.raises(UserError, match=f"no release {number} that its present keys signed"):
        roll_back(channel, keys=keys, to=number, now=NOW)


def test_back_to_what_a_former_key_signed_is_refused(channel, keys):
    set_share(channel, 10_000, keys=keys, now=NOW)
    ring = rotate(keys, ["street"], channel=channel, now=NOW)
    with pytest.raises(UserError, match="no release 1 that its present keys signed"):
        roll_back(channel, keys=ring, to=1, now=NOW)
    assert roll_back(channel, keys=ring, to=2, now=NOW).release == 4


def test_after_the_way_back_a_fixed_model_goes_on(channel, keys):
    roll_back(channel, keys=keys, now=NOW)
    publish_draft(channel, draft(5), keys=keys, basis_points=500, now=NOW)
    assert shares(channel, keys) == {5: 500, 4: 10_000, 3: 0}
