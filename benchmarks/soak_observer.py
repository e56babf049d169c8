"""What a camera that reads its store would find: the soak's judge, with no code of the clients.

`clients/README.md` says how a store is read: `current` names a release, whose files are complete.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

POINTER = re.compile(r"([1-9]\d{0,12}) ([0-9a-f]{64})\n")
FETCHED = ("model", "part", "golden", "contract")


class Violation(Exception):
    """A store that a camera could not use, or should never have got."""


@dataclass(kw_only=True)
class Published:
    """What the publisher has given out so far; the publisher writes, observers read."""

    releases: dict[str, int] = field(default_factory=dict)  # id (SHA-256 of release.json) -> number
    bad: set[str] = field(default_factory=set)  # ids whose self-test fails


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a store serves at this moment."""

    release: int
    id: str


def served(store: Path, published: Published) -> Served:
    """What `current` names, every byte checked. Raises Violation."""
    last: Violation | None = None
    for _ in range(3):  # a release activated between two reads is read again, as a camera would
        before = _read(store / "current")
        try:
            return _checked(store, before, published)
        except Violation as violation:
            last = violation
            if _read(store / "current") == before:
                break
    raise last or Violation("the pointer changes all the time")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        return f"{type(error).__name__}".encode()


def _checked(store: Path, pointer: bytes, published: Published) -> Served:
    found = POINTER.fullmatch(pointer.decode("latin-1"))
    if found is None:
        raise Violation(f"`current` holds {pointer[:80]!r}")
    release, identity = int(found[1]), found[2]
    if published.releases.get(identity) != release:
        raise Violation(f"`current` names {release} {identity[:12]}, which nobody published")
    if identity in published.bad:
        raise Violation(f"release {release} fails its self-test and is served")
    wrong = incomplete(store / "releases" / identity)
    if wrong:
        raise Violation(f"release {release}: {wrong}")
    return Served(release=release, id=identity)


def incomplete(folder: Path) -> str:
    """What a release folder lacks, in words; nothing for a complete one."""
    manifest = _read(folder / "release.json")
    if hashlib.sha256(manifest).hexdigest() != folder.name:
        return f"release.json is not of the id ({len(manifest)} bytes)"
    for file in json.loads(manifest)["files"]:
        if file["role"] in FETCHED and digest_of(folder / file["name"]) != file["sha256"]:
            return f"`{file['name']}` is not what was signed"
    return ""


def digest_of(file: Path) -> str:
    """SHA-256 of a file; of the error's name where it cannot be read."""
    return hashlib.sha256(_read(file)).hexdigest()


def halves(store: Path, spoiled: Mapping[Path, str]) -> list[str]:
    """Files under a final name that are not what their release signed: there must be none.

    Only while no client works on the store. What the soak itself has spoiled, and nobody has
    touched since, lies there until its release is fetched again or removed.
    """
    wrong = []
    for folder in sorted((store / "releases").glob("*")):
        manifest = folder / "release.json"
        if not manifest.exists():
            continue  # about to be removed: the manifest goes first
        if digest_of(manifest) != folder.name:
            wrong.append(f"{folder.name[:12]}/release.json")
            continue
        signed = {one["name"]: one["sha256"] for one in json.loads(manifest.read_bytes())["files"]}
        for file in folder.iterdir():
            if file.suffix == ".part" or file == manifest:
                continue
            digest = digest_of(file)
            if digest not in (signed.get(file.name), spoiled.get(file)):
                wrong.append(f"{folder.name[:12]}/{file.name}")
    return wrong


@dataclass(kw_only=True)
class Watch:
    """What has been seen of all stores so far. `lock` is held while one store is judged."""

    published: Published
    stores: Mapping[str, Path]  # camera -> store
    expected: set[str] = field(default_factory=set)  # cameras that have served a model before
    damaged: set[str] = field(default_factory=set)  # what these serve was destroyed by the soak
    spoiled: dict[Path, str] = field(default_factory=dict)  # files with the digest of the damage
    highest: dict[str, int] = field(default_factory=dict)  # release seen per camera
    observations: int = 0
    violations: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, camera: str, *, moment: str) -> Served | None:
        """Judge one store; None where it serves nothing, which is kept if it should."""
        store = self.stores[camera]
        with self.lock:
            if camera in self.damaged or not self._is_expected(camera):
                return None
            self.observations += 1
            try:
                found = served(store, self.published)
            except Violation as violation:
                self._note(f"{camera}, {moment}: {violation}")
                return None
            before = self.highest.get(camera, 0)
            if found.release < before:
                self._note(f"{camera}, {moment}: release {before} became {found.release}")
            self.highest[camera] = found.release
            return found

    def repaired(self, camera: str) -> None:
        """A pull has run since the soak destroyed what was served: it counts again."""
        with self.lock:
            if camera in self.damaged:
                self.damaged.remove(camera)
                self.highest.pop(camera, None)

    def look_at_halves(self, camera: str) -> None:
        """Judge what lies in the release folders; only while no client works there."""
        with self.lock:
            if camera not in self.damaged:
                for wrong in halves(self.stores[camera], self.spoiled):
                    self._note(f"{camera}: not what was signed, under a final name: {wrong}")

    def note(self, text: str) -> None:
        """Something that must not happen."""
        with self.lock:
            self._note(text)

    def _is_expected(self, camera: str) -> bool:
        if (self.stores[camera] / "current").exists():
            self.expected.add(camera)
        return camera in self.expected

    def _note(self, text: str) -> None:
        if text not in self.violations:
            self.violations.append(text)
