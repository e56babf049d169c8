"""A folder on the device for one run: files linked in, a program run, results fetched, removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.contracts import Finished
from toolkit.digest import sha256_file
from toolkit.errors import EnvironmentFailure, ToolkitError
from toolkit.measure.lock import CLEAN, LEASE_S
from toolkit.measure.shelf import Shelf, refuse_lost_lock
from toolkit.measure.words import marked, plain

FIRST_LINE = "edgesr-job 1"
STEP_S = 120.0  # to link files or to remove a folder
DEVICE_GRACE_S = 5.0  # the device's own limit comes after the runner's
HOST_GRACE_S = 30.0  # and the host's after the device's
PIECE_MB = 16  # fetched at once; below what a link reads into memory
_PLACE = """\
echo 'edgesr-job 1'
place() { ln "$root/files/$1" "$2" 2>/dev/null || cp "$root/files/$1" "$2"; }
"""
_STATE = """\
echo 'edgesr-job 1'
if [ -f "$result" ] && [ ! -L "$result" ]; then
  set -- $(wc -c < "$result"); echo "size=$1"; echo "found=$(hash "$result")"
fi
echo state=known
"""


@dataclass(frozen=True, kw_only=True)
class JobFolder:
    """A folder under `jobs/` of a locked device."""

    shelf: Shelf
    name: str

    def run(self, words: Sequence[str], *, timeout_s: float) -> Finished:
        """Run a program in the folder, with a time limit on both ends.

        Raises EnvironmentFailure where it takes longer, LinkLost where the device went away.
        """
        shelf = self.shelf
        limit = int(timeout_s + DEVICE_GRACE_S)
        program = " ".join(shlex.quote(word) for word in words)
        limited = f"timeout {limit} {program}" if shelf.probe.has_timeout else program
        body = (
            f'cd "$root/jobs/{self.name}" || exit 1\n'
            f"TMPDIR=$PWD; PYTHONDONTWRITEBYTECODE=1; export TMPDIR PYTHONDONTWRITEBYTECODE\n"
            f"exec {limited} < /dev/null"
        )
        host_s = timeout_s + DEVICE_GRACE_S + HOST_GRACE_S
        done = shelf.link.run(shelf.script(body, lease_s=host_s + LEASE_S), timeout_s=host_s)
        refuse_lost_lock(done, shelf.link.url)
        return done

    def fetch(self, name: str, local: Path, *, most_bytes: int) -> None:
        """Copy a result to `local`, written whole or not at all.

        Raises EnvironmentFailure where it is not there, larger than `most_bytes`, or arrives
        changed.
        """
        size, digest = self._state(name, most_bytes)
        with tempfile.TemporaryDirectory(dir=local.parent, prefix=f".{local.name}.") as beside:
            part = Path(beside) / "part"
            with part.open("wb") as file:
                for piece in range(-(-size // (PIECE_MB << 20))):
                    file.write(self._piece(name, piece))
                file.flush()
                os.fsync(file.fileno())
            if sha256_file(part) != digest:
                raise EnvironmentFailure(
                    f"`{name}` arrived changed from the device: its SHA-256 differs",
                    where=self.shelf.link.url,
                    hint="run the same command again",
                )
            part.replace(local)

    def _state(self, name: str, most_bytes: int) -> tuple[int, str]:
        body = f'result="$root/jobs/{self.name}/"{shlex.quote(name)}\n{_STATE}'
        done = self.shelf.ask(body, timeout_s=STEP_S)
        values = marked(done, FIRST_LINE, self.shelf.link.url)
        size = values.get("size", "")
        if not size.isdigit() or not 0 < int(size[:18]) <= most_bytes:
            found = f"{size} bytes" if size.isdigit() else "nothing"
            raise EnvironmentFailure(
                f"the device should have written `{name}` of at most {most_bytes} bytes, "
                f"found {found}",
                where=self.shelf.link.url,
            )
        return int(size), values.get("found", "")

    def _piece(self, name: str, index: int) -> bytes:
        shelf, path = self.shelf, f'"$root/jobs/{self.name}/"{shlex.quote(name)}'
        read = f"dd if={path} bs=1048576 skip={index * PIECE_MB} count={PIECE_MB} 2>/dev/null"
        done = shelf.again(lambda: shelf.ask(read, timeout_s=STEP_S + PIECE_MB * 20))
        return done.stdout


@contextlib.contextmanager
def job_folder(shelf: Shelf, files: Mapping[str, Path], job: bytes = b"") -> Iterator[JobFolder]:
    """A fresh folder with `files` by name and, where given, `job.json`; removed on the way out.

    After a lost link the folder stays until the device is given back, or the next visit.
    Raises ValueError for a name that is not plain; what `Shelf.put` raises.
    """
    for name in files:
        if Path(name).name != name or not name.isprintable() or name.startswith("-"):
            raise ValueError(f"`{name}` is no plain file name")
    folder = JobFolder(shelf=shelf, name=secrets.token_hex(8))
    placed = {name: shelf.put(path) for name, path in files.items()}
    _make(folder, placed, job)
    try:
        yield folder
    finally:
        with contextlib.suppress(ToolkitError):
            shelf.link.run(
                shelf.script(f'{CLEAN}stop; rm -rf "$root/jobs/{folder.name}"'), timeout_s=STEP_S
            )


def _make(folder: JobFolder, placed: Mapping[str, str], job: bytes) -> None:
    shelf = folder.shelf
    lines = [f"place {digest} {shlex.quote(name)} || exit 1" for name, digest in placed.items()]
    body = (
        f'{_PLACE}mkdir "$root/jobs/{folder.name}" && cd "$root/jobs/{folder.name}" || exit 1\n'
        + "\n".join(lines)
        + ("\ncat > job.json || exit 1" if job else "")
        + "\necho state=made"
    )
    done = shelf.link.run(shelf.script(body), timeout_s=STEP_S, stdin=job)
    refuse_lost_lock(done, shelf.link.url)
    values = marked(done, FIRST_LINE, shelf.link.url)
    if values.get("state") != "made":
        raise EnvironmentFailure(
            f"could not lay out the files on the device (exit {done.code}): {plain(done.stderr)}",
            where=shelf.link.url,
            hint=f"look at its free space: `edgesr devices {shelf.link.url}`",
        )
