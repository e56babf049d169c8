"""A published channel, and each format read back by something else than what wrote it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import release_bundle as made
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from toolkit import plugins
from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.drafts.of_bundle import draft_of
from toolkit.exporting.export import Wishes
from toolkit.exporting.signed_release import signed_release

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


def publish(folder: Path):
    """`street` has an IR: release 1 for all, 2 for 10 %. `pi` has a tflite, for all."""
    keys = init_keys(folder / "keys", families=["street", "pi"], now=NOW)
    channel = folder / "channel"
    bundles = {name: made.bundle(folder / name, file) for name, file in
               (("a", made.OPENVINO), ("b", made.FILES[0]), ("c", made.LITERT))}  # fmt: skip
    for name, family, share in (("a", "street", 10_000), ("b", "street", 1000), ("c", "pi", None)):
        draft = draft_of(bundles[name], compatible=f"cam-{family}")
        publish_draft(channel, draft, keys=keys, family=family, basis_points=share, now=NOW)
    return channel, keys


def released(channel, family="pi", **changes):
    """The release as an export gets it."""
    return signed_release(channel, family=family, now=NOW, **changes)


def exported(format_, channel, out, family="pi", **wishes):
    """Its newest full release in a format."""
    return plugins.load("exports", format_).export(released(channel, family), out, Wishes(**wishes))


def digests_of(release):
    """What the channel's metadata says of every file of a release."""
    return {file.name: file.sha256 for file in (*release.files, release.manifest)}


def certificate(folder: Path, name: str = "signer") -> tuple[Path, Path]:
    """A self-signed certificate as RAUC and SWUpdate take it, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
         "encipher_only", "decipher_only"), False)  # fmt: skip
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=False
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.cert.pem", folder / f"{name}.key.pem"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return paths


def tool(*words, check=True, **environment):
    """Run a format's own tool; its output, both streams in one."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        timeout=60,
        check=False,
    )
    text = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0 or not check, text
    return text


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def in_tar(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.isreg()}


def in_cpio(file: Path, folder: Path) -> dict[str, bytes]:
    """Taken apart by GNU cpio."""
    folder.mkdir()
    with file.open("rb") as stream:
        subprocess.run(
            ["cpio", "-i", "--quiet"], stdin=stream, cwd=folder, check=True, capture_output=True
        )
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def in_mender(file: Path) -> dict[str, bytes]:
    payload = in_tar(in_tar(file.read_bytes())["data/0000.tar"])
    return in_tar(payload["update.tar"]) if "update.tar" in payload else payload


def in_rauc(folder: Path) -> dict[str, bytes]:
    (image,) = [one for one in folder.iterdir() if one.name != "manifest.raucm"]
    data = image.read_bytes()
    return in_tar(data) if image.suffix == ".tar" else {image.name: data}


def in_oci(layout: Path) -> dict[str, bytes]:
    """By the titles of the layers, from blobs that are looked up by the manifest's digests."""

    def blob(described):
        data = (layout / "blobs" / described["digest"].replace(":", "/")).read_bytes()
        assert len(data) == described["size"]
        return data

    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(entry))
    assert blob(manifest["config"]) == b"{}"
    title = "org.opencontainers.image.title"
    return {one["annotations"][title]: blob(one) for one in manifest["layers"]}


def in_folder(folder: Path) -> dict[str, bytes]:
    files = (one for one in folder.rglob("*") if one.is_file())
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in files}
