"""`edgesr keys`: make the keys of a channel, and replace them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import UserError
from toolkit.words.publishing import KEYS

if TYPE_CHECKING:
    from toolkit.keys.ring import KeyRing, RoleEntry, Secret

SCHEMA = 1


def run(arguments: argparse.Namespace) -> int:
    """Say which keys there are now, and what to do with them."""
    ring = _init(arguments) if arguments.action == "init" else _rotate(arguments)
    if arguments.json:
        print(json.dumps(_value(ring), indent=1))  # noqa: T201
    else:
        print("\n".join(_lines(ring, arguments)))  # noqa: T201
    return 0


def opened(arguments: argparse.Namespace) -> KeyRing:
    """The folder of `--keys`, and the further ones. Raises UserError where it is none."""
    from toolkit.keys.ring import open_keys

    folders = arguments.keys or [KEYS]
    return open_keys(folders[0], secret=secret(arguments), elsewhere=tuple(folders[1:]))


def secret(arguments: argparse.Namespace) -> Secret:
    """Where passphrases and PINs come from."""
    from toolkit.keys.secret import secret_of

    return secret_of(arguments.passphrase_file)


def say(line: str) -> None:
    """Talk while it goes on."""
    print(f"  {line}", file=sys.stderr, flush=True)  # noqa: T201


def _init(arguments: argparse.Namespace) -> KeyRing:
    from toolkit.channel.new_keys import init_keys
    from toolkit.keys.ring import KEYS as KEYS_FILE
    from toolkit.keys.ring import TOP_ROLES, open_keys
    from toolkit.keys.uri import keys_of

    folder = arguments.folder
    asked = secret(arguments)
    present = open_keys(folder).roles if (folder / KEYS_FILE).exists() else {}
    missing = [role for role in (*TOP_ROLES, *arguments.family) if role not in present]
    uris = keys_of(arguments.uri, secret=asked, now=datetime.now(UTC))
    _check_uris(uris, missing, present)
    counts, thresholds = _numbers(arguments, "keys"), _numbers(arguments, "threshold")
    _check_numbers(counts, thresholds, present)
    return init_keys(
        folder,
        families=arguments.family,
        passphrase=_passphrase(arguments, [role for role in missing if role not in uris]),
        # as many targets keys as must sign, where only that is stated
        counts={"targets": max(1, thresholds.get("targets", 1)), **counts},
        thresholds=thresholds,
        algorithm=arguments.algorithm,
        uris=uris,
        secret=asked,
        say=say,
    )


def _numbers(arguments: argparse.Namespace, of: str) -> dict[str, int]:
    """The stated numbers of keys, or thresholds, by role."""
    stated = {role: getattr(arguments, f"{role}_{of}") for role in ("root", "targets")}
    return {role: number for role, number in stated.items() if number is not None}


def _check_numbers(
    counts: Mapping[str, int], thresholds: Mapping[str, int], present: Mapping[str, RoleEntry]
) -> None:
    """Numbers of a role that is there are not changed, so others are not taken in silence."""
    for role, entry in present.items():
        there = (len(entry.keys), entry.threshold)
        if there != (counts.get(role, there[0]), thresholds.get(role, there[1])):
            raise UserError(
                f"`{role}` has {there[0]} keys already, of which {there[1]} must sign",
                hint="`init` makes what is missing and changes nothing; leave the numbers out",
            )


def _check_uris(uris: Any, missing: Sequence[str], present: Any) -> None:
    for role in uris:
        if role not in missing:
            hint = f"edgesr keys rotate {role} --uri ..." if role in present else f"--family {role}"
            raise UserError(f"`--uri` names `{role}`, for which no key is made now", hint=hint)


def _passphrase(arguments: argparse.Namespace, missing: Sequence[str]) -> str | None:
    """Of the key files to come; asked only where there will be some."""
    from toolkit.keys.secret import new_passphrase

    if arguments.no_passphrase or not missing:
        return None
    return new_passphrase(arguments.passphrase_file)


def _rotate(arguments: argparse.Namespace) -> KeyRing:
    from toolkit.channel.rotate import rotate
    from toolkit.keys.uri import keys_of

    ring = opened(arguments)
    uris = keys_of(arguments.uri, secret=ring.secret, now=datetime.now(UTC))
    made = [role for role in arguments.roles if role not in uris]
    return rotate(
        ring,
        arguments.roles,
        channel=arguments.channel,
        only=arguments.key,
        passphrase=_passphrase(arguments, made),
        algorithm=arguments.algorithm,
        uris=uris,
        say=say,
    )


def _value(ring: KeyRing) -> dict[str, Any]:
    from toolkit.channel.roots import NEWEST, newest_root

    root = newest_root(ring.folder)
    roles = {
        name: {
            "threshold": role.threshold,
            "keys": {key: ring.keys[key].keyid for key in role.keys},
        }
        for name, role in sorted(ring.roles.items())
    }
    version = root.signed.version if root else None
    return {
        "schema": SCHEMA,
        "folder": str(ring.folder),
        "root": str(ring.folder / NEWEST),
        "root_version": version,
        "roles": roles,
    }


def _lines(ring: KeyRing, arguments: argparse.Namespace) -> Iterator[str]:
    from toolkit.channel.roots import NEWEST, newest_root
    from toolkit.keys.ring import FILE, TOP_ROLES

    width = max(len(name) for name in ring.roles)
    for name in (*TOP_ROLES, *ring.families):
        role = ring.roles[name]
        places = (ring.keys[key].uri.removeprefix(FILE) for key in role.keys)
        yield f"{name:<{width}}  {role.threshold} of {len(role.keys)}  {', '.join(places)}"
    root = newest_root(ring.folder)
    assert root is not None
    yield ""
    yield (
        f"root for the firmware: {ring.folder / NEWEST} (version {root.signed.version}, "
        f"until {root.signed.expires:%Y-%m-%d})"
    )
    yield ""
    yield from _next(ring, arguments)


def _next(ring: KeyRing, arguments: argparse.Namespace) -> Iterator[str]:
    folder = ring.folder
    if arguments.action == "init":
        yield "next:"
        yield f"  keep {folder}/root-*.key offline, on sticks in different places; only a rotation"
        yield "  and the yearly renewal of root need them: --keys KEYS --keys /media/stick"
        yield f"  put {folder}/root.json into the firmware; `edgesr pull --root` reads it"
        yield f"  edgesr publish BUNDLE --channel DIR{_named(folder)}"
        return
    if "root" in arguments.roles:
        yield f"keep the new {folder}/root-*.key offline, too; cameras follow by themselves"
    if arguments.channel is None:
        yield "next:"
        yield f"  edgesr channel refresh --channel DIR{_named(folder)}"
        yield "  brings a channel to these keys; until then its cameras go on with the old ones"
    else:
        yield f"{arguments.channel} is signed by these keys; the old key files are not needed"


def _named(folder: Path) -> str:
    return "" if folder == KEYS else f" --keys {folder}"
