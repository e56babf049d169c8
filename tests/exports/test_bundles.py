"""RAUC, SWUpdate and Mender: files that the formats' own tools read, check and install."""

import json
import tarfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from needs import needs
from release_bundle import content_of

from exports.parts import (
    NOW,
    certificate,
    digests_of,
    exported,
    in_cpio,
    in_folder,
    in_mender,
    in_rauc,
    released,
    sha256,
    tool,
)
from toolkit.errors import EnvironmentFailure, UserError

STORED = ["contract.json", "golden.0.input.npy", "golden.0.output.npy", "net.int8.tflite",
          "release.json"]  # fmt: skip

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
    for _ in range(5):  # now and then the thread that tells the verdict does not get to it
        said = tool("swupdate", "-l", "5", "-k", cert, "-H", board, *words, "-i", swu,
                    check=False, TMPDIR=tmp_path / "run")  # fmt: skip
        taken = "SWUPDATE successful" in said
        if taken != ("SWUPDATE failed" in said):
            return taken
    raise AssertionError(said)


@needs("formats")
def test_swupdate_accepts_a_signed_file_and_cpio_finds_the_same_bytes(
    channel, tmp_path, signer, monkeypatch
):
    monkeypatch.setenv("EDGESR_KEY_PASSPHRASE", "of the channel's keys, not of this one")
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
    certified = x509.load_pem_x509_certificate(cert.read_bytes()).public_key()
    public.write_bytes(certified.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    done = exported("mender", channel, tmp_path / "pi.mender", key=str(key))
    assert "validated" in tool("mender-artifact", "validate", "-k", public, done.path)
    assert not exported("mender", channel, tmp_path / "pi.mender", key=str(key)).changed
    data = bytearray(done.path.read_bytes())
    data[data.index(content_of("net.int8.tflite")["net.int8.tflite"])] ^= 1
    done.path.write_bytes(data)
    assert "validated successfully" not in tool(
        "mender-artifact", "validate", "-k", public, done.path, check=False
    )
