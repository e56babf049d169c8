"""The keys that sign a channel: a folder with `keys.json` (nothing secret) and the key files.

    KEYS/keys.json          roles, thresholds, public keys, where each private key is
    KEYS/root-1.key         private keys, OpenSSH's format, encrypted, mode 0600; none for an HSM
    KEYS/1.root.json ...    every signed version of TUF's root; `root.json` is the newest

A private key that is not on this machine is missed only by what needs its signature.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from toolkit.errors import EnvironmentFailure, SecurityError, UserError
from toolkit.json_value import typed
from toolkit.release import FAMILY, RESERVED
from toolkit.writing import Writer

KEYS = "keys.json"
SCHEMA = 1
KEYS_MAX_BYTES = 1 << 20  # some kB in practice
TOP_ROLES = ("root", "targets", "snapshot", "timestamp")
FILE = "file:"  # how the URI of a key file in the folder starts

Secret = Callable[[str], str]  # what to ask for, e.g. "the passphrase of root-1"; its answer


@dataclass(frozen=True, kw_only=True)
class KeyEntry:
    """One key: its public half, and where its private half is."""

    keyid: str  # TUF's: SHA-256 of the public key's canonical JSON
    uri: str  # "file:root-1.key" beside `keys.json`, or one that securesystemslib's signers take
    public: Mapping[str, Any]  # TUF's keytype, scheme and keyval
    created: str
    retired: str = ""  # when it was replaced; "": it signs


@dataclass(frozen=True, kw_only=True)
class RoleEntry:
    """Who signs a role."""

    threshold: int  # so many of the keys must sign
    keys: tuple[str, ...]  # names, e.g. "root-1"
    leaving: tuple[str, ...] = ()  # replaced by a rotation that has not reached the channel yet


@dataclass(frozen=True, kw_only=True)
class KeyRing:
    """A folder of keys, opened; private keys are read when something is signed."""

    folder: Path
    roles: Mapping[str, RoleEntry]
    keys: Mapping[str, KeyEntry]
    elsewhere: tuple[Path, ...] = ()  # more folders with key files: a stick with the root keys
    secret: Secret = field(repr=False)
    opened: dict[str, Any] = field(repr=False, default_factory=dict)  # signers by key name
    known: list[str] = field(repr=False, default_factory=list)  # passphrases that opened a key

    @property
    def families(self) -> tuple[str, ...]:
        """Every role that is none of TUF's own, sorted."""
        return tuple(sorted(set(self.roles) - RESERVED))

    def role(self, name: str) -> RoleEntry:
        """Who signs this role. Raises UserError where `keys.json` does not know it."""
        if name in self.roles:
            return self.roles[name]
        raise UserError(
            f"there is no key for `{name}`",
            where=str(self.folder / KEYS),
            hint=f"edgesr keys init {self.folder} --family {name}",
        )


def open_keys(
    folder: Path,
    *,
    passphrase: str | None = None,
    secret: Secret | None = None,
    elsewhere: tuple[Path, ...] = (),
) -> KeyRing:
    """Read `keys.json`. `passphrase` is of encrypted key files, or `secret` is asked for it.

    Raises UserError where the folder has no `keys.json`, or one that cannot be understood;
    SecurityError `key-mode` where others may write to it.
    """
    value = _read(folder / KEYS)
    _check_folder(folder)
    try:
        if value.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {value.get('schema')!a}, this toolkit reads {SCHEMA}")
        roles = typed(Mapping[str, RoleEntry], value["roles"], "roles")  # type: ignore[type-abstract]
        keys = typed(Mapping[str, KeyEntry], value["keys"], "keys")  # type: ignore[type-abstract]
        _check(roles, keys)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, str(error)) from error
    return KeyRing(
        folder=folder,
        roles=roles,
        keys=keys,
        elsewhere=elsewhere,
        secret=secret or _answer(passphrase),
    )


def _check_folder(folder: Path) -> None:
    """Who may write there could put keys of their own in place of these."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SecurityError(
            f"others may write to the keys folder: its mode is {mode:04o}",
            where=str(folder),
            hint=f"chmod 700 {folder}; if others had access, replace the keys: edgesr keys rotate",
            kind="key-mode",
        )


def _answer(passphrase: str | None) -> Secret:
    def answer(what: str) -> str:
        if passphrase is None:
            raise UserError(
                f"{what} is needed",
                hint="set EDGESR_KEY_PASSPHRASE, or name a file with --passphrase-file",
            )
        return passphrase

    return answer


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(KEYS_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"there is no `{KEYS}`", where=str(file.parent), hint=f"edgesr keys init {file.parent}"
        ) from error
    try:
        value = json.loads(text[:KEYS_MAX_BYTES])
    except (ValueError, RecursionError) as error:
        raise _damaged(file.parent, f"it is no JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise _damaged(file.parent, "it is no JSON object")
    return value


def _check(roles: Mapping[str, RoleEntry], keys: Mapping[str, KeyEntry]) -> None:
    if missing := set(TOP_ROLES) - set(roles):
        raise ValueError(f"the role `{min(missing)}` is missing")
    for name, role in roles.items():
        if name not in RESERVED and not FAMILY.fullmatch(name):
            raise ValueError(f"`{name!a}` cannot be the name of a family")
        if unknown := {*role.keys, *role.leaving} - set(keys):
            raise ValueError(f"`{name}` names the key `{min(unknown)}`, which is not listed")
        if not 1 <= role.threshold <= len(set(role.keys)):
            raise ValueError(f"`{name}` has {len(role.keys)} keys and threshold {role.threshold}")
    for name in keys:
        if not re.fullmatch(r"[a-z0-9-]{1,50}", name):
            raise ValueError(f"`{name!a}` cannot be the name of a key")


def _damaged(folder: Path, found: str) -> UserError:
    return UserError(
        f"`{KEYS}` cannot be understood: {found}",
        where=str(folder / KEYS),
        hint="restore it from a copy; it holds nothing secret",
    )


def save(ring: KeyRing) -> None:
    """Replace `keys.json` in one moment. Raises EnvironmentFailure where that is not possible."""
    value = {
        "schema": SCHEMA,
        "roles": {name: asdict(role) for name, role in sorted(ring.roles.items())},
        "keys": {name: asdict(key) for name, key in sorted(ring.keys.items())},
    }
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    Writer(ring.folder).replace(ring.folder / KEYS, text.encode("ascii"))


def reopened(ring: KeyRing) -> KeyRing:
    """The folder as it is now: who waited for a lock may hold keys that were replaced meanwhile."""
    now = open_keys(ring.folder, secret=ring.secret, elsewhere=ring.elsewhere)
    return replace(now, opened=ring.opened, known=ring.known)


def with_role(ring: KeyRing, name: str, role: RoleEntry) -> KeyRing:
    """The same ring, where this role is signed so."""
    return replace(ring, roles={**ring.roles, name: role})


def stamp(now: datetime) -> str:
    """Whole seconds of UTC, as TUF and releases write them: `2026-11-21T18:00:00Z`."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def unusable(name: str, found: str) -> EnvironmentFailure:
    """A key that exists but does not sign here and now."""
    return EnvironmentFailure(
        f"the key `{name}` cannot sign: {found}",
        hint="look at its URI in `keys.json`, and at the driver of its HSM or KMS",
        kind="signer",
    )
