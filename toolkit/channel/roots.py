"""TUF's root: every version that was ever signed lies beside the keys, and in each channel."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.channel.metadata import root_of, signed_bytes
from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure, SecurityError, ToolkitError, UserError
from toolkit.keys.files import signer_of
from toolkit.keys.ring import TOP_ROLES, KeyRing, with_role
from toolkit.writing import Writer

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root

ROOT_MAX_BYTES = 512_000  # what python-tuf's client takes
NEWEST = "root.json"  # a copy of the newest version, to be baked into firmware


def root_files(folder: Path) -> dict[int, Path]:
    """`N.root.json` by version, without a gap from 1; what comes after a gap is not seen."""
    files: dict[int, Path] = {}
    while os.path.lexists(file := folder / f"{len(files) + 1}.root.json"):
        files[len(files) + 1] = file
    return files


def read_root(file: Path) -> Metadata[Root]:
    """One root. Raises UserError where it is none."""
    from tuf.api.metadata import Metadata, Root
    from tuf.api.serialization import DeserializationError

    try:
        with file.open("rb") as stream:
            metadata: Metadata[Root] = Metadata.from_bytes(stream.read(ROOT_MAX_BYTES))
    except (OSError, DeserializationError) as error:
        raise UserError(f"this is no signed root: {error}", where=str(file)) from error
    if not isinstance(metadata.signed, Root):
        raise UserError("this is no root", where=str(file))
    return metadata


def newest_root(folder: Path) -> Metadata[Root] | None:
    """The last root of the chain, each checked against the one before; None before the first.

    Raises SecurityError where a root is not signed as TUF asks.
    """
    from tuf.api.exceptions import UnsignedMetadataError

    newest: Metadata[Root] | None = None
    for version, file in root_files(folder).items():
        root = read_root(file)
        try:
            for signer in (newest or root, root):
                signer.signed.verify_delegate("root", root.signed_bytes, root.signatures)
            if root.signed.version != version:
                raise ValueError(f"its version is {root.signed.version}")
        except (UnsignedMetadataError, ValueError) as error:
            raise SecurityError(
                f"root {version} does not follow from the one before: {error}",
                where=str(file),
                hint="restore the folder from a copy",
                kind="tampered",
            ) from error
        newest = root
    return newest


def agrees(ring: KeyRing, root: Root) -> bool:
    """Whether this root lists what `keys.json` lists for TUF's four roles."""
    wanted = root_of(ring, root.version, root.expires)
    return wanted.roles == root.roles and wanted.keys == root.keys


def with_keys_of(ring: KeyRing, root: Root) -> KeyRing:
    """The ring, where the other keys that this root lists sign as well, if they can here."""
    for role in set(TOP_ROLES) - {"root"}:
        entry = ring.role(role)
        known = {*entry.keys, *entry.leaving}
        listed = [name for name, key in ring.keys.items() if key.keyid in root.roles[role].keyids]
        more = [name for name in listed if name not in known and _signs(ring, name)]
        ring = with_role(ring, role, replace(entry, leaving=(*entry.leaving, *more)))
    return ring


def _signs(ring: KeyRing, name: str) -> bool:
    try:
        return signer_of(ring, name) is not None
    except ToolkitError:  # another passphrase, an HSM that is gone: it was replaced
        return False


def write_root(ring: KeyRing, now: datetime) -> Metadata[Root]:
    """Sign the next root as `keys.json` says, by the old and the new keys; it lies in KEYS.

    Raises EnvironmentFailure `key-missing` where too few of them are here.
    """
    from tuf.api.exceptions import UnsignedMetadataError
    from tuf.api.metadata import Metadata

    before = newest_root(ring.folder)
    version = before.signed.version + 1 if before else 1
    content = signed_bytes(root_of(ring, version, now), ring, "root")
    made: Metadata[Root] = Metadata.from_bytes(content)
    try:
        (before or made).signed.verify_delegate("root", made.signed_bytes, made.signatures)
    except UnsignedMetadataError as error:
        raise EnvironmentFailure(
            f"root {version} must also be signed by the keys of root {version - 1}: {error}",
            hint="run this where those keys are, or name their folder too: --keys /media/stick",
            kind="key-missing",
        ) from error
    writer = Writer(ring.folder)
    writer.add(ring.folder / f"{version}.root.json", content, sha256=sha256_bytes(content))
    writer.replace(ring.folder / NEWEST, content)
    return made
