"""What a channel offers, to whom, and until when its signatures count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.channel.folder import blob_file
from toolkit.channel.metadata import SIGNED_AT, life_days
from toolkit.channel.state import State, read_published, read_state
from toolkit.digest import sha256_file
from toolkit.keys.ring import TOP_ROLES, KeyRing, stamp

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Role

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class RoleStatus:
    """One signed role."""

    role: str
    version: int
    expires: datetime
    threshold: int
    keyids: tuple[str, ...]
    signed_by: tuple[str, ...]  # of these, those that signed the present version

    def expires_soon(self, now: datetime, days: float) -> bool:
        """Whether fewer than `days` are left; of what a daily `refresh` renews, at most the last
        third of its life: `timestamp` lives 3 days and is not late before its last one."""
        if self.role in ("snapshot", "timestamp"):
            days = min(days, life_days(self.role) / 3)
        return self.expires - now < timedelta(days=days)


@dataclass(frozen=True, kw_only=True)
class ReleaseStatus:
    """One living release."""

    release: int
    id: str  # SHA-256 of its release.json
    compatible: str
    basis_points: int
    min_firmware: int
    created: str
    recipe: str
    precision: str
    model: str  # name of the model's file
    fetched_bytes: int  # what a camera loads


@dataclass(frozen=True, kw_only=True)
class ChannelStatus:
    """A verified channel."""

    signed_at: str
    roles: tuple[RoleStatus, ...]
    families: dict[str, tuple[ReleaseStatus, ...]]
    damaged: tuple[str, ...]  # signed files, relative to the channel, that are not there or differ

    def as_json(self) -> dict[str, Any]:
        """The JSON value of `edgesr channel status --json`."""
        return {
            "schema": SCHEMA,
            "signed_at": self.signed_at,
            "roles": [role_json(one) for one in self.roles],
            "families": {
                name: [dict(vars(one)) for one in releases]
                for name, releases in self.families.items()
            },
            "damaged": list(self.damaged),
        }


def role_json(role: RoleStatus) -> dict[str, Any]:
    """The JSON value of one role."""
    return {**vars(role), "expires": stamp(role.expires)}


def status_of(channel: Path, keys: KeyRing | None = None) -> ChannelStatus:
    """Read and verify a channel, by its keys folder, or by its own roots where there is none.

    Raises UserError where nothing is published there, SecurityError `tampered`.
    """
    state = read_published(channel) if keys is None else read_state(channel, keys)
    state = state if state.timestamp else read_published(channel)
    assert state.timestamp is not None
    return ChannelStatus(
        signed_at=str(state.timestamp.signed.unrecognized_fields.get(SIGNED_AT, "")),
        roles=tuple(_roles(state)),
        families={name: tuple(_releases(state, name)) for name in sorted(state.families)},
        damaged=tuple(_damaged(state)),
    )


def _damaged(state: State) -> Iterator[str]:
    """What no camera could fetch, though metadata and index are well."""
    for family in sorted(state.families):
        for path, signed in sorted(state.files(family).items()):
            file = blob_file(state.channel, path, signed.hashes["sha256"])
            whole = file.is_file() and file.stat().st_size == signed.length
            if not whole or sha256_file(file) != signed.hashes["sha256"]:
                yield str(file.relative_to(state.channel))


def _roles(state: State) -> Iterator[RoleStatus]:
    root = state.root
    present = (root, state.targets, state.snapshot, state.timestamp)
    for name, metadata in zip(TOP_ROLES, present, strict=True):
        assert metadata is not None
        yield _role(name, metadata, root.signed.roles[name])
    assert state.targets is not None
    for name, metadata in sorted(state.families.items()):
        yield _role(name, metadata, state.targets.signed.get_delegated_role(name))


def _role(name: str, metadata: Metadata[Any], role: Role) -> RoleStatus:
    return RoleStatus(
        role=name,
        version=metadata.signed.version,
        expires=metadata.signed.expires,
        threshold=role.threshold,
        keyids=tuple(role.keyids),
        signed_by=tuple(one for one in role.keyids if one in metadata.signatures),
    )


def _releases(state: State, family: str) -> Iterator[ReleaseStatus]:
    for entry in state.index(family).releases:
        release = state.release(family, entry)
        yield ReleaseStatus(
            release=entry.release,
            id=state.files(family)[entry.manifest].hashes["sha256"],
            compatible=entry.compatible,
            basis_points=entry.rollout.basis_points,
            min_firmware=entry.min_firmware,
            created=release.created,
            recipe=release.recipe,
            precision=release.precision,
            model=release.model.name,
            fetched_bytes=sum(file.length for file in release.fetched),
        )
