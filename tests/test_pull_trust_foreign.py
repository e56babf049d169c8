"""Repositories that python-tuf's own API wrote, by the command line of the conformance suite."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from toolkit.pull.conformance import main
from toolkit.pull.fetch import Http

EXPIRES = datetime.now(UTC).replace(microsecond=0) + timedelta(days=5)
SIGNERS = {
    "ed25519": CryptoSigner.generate_ed25519,
    "ecdsa": CryptoSigner.generate_ecdsa,
    "rsa": CryptoSigner.generate_rsa,
}
NAME = "modèles/größe 2/a b.bin"  # beyond ASCII, folders, a space


class Foreign:
    """A repository as others write them: pretty-printed, nested roles, no digests in names."""

    def __init__(self, folder, kind, *, consistent=False, algorithms=("sha256",)):
        self.folder, self.signer, self.consistent = folder, SIGNERS[kind](), consistent
        (folder / "metadata").mkdir(parents=True)
        root = Root(expires=EXPIRES, consistent_snapshot=consistent)
        for role in ("root", "timestamp", "snapshot", "targets"):
            root.add_key(self.signer.public_key, role)
        data = b"blob"
        target = TargetFile.from_data(NAME, data, list(algorithms))
        place, _, name = NAME.rpartition("/")
        if consistent:
            name = f"{next(iter(target.hashes.values()))}.{name}"
        self.blob = folder / "targets" / place / name
        self.blob.parent.mkdir(parents=True)
        self.blob.write_bytes(data)
        leaf = Targets(expires=EXPIRES, targets={NAME: target})
        meta = {f"{one}.json": MetaFile(1) for one in ("targets", "upper role", "größe")}
        self.write("root", root, version=1)
        self.write("targets", self.leading_to("upper role"))
        self.write("upper role", self.leading_to("größe"))
        self.write("größe", leaf)
        self.write("snapshot", Snapshot(expires=EXPIRES, meta=meta))
        self.write("timestamp", Timestamp(expires=EXPIRES, snapshot_meta=MetaFile(1)))

    def leading_to(self, role):
        key = self.signer.public_key
        delegated = DelegatedRole(role, [key.keyid], 1, False, paths=["*", "*/*", "*/*/*"])
        return Targets(
            expires=EXPIRES, delegations=Delegations({key.keyid: key}, {role: delegated})
        )

    def write(self, role, signed, version=0):
        metadata = Metadata(signed)
        metadata.sign(self.signer)
        file = f"{role}.json"  # a server finds it by its decoded name
        if version or (self.consistent and role != "timestamp"):
            file = f"1.{file}"
        data = metadata.to_bytes(JSONSerializer(compact=False))
        (self.folder / "metadata" / file).write_bytes(data)


def words(folder, repository, *command):
    return [
        "--metadata-dir", str(folder / "metadata"),
        "--metadata-url", (repository.folder / "metadata").as_uri(),
        "--target-base-url", (repository.folder / "targets").as_uri(),
        "--target-dir", str(folder / "targets"),
        "--target-name", NAME,
        *command,
    ]  # fmt: skip


@pytest.fixture
def here(tmp_path):
    for name in ("metadata", "targets"):
        (tmp_path / "here" / name).mkdir(parents=True)
    return tmp_path / "here"


def asked(monkeypatch):
    """The files that are asked for from now on."""
    names, real = [], Http.get

    def get(self, url, most_bytes):
        names.append(url.rsplit("/", 1)[-1])
        return real(self, url, most_bytes)

    monkeypatch.setattr(Http, "get", get)
    return names


@pytest.mark.parametrize(
    ("kind", "consistent", "algorithms"),
    [("ed25519", False, ["sha256"]), ("ecdsa", True, ["sha512"]), ("rsa", True, ["sha256"])],
)
def test_init_refresh_download(tmp_path, here, monkeypatch, kind, consistent, algorithms):
    repository = Foreign(tmp_path / "r", kind, consistent=consistent, algorithms=algorithms)
    root = repository.folder / "metadata/1.root.json"
    assert main(words(here, repository, "init", str(root))) == 0
    assert (here / "metadata/root.json").read_bytes() == root.read_bytes()
    assert main(words(here, repository, "refresh")) == 0
    assert main(words(here, repository, "download")) == 0
    kept = sorted(one.name for one in (here / "metadata").glob("*.json"))
    roles = ("gr%C3%B6%C3%9Fe", "root", "snapshot", "targets", "timestamp", "upper%20role")
    assert kept == [f"{role}.json" for role in roles]
    [blob] = (here / "targets").iterdir()
    assert blob.read_bytes() == b"blob"

    names = asked(monkeypatch)
    assert main(words(here, repository, "download")) == 0
    assert names == ["2.root.json", "timestamp.json"]


def test_a_blob_that_is_another_is_refused(tmp_path, here, capsys):
    repository = Foreign(tmp_path / "r", "ed25519")
    root = repository.folder / "metadata/1.root.json"
    main(words(here, repository, "init", str(root)))
    repository.blob.write_bytes(b"BLOB")
    assert main(words(here, repository, "download")) == 1
    assert "refused[arbitrary-file]" in capsys.readouterr().err
    assert list((here / "targets").iterdir()) == []


def test_what_is_not_listed_is_missing(tmp_path, here, capsys):
    repository = Foreign(tmp_path / "r", "ed25519")
    main(words(here, repository, "init", str(repository.folder / "metadata/1.root.json")))
    line = words(here, repository, "download")
    line[line.index(NAME)] = "x"
    assert main(line) == 1
    assert "no role signs a target `x`" in capsys.readouterr().err


def test_the_given_root_is_the_anchor_of_later_runs(tmp_path, here):
    repository = Foreign(tmp_path / "r", "ed25519")
    main(words(here, repository, "init", str(repository.folder / "metadata/1.root.json")))
    (here / "metadata/root.json").write_bytes(b"\0" * 900)
    assert main(words(here, repository, "refresh")) == 0
    assert b"consistent_snapshot" in (here / "metadata/root.json").read_bytes()


def test_exit_codes_of_the_program(tmp_path, here):
    program = [sys.executable, "-m", "toolkit.pull.conformance"]
    metadata = ["--metadata-dir", str(here / "metadata")]
    absent = subprocess.run([*program, *metadata, "init", str(tmp_path / "no.json")], check=False)
    assert absent.returncode == 1
    url = ["--metadata-url", (tmp_path / "nowhere").as_uri()]
    before = subprocess.run([*program, *metadata, *url, "refresh"], check=False)
    assert before.returncode == 1
