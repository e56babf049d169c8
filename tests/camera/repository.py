"""A channel that a test can forge: every role, any keys, any contents, signed again or not.

    forge = Forge(folder)                      # a channel with release 1
    forge.publish(Model(2))                    # another release, all roles renewed
    forge.signed["snapshot"]["version"] = 1    # an attack: change what a role says...
    forge.write("snapshot")                    # ...and sign it with that role's own keys, or others

Roles are plain JSON values here, not python-tuf's classes: those refuse what an attacker sends.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from camera.models import FAMILY, Model
from toolkit.release import Entry, Index, Rollout, file_bytes, target_path

TOP = ("root", "timestamp", "snapshot", "targets")
EXPIRES_DAYS = {"root": 365, "targets": 90, FAMILY: 90, "snapshot": 14, "timestamp": 3}


def moment(days: float = 0.0) -> datetime:
    """Now and so many days, on a whole second."""
    now = datetime.now(UTC).replace(microsecond=0)
    return now + timedelta(seconds=round(days * 86_400))


def text(when: datetime) -> str:
    """As TUF writes a time."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Key:
    """An Ed25519 key that follows from its name."""

    name: str

    @property
    def secret(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.name.encode()).digest())

    @property
    def public(self) -> dict[str, Any]:
        raw = self.secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": raw.hex()}}

    @property
    def keyid(self) -> str:
        return hashlib.sha256(file_bytes(self.public)).hexdigest()

    def signature(self, data: bytes) -> dict[str, str]:
        return {"keyid": self.keyid, "sig": self.secret.sign(data).hex()}


class Forge:
    """A channel's folder with all its keys."""

    def __init__(self, folder: Path, *models: Model) -> None:
        self.folder = folder
        self.keys: dict[str, tuple[Key, ...]] = {
            "root": (Key("root 1"), Key("root 2")),
            "targets": (Key("targets"),),
            "snapshot": (Key("online"),),
            "timestamp": (Key("online"),),
            FAMILY: (Key("street 1"), Key("street 2")),
        }
        self.models: dict[int, Model] = {}
        self.signed: dict[str, dict[str, Any]] = {}
        for place in ("metadata", f"targets/{FAMILY}"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        self._begin()
        self.publish(*(models or (Model(1),)))

    def _begin(self) -> None:
        base = {"spec_version": "1.0.31", "version": 0}
        for role in (*TOP, FAMILY):
            kind = role if role in TOP else "targets"
            self.signed[role] = {"_type": kind, **base, "expires": ""}
        self.signed["root"].update(consistent_snapshot=True, keys={}, roles={})
        self.signed["targets"].update(targets={}, delegations={"keys": {}, "roles": []})
        self.signed[FAMILY].update(targets={})
        self.authorise()

    @property
    def root(self) -> bytes:
        """The first root, which cameras are made with."""
        return (self.folder / "metadata/1.root.json").read_bytes()

    # -- good work ---------------------------------------------------------------------------

    def authorise(self) -> None:
        """Write the present keys of every role into root and targets; thresholds: all keys."""
        roles = {role: self.keys[role] for role in TOP}
        self.signed["root"]["keys"] = _public(key for keys in roles.values() for key in keys)
        self.signed["root"]["roles"] = {role: _allowed(keys) for role, keys in roles.items()}
        self.signed["targets"]["delegations"] = {
            "keys": _public(self.keys[FAMILY]),
            "roles": [
                {
                    "name": FAMILY,
                    "paths": [f"{FAMILY}/*", f"{FAMILY}/*/*"],
                    "terminating": True,
                    **_allowed(self.keys[FAMILY]),
                }
            ],
        }

    def publish(self, *models: Model) -> None:
        """Add releases; renew every role that must know, the first time all of them."""
        self.models.update({model.number: model for model in models})
        for model in models:
            self.put(model)
        self.index()
        first = self.signed["root"]["version"] == 0
        self.renew(*((*TOP, FAMILY) if first else (FAMILY, "snapshot", "timestamp")))

    def put(self, model: Model) -> None:
        """Lay down the files of a release and list them as targets."""
        for one in model.blobs:
            self.target(target_path(FAMILY, model.number, one.name), one.data)
        self.target(target_path(FAMILY, model.number, "release.json"), model.manifest)

    def index(self, **changes: Any) -> None:
        """Write the index of the present models; `changes` are of its JSON value."""
        entries = [
            Entry(
                release=model.number,
                compatible=model.compatible,
                min_firmware=model.min_firmware,
                rollout=Rollout(basis_points=model.basis_points, salt=model.id[:16]),
                manifest=target_path(FAMILY, model.number, "release.json"),
            )
            for model in sorted(self.models.values(), key=lambda one: -one.number)
        ]
        value = Index(family=FAMILY, releases=tuple(entries)).as_json()
        self.target(target_path(FAMILY, "index.json"), file_bytes({**value, **changes}))

    def target(self, path: str, data: bytes) -> Path:
        """Write one target's file and list it in the family's role (not yet signed)."""
        digest = hashlib.sha256(data).hexdigest()
        listed = {"hashes": {"sha256": digest}, "length": len(data)}
        self.signed[FAMILY]["targets"][path] = listed
        file = self.blob(path, digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def blob(self, path: str, digest: str | None = None) -> Path:
        """Where a target's file lies, as it is listed now."""
        digest = digest or self.signed[FAMILY]["targets"][path]["hashes"]["sha256"]
        before, _, name = path.rpartition("/")
        return self.folder / "targets" / before / f"{digest}.{name}"

    def renew(self, *roles: str, days: float = 0.0) -> None:
        """Next versions of these roles, their expiry from now and `days`; all that follows is told.

        Order matters: root, targets and family first, then snapshot, then timestamp.
        """
        order = ["root", "targets", FAMILY, "snapshot", "timestamp"]
        for role in sorted(roles, key=order.index):
            self.signed[role]["version"] += 1
            self.signed[role]["expires"] = text(moment(EXPIRES_DAYS[role] + days))
            if role == "timestamp":
                self.signed[role]["signed_at"] = text(moment(days))
            self.link(role)
            self.write(role)

    def link(self, role: str) -> None:
        """Let snapshot and timestamp name the files that are there now."""
        if role == "snapshot":
            self.signed[role]["meta"] = {f"{n}.json": self.fact(n) for n in ("targets", FAMILY)}
        if role == "timestamp":
            self.signed[role]["meta"] = {"snapshot.json": self.fact("snapshot")}

    def fact(self, role: str) -> dict[str, Any]:
        """Version, length and digest of the file that a role has now, as its parent states them."""
        data = self.file(role).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        version = self.signed[role]["version"]
        return {"hashes": {"sha256": digest}, "length": len(data), "version": version}

    # -- anything ----------------------------------------------------------------------------

    def envelope(self, role: str, keys: Sequence[Key] | None = None) -> dict[str, Any]:
        """A role's file as a JSON value, signed by these keys (default: the role's own)."""
        signed = copy.deepcopy(self.signed[role])
        data = file_bytes(signed)
        signers = self.keys[role] if keys is None else keys
        return {"signatures": [key.signature(data) for key in signers], "signed": signed}

    def write(self, *roles: str, keys: Sequence[Key] | None = None) -> None:
        """Sign and write roles as they are; the version they state is in the file's name."""
        for role in roles:
            self.put_raw(role, file_bytes(self.envelope(role, keys)))

    def put_raw(self, role: str, data: bytes) -> None:
        """Any bytes as the file that a client would ask for."""
        self.file(role).write_bytes(data)

    def file(self, role: str, version: int | None = None) -> Path:
        """Where a role's file lies."""
        version = self.signed[role]["version"] if version is None else version
        name = "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"
        return self.folder / "metadata" / name

    def copy(self, folder: Path) -> Forge:
        """The same channel elsewhere, to be forged on its own."""
        other = copy.copy(self)
        other.folder = shutil.copytree(self.folder, folder)
        other.keys, other.models = dict(self.keys), dict(self.models)
        other.signed = copy.deepcopy(self.signed)
        return other


def _public(keys: Iterable[Key]) -> dict[str, Any]:
    return {key.keyid: key.public for key in keys}


def _allowed(keys: Sequence[Key]) -> dict[str, Any]:
    return {"keyids": [key.keyid for key in keys], "threshold": len(keys)}


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_bytes())
