"""OCI layouts, folders of a model server, and sticks."""

import json

import pytest
from channel_parts import Camera
from needs import needs
from release_bundle import ONNX, bundle

from exports.parts import (
    NOW,
    digests_of,
    exported,
    in_folder,
    in_oci,
    publish,
    released,
    sha256,
    tool,
)
from toolkit import plugins
from toolkit.channel.publish import publish_draft
from toolkit.drafts.of_bundle import draft_of
from toolkit.errors import UserError
from toolkit.exporting.export import Wishes
from toolkit.exporting.placing import contents

# OCI


@needs("formats")
def test_skopeo_copies_the_layout_with_its_digests(channel, tmp_path):
    done = exported("oci", channel, tmp_path / "layout")
    tool("skopeo", "copy", f"oci:{done.path}:1", f"oci:{tmp_path / 'copy'}:1")
    manifest = json.loads(tool("skopeo", "inspect", "--raw", f"oci:{tmp_path / 'copy'}:1"))
    assert manifest["artifactType"] == "application/vnd.edgesr.release.v1"
    assert manifest["annotations"]["org.edgesr.tuf.target"] == "pi/1/release.json"
    assert tool("umoci", "ls", "--layout", done.path).split() == ["1"]
    files = in_oci(tmp_path / "copy")
    assert {name: sha256(data) for name, data in files.items()} == done.digests
    assert done.digests == digests_of(released(channel))
    targets = {one["annotations"]["org.edgesr.tuf.target"] for one in manifest["layers"]}
    assert "pi/1/net.int8.tflite" in targets


@needs("formats")
def test_skopeo_refuses_a_blob_with_a_flipped_bit(channel, tmp_path):
    done = exported("oci", channel, tmp_path / "layout")
    blob = done.path / "blobs" / "sha256" / released(channel).model.sha256
    blob.write_bytes(b"M" + blob.read_bytes()[1:])
    said = tool("skopeo", "copy", f"oci:{done.path}:1", f"oci:{tmp_path / 'copy'}:1", check=False)
    assert "Digest did not match" in said


# OpenVINO Model Server


def test_model_server_gets_a_number_beside_the_older_ones(channel, tmp_path):
    models = tmp_path / "models"
    plug = plugins.load("exports", "ovms")
    first = plug.export(released(channel, "street"), models, Wishes())
    before = contents(models / "street" / "1")
    second = plug.export(released(channel, "street", number=2), models, Wishes())
    assert (first.path, second.path) == (models / "street" / "1", models / "street" / "2")
    assert (
        contents(models / "street" / "1")
        == before
        == {name: first.digests[name] for name in ("net.int8.bin", "net.int8.xml")}
    )
    assert sorted(one.name for one in (models / "street").iterdir()) == ["1", "2"]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden"])
def test_a_model_s_name_stays_in_the_folder(channel, tmp_path, name):
    with pytest.raises(UserError, match="cannot be the name of a model"):
        exported("ovms", channel, tmp_path / "models", name=name)


# USB


def test_a_camera_takes_the_release_from_the_stick(published, channel, tmp_path):
    done = exported("usb", channel, tmp_path / "stick", "street")
    root = published[1].folder / "root.json"
    assert Camera(done.path, root).newest("street").release == 2
    names = set(in_folder(done.path))
    assert not [name for name in names if "/pi" in name or ".pi." in name]
    assert names < set(in_folder(channel))
    assert {sha256(data) for name, data in in_folder(done.path / "targets").items()} == set(
        done.digests.values()
    )


def test_a_stick_is_brought_up_to_date(published, channel, tmp_path):
    exported("usb", channel, tmp_path / "stick")
    old = in_folder(tmp_path / "stick")
    draft = draft_of(bundle(tmp_path / "new", ONNX), compatible="cam-pi")
    publish_draft(channel, draft, keys=published[1], family="pi", now=NOW)
    assert exported("usb", channel, tmp_path / "stick").changed
    new = in_folder(tmp_path / "stick")
    assert [name for name in old if new[name] != old[name]] == ["metadata/timestamp.json"]
    root = published[1].folder / "root.json"
    assert Camera(tmp_path / "stick", root).newest("pi").release == 2


def test_a_publish_that_comes_between_leaves_the_stick_whole(published, channel, tmp_path):
    read = released(channel)
    draft = draft_of(bundle(tmp_path / "new", ONNX), compatible="cam-pi")
    publish_draft(channel, draft, keys=published[1], family="pi", now=NOW)
    plugins.load("exports", "usb").export(read, tmp_path / "stick", Wishes())
    root = published[1].folder / "root.json"
    assert Camera(tmp_path / "stick", root).newest("pi").release == 1


def test_a_stick_of_another_channel_is_kept(channel, tmp_path):
    other, _ = publish(tmp_path / "other")
    exported("usb", other, tmp_path / "stick")
    before = in_folder(tmp_path / "stick")
    with pytest.raises(UserError, match="something else is there already"):
        exported("usb", channel, tmp_path / "stick")
    assert in_folder(tmp_path / "stick") == before
