"""The state of a channel, to be read in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from toolkit.channel.status import ChannelStatus, ReleaseStatus, RoleStatus

KEYID_SHOWN = 8  # digits, enough to tell keys apart
SOON_DAYS = 7.0


def status_text(status: ChannelStatus, *, now: datetime) -> str:
    """Families with their living releases, then roles with expiry and keys."""
    lines = []
    for family, releases in status.families.items():
        count = len(releases)
        lines += [f"family {family}: {count} living release{'s' * (count != 1)}"]
        header = ("release", "compatible", "share", "firmware", "created", "model", "to load")
        lines += [*_table([header, *map(_release, releases)], right={0, 2, 6}), ""]
    roles = [_role(role, now) for role in status.roles]
    rows = [("role", "version", "expires", "signed by", "keys"), *roles]
    damaged = [f"DAMAGED or missing, no camera can fetch it: {one}" for one in status.damaged]
    return "\n".join([*lines, *_table(rows, right={1}), *[""] * bool(damaged), *damaged])


def expiry_text(roles: Sequence[RoleStatus], *, now: datetime) -> str:
    """What runs out, and what renews it."""
    if not roles:
        return "nothing expires soon"
    rows = [(role.role, _expiry(role, now), _renewal(role.role)) for role in roles]
    return "\n".join(_table(rows, right=set()))


def _renewal(role: str) -> str:
    every = "" if role in ("timestamp", "snapshot") else " --all"
    return f"edgesr channel refresh{every} --channel DIR"


def _release(one: ReleaseStatus) -> tuple[str, ...]:
    return (
        str(one.release),
        one.compatible,
        f"{one.basis_points / 100:g} %",
        f">= {one.min_firmware}" if one.min_firmware else "any",
        one.created[:16].replace("T", " "),
        f"{one.model} ({one.precision})",
        f"{one.fetched_bytes / 1000:,.1f} kB",
    )


def _role(role: RoleStatus, now: datetime) -> tuple[str, ...]:
    keys = " ".join(keyid[:KEYID_SHOWN] for keyid in role.keyids)
    signed = f"{len(role.signed_by)}, needs {role.threshold} of {len(role.keyids)}"
    return (role.role, str(role.version), _expiry(role, now), signed, keys)


def _expiry(role: RoleStatus, now: datetime) -> str:
    left = role.expires - now
    date = f"{role.expires:%Y-%m-%d %H:%M}"
    if left <= timedelta(0):
        return f"{date}  EXPIRED"
    days, hours = left // timedelta(days=1), left // timedelta(hours=1)
    told = f"{days} days" if days > 2 else f"{hours} h"
    return f"{date}  in {told}{', SOON' * role.expires_soon(now, SOON_DAYS)}"


def _table(rows: Sequence[Sequence[str]], *, right: set[int]) -> list[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            text.rjust(width) if n in right else text.ljust(width)
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
