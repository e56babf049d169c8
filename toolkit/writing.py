"""Writing that nothing tears: whole files, one writer at a time, and what the disk says."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.digest import sha256_bytes, sha256_file
from toolkit.errors import EnvironmentFailure, SecurityError

FILE_MODE, FOLDER_MODE = 0o644, 0o755  # others may read, e.g. a web server of another user

Say = Callable[[str], None]  # a line for whoever waits
Observer = Callable[[str, str], None]  # "before", "in" (written, not renamed) or "after"; a name


def quiet(_line: str) -> None:
    """Says nothing."""


def make_folder(folder: Path, mode: int = FOLDER_MODE) -> None:
    """A folder with this mode, whatever the umask; one that is there stays as it is."""
    with explained(folder):
        if not folder.is_dir():
            folder.mkdir(parents=True, mode=mode & 0o700)
            folder.chmod(mode)


@contextmanager
def locked(folder: Path, say: Say = quiet) -> Iterator[None]:
    """Hold a folder against other writers, waiting for them; ends with the process.

    The lock is on the folder itself, so no file is left. Raises EnvironmentFailure.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"somebody else writes to {folder}; waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """What the system says of a write, as a sentence."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write: {error.strerror or error}",
            where=str(error.filename or place),
            hint="free some space or make the folder writable; what was there before is unchanged",
        ) from error


def unobserved(_phase: str, _name: str) -> None:
    """An observer that does nothing."""


@dataclass(frozen=True)
class Writer:
    """Writes whole files below a folder; remembers the new ones, so that they can be taken back."""

    top: Path
    on_file: Observer = unobserved
    created: list[Path] = field(default_factory=list)  # files and folders, in order

    def add(self, file: Path, content: bytes | Path, *, sha256: str, mode: int = FILE_MODE) -> None:
        """A new file under a name that is never changed; nothing where it is there already.

        Raises SecurityError where another content has the name.
        """
        if os.path.lexists(file):
            if file.is_symlink() or not file.is_file() or sha256_file(file) != sha256:
                raise SecurityError(
                    "a published file is not what was published under its name",
                    where=str(file),
                    hint="it was changed or damaged; move it away, then run the same again",
                    kind="tampered",
                )
            return
        self._folder(file.parent)
        self.created.append(file)  # before it is there: it may fail between rename and return
        self._write(file, content, mode, sha256)

    def replace(self, file: Path, content: bytes, *, mode: int = FILE_MODE) -> None:
        """A file that has this content from one moment to the next, for good."""
        with explained(file):
            self._folder(file.parent)
            self._write(file, content, mode, sha256_bytes(content))

    def undo(self) -> None:
        """Remove what this writer added, and only that."""
        while self.created:
            path = self.created.pop()
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()

    def _folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(FOLDER_MODE)
            self.created.append(folder)
            sync(folder.parent)

    def _write(self, file: Path, content: bytes | Path, mode: int, sha256: str) -> None:
        name = str(file.relative_to(self.top))
        self.on_file("before", name)
        part = file.with_name(f".{file.name}.part")  # nothing that a client ever asks for
        try:
            _fill(part, content, mode)
            if sha256_file(part) != sha256:
                raise SecurityError("a file changed while it was published", where=str(content))
            self.on_file("in", name)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        sync(file.parent)
        self.on_file("after", name)


def _fill(part: Path, content: bytes | Path, mode: int) -> None:
    part.unlink(missing_ok=True)  # of a killed writer
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as stream:
        os.fchmod(stream.fileno(), mode)  # whatever the umask
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, stream)
        else:
            stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
