"""What a channel says at this moment, read back and checked before anything is built on it.

Whoever may write to the web server could have changed the folder: without this check the next
publish would sign what they put there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.channel.folder import METADATA, blob_file, metadata_file
from toolkit.channel.forward_only import check_newest
from toolkit.channel.metadata import is_signed
from toolkit.channel.roots import newest_root, read_root, root_files
from toolkit.errors import SecurityError, UserError
from toolkit.keys.ring import KeyRing, reopened
from toolkit.plugins import did_you_mean
from toolkit.release import (
    INDEX,
    INDEX_MAX_BYTES,
    MANIFEST,
    MANIFEST_MAX_BYTES,
    Entry,
    Index,
    Release,
    Rollout,
    read_index,
    read_release,
    target_path,
)
from toolkit.writing import Say, locked

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

METADATA_MAX_BYTES = 5_000_000  # of a targets role, as python-tuf's client takes


@dataclass(frozen=True, kw_only=True)
class State:
    """The verified metadata of a channel; before the first publish there is only the root."""

    channel: Path
    root: Metadata[Root]  # the newest of the keys folder
    published_root: int  # version of the newest root in the channel; 0: none yet
    timestamp: Metadata[Timestamp] | None = None
    snapshot: Metadata[Snapshot] | None = None
    targets: Metadata[Targets] | None = None
    families: Mapping[str, Metadata[Targets]] = field(default_factory=dict)

    def files(self, family: str) -> Mapping[str, TargetFile]:
        """The signed files of a family, by target path; none before its first release."""
        metadata = self.families.get(family)
        return metadata.signed.targets if metadata else {}

    def index(self, family: str) -> Index:
        """The index of a family, empty before its first release. Raises SecurityError."""
        if family not in self.families:
            return Index(family=family, releases=())
        content = self.content(family, target_path(family, INDEX), INDEX_MAX_BYTES)
        return read_index(_json(content), family)

    def release(self, family: str, entry: Entry) -> Release:
        """One living release. Raises SecurityError where its file is not the signed one."""
        content = self.content(family, entry.manifest, MANIFEST_MAX_BYTES)
        return read_release(_json(content), entry, family)

    def content(self, family: str, path: str, most_bytes: int) -> bytes:
        """The bytes of a small signed target. Raises SecurityError."""
        target = self.files(family).get(path)
        if target is None:
            raise _tampered(f"`{path}` is not signed", self.channel)
        file = blob_file(self.channel, path, target.hashes["sha256"])
        content = _read(file, most_bytes)
        try:
            target.verify_length_and_hashes(content)
        except Exception as error:
            raise _tampered(str(error), file) from error
        return content


@contextmanager
def held(channel: Path, keys: KeyRing, say: Say) -> Iterator[tuple[KeyRing, State]]:
    """Hold a channel against other publishers; the keys and the state as they are from then on."""
    with locked(channel, say):
        ring = reopened(keys)
        yield ring, read_state(channel, ring)


def read_state(channel: Path, ring: KeyRing) -> State:
    """The channel as it is, checked from the roots of the keys folder downwards.

    Expiry is not looked at: the next publish renews. Raises UserError where the keys folder has no
    root, is older than the channel, or would be served with it; SecurityError `tampered` where the
    channel is not what these keys signed, `rollback` where they have signed a newer state.
    """
    if channel.resolve() in (ring.folder.resolve(), *ring.folder.resolve().parents):
        raise UserError(
            "the keys would be served to everybody: they lie in the channel's folder",
            where=str(ring.folder),
            hint="move the keys folder away, and name it with --keys",
        )
    root = newest_root(ring.folder)
    if root is None:
        hint = f"edgesr keys init {ring.folder}"
        raise UserError("there is no signed root", where=str(ring.folder), hint=hint)
    published = _published_root(channel, ring)
    state = State(channel=channel, root=root, published_root=published)
    if not metadata_file(channel, "timestamp").exists():
        _check_first(channel)
        return state
    roots = [root]
    if 0 < published < root.signed.version:
        roots.append(read_root(ring.folder / f"{published}.root.json"))
    state = descend(state, roots)
    assert state.timestamp is not None
    check_newest(ring, channel, state.timestamp.signed.version)
    return state


def _check_first(channel: Path) -> None:
    """Without `timestamp.json` nothing was published yet, or somebody took it away.

    One killed first publish leaves version 1 of the rest; a history that starts over would be a
    rollback to every camera.
    """
    later = metadata_file(channel, "snapshot", 2)
    if later.exists():
        raise _tampered("`timestamp.json` is gone, of later publishes there are files", later)


def read_published(channel: Path) -> State:
    """The channel as it is, for somebody without its keys: checked against its own roots.

    Raises UserError where nothing was published there, SecurityError as `read_state` does.
    """
    check_published(channel)
    root = newest_root(channel / METADATA)
    if root is None:
        raise _no_channel(channel)
    return descend(State(channel=channel, root=root, published_root=root.signed.version), [root])


def check_published(channel: Path) -> None:
    """Raises UserError where nothing was published: only a publish makes a folder a channel."""
    if not metadata_file(channel, "timestamp").exists():
        raise _no_channel(channel)


def _no_channel(channel: Path) -> UserError:
    hint = "edgesr publish BUNDLE --channel DIR makes one"
    return UserError("there is no channel", where=str(channel), hint=hint)


def family_of(state: State, name: str | None) -> str:
    """The named family of the channel, or its only one. Raises UserError."""
    known = sorted(state.families)
    if name is None and len(known) == 1:
        return known[0]
    told = ", ".join(known) or "none yet"
    if name is None:
        raise UserError(f"which family? the channel has {told}", hint="--family NAME")
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"the channel has no family `{name}`", hint=hint)
    return name


def recorded(state: State, family: str, number: int) -> Release:
    """A release of a family, living or not, as its present keys signed it.

    Raises UserError where none of the family's signed metadata on disk lists it.
    """
    path = target_path(family, number, MANIFEST)
    for version in range(state.families[family].signed.version, 0, -1):
        old = _signed_before(state, family, version)
        if old is not None and path in old.files(family):
            value = _json(old.content(family, path, MANIFEST_MAX_BYTES))
            rollout = Rollout(basis_points=0, salt="0" * 16)
            entry = Entry(
                release=number,
                compatible=value["compatible"],
                min_firmware=value["min_firmware"],
                rollout=rollout,
                manifest=path,
            )
            return read_release(value, entry, family)
    raise UserError(
        f"`{family}` has no release {number} that its present keys signed",
        where=str(state.channel),
        hint="publish its bundle again",
    )


def _signed_before(state: State, family: str, version: int) -> State | None:
    """The channel with an earlier version of a family; None where the family's keys did not sign
    it, or it is not on disk."""
    file = metadata_file(state.channel, family, version)
    if not file.is_file() or state.targets is None:
        return None
    metadata = _load(file)
    if not is_signed(state.targets.signed, family, metadata):
        return None
    return replace(state, families={family: metadata})


def _published_root(channel: Path, ring: KeyRing) -> int:
    """The newest root in the channel; each must be, byte for byte, the one of the keys folder."""
    known = root_files(ring.folder)
    found = root_files(channel / METADATA)
    for version, file in found.items():
        if version not in known:
            raise UserError(
                f"the channel has root {version}, the keys folder has {len(known)} at most",
                where=str(ring.folder),
                hint="copy `keys.json` and the newer `N.root.json` from where keys were rotated",
            )
        if _read(file, METADATA_MAX_BYTES) != known[version].read_bytes():
            raise UserError(
                f"root {version} of the channel is another one than that of the keys folder",
                where=f"{file} and {known[version]}",
                hint="name the keys of this channel with --keys, or another --channel",
            )
    return len(found)


def descend(state: State, roots: list[Metadata[Root]]) -> State:
    """From these roots, any of which may have signed, to the families; expiry is not looked at.

    Raises SecurityError `tampered`.
    """
    channel = state.channel
    timestamp = _load(metadata_file(channel, "timestamp"))
    _check(roots, "timestamp", timestamp, channel)
    meta = timestamp.signed.snapshot_meta
    snapshot = _load(metadata_file(channel, "snapshot", meta.version), meta)
    _check(roots, "snapshot", snapshot, channel)
    metas: dict[str, MetaFile] = dict(snapshot.signed.meta)
    meta = metas.pop("targets.json")
    targets = _load(metadata_file(channel, "targets", meta.version), meta)
    _check(roots, "targets", targets, channel)
    families = {}
    for name, meta in metas.items():
        family = name.removesuffix(".json")
        families[family] = _load(metadata_file(channel, family, meta.version), meta)
        _check([targets], family, families[family], channel)
    return replace(
        state, timestamp=timestamp, snapshot=snapshot, targets=targets, families=families
    )


def _check(delegators: list[Any], role: str, metadata: Metadata[Any], channel: Path) -> None:
    if not any(is_signed(one.signed, role, metadata) for one in delegators):
        raise _tampered(f"the channel's `{role}` is not signed by its keys", channel)


def _load(file: Path, meta: MetaFile | None = None) -> Metadata[Any]:
    from tuf.api.metadata import Metadata

    content = _read(file, METADATA_MAX_BYTES)
    try:
        if meta is not None:
            meta.verify_length_and_hashes(content)
        metadata: Metadata[Any] = Metadata.from_bytes(content)
        if meta is not None and metadata.signed.version != meta.version:
            raise ValueError(f"its version is {metadata.signed.version}")
    except Exception as error:  # whatever is wrong with it, it is not what was published
        raise _tampered(str(error), file) from error
    return metadata


def _read(file: Path, most_bytes: int) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except FileNotFoundError as error:
        raise _tampered("a published file is missing", file) from error
    if len(content) > most_bytes:
        raise _tampered(f"it is larger than {most_bytes} bytes", file)
    return content


def _json(content: bytes) -> Any:
    import json

    return json.loads(content)  # its digest is signed: these are bytes that we wrote


def _tampered(found: str, place: Path) -> SecurityError:
    return SecurityError(
        f"the channel is not what was published: {found}",
        where=str(place),
        hint="restore the folder from a copy; nothing was signed",
        kind="tampered",
    )
