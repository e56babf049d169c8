"""A folder for a stick: the part of a channel that one family needs, as it is.

The same client takes it from `file:///media/stick`: it is a channel, signed by the same keys.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from toolkit.channel.folder import METADATA, TARGETS, metadata_file
from toolkit.channel.roots import root_files
from toolkit.digest import sha256_file
from toolkit.errors import UserError
from toolkit.exporting.export import Exported, Wishes
from toolkit.exporting.signed_release import SignedRelease, living_files
from toolkit.writing import Writer, explained, locked

PURPOSE = "a folder for a USB stick, which cameras take as their channel"
TAKES: tuple[str, ...] = ()
IS_CHANNEL = True
TIMESTAMP = "timestamp.json"


def export(release: SignedRelease, out: Path, wishes: Wishes) -> Exported:
    """Copy the family's part of the channel, `timestamp.json` last; an older copy is brought up."""
    channel, family = release.state.channel, release.release.family
    _refuse_other(out, channel)
    files = living_files(release.state, family)
    writer = Writer(out)
    before = _timestamp(out)
    # what was checked: a publish may have gone on since
    newest = release.state.timestamp.to_bytes() if release.state.timestamp else b""
    roots, roles = _metadata(release, family)
    with locked(out), explained(out):
        for source in roots:  # the first says whose folder this is, should this be killed
            writer.add(out / METADATA / source.name, source, sha256=sha256_file(source))
        for file in files:
            place = out / TARGETS / file.path.relative_to(channel / TARGETS)
            writer.add(place, file.path, sha256=file.sha256)
        for source in roles:
            writer.add(out / METADATA / source.name, source, sha256=sha256_file(source))
        if newest != before:
            writer.replace(out / METADATA / TIMESTAMP, newest)
    return Exported(
        path=out,
        changed=bool(writer.created) or newest != before,
        digests={file.target: file.sha256 for file in files},
        notes=(),
        next=(
            "copy it to a stick, and on the camera name it as the channel:",
            f"  edgesr pull --channel file:///media/stick --family {family} "
            f"--compatible {release.release.compatible} ...",
            f"cameras take it until {_expiry(release):%Y-%m-%d %H:%M} UTC: sign the channel and "
            "export again after that",
        ),
    )


def _refuse_other(out: Path, channel: Path) -> None:
    """Only a folder without files, or an older copy of this channel, is written into."""
    seen = (one for one in out.rglob("*") if one.is_file() and not one.name.startswith("."))
    if not os.path.lexists(out) or (out.is_dir() and next(seen, None) is None):
        return
    own, there = (top / METADATA / "1.root.json" for top in (channel, out))
    if there.is_file() and there.read_bytes() == own.read_bytes():
        return
    raise UserError(
        "something else is there already",
        where=str(out),
        hint="name an empty folder, or one that this channel was exported to",
    )


def _metadata(release: SignedRelease, family: str) -> tuple[list[Path], list[Path]]:
    """The root chain, and the present version of each role; other families' stay away."""
    state = release.state
    assert state.snapshot and state.targets  # a channel with a release has both
    versions = {
        "targets": state.targets.signed.version,
        family: state.families[family].signed.version,
        "snapshot": state.snapshot.signed.version,
    }
    roots = list(root_files(state.channel / METADATA).values())
    return roots, [metadata_file(state.channel, role, n) for role, n in versions.items()]


def _expiry(release: SignedRelease) -> datetime:
    """When the first of the copied metadata expires."""
    state = release.state
    roles = (state.root, state.timestamp, state.snapshot, state.targets)
    both = [*roles, state.families[release.release.family]]
    return min(role.signed.expires for role in both if role is not None)


def _timestamp(top: Path) -> bytes:
    file = top / METADATA / TIMESTAMP
    return file.read_bytes() if file.is_file() else b""
