"""Why metadata was refused: one kind for every way in which a channel can be forged or broken.

python-tuf says no; this looks at the refused bytes once more, with its public types, and says why:
which keys signed, which versions, digests and times stood against each other. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure, SecurityError, ToolkitError
from toolkit.pull.clock import CLOCK_AHEAD, Clock, signed_at, stamp

STAYS = "the present model stays"
TOP = ("root", "timestamp", "snapshot", "targets")  # roles in the order they are verified in
KEY_ID_SHOWN = 12  # hexadecimal digits, enough to tell the keys of a channel apart


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What was asked, what came, and what is trusted already."""

    role: str  # "root", "timestamp", "snapshot", "targets" or a family
    url: str
    body: bytes
    version: int | None  # that was asked for; None for timestamp.json
    trusted: Mapping[str, Signed]  # by role; of `role` itself the one from before
    clock: Clock

    @property
    def file(self) -> str:
        """The file's name, as messages have it."""
        return plain(self.url.rsplit("/", 1)[-1])


def plain(text: object, most: int = 200) -> str:
    """Text of unknown origin for a terminal: printable ASCII, not too long."""
    shown = "".join(one if " " <= one <= "~" else "?" for one in str(text))
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def refusal(error: Exception, scene: Scene) -> ToolkitError:
    """The one error that names why python-tuf refused `scene.body`."""
    try:
        return fault(scene) or malformed(scene.file, plain(error), scene.url)
    except DeserializationError as broken:
        return malformed(scene.file, _told(broken.__cause__ or broken), scene.url)


def fault(scene: Scene) -> ToolkitError | None:
    """The first thing that is wrong with metadata, in the order form, keys, parent, age; or None.

    Raises DeserializationError for what is no metadata at all.
    """
    metadata = Metadata[Any].from_bytes(scene.body)
    found = metadata.signed.type
    expected = scene.role if scene.role in ("root", "timestamp", "snapshot") else "targets"
    if found != expected:
        return malformed(scene.file, f"it is metadata of type `{found}`", scene.url)
    return (
        _signatures(scene, metadata)
        or _against_parent(scene, metadata.signed)
        or _rollback(scene, metadata.signed)
        or _expiry(scene, metadata.signed)
    )


def too_long(scene: Scene, signed_bytes: int) -> ToolkitError:
    """More bytes than signed: another signed file under this name, or bytes without end."""
    meta, _ = _named(scene)
    try:
        metadata = Metadata[Any].from_bytes(scene.body)
        if meta is not None and metadata.signed.version != meta.version:
            return fault(scene) or endless(scene, signed_bytes)
    except DeserializationError:
        pass
    return endless(scene, signed_bytes)


def endless(scene: Scene, signed_bytes: int) -> SecurityError:
    """A file with more bytes than were announced for it."""
    problem = f"`{scene.file}` has {len(scene.body)} bytes, at most {signed_bytes} are signed"
    return SecurityError(problem, where=scene.url, hint=STAYS, kind="endless-data")


def _told(error: BaseException) -> str:
    """python-tuf reads values as they come and stumbles where they are of another type."""
    if isinstance(error, KeyError):
        return f"the key {plain(error)} is missing"
    wrong = (
        "a value is of the wrong type: " if isinstance(error, TypeError | AttributeError) else ""
    )
    return wrong + plain(error)


def malformed(file: str, found: str, where: str) -> SecurityError:
    """Metadata that is no metadata."""
    hint = f"{STAYS}; tell whoever runs the channel"
    problem = f"`{file}` is no metadata of a channel: {found}"
    return SecurityError(problem, where=where, hint=hint, kind="malformed")


def incomplete(error: Exception, where: str) -> SecurityError:
    """Signed metadata that does not fit together: a role that the snapshot does not list."""
    if isinstance(error, RepositoryError):
        hint = f"files of different times are mixed; {STAYS}"
        return SecurityError(plain(error), where=where, hint=hint, kind="mix-and-match")
    return malformed(plain(where.rsplit("/", 1)[-1]), plain(error), where)


def absent(role: str, where: str) -> EnvironmentFailure:
    """A file that is not there although every channel has it, or a signed one names it."""
    file = plain(where.rsplit("/", 1)[-1])
    if role == "timestamp":
        problem = f"there is no channel: `{file}` is not there (404)"
        hint = "--channel is the folder that holds metadata/ and targets/"
    else:
        problem = f"the channel lacks `{file}`, which it has signed (404)"
        hint = "perhaps it is being copied there, file by file; the next poll tries again"
    return EnvironmentFailure(problem, where=where, hint=f"{hint}; {STAYS}", kind="missing")


def _signatures(scene: Scene, metadata: Metadata[Any]) -> SecurityError | None:
    if scene.role == "root":
        old, new = scene.trusted["root"], metadata.signed
        assert isinstance(old, Root) and isinstance(new, Root)
        return signature_fault(
            old, scene, metadata, f"the trusted root {old.version}"
        ) or signature_fault(new, scene, metadata, "this root itself")
    above = scene.trusted["root" if scene.role in TOP else "targets"]
    assert isinstance(above, Root | Targets)
    return signature_fault(above, scene, metadata, f"`{above.type}` version {above.version}")


def signs(above: Signed, role: str, metadata: Metadata[Any]) -> bool:
    """Whether enough keys that `above` names for `role` signed `metadata`."""
    if not isinstance(above, Root | Targets):
        return False
    try:
        payload = metadata.signed_bytes
        return above.get_verification_result(role, payload, metadata.signatures).verified
    except ValueError:
        return False


def said(timestamp: Signed | None) -> datetime | None:
    """When a timestamp says it was signed; None where it does not say it, or not as a time."""
    try:
        return None if timestamp is None else signed_at(timestamp.unrecognized_fields)
    except ValueError:
        return None


def signature_fault(
    above: Root | Targets, scene: Scene, metadata: Metadata[Any], by: str
) -> SecurityError | None:
    """What is wrong with the signatures of `metadata` for the keys that `above` names; or None."""
    try:
        result = above.get_verification_result(
            scene.role, metadata.signed_bytes, metadata.signatures
        )
    except ValueError:
        return malformed(scene.file, f"nothing delegates to the role `{scene.role}`", scene.url)
    if result.verified:
        return None
    given = {one for one, signature in metadata.signatures.items() if signature.signature}
    keys = set(result.signed) | set(result.unsigned)
    broken = given & keys - set(result.signed)
    needs = f"{result.threshold} of the {len(keys)} keys that {by} names must sign"
    if not given:
        kind, found = "unsigned", "carries no signature"
    elif not given & keys:
        kind, found = "wrong-key", f"is signed by {_ids(given)}, no key of `{scene.role}`"
        needs += f": {_ids(keys)}"
    elif not result.signed:
        kind, found = "tampered", f"was changed after it was signed by {_ids(broken)}"
    else:
        kind = "threshold"
        found = f"is signed by {len(result.signed)} of {result.threshold}: {_ids(result.signed)}"
        needs += f"; missing: {_ids(keys - set(result.signed))}"
    hint = f"{needs}; {STAYS}"
    return SecurityError(f"`{scene.file}` {found}", where=scene.url, hint=hint, kind=kind)


def _ids(keys: set[str] | Mapping[str, object]) -> str:
    shown = [f"`{plain(one)[:KEY_ID_SHOWN]}`" for one in sorted(keys)]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _against_parent(scene: Scene, signed: Signed) -> SecurityError | None:
    """Whether this is the very file that its signed parent names."""
    meta, parent = _named(scene)
    if meta is None:
        return None
    wrong = mismatch(meta, signed.version, scene.body)
    if not wrong:
        return None
    return SecurityError(
        f"`{scene.file}` is not the one that `{parent}` names: {wrong}",
        where=scene.url,
        hint=f"files of different times are mixed; {STAYS}",
        kind="mix-and-match",
    )


def _named(scene: Scene) -> tuple[MetaFile | None, str]:
    if scene.role == "snapshot":
        timestamp = scene.trusted["timestamp"]
        assert isinstance(timestamp, Timestamp)
        return timestamp.snapshot_meta, "timestamp.json"
    if scene.role in ("root", "timestamp"):
        return None, ""
    snapshot = scene.trusted["snapshot"]
    assert isinstance(snapshot, Snapshot)
    return snapshot.meta.get(f"{scene.role}.json"), "snapshot.json"


def mismatch(meta: MetaFile, version: int | None, body: bytes) -> str:
    """In what a file differs from what is signed about it; "" where in nothing."""
    if version is not None and version != meta.version:
        return f"version {meta.version} is signed, found version {version}"
    if meta.length is not None and len(body) != meta.length:
        return f"{meta.length} bytes are signed, found {len(body)}"
    signed, found = (meta.hashes or {}).get("sha256"), sha256_bytes(body)
    if signed not in (None, found):
        return f"sha256 {plain(signed, 64)} is signed, found {found}"
    try:
        meta.verify_length_and_hashes(body)
    except LengthOrHashMismatchError as error:
        return plain(error)
    return ""


def _rollback(scene: Scene, signed: Signed) -> SecurityError | None:
    if isinstance(signed, Root) and signed.version > (scene.version or 0):
        return SecurityError(
            f"`{scene.file}` is version {signed.version}, {scene.version} was asked for",
            where=scene.url,
            hint=f"files of different times are mixed; {STAYS}",
            kind="mix-and-match",
        )
    for what, found, trusted in _versions(scene, signed):
        if found is None or found < trusted:
            verb = "is to come next" if isinstance(signed, Root) else "was trusted before"
            return rolled_back(what, found, f"version {trusted} {verb}", scene.url)
    return None


def rolled_back(what: str, found: int | None, trusted: str, where: str) -> SecurityError:
    """A channel that offers something older than what was trusted before."""
    offers = f"no `{plain(what)}`" if found is None else f"`{plain(what)}` version {found}"
    hint = f"an old copy of the channel is served, by mistake or by an attacker; {STAYS}"
    problem = f"the channel offers {offers}, {trusted}"
    return SecurityError(problem, where=where, hint=hint, kind="rollback")


def _versions(scene: Scene, signed: Signed) -> list[tuple[str, int | None, int]]:
    """What must not count down: (name, found, trusted)."""
    before = scene.trusted.get(scene.role)
    if isinstance(signed, Root):
        return [("root", signed.version, scene.version or 0)]
    if isinstance(signed, Timestamp) and isinstance(before, Timestamp):
        return [
            ("timestamp", signed.version, before.version),
            ("snapshot", signed.snapshot_meta.version, before.snapshot_meta.version),
        ]
    if isinstance(signed, Snapshot) and isinstance(before, Snapshot):
        found = {name: meta.version for name, meta in signed.meta.items()}
        return [
            (name.removesuffix(".json"), found.get(name), meta.version)
            for name, meta in sorted(before.meta.items())
        ]
    return []


def _expiry(scene: Scene, signed: Signed) -> ToolkitError | None:
    root = scene.trusted["root"]
    late = root if scene.role == "timestamp" and root.is_expired(scene.clock.now) else signed
    if not late.is_expired(scene.clock.now):
        return None
    stamped = signed if isinstance(signed, Timestamp) else scene.trusted.get("timestamp")
    name = scene.role if late is signed else "root"
    return expired(name, late.expires, scene.clock, said(stamped), scene.url)


def expired(
    role: str, expires: datetime, clock: Clock, signed: datetime | None, where: str
) -> ToolkitError:
    """Metadata that is too old: a frozen channel, or a camera whose clock is far ahead.

    signed: when the channel's newest timestamp was signed, where it says so.
    """
    here = f"it is {stamp(clock.now)} here"
    if clock.is_corrected:
        here += f" (the system's clock says {stamp(clock.system)})"
    problem = f"`{plain(role)}` expired at {stamp(expires)}, {here}"
    if signed is not None and clock.now - signed > CLOCK_AHEAD:
        problem += f"; the channel was signed at {stamp(signed)}, more than a year before"
        hint = f"set this camera's clock; {STAYS}"
        return EnvironmentFailure(problem, where=where, hint=hint, kind="clock")
    hint = f"the channel must be signed anew, or newer files are kept from this camera; {STAYS}"
    return SecurityError(problem, where=where, hint=hint, kind="freeze")
