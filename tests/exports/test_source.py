"""Which release is exported, and from which channels none is."""

import shutil
from datetime import timedelta

import pytest
from release_bundle import ONNX, bundle

from exports.parts import (
    NOW,
    publish,
    released,
)
from toolkit.channel.publish import publish_draft
from toolkit.drafts.of_bundle import draft_of
from toolkit.errors import SecurityError, UserError
from toolkit.exporting.signed_release import signed_release


def test_the_newest_that_is_for_all_is_taken(channel):
    assert released(channel, "street").release.release == 1
    assert released(channel, "street", number=2).release.release == 2
    assert released(channel, "street", any_share=True).release.release == 2


def test_an_unknown_release_is_told_the_living_ones(channel):
    with pytest.raises(UserError, match=r"does not live; living: 2 \(10 %\), 1 \(100 %\)"):
        released(channel, "street", number=3)


def test_a_family_with_no_release_for_all_is_told(published, channel, tmp_path):
    draft = draft_of(bundle(tmp_path / "new", ONNX), compatible="x")
    publish_draft(channel, draft, keys=published[1], family="pi", basis_points=500, now=NOW)
    assert released(channel).release.release == 1
    with pytest.raises(UserError, match="the channel has pi, street"):
        signed_release(channel, now=NOW)
    with pytest.raises(UserError, match="no family `pie`") as caught:
        released(channel, "pie")
    assert caught.value.hint == "did you mean `pi`?"


def test_no_channel_is_told(tmp_path):
    with pytest.raises(UserError, match="there is no channel"):
        released(tmp_path)


def test_a_channel_of_other_keys_is_refused_where_the_cameras_root_is_given(
    published, channel, tmp_path
):
    own = published[1].folder / "root.json"
    assert released(channel, root=own).release.release == 1
    other, keys = publish(tmp_path / "other")
    with pytest.raises(SecurityError, match="does not continue this root") as caught:
        released(channel, root=keys.folder / "root.json")
    assert caught.value.kind == "wrong-key"
    shutil.copytree(other / "targets", channel / "targets", dirs_exist_ok=True)
    shutil.copytree(other / "metadata", channel / "metadata", dirs_exist_ok=True)
    with pytest.raises(SecurityError):
        released(channel, root=own)


def test_expired_metadata_is_told(channel):
    late = signed_release(channel, family="pi", now=NOW + timedelta(days=15))
    assert [one.split(" expired")[0] for one in late.remarks] == [
        "the channel's `timestamp`",
        "the channel's `snapshot`",
    ]
    assert released(channel).remarks == ()
