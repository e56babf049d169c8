"""A channel that somebody changed is never signed; what a client would refuse is not published."""

from __future__ import annotations

import json
import shutil

import pytest
from channel_parts import NOW, camera, publish, tree
from tuf.api.metadata import Metadata

from toolkit.channel import forward as publish_forward
from toolkit.channel.metadata import check_encoding, metafile
from toolkit.channel.new_keys import init_keys
from toolkit.channel.refresh import refresh
from toolkit.channel.rollout import roll_back
from toolkit.channel.rotate import rotate
from toolkit.channel.status import status_of
from toolkit.errors import SecurityError, UserError
from toolkit.keys.files import signer_of


@pytest.fixture
def keys(tmp_path):
    return init_keys(tmp_path / "keys", families=["street"], now=NOW)


@pytest.fixture
def channel(tmp_path):
    return tmp_path / "channel"


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


def test_a_channel_whose_timestamp_was_taken_away_does_not_start_over(channel, keys):
    publish(channel, keys)
    publish(channel, keys, 2)
    (channel / "metadata/timestamp.json").unlink()
    before = tree(channel)
    with pytest.raises(SecurityError, match=r"`timestamp\.json` is gone") as caught:
        publish(channel, keys, 3)
    assert caught.value.kind == "tampered" and tree(channel) == before


@pytest.mark.parametrize(
    "read",
    [
        lambda channel, keys: publish(channel, keys, 3),
        lambda channel, keys: refresh(channel, keys=keys, now=NOW),
        status_of,
    ],
    ids=["publish", "refresh", "status"],
)
def test_an_older_state_that_somebody_put_back_is_not_signed_again(channel, keys, read):
    """Else a release that was taken back would be offered again, with fresh signatures."""
    publish(channel, keys, 1)
    publish(channel, keys, 2)
    older = (channel / "metadata/timestamp.json").read_bytes()
    roll_back(channel, keys=keys, now=NOW)
    (channel / "metadata/timestamp.json").write_bytes(older)
    before = tree(channel)
    with pytest.raises(SecurityError, match=r"was set back: .* version 2, 3 was signed") as caught:
        read(channel, keys)
    assert caught.value.kind == "rollback" and tree(channel) == before


def test_the_way_on_with_an_old_copy_of_a_channel(channel, keys, tmp_path):
    publish(channel, keys, 1)
    shutil.copytree(channel, tmp_path / "copy")
    publish(channel, keys, 2)
    taken = camera(channel, keys)
    taken.newest()
    shutil.rmtree(channel)
    shutil.copytree(tmp_path / "copy", channel)
    with pytest.raises(SecurityError) as caught:
        publish(channel, keys, 3)
    (memory,) = (keys.folder / "signed").iterdir()
    assert str(memory) in caught.value.hint
    memory.unlink()
    publish(channel, rotate(keys, ["timestamp", "snapshot"], channel=channel, now=NOW), 3)
    assert taken.newest().files == camera(channel, keys).newest().files


def test_keys_on_a_read_only_disk_sign_and_remember_nothing(channel, keys):
    (keys.folder / "signed").write_text("no folder")
    publish(channel, keys, 1)
    assert publish(channel, keys, 2).release == 2


def test_a_family_is_not_signed_again_for_an_index_that_somebody_changed(channel, keys):
    publish(channel, keys)
    changed_byte(next((channel / "targets/street").glob("*.index.json")))
    before = tree(channel)
    with pytest.raises(SecurityError) as caught:
        rotate(keys, ["street"], channel=channel, now=NOW)
    assert caught.value.kind == "tampered" and tree(channel) == before


def resigned(file, ring, role, change):
    """A metadata file changed and signed again by the role's first key of this ring."""
    metadata = Metadata.from_bytes(file.read_bytes())
    change(metadata.signed)
    metadata.sign(signer_of(ring, f"{role}-1"))
    file.write_bytes(metadata.to_bytes())
    return metafile(metadata.signed.version, metadata.to_bytes())


@pytest.mark.parametrize("role", ["street", "targets"])
def test_stolen_online_keys_do_not_make_the_next_publish_sign_a_foreign_model(
    channel, keys, tmp_path, role
):
    """Who has the keys of snapshot and timestamp lists a family signed by keys of their own."""
    publish(channel, keys)
    thief = init_keys(tmp_path / "thief", families=["street"], now=NOW)
    folder = channel / "metadata"
    forged = resigned(folder / f"1.{role}.json", thief, role, lambda _: None)
    lists = lambda signed: signed.meta.update({f"{role}.json": forged})  # noqa: E731
    snapshot = resigned(folder / "1.snapshot.json", keys, "snapshot", lists)
    resigned(
        folder / "timestamp.json",
        keys,
        "timestamp",
        lambda signed: setattr(signed, "snapshot_meta", snapshot),
    )
    before = tree(channel)
    with pytest.raises(SecurityError, match=f"`{role}` is not signed by its keys"):
        publish(channel, keys, 2)
    assert tree(channel) == before


def test_what_a_client_would_refuse_is_not_published(channel, keys, monkeypatch):
    publish(channel, keys)
    before = tree(channel)
    real = publish_forward.metafile
    monkeypatch.setattr(
        publish_forward, "metafile", lambda version, content: real(version + 1, content)
    )
    with pytest.raises(RuntimeError, match="a client would refuse"):
        publish(channel, keys, 2)
    assert tree(channel) == before


def spaced(metadata):
    return json.dumps(metadata.to_dict(), sort_keys=True).encode()


def with_field(value):
    def make(metadata):
        metadata.signed.unrecognized_fields["x"] = value
        return metadata.to_bytes()

    return make


@pytest.mark.parametrize(
    "make, found",
    [
        (spaced, "not compact"),
        (with_field(0.5), "no floats"),
        (with_field("a\x01"), "not the signed bytes"),
        (with_field("é"), "not the signed bytes"),
        (lambda metadata: metadata.to_bytes() + b"\n", "printable ASCII"),
    ],
)
def test_metadata_that_a_small_program_could_not_check(channel, keys, make, found):
    publish(channel, keys)
    metadata = Metadata.from_bytes((channel / "metadata/timestamp.json").read_bytes())
    check_encoding(metadata, metadata.to_bytes())
    with pytest.raises(ValueError, match=found):
        check_encoding(metadata, make(metadata))
