"""Exports on disk: whole under their name or not there; what is there is never changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from toolkit.digest import sha256_file
from toolkit.errors import SecurityError, UserError
from toolkit.exporting.signed_release import SignedFile
from toolkit.writing import FILE_MODE, FOLDER_MODE, explained, locked, sync

PART = ".part"


def place(
    out: Path,
    fill: Callable[[Path], None],
    *,
    created_s: int,
    alike: Callable[[Path, Path], bool] | None = None,
) -> bool:
    """Let `fill` make a file or a folder, then give it the name `out`; False: it was there already.

    `fill` works in a folder of its own beside the goal, which the next export removes where this
    one is killed. `alike` says whether what was made and what is there differ in nothing but a
    signature; they are compared byte for byte where it is None. All times of the files become
    `created_s`.
    Raises UserError where something else is there, EnvironmentFailure for a disk that is full or
    not writable.
    """
    out = out.absolute()
    work = out.with_name(f".{out.name}{PART}")
    with locked(out.parent), explained(out):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            made = work / out.name
            fill(made)
            if os.path.lexists(out):
                _refuse_other(made, out, alike)
                return False
            _settle(made, created_s)
            made.rename(out)
            sync(out.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return True


def _refuse_other(made: Path, out: Path, alike: Callable[[Path, Path], bool] | None) -> None:
    if contents(made) != contents(out) and not (alike and out.is_file() and alike(made, out)):
        raise UserError(
            "something else is there already",
            where=str(out),
            hint="move it away, or choose another --out",
        )


def copy(file: SignedFile, goal: Path) -> None:
    """A release's file under another name; its digest is checked once more as it lies there.

    Raises SecurityError where it changed since the channel was read.
    """
    with explained(goal):
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path, goal)
    if sha256_file(goal) != file.sha256:
        raise SecurityError(
            f"`{file.target}` changed while it was exported",
            where=str(file.path),
            hint="nothing was exported; restore the channel from a copy",
            kind="tampered",
        )


def contents(place: Path) -> dict[str, str]:
    """What lies there: SHA-256 by path below it; a link, which no export has, equals nothing."""
    if place.is_symlink():
        return {"": "link"}
    if place.is_file():
        return {"": sha256_file(place)}
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_symlink():
            found[name] = "link"
        else:
            found[name] = "folder" if path.is_dir() else sha256_file(path)
    return found


def _settle(made: Path, created_s: int) -> None:
    """Modes and times that do not depend on who exports, and every byte on the disk."""
    below = sorted(made.rglob("*"), reverse=True) if made.is_dir() else []
    for path in [*below, made]:  # a folder's time after its files'
        path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)
        os.utime(path, (created_s, created_s))
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
