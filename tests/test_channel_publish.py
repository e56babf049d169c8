"""A draft becomes a release that TUF's own client takes; what is there never changes."""

from __future__ import annotations

import pytest
from channel_parts import NOW, Camera, draft, tree

from toolkit.channel.keys_init import init_keys
from toolkit.channel.publish import publish_draft


@pytest.fixture
def keys(tmp_path):
    return init_keys(tmp_path / "keys", families=["street"], now=NOW)


@pytest.fixture
def channel(tmp_path):
    return tmp_path / "channel"


def test_tufs_own_client_takes_a_release_whole(channel, keys):
    published = publish_draft(channel, draft(), keys=keys, now=NOW)
    release = Camera(channel, keys.folder / "root.json").newest()
    assert (release.release, release.compatible) == (published.release, "street") == (1, "street")
    assert release.created == "2026-11-21T18:00:00Z"


def test_a_second_release_changes_no_file_but_timestamp(channel, keys):
    publish_draft(channel, draft(1), keys=keys, now=NOW)
    before = tree(channel)
    publish_draft(channel, draft(2), keys=keys, basis_points=1000, now=NOW)
    after = tree(channel)
    assert [name for name in before if after[name] != before[name]] == ["metadata/timestamp.json"]
    assert Camera(channel, keys.folder / "root.json").newest().release == 2
