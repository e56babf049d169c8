"""Exports carry the very bytes of a release, in every format, by the formats' own tools."""

import json
import os
import shutil
import tarfile
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest
from channel_parts import Camera
from export_parts import (
    NOW,
    certificate,
    in_cpio,
    in_folder,
    in_mender,
    in_oci,
    in_rauc,
    publish,
    sha256,
    tool,
)
from needs import needs
from release_bundle import ONNX, bundle, content_of

from toolkit import plugins
from toolkit.channel.exporting import Wishes
from toolkit.channel.placing import contents, copy
from toolkit.channel.publish import publish_draft
from toolkit.channel.release_draft import draft_of
from toolkit.channel.signed_release import signed_release
from toolkit.cli import main
from toolkit.errors import EnvironmentFailure, SecurityError, UserError

FORMATS = plugins.names("exports")
WITH_TOOLS = ["mender"]  # what cannot even be written without the format's tool
STORED = ["contract.json", "golden.0.input.npy", "golden.0.output.npy", "net.int8.tflite",
          "release.json"]  # fmt: skip


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def channel(published, tmp_path):
    """A copy of its own."""
    return Path(shutil.copytree(published[0], tmp_path / "channel"))


@pytest.fixture(scope="session")
def signer(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("pki"))


def released(channel, family="pi", **changes):
    return signed_release(channel, family=family, now=NOW, **changes)


def exported(format_, channel, out, family="pi", **wishes):
    plug = plugins.load("exports", format_)
    return plug.export(released(channel, family), out, Wishes(**wishes))


def parts(*formats):
    """Formats as parameters; those that need their own tool are skipped where it is missing."""
    return [pytest.param(one, marks=needs("formats")) if one in WITH_TOOLS else one
            for one in formats or FORMATS]  # fmt: skip


def digests_of(release):
    return {file.name: file.sha256 for file in (*release.files, release.manifest)}


# laws of every format


@pytest.mark.parametrize("name", FORMATS)
def test_a_plug_says_what_it_takes(name):
    plug = plugins.load("exports", name)
    assert set(plug.TAKES) <= {one.name for one in fields(Wishes)}
    assert plug.PURPOSE and not plug.PURPOSE.endswith(".") and isinstance(plug.IS_CHANNEL, bool)


@pytest.mark.parametrize("family", ["pi", "street"])
@pytest.mark.parametrize("name", parts())
def test_what_is_told_has_the_release_s_digests(channel, tmp_path, name, family):
    done = exported(name, channel, tmp_path / "out", family)
    known = digests_of(released(channel, family))
    assert done.changed and done.path.exists() and done.digests
    if name == "usb":
        assert set(done.digests) >= {f"{family}/index.json", f"{family}/1/release.json"}
    else:
        assert done.digests.items() <= known.items()
        assert released(channel, family).model.name in done.digests


@pytest.mark.parametrize("family", ["pi", "street"])
@pytest.mark.parametrize("name", parts())
def test_the_same_release_gives_the_same_bytes(channel, tmp_path, name, family):
    first = exported(name, channel, tmp_path / "a" / "out", family)
    os.utime(released(channel, family).model.path, (1, 1))
    second = exported(name, channel, tmp_path / "b" / "out", family)
    assert contents(first.path) == contents(second.path)


@pytest.mark.parametrize("name", parts(*[one for one in FORMATS if one != "usb"]))
def test_times_are_the_release_s(channel, tmp_path, name):
    done = exported(name, channel, tmp_path / "out")
    assert done.path.stat().st_mtime == NOW.timestamp()


@pytest.mark.parametrize("name", parts())
def test_once_more_changes_nothing(channel, tmp_path, name):
    out = tmp_path / "here" / "out"
    exported(name, channel, out)
    before = {path: path.stat() for path in out.parent.rglob("*")}
    again = exported(name, channel, out)
    assert not again.changed
    after = {path: path.stat() for path in out.parent.rglob("*")}
    assert [(p, s.st_ino, s.st_mtime_ns) for p, s in before.items() if p.is_file()] == [
        (p, s.st_ino, s.st_mtime_ns) for p, s in after.items() if p.is_file()
    ]


@pytest.mark.parametrize("name", parts())
def test_what_is_in_the_way_is_refused_and_kept(channel, tmp_path, name):
    out = tmp_path / "here" / "out"
    goal = out / "pi" / "1" if name == "ovms" else out
    goal.mkdir(parents=True)
    (goal / "mine.txt").write_text("years of work")
    with pytest.raises(UserError, match="something else is there already"):
        exported(name, channel, out)
    assert in_folder(out.parent) == {
        str((goal / "mine.txt").relative_to(out.parent)): b"years of work"
    }


@pytest.mark.parametrize(
    "victim",
    ["targets/pi/1/*.net.int8.tflite", "targets/pi/1/*.golden.0.output.npy",
     "targets/pi/1/*.report.json", "targets/pi/1/*.release.json", "targets/pi/*.index.json",
     "metadata/timestamp.json", "metadata/*.snapshot.json", "metadata/*.targets.json",
     "metadata/*.pi.json"],
)  # fmt: skip
@pytest.mark.parametrize("name", FORMATS)
def test_one_flipped_bit_is_refused_before_anything_is_written(channel, tmp_path, name, victim):
    file = sorted(channel.glob(victim))[-1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    out = tmp_path / "here" / "out"
    with pytest.raises(SecurityError) as caught:
        exported(name, channel, out)
    assert caught.value.exit_code == 5 and caught.value.kind == "tampered"
    assert not out.parent.exists()


def test_a_file_that_changes_after_it_was_checked_is_refused(channel, tmp_path):
    model = released(channel).model
    model.path.write_bytes(b"x" * model.length)
    with pytest.raises(SecurityError, match="changed while it was exported"):
        copy(model, tmp_path / "copy")


@pytest.mark.parametrize("name", [one for one in FORMATS if one != "mender"])
def test_a_failure_half_way_leaves_nothing(channel, tmp_path, name):
    """The model changes between the check and the copy."""
    release = released(channel)
    model = release.model
    wrong = replace(model, sha256="0" * 64)
    files = tuple(wrong if one is model else one for one in release.files)
    out = tmp_path / "here" / "out"
    if name == "usb":
        model.path.write_bytes(b"x" * model.length)
    with pytest.raises(SecurityError):
        plugins.load("exports", name).export(replace(release, files=files), out, Wishes())
    assert in_folder(out.parent) == {}


@pytest.mark.parametrize(
    ("name", "tool_", "wishes"),
    [
        ("mender", "mender-artifact", {}),
        ("rauc", "rauc", {"cert": "cert.pem", "key": "key.pem"}),
    ],
)
def test_a_missing_tool_is_named_with_its_package(
    channel, tmp_path, monkeypatch, name, tool_, wishes
):
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "here" / "out"
    with pytest.raises(EnvironmentFailure, match=f"`{tool_}` is not installed") as caught:
        exported(name, channel, out, **wishes)
    assert f"apt install {tool_}" in caught.value.hint and caught.value.kind == "missing"
    assert in_folder(out.parent) == {}


# which release


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
    with pytest.raises(UserError, match="choose one with --family"):
        signed_release(channel, now=NOW)
    with pytest.raises(UserError, match="no family `pie`") as caught:
        released(channel, "pie")
    assert caught.value.hint == "did you mean `pi`?"


def test_no_channel_is_told(tmp_path):
    with pytest.raises(UserError, match="this is no channel"):
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


# RAUC


def info_of(raucb, trust):
    text = tool("rauc", trust, "info", "--output-format=json", raucb)
    value = json.loads(text[text.index("{") :])
    ((name, image),) = [item for one in value["images"] for item in one.items()]
    return value, name, image


@needs("formats")
def test_rauc_reads_the_model_s_digest_out_of_a_signed_bundle(channel, tmp_path, signer):
    cert, key = signer
    wishes = {"cert": str(cert), "key": str(key), "keyring": cert}
    done = exported("rauc", channel, tmp_path / "pi.raucb", **wishes)
    value, name, image = info_of(done.path, f"--keyring={cert}")
    assert (value["compatible"], value["version"]) == ("cam-pi", "1")
    assert value["build"] == released(channel).manifest.sha256
    assert (name, image["checksum"]) == ("models/pi", released(channel).model.sha256)
    assert not exported("rauc", channel, tmp_path / "pi.raucb", **wishes).changed


@needs("formats")
def test_rauc_extracts_both_files_of_an_ir_from_a_tree(channel, tmp_path, signer):
    cert, key = signer
    wishes = {"cert": str(cert), "key": str(key), "name": "networks", "hardware": "n100"}
    done = exported("rauc", channel, tmp_path / "street.raucb", "street", **wishes)
    _, name, image = info_of(done.path, f"--keyring={cert}")
    tool("rauc", f"--keyring={cert}", "extract", done.path, tmp_path / "taken")
    files = in_rauc(tmp_path / "taken")
    known = digests_of(released(channel, "street"))
    assert name == "networks/street" and image["filename"] == "street.tar"
    assert {n: sha256(data) for n, data in files.items()} == done.digests
    assert done.digests.items() <= known.items() and "net.int8.bin" in files
    assert done.notes == (
        "its signature was not checked against a keyring: name one with --keyring",
    )


@needs("formats")
def test_rauc_makes_a_bundle_of_the_unsigned_folder(channel, tmp_path, signer):
    cert, key = signer
    done = exported("rauc", channel, tmp_path / "in")
    assert {sha256(data) for data in in_rauc(done.path).values()} == set(done.digests.values())
    tool("rauc", f"--cert={cert}", f"--key={key}", "bundle", done.path, tmp_path / "o.raucb")
    _, name, image = info_of(tmp_path / "o.raucb", f"--keyring={cert}")
    assert (name, image["checksum"]) == ("models/pi", released(channel).model.sha256)


@needs("formats")
def test_rauc_refuses_a_keyring_of_others_and_nothing_is_written(channel, tmp_path, signer):
    other, _ = certificate(tmp_path, "other")
    wishes = {"cert": str(signer[0]), "key": str(signer[1]), "keyring": other}
    with pytest.raises(EnvironmentFailure, match="signature verification failed"):
        exported("rauc", channel, tmp_path / "here" / "pi.raucb", **wishes)
    assert in_folder(tmp_path / "here") == {}


# SWUpdate


def swupdate(swu, cert, tmp_path, *words, hardware="cam-pi"):
    """Whether it says that it took the file; its exit code is of whichever thread ends first."""
    (tmp_path / "run").mkdir(exist_ok=True)
    board = f"camera:{hardware}"
    said = tool("swupdate", "-l", "5", "-k", cert, "-H", board, *words, "-i", swu,
                check=False, TMPDIR=tmp_path / "run")  # fmt: skip
    taken = "SWUPDATE successful" in said
    assert taken != ("SWUPDATE failed" in said), said
    return taken


@needs("formats")
def test_swupdate_accepts_a_signed_file_and_cpio_finds_the_same_bytes(channel, tmp_path, signer):
    cert, key = signer
    done = exported("swupdate", channel, tmp_path / "pi.swu", cert=str(cert), key=str(key))
    assert swupdate(done.path, cert, tmp_path, "-c")
    files = in_cpio(done.path, tmp_path / "taken")
    listed = tool("cpio", "-t", "--quiet", "-F", done.path).split()
    assert listed[:2] == ["sw-description", "sw-description.sig"] and listed[-1] == "release.json"
    assert {name: sha256(files[name]) for name in STORED} == done.digests
    assert done.digests.items() <= digests_of(released(channel)).items()
    assert done.path.stat().st_size % 512 == 0  # SWUpdate waits for the rest of the last block
    description = files["sw-description"].decode()
    assert description.count('atomic-install = "true"') == description.count("sha256 =") == 5
    assert done.notes == ()


@needs("formats")
def test_swupdate_installs_the_release_into_a_folder_of_its_own(channel, tmp_path, signer):
    cert, key = signer
    wishes = {"cert": str(cert), "key": str(key), "device_path": str(tmp_path / "device")}
    done = exported("swupdate", channel, tmp_path / "street.swu", "street", **wishes)
    assert swupdate(done.path, cert, tmp_path, "-M", "-m", hardware="cam-street")
    found = in_folder(tmp_path / "device")
    assert {name: sha256(data) for name, data in found.items()} == {
        f"1/{name}": digest for name, digest in done.digests.items()
    }


@needs("formats")
@pytest.mark.parametrize("victim", ["sw-description", "sw-description.sig", "net.int8.tflite"])
def test_swupdate_refuses_one_flipped_bit(channel, tmp_path, signer, victim):
    """Installing, that is: `-c` looks at no file's digest."""
    cert, key = signer
    wishes = {"cert": str(cert), "key": str(key), "device_path": str(tmp_path / "device")}
    done = exported("swupdate", channel, tmp_path / "pi.swu", **wishes)
    data = bytearray(done.path.read_bytes())
    content = in_cpio(done.path, tmp_path / "taken")[victim]
    data[data.index(content) + len(content) // 2] ^= 1
    done.path.write_bytes(data)
    assert not swupdate(done.path, cert, tmp_path, "-M", "-m")
    assert in_folder(tmp_path / "device") == {}


@needs("formats")
def test_swupdate_refuses_other_hardware(channel, tmp_path, signer):
    cert, key = signer
    done = exported("swupdate", channel, tmp_path / "pi.swu", cert=str(cert), key=str(key))
    assert not swupdate(done.path, cert, tmp_path, "-c", hardware="cam-9")


def test_an_unsigned_swu_says_so(channel, tmp_path):
    done = exported("swupdate", channel, tmp_path / "pi.swu")
    assert done.notes[0].startswith("it is not signed")


@pytest.mark.parametrize("wishes", [{"cert": "c.pem"}, {"key": "k.pem"}])
def test_half_a_signature_is_refused(channel, tmp_path, wishes):
    for name in ("swupdate", "rauc"):
        with pytest.raises(UserError, match="needs --cert and --key"):
            exported(name, channel, tmp_path / name, **wishes)


def test_a_key_of_another_certificate_is_refused(channel, tmp_path, signer):
    _, key = certificate(tmp_path, "other")
    with pytest.raises(UserError, match="the key is not the certificate's"):
        exported("swupdate", channel, tmp_path / "pi.swu", cert=str(signer[0]), key=str(key))
    assert not (tmp_path / "pi.swu").exists()


@pytest.mark.parametrize("path", ["data", "/data/../etc", '/a"b', "/a b", "/", "/a;reboot"])
def test_a_device_path_that_could_mean_more_is_refused(channel, tmp_path, path):
    with pytest.raises(UserError, match="is no folder on a device"):
        exported("swupdate", channel, tmp_path / "pi.swu", device_path=path)


# Mender


@needs("formats")
def test_mender_reads_the_model_s_digest_out_of_its_artifact(channel, tmp_path):
    done = exported("mender", channel, tmp_path / "pi.mender", device_path="/data/nets")
    said = tool("mender-artifact", "read", done.path)
    model = released(channel).model
    assert "Name: pi-1" in said and "Compatible devices: '[cam-pi]'" in said
    assert "Type:   single-file" in said and f"checksum: {model.sha256}" in said
    assert "data-partition.pi.version: 1" in said
    assert "validated successfully" in tool("mender-artifact", "validate", done.path)
    files = in_mender(done.path)
    assert (files["dest_dir"], files["filename"]) == (b"/data/nets\n", b"net.int8.tflite\n")
    assert done.digests == {model.name: model.sha256} and sha256(files[model.name]) == model.sha256
    with tarfile.open(done.path) as archive:
        assert {one.mtime for one in archive} == {NOW.timestamp()}


@needs("formats")
def test_mender_s_directory_module_gets_both_files_of_an_ir(channel, tmp_path):
    done = exported("mender", channel, tmp_path / "street.mender", "street")
    assert "Type:   directory" in tool("mender-artifact", "read", done.path)
    files = in_mender(done.path)
    assert {name: sha256(data) for name, data in files.items()} == done.digests
    assert {"net.int8.xml", "net.int8.bin"} < set(files)
    assert "replaces all of /data/models/street/" in done.notes[0]


@needs("formats")
def test_mender_checks_the_signature_of_a_given_key(channel, tmp_path, signer):
    cert, key = signer
    public = tmp_path / "public.pem"
    public.write_text(tool("openssl", "x509", "-in", cert, "-pubkey", "-noout"))
    done = exported("mender", channel, tmp_path / "pi.mender", key=str(key))
    assert "validated" in tool("mender-artifact", "validate", "-k", public, done.path)
    assert not exported("mender", channel, tmp_path / "pi.mender", key=str(key)).changed
    data = bytearray(done.path.read_bytes())
    data[data.index(content_of("net.int8.tflite")["net.int8.tflite"])] ^= 1
    done.path.write_bytes(data)
    assert "validated successfully" not in tool(
        "mender-artifact", "validate", "-k", public, done.path, check=False
    )


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


def test_a_stick_of_another_channel_is_kept(channel, tmp_path):
    other, _ = publish(tmp_path / "other")
    exported("usb", other, tmp_path / "stick")
    before = in_folder(tmp_path / "stick")
    with pytest.raises(UserError, match="something else is there already"):
        exported("usb", channel, tmp_path / "stick")
    assert in_folder(tmp_path / "stick") == before


# the command


def command(capsys, *words):
    code = main(["export", *map(str, words)])
    return code, *capsys.readouterr()


def test_the_command_says_what_to_do_next(channel, tmp_path, capsys):
    out = tmp_path / "models"
    words = ("ovms", "--channel", channel, "--family", "pi", "--out", out)
    code, data, talk = command(capsys, *words)
    assert (code, data) == (0, f"{out}/pi/1\n")
    assert "pi, release 1 for cam-pi: 1 file, written\n" in talk
    assert f"ovms --model_name pi --model_path {out}/pi --port 9000" in talk
    _, data, _ = command(capsys, *words, "--json")
    value = json.loads(data)
    assert (value["schema"], value["format"], value["changed"]) == (1, "ovms", False)
    assert value["files"] == {"net.int8.tflite": released(channel).model.sha256}


def test_options_of_other_formats_are_refused_at_once(channel, tmp_path, capsys):
    words = ("usb", "--channel", channel, "--out", tmp_path / "o", "--cert", "c", "--release", "1")
    code, _, talk = command(capsys, *words)
    assert code == 2
    assert "--cert is no option of `usb`" in talk
    assert "`usb` does not carry single releases" in talk
    assert not (tmp_path / "o").exists()


def test_an_unknown_format_is_told_the_nearest(channel, tmp_path, capsys):
    code, _, talk = command(capsys, "swupdat", "--channel", channel, "--out", tmp_path / "o")
    assert code == 2 and "did you mean `swupdate`?" in talk


def test_tampering_has_its_exit_code(channel, tmp_path, capsys):
    released(channel).model.path.write_bytes(b"evil")
    words = ("oci", "--channel", channel, "--family", "pi", "--out", tmp_path / "o")
    code, data, talk = command(capsys, *words)
    assert (code, data) == (5, "")
    assert talk.startswith("refused[tampered]: the channel is not what was published")
