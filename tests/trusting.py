"""A camera's trusted metadata and a channel to forge, without a server: `file:` all the way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from camera.models import FAMILY
from camera.repository import Forge, Key

from toolkit.errors import SecurityError, ToolkitError
from toolkit.pull.fetch import Http
from toolkit.pull.trust import Trusted, refresh
from toolkit.release import file_bytes

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MALLORY = Key("mallory")
ORDER = ("root", "timestamp", "snapshot", "targets", FAMILY)
PARENTS = {"targets": ("snapshot", "timestamp"), FAMILY: ("snapshot", "timestamp"),
           "snapshot": ("timestamp",), "timestamp": (), "root": ()}  # fmt: skip
STAYS = "the present model stays"


@dataclass
class Camera:
    """One camera before one channel."""

    forge: Forge
    metadata: Path
    family: str | None = FAMILY
    floor: datetime = LONG_AGO
    said: list[str] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # the files of the last refresh
    limits: list[int] = field(default_factory=list)  # bytes that may come of each
    root: bytes = b""

    def refresh(self, **options) -> Trusted:
        self.said.clear()
        self.states.clear()
        http = Recorded()
        try:
            return refresh(
                self.forge.folder.as_uri(),
                self.metadata,
                self.root or self.forge.root,
                http=http,
                **{
                    "family": self.family,
                    "floor": self.floor,
                    "say": self.said.append,
                    "on_state": lambda state, phase: self.states.append((state, phase)),
                    **options,
                },
            )
        finally:
            self.asked, self.limits = http.asked, http.limits

    def refused(self, **options) -> ToolkitError:
        """The error of a refresh, without this machine's folders in it."""
        with pytest.raises(ToolkitError) as caught:
            self.refresh(**options)
        error = caught.value
        error.where = error.where.replace(self.forge.folder.as_uri(), "CHANNEL")
        error.where = error.where.replace(str(self.metadata), "STORE")
        return error

    def kept(self) -> dict[str, bytes]:
        """Every file of the trusted metadata."""
        files = sorted(one for one in self.metadata.rglob("*") if one.is_file())
        return {str(one.relative_to(self.metadata)): one.read_bytes() for one in files}

    def versions(self) -> dict[str, int]:
        """The versions that a refresh leaves on the medium."""
        self.refresh()
        kept = {role: json.loads((self.metadata / f"{role}.json").read_bytes()) for role in ORDER}
        return {role: value["signed"]["version"] for role, value in kept.items()}


class Recorded(Http):
    """Requests with their names written down, not tried again."""

    def __init__(self) -> None:
        super().__init__(tries=1, retry_s=0.0)
        self.asked: list[str] = []
        self.limits: list[int] = []

    def get(self, url: str, most_bytes: int) -> bytes:
        self.asked.append(url.rsplit("/", 1)[-1])
        self.limits.append(most_bytes)
        return super().get(url, most_bytes)


def camera_before(folder: Path) -> Camera:
    """A new camera and a channel with release 1."""
    return Camera(Forge(folder / "channel"), folder / "store/metadata")


def rotate(forge, *names):
    """Root by new keys, signed by the old and the new."""
    old = forge.keys["root"]
    forge.keys["root"] = tuple(map(Key, names))
    forge.authorise()
    forge.signed["root"]["version"] += 1
    forge.write("root", keys=(*old, *forge.keys["root"]))


def renew_parents(forge, role):
    """The roles above name this version, without a digest: only the signature speaks."""
    for parent in PARENTS[role]:
        fact = {"version": forge.signed[role]["version"]}
        forge.signed[parent]["meta"][f"{role}.json"] = fact
        forge.signed[parent]["version"] += 1
        forge.write(parent)
        role = parent


def attacked(camera, role, **change):
    """A next version of a role, changed, with its parents made to fit; returns the envelope."""
    forge = camera.forge
    forge.signed[role]["version"] += 1
    forge.signed[role].update(change)
    renew_parents(forge, role)
    return forge.envelope(role)


def refused_at(camera, role, envelope, kind):
    """The refusal, with proof that this role and those after it stayed as they were."""
    before = camera.kept()
    camera.forge.put_raw(role, envelope if isinstance(envelope, bytes) else file_bytes(envelope))
    error = camera.refused()
    assert isinstance(error, SecurityError) and error.kind == kind, str(error)
    now = camera.kept()
    after = [f"{one}.json" for one in ORDER[ORDER.index(role) :]]
    assert {name: now[name] for name in after} == {name: before[name] for name in after}
    assert not [name for name in now if name.endswith(".part")]
    return error


def file_name(camera, role):
    return camera.forge.file(role).name


def ids(*keys: Key) -> str:
    return ", ".join(sorted(f"`{key.keyid[:12]}`" for key in keys))
