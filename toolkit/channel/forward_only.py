"""Versions and times of a channel only go forward, at its publisher as at its cameras.

Whoever may write to the web server can put an older `timestamp.json` back, which our keys signed.
The next publish would build on it and sign a release again that was taken back since. So the
keys folder remembers the newest version that was signed from here:

    KEYS/signed/<16 hex digits of the SHA-256 of the channel's path>.json
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.channel.metadata import SIGNED_AT, is_signed
from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.keys.ring import KeyRing, stamp
from toolkit.writing import Writer

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Timestamp

SIGNED = "signed"
NAME_DIGITS = 16


def check_newest(ring: KeyRing, channel: Path, found: int) -> None:
    """Raises SecurityError `rollback` where the timestamp found is older than what was signed."""
    file = _memory(ring, channel)
    try:
        newest = int(json.loads(file.read_bytes())["timestamp"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # a new publisher, or one that cannot write beside its keys
    if found < newest:
        raise SecurityError(
            f"the channel was set back: its `timestamp` has version {found}, {newest} was signed",
            where=str(channel),
            hint="restore the newest copy; nothing was signed. If an old one is all there is: "
            f"remove {file}, then `edgesr keys rotate timestamp snapshot --channel {channel}`",
            kind="rollback",
        )


def remember(ring: KeyRing, channel: Path, version: int) -> None:
    """Note a published version of timestamp; keys that lie on a read-only disk remember nothing."""
    file = _memory(ring, channel)
    value = {"channel": str(channel.resolve()), "timestamp": version}
    with suppress(EnvironmentFailure):
        Writer(ring.folder).replace(file, f"{json.dumps(value)}\n".encode("ascii"))


def _memory(ring: KeyRing, channel: Path) -> Path:
    name = sha256_bytes(str(channel.resolve()).encode("utf-8", "surrogateescape"))[:NAME_DIGITS]
    return ring.folder / SIGNED / f"{name}.json"


def check_clock(
    channel: Path, root: Root, timestamp: Metadata[Timestamp] | None, now: datetime
) -> None:
    """Cameras take the time of signing for the least time it can be: a wrong one would stay.

    Raises EnvironmentFailure `clock` or `root-expired`.
    """
    if root.is_expired(now):
        raise EnvironmentFailure(
            f"root {root.version} expired at {stamp(root.expires)}, it is {stamp(now)} here",
            where=str(channel),
            hint="if the clock is right: edgesr channel refresh --all, where the root keys are",
            kind="root-expired",
        )
    if timestamp is None or not is_signed(root, "timestamp", timestamp):
        return  # cameras forget the time that replaced keys signed
    before = str(timestamp.signed.unrecognized_fields.get(SIGNED_AT, ""))
    if before > stamp(now):  # both are written the same way
        raise EnvironmentFailure(
            f"the channel was signed at {before}, it is {stamp(now)} here",
            where=str(channel),
            hint="set this machine's clock; if it was wrong at that time, make cameras forget it: "
            f"edgesr keys rotate timestamp --channel {channel}",
            kind="clock",
        )
