"""Files that are whole or not there, on FAT as well: no links, no modes, no case."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import EnvironmentFailure

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# Some file systems (FAT over FUSE, CIFS) cannot sync a folder; renaming is all there is then.
NO_FOLDER_SYNC = (errno.EINVAL, errno.EACCES, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)
STAYS = "the present model stays"


def nothing() -> None:
    """Where nobody wants to hear of the middle of a write."""


def failure_of(error: OSError, where: Path) -> EnvironmentFailure:
    """What a failed system call means: kind `disk-full`, `read-only` or `store`."""
    place = str(error.filename or where)
    if error.errno in FULL:
        return EnvironmentFailure(
            "no space is left", where=place, hint=f"free some; {STAYS}", kind="disk-full"
        )
    if error.errno in CLOSED:
        told = "the file system is read-only" if error.errno == errno.EROFS else "not permitted"
        hint = f"the store must be writable for this user; {STAYS}"
        return EnvironmentFailure(told, where=place, hint=hint, kind="read-only")
    hint = f"look at the medium (`dmesg`); {STAYS}"
    told = error.strerror or str(error)
    return EnvironmentFailure(f"the store failed: {told}", where=place, hint=hint, kind="store")


@contextlib.contextmanager
def telling(where: Path) -> Iterator[None]:
    """System calls whose failures become EnvironmentFailure `disk-full`, `read-only`, `store`."""
    try:
        yield
    except OSError as error:
        raise failure_of(error, where) from error


def open_part(path: Path, *, keep: bool) -> BinaryIO:
    """A file to append to, emptied unless `keep`; a link in its place is never followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if keep else os.O_TRUNC)
    return os.fdopen(os.open(path, flags, 0o644), "ab" if keep else "wb")


def settle(part: BinaryIO) -> None:
    """Have everything written so far on the medium."""
    part.flush()
    os.fsync(part.fileno())


def put_in_place(part: Path, path: Path) -> None:
    """A finished file gets its final name, for good."""
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the medium, where its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, within: Callable[[], None] = nothing) -> None:
    """New content for a small file: all of it or none, whenever the power goes.

    `within` is called when the content is written and the name still stands for the old one.
    Raises EnvironmentFailure `disk-full`, `read-only`, `store`.
    """
    part = part_of(path)
    with telling(path):
        with open_part(part, keep=False) as stream:
            stream.write(data)
            settle(stream)
        within()
        put_in_place(part, path)


def part_of(path: Path) -> Path:
    """Where a file grows before it has its name."""
    return path.with_name(path.name + ".part")


def read_small(path: Path, most_bytes: int) -> bytes | None:
    """A plain file's bytes; None where it is missing, larger, a link, a pipe, or unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as stream:
        try:
            data = stream.read(most_bytes + 1)
        except OSError:
            return None
    return data if len(data) <= most_bytes else None


def free_bytes(folder: Path) -> int:
    """What this user may still write there. Raises EnvironmentFailure `store`."""
    with telling(folder):
        found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
