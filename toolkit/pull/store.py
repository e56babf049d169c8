"""The store of a camera: folders of releases, and small files that say which one is served.

    STORE/lock                      one process at a time
    STORE/metadata/                 what `toolkit.pull.trust` trusts, and <family>.index.json
    STORE/releases/<id>/            release.json and its files; id is the SHA-256 of release.json
    STORE/current, STORE/previous   one line `<release> <id>`
    STORE/blocked                   lines `<content> <kind>`: never taken again
    STORE/trial                     `<id> <attempts>` while a self-test runs

Nothing else in it is touched.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.digest import sha256_bytes, sha256_file
from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.pull.disk import (
    nothing,
    open_part,
    part_of,
    put_in_place,
    read_small,
    replace_file,
    settle,
    sync_folder,
    telling,
)
from toolkit.release import (
    ALL_BASIS_POINTS,
    DIGEST,
    MANIFEST,
    MANIFEST_MAX_BYTES,
    Entry,
    File,
    Release,
    Rollout,
    read_release,
)

CURRENT, PREVIOUS, BLOCKED, TRIAL = "current", "previous", "blocked", "trial"
LINE = re.compile(rb"([1-9][0-9]{0,12}) ([0-9a-f]{64})\n")
TRIAL_LINE = re.compile(rb"([0-9a-f]{64}) ([1-9][0-9]{0,2})\n")
BLOCKED_LINE = re.compile(r"([0-9a-f]{64}) ([a-z-]{1,32})")
LINE_MAX_BYTES = 128
BLOCKED_MOST = 256  # the newest are kept
BLOCKED_MAX_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """What `current` or `previous` says."""

    release: int
    id: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A release of which every file was there with its digest."""

    id: str
    folder: Path
    release: Release

    @property
    def model(self) -> Path:
        """The file that firmware opens."""
        return self.folder / self.release.model.name

    @property
    def pointer(self) -> Pointer:
        """What a pointer to it says."""
        return Pointer(release=self.release.release, id=self.id)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a camera can serve right now."""

    current: Stored | None
    previous: Stored | None

    @property
    def kept(self) -> frozenset[str]:
        """Ids that are never removed."""
        return frozenset(one.id for one in (self.current, self.previous) if one is not None)


def folder_of(store: Path, id: str) -> Path:
    """Where a release lies."""
    return store / "releases" / id


def make_store(store: Path) -> None:
    """Make its folders. Raises EnvironmentFailure `read-only`, `disk-full`, `store`."""
    with telling(store):
        for folder in (store, store / "metadata", store / "releases"):
            folder.mkdir(parents=True, exist_ok=True)


def read_pointer(store: Path, name: str) -> Pointer | None:
    """What a pointer says; None where it is lost, empty or damaged."""
    match = LINE.fullmatch(read_small(store / name, LINE_MAX_BYTES) or b"")
    return None if match is None else Pointer(release=int(match[1]), id=match[2].decode())


def write_pointer(
    store: Path, name: str, stored: Stored, within: Callable[[], None] = nothing
) -> None:
    """Point to a release, in one step."""
    line = f"{stored.release.release} {stored.id}\n"
    replace_file(store / name, line.encode("ascii"), within)


def stored_release(store: Path, id: str) -> Stored | None:
    """A release whose files all have their digests; None where one is missing or damaged."""
    folder = folder_of(store, id)
    release = stored_manifest(store, id)
    if release is None or not all(is_whole(folder / file.name, file) for file in release.fetched):
        return None
    return Stored(id=id, folder=folder, release=release)


def stored_manifest(store: Path, id: str) -> Release | None:
    """What a stored release.json says; None where it is not the one that `id` stands for."""
    data = read_small(folder_of(store, id) / MANIFEST, MANIFEST_MAX_BYTES)
    if data is None or sha256_bytes(data) != id:
        return None
    try:
        value = json.loads(data)
        return read_release(value, _own_entry(value), str(value["family"]))
    except (ValueError, KeyError, TypeError, RecursionError, EnvironmentFailure, SecurityError):
        return None  # an older client's store, or one of a newer: it is not served by this one


def _own_entry(value: Mapping[str, Any]) -> Entry:
    """What an index would say of a release that was verified when it was stored."""
    return Entry(
        release=value["release"],
        compatible=value["compatible"],
        min_firmware=0,
        rollout=Rollout(basis_points=ALL_BASIS_POINTS, salt="0" * 16),
        manifest="",
    )


def is_whole(path: Path, file: File) -> bool:
    """Whether a stored file has its length and digest."""
    try:
        plain = path.is_file() and not path.is_symlink()
        return plain and path.stat().st_size == file.length and sha256_file(path) == file.sha256
    except OSError:
        return False


def release_ids(store: Path) -> list[str]:
    """Folders that look like releases, sorted."""
    try:
        entries = list((store / "releases").iterdir())
    except OSError:
        return []
    names = [one.name for one in entries if one.is_dir() and not one.is_symlink()]
    return sorted(name for name in names if DIGEST.fullmatch(name))


def blocked(store: Path) -> dict[str, str]:
    """Contents that are never taken again, oldest first, with the kind of their failure."""
    text = (read_small(store / BLOCKED, BLOCKED_MAX_BYTES) or b"").decode("ascii", "replace")
    matches = [BLOCKED_LINE.fullmatch(line) for line in text.splitlines()]
    return {match[1]: match[2] for match in matches if match is not None}


def block(store: Path, content: str, kind: str) -> None:
    """Never take this content again."""
    lines = {**blocked(store), content: kind}
    newest = list(lines.items())[-BLOCKED_MOST:]
    text = "".join(f"{digest} {why}\n" for digest, why in newest)
    replace_file(store / BLOCKED, text.encode("ascii"))


def attempts(store: Path, id: str) -> int:
    """Self-tests of this release that began and never came to a verdict."""
    match = TRIAL_LINE.fullmatch(read_small(store / TRIAL, LINE_MAX_BYTES) or b"")
    return int(match[2]) if match is not None and match[1].decode() == id else 0


def begin_trial(store: Path, id: str) -> int:
    """Note that a self-test starts; returns which attempt it is, from 1."""
    count = attempts(store, id) + 1
    replace_file(store / TRIAL, f"{id} {count}\n".encode("ascii"))
    return count


def end_trial(store: Path) -> None:
    """There is a verdict, whatever it is."""
    with telling(store / TRIAL):
        (store / TRIAL).unlink(missing_ok=True)
        sync_folder(store)


def drop_pointer(store: Path, name: str) -> None:
    """Point to nothing."""
    with telling(store / name):
        (store / name).unlink(missing_ok=True)
        sync_folder(store)


def collect(store: Path, keep: frozenset[str], *, manifests: frozenset[str] = frozenset()) -> int:
    """Remove every release but `keep`; returns how many. Unknown files stay where they are.

    Of `manifests` only release.json stays: it says next time why they are not taken.
    """
    doomed = [id for id in release_ids(store) if id not in keep]
    for id in doomed:
        folder = folder_of(store, id)
        with telling(folder):
            if id in manifests:
                _keep_manifest(folder)
            else:
                (folder / MANIFEST).unlink(missing_ok=True)  # from here on it is no release
                shutil.rmtree(folder)
    return len(doomed)


def _keep_manifest(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name != MANIFEST and not entry.is_dir():
            entry.unlink()


def copy_from_stored(store: Path, file: File, goal: Path) -> bool:
    """Take a file from another stored release that has the same bytes; False where none has."""
    for id in release_ids(store):
        release = stored_manifest(store, id)
        for other in () if release is None else release.fetched:
            source = folder_of(store, id) / other.name
            same = (other.sha256, other.length) == (file.sha256, file.length)
            if same and source != goal and is_whole(source, other):
                return _copied(source, goal, file)
    return False


def _copied(source: Path, goal: Path, file: File) -> bool:
    part = part_of(goal)
    with telling(goal):
        with source.open("rb") as given, open_part(part, keep=False) as made:
            shutil.copyfileobj(given, made)
            settle(made)
        if not is_whole(part, file):
            part.unlink()
            return False
        put_in_place(part, goal)
    return True
