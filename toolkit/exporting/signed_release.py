"""One release of a channel's folder with every signature and digest checked, for its exports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.channel.folder import METADATA, blob_file
from toolkit.channel.roots import read_root, root_files
from toolkit.channel.state import State, family_of, read_published
from toolkit.digest import sha256_file
from toolkit.errors import SecurityError, UserError
from toolkit.release import ALL_BASIS_POINTS, INDEX, MANIFEST, Entry, Release, Role, target_path

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, TargetFile


@dataclass(frozen=True, kw_only=True)
class SignedFile:
    """One file of a release where the channel keeps it; its bytes have this digest."""

    name: str  # as a camera stores it
    role: Role | None  # None: release.json itself
    target: str  # TUF target path
    path: Path
    length: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SignedRelease:
    """A living release with all its files, none of which differs from what was signed."""

    state: State
    release: Release
    basis_points: int  # the share of cameras that its channel offers it to
    manifest: SignedFile  # release.json; its SHA-256 is the release's id
    files: tuple[SignedFile, ...]  # in the manifest's order
    remarks: tuple[str, ...] = ()  # e.g. that the channel's metadata has expired

    @property
    def stored(self) -> tuple[SignedFile, ...]:
        """What a camera stores: the fetched files, and release.json last."""
        names = {file.name for file in self.release.fetched}
        return (*(file for file in self.files if file.name in names), self.manifest)

    @property
    def model(self) -> SignedFile:
        """The model's own file."""
        return next(file for file in self.files if file.role == "model")

    @property
    def parts(self) -> tuple[SignedFile, ...]:
        """What the model's file needs beside it."""
        return tuple(file for file in self.files if file.role == "part")

    @property
    def created_s(self) -> int:
        """When it was published, in seconds of Unix time: the one time that exports contain."""
        made = datetime.strptime(self.release.created, "%Y-%m-%dT%H:%M:%SZ")
        return int(made.replace(tzinfo=UTC).timestamp())


def signed_release(
    channel: Path,
    *,
    family: str | None = None,
    number: int | None = None,
    root: Path | None = None,
    any_share: bool = False,
    now: datetime | None = None,
) -> SignedRelease:
    """The family's newest release that is for all cameras, or the living one with this number.

    `family`: the channel's only one where None. `root`: a root that the channel must continue, such
    as the one that cameras have; the channel's own first root where None. `any_share`: the newest
    one counts, whatever share of cameras it is for. `now`: UTC, for a remark on metadata that has
    expired.
    Raises UserError where there is no such channel, family or release; SecurityError where any byte
    is not what was signed.
    """
    state = read_published(channel)
    if root is not None:
        _check_root(channel / METADATA, root)
    name = family_of(state, family)
    entry = _entry(state, name, number, 0 if any_share else ALL_BASIS_POINTS)
    release = state.release(name, entry)
    manifest = _signed_file(state, name, entry.manifest, MANIFEST, None)
    files = tuple(
        _signed_file(state, name, target_path(name, entry.release, one.name), one.name, one.role)
        for one in release.files
    )
    for said, file in zip(release.files, files, strict=True):
        if (said.length, said.sha256) != (file.length, file.sha256):
            raise _tampered(f"release.json has another digest of `{said.name}`", file.path)
    return SignedRelease(
        state=state,
        release=release,
        basis_points=entry.rollout.basis_points,
        manifest=manifest,
        files=files,
        remarks=tuple(_expired(state, name, now or datetime.now(UTC))),
    )


def living_files(state: State, family: str) -> tuple[SignedFile, ...]:
    """Every file that the family's index leads to, checked; the index itself is the first."""
    found = [_signed_file(state, family, target_path(family, INDEX), INDEX, None)]
    for entry in state.index(family).releases:
        release = state.release(family, entry)
        found.append(_signed_file(state, family, entry.manifest, MANIFEST, None))
        for one in release.files:
            path = target_path(family, entry.release, one.name)
            found.append(_signed_file(state, family, path, one.name, one.role))
    return tuple(found)


def _check_root(folder: Path, given: Path) -> None:
    """The chain in the channel must hold the given root, byte for byte."""
    version = read_root(given).signed.version
    own = root_files(folder).get(version)
    if own is None or own.read_bytes() != given.read_bytes():
        raise SecurityError(
            f"the channel does not continue this root, which has version {version}",
            where=f"{given} and {folder}",
            hint="do not export from it; get the channel again from whoever publishes it",
            kind="wrong-key",
        )


def _entry(state: State, family: str, number: int | None, least_share: int) -> Entry:
    entries = state.index(family).releases
    if number is None:
        full = [one for one in entries if one.rollout.basis_points >= least_share]
        if full:
            return full[0]
        raise UserError(
            f"no release of `{family}` is for all cameras; {_told(entries)}",
            hint="name one with --release",
        )
    for entry in entries:
        if entry.release == number:
            return entry
    raise UserError(
        f"release {number} of `{family}` does not live; {_told(entries)}",
        hint="`edgesr channel status` lists them",
    )


def _told(entries: Iterable[Entry]) -> str:
    """Which releases live, and for whom: `2 (10 %), 1 (100 %)`."""
    told = [f"{one.release} ({one.rollout.basis_points / 100:g} %)" for one in entries]
    return f"living: {', '.join(told) or 'none'}"


def _signed_file(
    state: State, family: str, target: str, name: str, role: Role | None
) -> SignedFile:
    signed: TargetFile | None = state.files(family).get(target)
    if signed is None:
        raise _tampered(f"`{target}` is not signed", state.channel)
    sha256 = signed.hashes["sha256"]
    path = blob_file(state.channel, target, sha256)
    if not path.is_file() or path.is_symlink():
        raise _tampered(f"`{target}` is missing", path)
    if path.stat().st_size != signed.length or sha256_file(path) != sha256:
        raise _tampered(f"`{target}` is not the file that was signed", path)
    return SignedFile(
        name=name, role=role, target=target, path=path, length=signed.length, sha256=sha256
    )


def _expired(state: State, family: str, now: datetime) -> Iterable[str]:
    roles: tuple[tuple[str, Metadata[Any] | None], ...] = (
        ("root", state.root),
        ("timestamp", state.timestamp),
        ("snapshot", state.snapshot),
        ("targets", state.targets),
        (family, state.families[family]),
    )
    for name, metadata in roles:
        if metadata is not None and metadata.signed.is_expired(now):
            yield (
                f"the channel's `{name}` expired at {metadata.signed.expires:%Y-%m-%d %H:%M} UTC: "
                "cameras refuse it until it is signed again"
            )


def _tampered(found: str, place: Path) -> SecurityError:
    return SecurityError(
        f"the channel is not what was published: {found}",
        where=str(place),
        hint="nothing was exported; restore the folder from a copy",
        kind="tampered",
    )
