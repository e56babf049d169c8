"""A draft becomes the next release of a family, in one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.channel.folder import TARGETS
from toolkit.channel.forward import Blob, Change, put_forward
from toolkit.channel.metadata import target_file
from toolkit.channel.state import State, held
from toolkit.digest import sha256_bytes, sha256_file
from toolkit.drafts.draft import Draft, DraftFile
from toolkit.errors import SecurityError, UserError
from toolkit.keys.ring import KeyRing, stamp
from toolkit.release import (
    ALL_BASIS_POINTS,
    FAMILY,
    INDEX,
    INDEX_MAX_BYTES,
    MANIFEST,
    RESERVED,
    Entry,
    File,
    Index,
    Release,
    Rollout,
    content_digest,
    file_bytes,
    read_release,
    target_path,
)
from toolkit.writing import Observer, Say, make_folder, quiet, unobserved

LIVE_MOST = 8  # living releases for one kind of camera: the index and its metadata stay small


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a publish did."""

    family: str
    release: int
    id: str  # SHA-256 of its release.json
    compatible: str
    basis_points: int
    changed: bool  # False: this is already the newest release for its cameras


def publish_draft(
    channel: Path,
    draft: Draft,
    *,
    keys: KeyRing,
    family: str | None = None,
    basis_points: int | None = None,
    now: datetime | None = None,
    on_file: Observer = unobserved,
    say: Say = quiet,
) -> Published:
    """Sign and write the draft as the family's next release; a draft that is its newest: nothing.

    `family`: the draft's `compatible` where None. `basis_points`: share of cameras, 0 to 10,000,
    all where None. `now`: UTC. `on_file` hears of every file that is written. Nothing that a client
    can see changes before the last step, the rename of `timestamp.json`; after a failure the
    channel is as it was.
    Raises UserError, SecurityError `tampered`, EnvironmentFailure `key-missing` or for the disk.
    """
    now = now or datetime.now(UTC)
    family = draft.compatible if family is None else family
    _check_family(family)
    make_folder(channel)
    with held(channel, keys, say) as (ring, state):
        index = state.index(family)
        release = _release(draft, family, next_number(channel, index, family), now)
        same = _same(state, index, release)
        if same is not None:
            return _unchanged(same, basis_points, state)
        blobs = _blobs(release, draft)
        share = ALL_BASIS_POINTS if basis_points is None else basis_points
        return add_release(
            state, ring, release, blobs, share, others=index.releases, now=now, on_file=on_file
        )


def add_release(
    state: State,
    keys: KeyRing,
    release: Release,
    blobs: list[Blob],
    basis_points: int,
    *,
    others: tuple[Entry, ...],
    now: datetime,
    on_file: Observer,
) -> Published:
    """Put a release with these files before `others` and sign; the caller holds the lock."""
    family = release.family
    manifest = file_bytes(release.as_json())
    identity = sha256_bytes(manifest)
    entry = Entry(
        release=release.release,
        compatible=release.compatible,
        min_firmware=release.min_firmware,
        rollout=Rollout(basis_points=basis_points, salt=identity[:16]),
        manifest=target_path(family, release.release, MANIFEST),
    )
    _check_readable(release, entry)
    blobs = [*blobs, _blob(entry.manifest, manifest)]
    index = alive(Index(family=family, releases=(entry, *others)))
    put_forward(state, keys, index_change(state, index, blobs), now=now, on_file=on_file)
    return Published(
        family=family,
        release=release.release,
        id=identity,
        compatible=release.compatible,
        basis_points=basis_points,
        changed=True,
    )


def _check_readable(release: Release, entry: Entry) -> None:
    """What no client would take is not published: too large a file or number, a name of ours."""
    try:
        read_release(release.as_json(), entry, release.family)
    except SecurityError as error:
        raise UserError(
            f"no camera would take this release: {error.problem}",
            hint="its limits are in toolkit/release.py; nothing was written",
        ) from error


def index_change(state: State, index: Index, blobs: list[Blob]) -> Change:
    """The family's files after this: the index, and all files of its living releases."""
    content = file_bytes(index.as_json())
    if len(content) > INDEX_MAX_BYTES:
        raise UserError(
            f"the index of `{index.family}` would have {len(content)} bytes, "
            f"cameras read {INDEX_MAX_BYTES}",
            hint="publish for other kinds of cameras in another --family",
        )
    blobs = [*blobs, _blob(target_path(index.family, INDEX), content)]
    living = tuple(target_path(index.family, one.release, "") for one in index.releases)
    files = {
        path: file for path, file in state.files(index.family).items() if path.startswith(living)
    }
    files |= {one.path: target_file(one.path, one.length, one.sha256) for one in blobs}
    return Change(family=index.family, files=files, blobs=tuple(blobs))


def alive(index: Index) -> Index:
    """The releases that stay, for each kind of camera: the newest that is for all, everything
    newer, and one before it; the newest `LIVE_MOST`, of which the one for all is always one.

    One that asks for a newer firmware than an older one is not for all: without the older one, a
    new camera of that firmware would find nothing.
    """
    kept: list[Entry] = []
    for word in {one.compatible for one in index.releases}:
        own = [one for one in index.releases if one.compatible == word]
        full = next((n for n, one in enumerate(own) if _is_for_all(one, own[n:])), None)
        if full is None:
            kept += own[:LIVE_MOST]
        else:
            kept += [*own[: min(full, LIVE_MOST - 2)], *own[full : full + 2]]
    return replace(index, releases=tuple(sorted(kept, key=lambda one: one.release, reverse=True)))


def _is_for_all(entry: Entry, older: Sequence[Entry]) -> bool:
    least = min(one.min_firmware for one in (entry, *older))
    return entry.rollout.basis_points == ALL_BASIS_POINTS and entry.min_firmware == least


def next_number(channel: Path, index: Index, family: str) -> int:
    """One more than any release of the family, also of one that a killed publish left."""
    folder = channel / TARGETS / family
    found = (
        [int(one.name) for one in folder.iterdir() if one.name.isdecimal()]
        if folder.is_dir()
        else []
    )
    return max([0, *found, *(one.release for one in index.releases)]) + 1


def _check_family(family: str) -> None:
    if not FAMILY.fullmatch(family) or family in RESERVED:
        raise UserError(
            f"`{family}` cannot be the name of a family",
            hint="--family with 1 to 32 of a-z, 0-9 and `-`",
        )


def _release(draft: Draft, family: str, number: int, now: datetime) -> Release:
    files = tuple(_file(one) for one in draft.files)
    plain = {key: value for key, value in vars(draft).items() if key != "files"}
    return Release(
        **plain,
        family=family,
        release=number,
        created=stamp(now),
        content=content_digest(files),
        files=files,
    )


def _file(one: DraftFile) -> File:
    if isinstance(one.content, Path):
        length, digest = one.content.stat().st_size, sha256_file(one.content)
    else:
        length, digest = len(one.content), sha256_bytes(one.content)
    return File(name=one.name, role=one.role, length=length, sha256=digest)


def _blobs(release: Release, draft: Draft) -> list[Blob]:
    return [
        Blob(
            path=target_path(release.family, release.release, file.name),
            content=given.content,
            length=file.length,
            sha256=file.sha256,
        )
        for file, given in zip(release.files, draft.files, strict=True)
    ]


def _blob(path: str, content: bytes) -> Blob:
    return Blob(path=path, content=content, length=len(content), sha256=sha256_bytes(content))


def _same(state: State, index: Index, release: Release) -> Entry | None:
    """The newest release for these cameras, where it differs in nothing but number and date."""
    newest = next((one for one in index.releases if one.compatible == release.compatible), None)
    if newest is None:
        return None
    old = state.release(release.family, newest)
    return newest if _essence(old) == _essence(release) else None


def _essence(release: Release) -> Mapping[str, Any]:
    return {**release.as_json(), "release": 0, "created": ""}


def _unchanged(entry: Entry, basis_points: int | None, state: State) -> Published:
    family = entry.manifest.partition("/")[0]
    share = entry.rollout.basis_points
    if basis_points not in (None, share):
        raise UserError(
            f"this bundle is release {entry.release} of `{family}` already, at {share / 100:g} %",
            hint=f"edgesr channel rollout {(basis_points or 0) / 100:g}% "
            f"--channel {state.channel} --family {family}",
        )
    return published(state, family, entry, changed=False)


def published(
    state: State, family: str, entry: Entry, *, changed: bool, basis_points: int | None = None
) -> Published:
    """A living release as the result of a command; `basis_points`: the share it has from now on."""
    share = entry.rollout.basis_points if basis_points is None else basis_points
    return Published(
        family=family,
        release=entry.release,
        id=state.files(family)[entry.manifest].hashes["sha256"],
        compatible=entry.compatible,
        basis_points=share,
        changed=changed,
    )
