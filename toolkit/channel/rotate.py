"""Other keys for a role, so that every camera follows and a stolen key is worth nothing any more.

A role of TUF's own: a new version of root, signed by the old and the new root keys. A family: a new
delegation. The old key files stay; `keys.json` says when they were retired. Every step is kept, and
the same command goes on after the last one that was finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from toolkit.channel.forward import put_forward
from toolkit.channel.metadata import lacking
from toolkit.channel.roots import agrees, newest_root, write_root
from toolkit.channel.state import check_published, read_state
from toolkit.errors import UserError, raise_all
from toolkit.keys.files import make_key
from toolkit.keys.ring import TOP_ROLES, KeyEntry, KeyRing, reopened, save, stamp, with_role
from toolkit.plugins import did_you_mean
from toolkit.writing import Observer, Say, explained, locked, quiet, unobserved


def rotate(
    keys: KeyRing,
    roles: Sequence[str],
    *,
    channel: Path | None = None,
    only: str | None = None,
    passphrase: str | None = None,
    algorithm: str = "ed25519",
    uris: Mapping[str, Sequence[KeyEntry]] | None = None,
    now: datetime | None = None,
    on_file: Observer = unobserved,
    say: Say = quiet,
) -> KeyRing:
    """Replace the keys of these roles, or the one key `only`; bring the channel to the new ones.

    `channel` None: only the keys folder changes, and the next `refresh` or publish brings a channel
    along. `passphrase` encrypts new key files. `uris`: new keys in an HSM or KMS, by role.
    In the channel the old and the new keys sign together before the new root appears, where the
    old ones are still here: no camera meets a moment in which it can verify neither.
    Raises UserError for an unknown role or key, EnvironmentFailure `key-missing` where too few root
    keys are here to sign the new root.
    """
    now = now or datetime.now(UTC)
    if channel is not None:
        check_published(channel)
    with locked(keys.folder, say), explained(keys.folder):
        ring = reopened(keys)
        ring.known.extend([passphrase] if passphrase else [])  # perhaps it opens the old keys too
        _check(ring, roles, only)
        _check_signers(ring, roles, with_channel=channel is not None)
        for role in roles:
            if not ring.role(role).leaving:
                given = (uris or {}).get(role, ())
                ring = _replaced(ring, role, only, given, algorithm, passphrase, now)
        save(ring)
        root = newest_root(ring.folder)
        if root is None or not agrees(ring, root.signed):
            root = write_root(ring, now)
            say(f"signed root {root.signed.version}")
        if channel is not None:
            _bring_along(channel, ring, roles, now, on_file, say)
        ring = _retired(ring, roles, now)
        save(ring)
    return ring


def _check(ring: KeyRing, roles: Sequence[str], only: str | None) -> None:
    for role in roles:
        if role not in ring.roles:
            raise UserError(f"there is no role `{role}`", hint=did_you_mean(role, ring.roles))
    if only is not None and not any(only in _all(ring, role) for role in roles):
        names = [name for role in roles for name in ring.role(role).keys]
        raise UserError(f"`{only}` signs none of these roles", hint=did_you_mean(only, names))


def _all(ring: KeyRing, role: str) -> tuple[str, ...]:
    return (*ring.role(role).keys, *ring.role(role).leaving)


def _check_signers(ring: KeyRing, roles: Sequence[str], *, with_channel: bool) -> None:
    """Everything that must sign is here, before a new key is made."""
    needed = {"snapshot", "timestamp"} if with_channel else set()
    if with_channel and set(roles) - set(TOP_ROLES):
        needed.add("targets")
    problems = [lacking(ring, role) for role in sorted(needed - set(roles))]
    newest = newest_root(ring.folder)
    if newest is not None and set(roles) & set(TOP_ROLES):
        keyids = newest.signed.roles["root"].keyids
        signing = [name for name, key in ring.keys.items() if key.keyid in keyids]
        begun = any(ring.role(role).leaving for role in roles)
        if not (begun and agrees(ring, newest.signed)):
            problems.insert(0, lacking(ring, "root", signing))
    raise_all([problem for problem in problems if problem is not None])


def _replaced(
    ring: KeyRing,
    role: str,
    only: str | None,
    given: Sequence[KeyEntry],
    algorithm: str,
    passphrase: str | None,
    now: datetime,
) -> KeyRing:
    """The ring with new keys for a role; the old ones are leaving."""
    entry = ring.role(role)
    leaving = tuple(name for name in entry.keys if only in (None, name))
    taken = [int(name.rpartition("-")[2]) for name in ring.keys if name.rpartition("-")[0] == role]
    names = [f"{role}-{max(taken) + step}" for step in range(1, len(leaving) + 1)]
    made = {
        name: given[n]
        if n < len(given)
        else make_key(ring.folder, name, algorithm, passphrase, now)
        for n, name in enumerate(names)
    }
    staying = tuple(name for name in entry.keys if name not in leaving)
    after = replace(entry, keys=(*staying, *names), leaving=leaving)
    return with_role(replace(ring, keys={**ring.keys, **made}), role, after)


def _bring_along(
    channel: Path, ring: KeyRing, roles: Sequence[str], now: datetime, on_file: Observer, say: Say
) -> None:
    with locked(channel, say):
        state = read_state(channel, ring)
        known = {"targets", "snapshot", *state.families}
        put_forward(
            state, ring, None, now=now, renew=frozenset(known & set(roles)), on_file=on_file
        )
    say(f"{channel} is signed by the new keys")


def _retired(ring: KeyRing, roles: Sequence[str], now: datetime) -> KeyRing:
    for role in roles:
        entry = ring.role(role)
        old = {name: replace(ring.keys[name], retired=stamp(now)) for name in entry.leaving}
        ring = with_role(replace(ring, keys={**ring.keys, **old}), role, replace(entry, leaving=()))
    return ring
