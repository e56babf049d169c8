"""The next state of a channel: every file first, checked by a TUF client, `timestamp.json` last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.channel.check import check_forward
from toolkit.channel.folder import blob_file, free_version, metadata_file
from toolkit.channel.forward_only import check_clock, remember
from toolkit.channel.metadata import (
    expiry,
    is_signed,
    metafile,
    public_key,
    signed_at,
    signed_bytes,
)
from toolkit.channel.roots import agrees, read_root, root_files, with_keys_of
from toolkit.channel.state import State
from toolkit.digest import sha256_bytes
from toolkit.errors import UserError
from toolkit.keys.ring import TOP_ROLES, KeyRing
from toolkit.release import INDEX, target_path
from toolkit.writing import Observer, Writer, explained, unobserved

if TYPE_CHECKING:
    from tuf.api.metadata import Delegations, TargetFile


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One file to publish under a target path."""

    path: str
    content: bytes | Path
    length: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """The files that a family lists from now on, and those of them that may not be there yet."""

    family: str
    files: Mapping[str, TargetFile]
    blobs: tuple[Blob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """Metadata files on their way: content and version by role."""

    contents: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


def put_forward(
    state: State,
    keys: KeyRing,
    change: Change | None,
    *,
    now: datetime,
    renew: frozenset[str] = frozenset(),
    on_file: Observer = unobserved,
) -> tuple[str, ...]:
    """Sign and write the next state, return the signed roles; the caller holds the channel's lock.

    `renew`: roles to sign again although nothing in them changes; `timestamp` always is, and so is
    whatever the present keys did not sign. Before the rename of `timestamp.json` any failure
    removes what was written, and clients see the old state; newer roots follow after it.
    Raises EnvironmentFailure `clock` where the last signing is in the future, `root-expired`,
    `key-missing`, or for the disk; SecurityError `tampered`; UserError after half a rotation.
    """
    _check_agree(state, keys)
    channel = state.channel
    check_clock(channel, state.root.signed, state.timestamp, now)
    renew = renew | outdated(state, keys) | _expired(state, now)
    made = _signed(state, _with_published(state, keys), change, renew, now)
    timestamp = made.contents["timestamp"]
    writer = Writer(channel, on_file)
    try:
        with explained(channel):
            _add_all(writer, made, change)
            if not state.published_root:
                _add_roots(writer, keys)
            check_forward(channel, keys, timestamp, _to_check(made, change), now)
            writer.replace(metadata_file(channel, "timestamp"), timestamp)
    except BaseException:
        if not _is_there(metadata_file(channel, "timestamp"), timestamp):
            writer.undo()
        raise
    with explained(channel):
        _add_roots(writer, keys)
    remember(keys, channel, made.versions["timestamp"])
    return tuple(sorted(made.versions))


def _check_agree(state: State, keys: KeyRing) -> None:
    if not agrees(keys, state.root.signed):
        raise UserError(
            f"`keys.json` names other keys than root {state.root.signed.version}",
            where=str(keys.folder),
            hint="run this again; if that does not help, a rotation was interrupted: "
            "run the same `edgesr keys rotate` again",
        )


def _with_published(state: State, keys: KeyRing) -> KeyRing:
    """Until a newer root is in the channel, and in every cache, cameras verify by the one there."""
    if not 0 < state.published_root < state.root.signed.version:
        return keys
    file = metadata_file(state.channel, "root", state.published_root)
    return with_keys_of(keys, read_root(file).signed)


def _expired(state: State, now: datetime) -> frozenset[str]:
    """What no camera could take the new state without; families are their owners' matter."""
    shared = {"targets": state.targets, "snapshot": state.snapshot}
    return frozenset(role for role, one in shared.items() if one and one.signed.is_expired(now))


def outdated(state: State, keys: KeyRing) -> frozenset[str]:
    """The roles of a channel that enough of their present keys have not signed."""
    from tuf.api.metadata import Targets

    top = {"targets": state.targets, "snapshot": state.snapshot, "timestamp": state.timestamp}
    delegator = Targets(delegations=_delegations(state, keys, set(state.families)))
    found = {
        role
        for role, metadata in top.items()
        if metadata is not None and not is_signed(state.root.signed, role, metadata)
    }
    found |= {
        family
        for family, metadata in state.families.items()
        if not is_signed(delegator, family, metadata)
    }
    return frozenset(found)


def _is_there(file: Path, content: bytes) -> bool:
    try:
        return file.read_bytes() == content
    except OSError:
        return False


def _to_check(made: _Draft, change: Change | None) -> tuple[str, ...]:
    """All that the changed family lists, and the index of every other one that was signed."""
    indexes = {target_path(role, INDEX) for role in made.versions if role not in TOP_ROLES}
    return tuple(sorted({*(change.files if change else ()), *indexes}))


def _add_all(writer: Writer, made: _Draft, change: Change | None) -> None:
    for blob in change.blobs if change else ():
        file = blob_file(writer.top, blob.path, blob.sha256)
        writer.add(file, blob.content, sha256=blob.sha256)
    for role, version in made.versions.items():
        if role != "timestamp":
            _add(writer, metadata_file(writer.top, role, version), made.contents[role])


def _add(writer: Writer, file: Path, content: bytes) -> None:
    writer.add(file, content, sha256=sha256_bytes(content))


def _add_roots(writer: Writer, keys: KeyRing) -> None:
    for version, file in root_files(keys.folder).items():
        _add(writer, metadata_file(writer.top, "root", version), file.read_bytes())


def _signed(
    state: State, keys: KeyRing, change: Change | None, renew: frozenset[str], now: datetime
) -> _Draft:
    """New metadata from the families upwards."""
    made = _Draft()
    _sign_families(made, state, keys, change, renew, now)
    _sign_targets(made, state, keys, renew, now)
    _sign_snapshot(made, state, keys, renew, now)
    _sign_timestamp(made, state, keys, now)
    return made


def _finish(made: _Draft, keys: KeyRing, role: str, signed: Any) -> None:
    made.contents[role] = signed_bytes(signed, keys, role)
    made.versions[role] = signed.version


def _sign_families(
    made: _Draft,
    state: State,
    keys: KeyRing,
    change: Change | None,
    renew: frozenset[str],
    now: datetime,
) -> None:
    from tuf.api.metadata import Targets

    changed = {change.family} if change else set()
    for family in sorted(changed | (renew & set(state.families))):
        files = change.files if change and change.family == family else state.files(family)
        old = state.families.get(family)
        signed = Targets(
            version=free_version(state.channel, family, old.signed.version if old else 0),
            expires=expiry(family, now),
            targets=dict(files),
        )
        _finish(made, keys, family, signed)


def _sign_targets(
    made: _Draft, state: State, keys: KeyRing, renew: frozenset[str], now: datetime
) -> None:
    from tuf.api.metadata import Targets

    old = state.targets
    delegations = _delegations(state, keys, set(made.versions) | set(state.families))
    same = old is not None and old.signed.delegations == delegations
    if same and "targets" not in renew:
        return
    signed = Targets(
        version=free_version(state.channel, "targets", old.signed.version if old else 0),
        expires=expiry("targets", now),
        delegations=delegations,
    )
    _finish(made, keys, "targets", signed)


def _delegations(state: State, keys: KeyRing, families: set[str]) -> Delegations:
    """Each family's own keys for its own paths; one that `keys.json` does not know stays."""
    from tuf.api.metadata import DelegatedRole, Delegations

    old = state.targets.signed.delegations if state.targets else None
    roles: dict[str, DelegatedRole] = {}
    listed: dict[str, Any] = {}
    for family in sorted(families):
        if family in keys.roles:
            entry = keys.role(family)
            own = {keys.keys[name].keyid: public_key(keys, name) for name in entry.keys}
            paths = [f"{family}/*", f"{family}/*/*"]
            roles[family] = DelegatedRole(family, list(own), entry.threshold, True, paths)
        elif old is not None and old.roles is not None and family in old.roles:
            roles[family] = old.roles[family]
            own = {keyid: old.keys[keyid] for keyid in old.roles[family].keyids}
        else:
            raise UserError(f"there is no key for the family `{family}`")
        listed |= own
    return Delegations(listed, roles)


def _sign_snapshot(
    made: _Draft, state: State, keys: KeyRing, renew: frozenset[str], now: datetime
) -> None:
    from tuf.api.metadata import Snapshot

    old = state.snapshot
    if old is not None and not made.versions and "snapshot" not in renew:
        return
    meta = dict(old.signed.meta) if old else {}
    for role, content in made.contents.items():
        meta[f"{role}.json"] = metafile(made.versions[role], content)
    signed = Snapshot(
        version=free_version(state.channel, "snapshot", old.signed.version if old else 0),
        expires=expiry("snapshot", now),
        meta=meta,
    )
    _finish(made, keys, "snapshot", signed)


def _sign_timestamp(made: _Draft, state: State, keys: KeyRing, now: datetime) -> None:
    from tuf.api.metadata import Timestamp

    old = state.timestamp
    if "snapshot" in made.contents:
        meta = metafile(made.versions["snapshot"], made.contents["snapshot"])
    else:
        assert old is not None
        meta = old.signed.snapshot_meta
    signed = Timestamp(
        version=old.signed.version + 1 if old else 1,
        expires=expiry("timestamp", now),
        snapshot_meta=meta,
        unrecognized_fields=dict(signed_at(now)),
    )
    _finish(made, keys, "timestamp", signed)
