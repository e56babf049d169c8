"""Make the keys of a channel that do not exist yet, and the first root."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from toolkit.channel.roots import newest_root, write_root
from toolkit.errors import UserError, raise_all
from toolkit.keys.files import make_key
from toolkit.keys.ring import (
    KEYS,
    TOP_ROLES,
    KeyEntry,
    KeyRing,
    RoleEntry,
    Secret,
    open_keys,
    save,
    with_role,
)
from toolkit.release import FAMILY, RESERVED
from toolkit.writing import explained, locked, make_folder

FOLDER_MODE = 0o700
KEYS_MOST = 16  # of one role: a camera's memory is small


def init_keys(
    folder: Path,
    *,
    families: Sequence[str] = (),
    passphrase: str | None = None,
    counts: Mapping[str, int] | None = None,
    thresholds: Mapping[str, int] | None = None,
    algorithm: str = "ed25519",
    uris: Mapping[str, Sequence[KeyEntry]] | None = None,
    secret: Secret | None = None,
    now: datetime | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> KeyRing:
    """Make the keys of TUF's roles and of `families` that are missing; keep all that are there.

    `counts` and `thresholds` are by role (root 3 and 2, the others 1 and 1). `passphrase` encrypts
    new key files; None leaves them readable by their owner. `uris`: keys in an HSM or KMS, by role,
    instead of files. The first root is signed at once.
    Raises UserError for impossible numbers or names, EnvironmentFailure for a folder that cannot be
    written.
    """
    now = now or datetime.now(UTC)
    roles = (*TOP_ROLES, *families)
    wanted = {role: (counts or {}).get(role, 3 if role == "root" else 1) for role in roles}
    least = {role: (thresholds or {}).get(role, 2 if role == "root" else 1) for role in roles}
    uris = uris or {}
    wanted.update({role: len(keys) for role, keys in uris.items() if role in wanted})
    _check(families, wanted, least)
    _make_folder(folder)
    with locked(folder), explained(folder):
        ring = _opened(folder, passphrase, secret)
        ring.known.extend([passphrase] if passphrase else [])  # typed twice, not a third time
        for role in roles:
            if role not in ring.roles:
                names = [f"{role}-{number}" for number in range(1, wanted[role] + 1)]
                given = dict(zip(names, uris.get(role, ()), strict=False))
                made = {
                    name: given.get(name) or make_key(folder, name, algorithm, passphrase, now)
                    for name in names
                }
                entry = RoleEntry(threshold=least[role], keys=tuple(names))
                ring = with_role(replace(ring, keys={**ring.keys, **made}), role, entry)
                say(f"made {', '.join(names)}")
        save(ring)
        if newest_root(folder) is None:
            write_root(ring, now)
    return ring


def _make_folder(folder: Path) -> None:
    """A folder of its own, for its owner alone."""
    if folder.is_dir() and not (folder / KEYS).exists():
        ours = all(one.suffix in (".key", ".part") for one in folder.iterdir())  # a killed run's
        if not ours:
            raise UserError(
                "this folder holds other things",
                where=str(folder),
                hint="name a folder that does not exist yet: edgesr keys init keys",
            )
    make_folder(folder, FOLDER_MODE)
    with explained(folder):
        folder.chmod(FOLDER_MODE)


def _opened(folder: Path, passphrase: str | None, secret: Secret | None) -> KeyRing:
    if (folder / KEYS).exists():
        return open_keys(folder, passphrase=passphrase, secret=secret)
    return KeyRing(folder=folder, roles={}, keys={}, secret=secret or (lambda _: passphrase or ""))


def _check(families: Sequence[str], counts: Mapping[str, int], least: Mapping[str, int]) -> None:
    problems = []
    for family in families:
        if not FAMILY.fullmatch(family) or family in RESERVED:
            problems.append(
                UserError(
                    f"`{family}` cannot be the name of a family",
                    hint="1 to 32 of a-z, 0-9 and `-`, none of TUF's own role names",
                )
            )
    for role, count in counts.items():
        if not 1 <= least[role] <= count <= KEYS_MOST:
            problems.append(
                UserError(
                    f"`{role}` cannot have {count} keys of which {least[role]} must sign",
                    hint=f"1 to {KEYS_MOST} keys, and a threshold from 1 to their number",
                )
            )
    raise_all(problems)
