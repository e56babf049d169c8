"""An index, a release's manifest and its files: from the store where they are, else fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.pull.disk import (
    STAYS,
    failure_of,
    free_bytes,
    part_of,
    read_small,
    replace_file,
    sync_folder,
    telling,
)
from toolkit.pull.fetch import Http
from toolkit.pull.store import copy_from_stored, folder_of, is_whole
from toolkit.pull.strict_json import parse
from toolkit.release import (
    INDEX,
    INDEX_MAX_BYTES,
    MANIFEST,
    MANIFEST_MAX_BYTES,
    Entry,
    File,
    Index,
    Release,
    read_index,
    read_release,
    target_path,
)

if TYPE_CHECKING:
    from toolkit.pull.trust import Target, Trusted

SPARE_BYTES = 256 << 10  # for pointers, metadata and the file system's own tables
SIGNER = "the present model stays; tell whoever runs the channel"


def index_of(store: Path, trusted: Trusted, family: str, http: Http) -> Index:
    """The verified index of a family; from the store where it is unchanged: that costs no request.

    Raises what `Http.get` and `read_index` do.
    """
    target = _target(trusted, target_path(family, INDEX))
    kept = store / "metadata" / f"{family}.{INDEX}"
    data = _small(kept, target, INDEX_MAX_BYTES, http)
    return read_index(parse(data, INDEX), family)


def manifest_of(
    store: Path, trusted: Trusted, entry: Entry, family: str, http: Http, within: Callable[[], None]
) -> tuple[str, Release]:
    """The id and the verified manifest of one release of the index, stored in its folder.

    Raises what `Http.get` and `read_release` do; SecurityError `mix-and-match` where one of its
    files is not the one that the channel signed under that name.
    """
    target = _target(trusted, entry.manifest)
    folder = folder_of(store, target.sha256)
    with telling(folder):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    data = _small(folder / MANIFEST, target, MANIFEST_MAX_BYTES, http, within)
    release = read_release(parse(data, MANIFEST), entry, family)
    for file in release.fetched:
        signed = _target(trusted, target_path(family, entry.release, file.name))
        if (signed.length, signed.sha256) != (file.length, file.sha256):
            raise SecurityError(
                f"`{file.name}` of release {entry.release} is not the file that the channel signed",
                where=signed.path,
                hint=SIGNER,
                kind="mix-and-match",
            )
    return target.sha256, release


def _target(trusted: Trusted, path: str) -> Target:
    target = trusted.target(path)
    if target is None:
        raise EnvironmentFailure(
            "the channel's metadata does not list it", where=path, hint=SIGNER, kind="missing"
        )
    return target


def _small(
    kept: Path,
    target: Target,
    most_bytes: int,
    http: Http,
    within: Callable[[], None] = lambda: None,
) -> bytes:
    """A verified file that is read into memory, kept for the next poll."""
    if target.length > most_bytes:
        raise SecurityError(
            f"it is {target.length} bytes long, at most {most_bytes} are read",
            where=target.path,
            hint=SIGNER,
            kind="endless-data",
        )
    data = read_small(kept, most_bytes)
    if data is not None and sha256_bytes(data) == target.sha256:
        return data
    data = http.get(target.url, target.length)
    refuse_other(data, target)
    replace_file(kept, data, within)
    return data


def refuse_other(data: bytes, target: Target) -> None:
    """Raises EnvironmentFailure `truncated`, SecurityError `arbitrary-file`."""
    if len(data) < target.length:
        raise EnvironmentFailure(
            f"{len(data)} of {target.length} bytes came", where=target.url, kind="truncated"
        )
    if sha256_bytes(data) != target.sha256:
        raise SecurityError(
            f"the file has SHA-256 {sha256_bytes(data)}, signed is {target.sha256}",
            where=target.url,
            hint=SIGNER,
            kind="arbitrary-file",
        )


def missing_files(store: Path, id: str, release: Release) -> tuple[File, ...]:
    """What of a release is not stored yet, or damaged."""
    folder = folder_of(store, id)
    return tuple(file for file in release.fetched if not is_whole(folder / file.name, file))


def require_space(store: Path, id: str, files: tuple[File, ...]) -> None:
    """Raises EnvironmentFailure `disk-full` before anything is fetched that cannot be kept."""
    folder = folder_of(store, id)
    needed = sum(file.length - _size(part_of(folder / file.name)) for file in files)
    free = free_bytes(store)
    if files and free < needed + SPARE_BYTES:
        raise EnvironmentFailure(
            f"{needed} more bytes are needed and {SPARE_BYTES} to spare, {free} are free",
            where=str(store),
            hint=f"free some space; {STAYS}",
            kind="disk-full",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise failure_of(error, path) from error


def obtain_file(
    store: Path,
    id: str,
    trusted: Trusted,
    path: str,
    file: File,
    http: Http,
    on_bytes: Callable[[int], None],
) -> None:
    """One file of a release under its final name: copied from another release, or fetched."""
    goal = folder_of(store, id) / file.name
    if not copy_from_stored(store, file, goal):
        url = _target(trusted, path).url
        http.download(url, goal, file.length, file.sha256, on_bytes=on_bytes)
