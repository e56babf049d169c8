"""A TUF repository in memory, made with python-tuf's own classes, and a web server for it.

    with Repository() as repository:
        repository.targets["a/b.bin"] = b"bytes"
        repository.publish()                    # all roles but root
        repository.asked                        # every path that was asked for, as it was quoted

It is foreign on purpose: pretty-printed metadata, ECDSA keys, roles and targets of any name, as
other projects publish them. Channels of ours are in `channel_parts.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

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

ONLINE = ("targets", "snapshot", "timestamp")
VALID = timedelta(days=30)


class Repository:
    """Four roles with a key each, and at most one delegated role."""

    def __init__(self) -> None:
        self.served: dict[str, bytes] = {}  # URL path to bytes; metadata quoted, targets not
        self.asked: list[str] = []
        self.targets: dict[str, bytes] = {}  # by target path, of the top-level role
        self.delegated: dict[str, bytes] = {}  # of the delegated role
        self.delegate = ""  # its name; "": there is none
        self.signers = {role: CryptoSigner.generate_ecdsa() for role in ("root", *ONLINE)}
        self.delegate_signer = CryptoSigner.generate_ecdsa()
        self.versions = dict.fromkeys(ONLINE, 0)
        self.expires = datetime.now(UTC).replace(microsecond=0) + VALID
        self.root = Root(expires=self.expires, consistent_snapshot=True)
        for role, signer in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.sign_root(self.signers["root"])
        self.publish()

    def __enter__(self) -> Repository:
        repository = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                repository.asked.append(self.path)
                body = repository.answer(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str) -> bytes | None:
        """The file at a path as it was asked for: how much of a target's name is quoted is free."""
        plain = unquote(path.partition("?")[0])
        return self.served.get(plain if plain.startswith("/targets/") else path)

    def roots(self, version: int) -> bytes:
        """One version of root as it is served."""
        return self.served[f"/metadata/{version}.root.json"]

    def sign_root(self, *signers: CryptoSigner) -> None:
        """Serve the next version of root, signed by these keys alone."""
        self.root.version = 1 + sum(path.endswith(".root.json") for path in self.served)
        data = _signed(self.root, signers)
        self.served[f"/metadata/{self.root.version}.root.json"] = data

    def rotate_root(self) -> CryptoSigner:
        """Replace root's key in the present root (not yet signed); returns the old one."""
        old, self.signers["root"] = self.signers["root"], CryptoSigner.generate_ed25519()
        self.root.revoke_key(old.public_key.keyid, "root")
        self.root.add_key(self.signers["root"].public_key, "root")
        return old

    def publish(self) -> None:
        """Serve the next version of every role but root, and all target files."""
        for role in ONLINE:
            self.versions[role] += 1
        meta = {"targets.json": MetaFile(version=self.versions["targets"])}
        targets = Targets(expires=self.expires, version=self.versions["targets"])
        self._list(targets, self.targets)
        if self.delegate:
            targets.delegations = self._delegations()
            part = Targets(expires=self.expires, version=self.versions["targets"])
            self._list(part, self.delegated)
            meta[f"{self.delegate}.json"] = MetaFile(version=self.versions["targets"])
            self._serve(self.delegate, part, self.delegate_signer)
        self._serve("targets", targets, self.signers["targets"])
        version = self.versions["snapshot"]
        snapshot = Snapshot(expires=self.expires, version=version, meta=meta)
        self._serve("snapshot", snapshot, self.signers["snapshot"])
        self.sign_timestamp(self.versions["timestamp"])

    def sign_timestamp(self, version: int) -> None:
        """Serve a timestamp of any version for the present snapshot."""
        timestamp = Timestamp(
            expires=self.expires,
            version=version,
            snapshot_meta=MetaFile(version=self.versions["snapshot"]),
        )
        data = _signed(timestamp, [self.signers["timestamp"]])
        self.served["/metadata/timestamp.json"] = data

    def _delegations(self) -> Delegations:
        key = self.delegate_signer.public_key
        role = DelegatedRole(self.delegate, [key.keyid], 1, False, ["*", "*/*"])
        return Delegations({key.keyid: key}, roles={self.delegate: role})

    def _list(self, role: Targets, files: dict[str, bytes]) -> None:
        for path, data in files.items():
            listed = TargetFile.from_data(path, data, ["sha256"])
            role.targets[path] = listed
            folder, slash, name = path.rpartition("/")
            digest = listed.hashes["sha256"]
            self.served[f"/targets/{folder}{slash}{digest}.{name}"] = data

    def _serve(self, name: str, signed: Any, signer: CryptoSigner) -> None:
        path = f"/metadata/{signed.version}.{quote(name, safe='')}.json"
        self.served[path] = _signed(signed, [signer])


def _signed(value: Any, signers: Sequence[CryptoSigner]) -> bytes:
    metadata = Metadata(value)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=False))
