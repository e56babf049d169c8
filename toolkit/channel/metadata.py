"""TUF metadata: built, signed by enough keys, written so that a small C program can check it.

Compact JSON with sorted keys, ASCII, no floats: then the bytes of `signed` in the file are the
bytes that were signed, and nobody needs to write JSON in order to verify.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from toolkit.errors import EnvironmentFailure, ToolkitError
from toolkit.keys.files import signer_of
from toolkit.keys.ring import TOP_ROLES, KeyRing, RoleEntry, stamp, unusable

if TYPE_CHECKING:
    from securesystemslib.signer import Key
    from tuf.api.metadata import Metadata, MetaFile, Root, Signed, TargetFile, Targets

# How long a signature counts, in days: the longest freeze that a camera accepts is timestamp's.
LIFE_DAYS = {"root": 365, "targets": 90, "snapshot": 14, "timestamp": 3}
FAMILY_LIFE_DAYS = 90
SIGNED_AT = "signed_at"  # in timestamp: a camera without a clock learns from it


def life_days(role: str) -> int:
    """Days from signing to expiry."""
    return LIFE_DAYS.get(role, FAMILY_LIFE_DAYS)


def expiry(role: str, now: datetime) -> datetime:
    """When metadata of this role that is signed now expires."""
    return now.replace(microsecond=0) + timedelta(days=life_days(role))


def public_key(ring: KeyRing, name: str) -> Key:
    """A key as TUF's metadata lists it."""
    from securesystemslib.signer import SSlibKey

    entry = ring.keys[name]
    return SSlibKey.from_dict(entry.keyid, json.loads(json.dumps(dict(entry.public))))


def root_of(ring: KeyRing, version: int, now: datetime) -> Root:
    """Root as `keys.json` says: keys and thresholds of TUF's four roles."""
    from tuf.api.metadata import Root

    root = Root(version=version, expires=expiry("root", now), consistent_snapshot=True)
    for name in TOP_ROLES:
        role = ring.role(name)
        for key in role.keys:
            root.add_key(public_key(ring, key), name)
        root.roles[name].threshold = role.threshold
    return root


def metafile(version: int, content: bytes) -> MetaFile:
    """How one metadata file names another: version, length and SHA-256."""
    from tuf.api.metadata import MetaFile

    return MetaFile.from_data(version, content, ["sha256"])


def target_file(path: str, length: int, sha256: str) -> TargetFile:
    """How a family's metadata names one of its files."""
    from tuf.api.metadata import TargetFile

    return TargetFile(length, {"sha256": sha256}, path)


def signed_bytes(signed: Signed, ring: KeyRing, role: str) -> bytes:
    """The metadata file, signed with every key of the role that is here.

    Keys that are leaving sign as well where they are here, so that no camera is left behind
    between two versions of root.
    Raises EnvironmentFailure `key-missing` where fewer than the threshold are on this machine.
    """
    from tuf.api.metadata import Metadata

    metadata: Metadata[Any] = Metadata(signed)
    _sign(metadata, ring, role, ring.role(role))
    content = metadata.to_bytes()
    check_encoding(metadata, content)
    return content


def _sign(metadata: Metadata[Any], ring: KeyRing, name: str, role: RoleEntry) -> None:
    done = 0
    for key in (*role.keys, *role.leaving):
        if ring.keys[key].keyid not in metadata.signatures:
            signer = signer_of(ring, key)
            if signer is None:
                continue
            try:
                metadata.sign(signer, append=True)
            except ToolkitError:
                raise
            except Exception as error:  # each HSM's driver has errors of its own
                raise unusable(key, str(error.__cause__ or error)) from error
        done += key in role.keys
    if done < role.threshold:
        raise lacking(ring, name, role.keys) or ValueError("keys of one role are the same key")


def lacking(
    ring: KeyRing, name: str, keys: Sequence[str] | None = None
) -> EnvironmentFailure | None:
    """Why a role cannot be signed on this machine, by `keys` in place of its own; None: it can."""
    role = ring.role(name)
    keys = role.keys if keys is None else keys
    absent = [key for key in keys if signer_of(ring, key) is None]
    here = len(keys) - len(absent)
    if here >= role.threshold:
        return None
    return EnvironmentFailure(
        f"`{name}` must be signed by {role.threshold} of its {len(keys)} keys, "
        f"{here or 'none'} of them {'is' if here < 2 else 'are'} on this machine",
        where=f"not here: {', '.join(f'{key}.key' for key in absent)}",
        hint="run this where the key is, or name its folder too: --keys KEYS --keys /media/stick",
        kind="key-missing",
    )


def check_encoding(metadata: Metadata[Any], content: bytes) -> None:
    """The file's own bytes of `signed` are what the signatures cover. Raises ValueError.

    The PEM lines of ECDSA and RSA keys hold line breaks, which JSON writes as `\\n` and TUF's
    canonical form as they are; nothing else may differ.
    """
    if not content.isascii() or any(byte < 0x20 for byte in content):
        raise ValueError("metadata must be printable ASCII")
    _check_value(json.loads(content))
    _, mark, raw = content.partition(b'],"signed":')
    if not mark or not raw.endswith(b"}"):
        raise ValueError("metadata is not compact")
    if raw[:-1].replace(b"\\n", b"\n") != metadata.signed_bytes:
        raise ValueError("the bytes of `signed` are not the signed bytes")


def _check_value(value: Any) -> None:
    if isinstance(value, float):
        raise ValueError(f"metadata holds no floats, found {value}")
    if isinstance(value, Mapping):
        for part in value.values():
            _check_value(part)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            _check_value(part)


def is_signed(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> bool:
    """Whether enough keys of the role, as `delegator` lists them, signed the metadata."""
    from tuf.api.exceptions import UnsignedMetadataError

    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (UnsignedMetadataError, ValueError):
        return False
    return True


def signed_at(now: datetime) -> dict[str, str]:
    """The extra field of timestamp."""
    return {SIGNED_AT: stamp(now)}
