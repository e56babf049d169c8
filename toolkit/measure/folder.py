"""A folder on the device for one run: files linked in, a program run, results fetched, removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.contracts import Finished
from toolkit.digest import sha256_file
from toolkit.errors import EnvironmentFailure, ToolkitError
from toolkit.measure.lock import CLEAN, LEASE_S
from toolkit.measure.shelf import Shelf, refuse_lost_lock
from toolkit.measure.words import marked, plain

FIRST_LINE = "edgesr-job 1"
STEP_S = 120.0  # to link files or to remove a folder
DEVICE_GRACE_S = 15.0  # the device's own limit comes after the runner's, which puts things back
HOST_GRACE_S = 30.0  # and the host's after the device's
PIECE_S = 450.0  # for one piece at 50 kB/s
PIECE_MB = 16  # fetched at once; below what a link reads into memory
_PLACE = """\
echo 'edgesr-job 1'
place() { ln "$root/files/$1" "$2" 2>/dev/null || cp "$root/files/$1" "$2"; }
"""
# A result's size and digest on lines of their own, an empty line, then its first bytes.
_RESULT = """\
echo 'edgesr-job 1'
if [ -f "$result" ] && [ ! -L "$result" ]; then
  set -- $(wc -c < "$result"); echo "size=$1"; echo "found=$(sum_of "$result")"; echo
  if [ "$1" -le "$most" ]; then READ; fi
fi
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
        limit = round(timeout_s + DEVICE_GRACE_S)
        program = " ".join(shlex.quote(word) for word in words)
        limited = f"timeout {limit} {program}" if shelf.probe.has_timeout else program
        body = (
            f'cd "$root/jobs/{self.name}" || exit 1\n'
            "TMPDIR=$PWD; EDGESR_HOME=$root; PYTHONDONTWRITEBYTECODE=1\n"
            "export TMPDIR EDGESR_HOME PYTHONDONTWRITEBYTECODE\n"
            f"{limited} < /dev/null\n"
            "exit $?"  # no `exec`: a signal that kills the program is told as 128 + its number
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
        url = self.shelf.link.url
        size, digest, first = self._result(name, most_bytes)
        with tempfile.TemporaryDirectory(dir=local.parent, prefix=f".{local.name}.") as beside:
            part = Path(beside) / "part"
            with part.open("wb") as file:
                file.write(first)
                for index in range(1, -(-size // (PIECE_MB << 20))):
                    file.write(self._piece(name, index))
                file.flush()
                os.fsync(file.fileno())
            if part.stat().st_size != size or sha256_file(part) != digest:
                raise EnvironmentFailure(
                    f"`{name}` arrived changed from the device: its SHA-256 differs",
                    where=url,
                    hint="run the same command again",
                )
            part.replace(local)

    def _result(self, name: str, most_bytes: int) -> tuple[int, str, bytes]:
        """Size, SHA-256 and the first bytes of a result, as the device states them."""
        shelf = self.shelf
        script = _RESULT.replace("READ", _read('"$result"', 0))
        body = f"result={self._path(name)}; most={most_bytes}\n{script}"
        done = shelf.again(lambda: shelf.ask(body, timeout_s=PIECE_S))
        head, _, first = done.stdout.partition(b"\n\n")
        values = marked(replace(done, stdout=head), FIRST_LINE, shelf.link.url)
        size = values.get("size", "")
        if not (size.isascii() and size.isdigit()) or not 0 < int(size[:18]) <= most_bytes:
            found = f"{size[:18]} bytes" if size.isdigit() else "nothing"
            raise EnvironmentFailure(
                f"the device should have written `{name}` of at most {most_bytes} bytes, "
                f"found {found}",
                where=shelf.link.url,
                hint="the run is discarded",
            )
        return int(size), values.get("found", ""), first

    def _piece(self, name: str, index: int) -> bytes:
        shelf = self.shelf
        script = _read(self._path(name), index)
        return shelf.again(lambda: shelf.ask(script, timeout_s=PIECE_S)).stdout

    def _path(self, name: str) -> str:
        return f'"$root/jobs/{self.name}/"{shlex.quote(name)}'


def _read(path: str, index: int) -> str:
    """One piece of a file on stdout; every device has these two, not every one has `dd`."""
    first, count = index * (PIECE_MB << 20) + 1, PIECE_MB << 20
    return f"tail -c +{first} {path} 2>/dev/null | head -c {count}"


@contextlib.contextmanager
def job_folder(
    shelf: Shelf,
    files: Mapping[str, Path],
    *,
    job: bytes = b"",
    passing: Mapping[str, Path] | None = None,
) -> Iterator[JobFolder]:
    """A fresh folder with `files` by name and, where given, `job.json`; removed on the way out.

    `passing` are files that nobody will ask for again: they do not stay on the device. After a
    lost link the folder stays until the device is given back, or the next visit. Raises
    ValueError for a name that is not plain; what `Shelf.put` raises.
    """
    passing = passing or {}
    named = {**files, **passing}
    for name in named:
        if Path(name).name != name or not name.isprintable() or name.startswith("-"):
            raise ValueError(f"`{name}` is no plain file name")
    folder = JobFolder(shelf=shelf, name=secrets.token_hex(8))
    placed = dict(zip(named, shelf.put(list(named.values())), strict=True))
    try:
        _make(folder, placed, job)
        yield folder
    finally:
        digests = [placed[name] for name in passing]
        with contextlib.suppress(ToolkitError):
            _remove(folder, digests)


def _make(folder: JobFolder, placed: Mapping[str, str], job: bytes) -> None:
    shelf = folder.shelf
    lines = [f"place {digest} {shlex.quote(name)} || exit 1" for name, digest in placed.items()]
    body = (
        f'{_PLACE}mkdir "$root/jobs/{folder.name}" && cd "$root/jobs/{folder.name}" || exit 1\n'
        + "\n".join(lines)
        + ("\ncat > job.json || exit 1" if job else "")
        + "\necho state=made"
    )
    done = shelf.ask(body, timeout_s=STEP_S, stdin=job)
    values = marked(done, FIRST_LINE, shelf.link.url)
    if values.get("state") != "made":
        raise EnvironmentFailure(
            f"could not lay out the files on the device (exit {done.code}): {plain(done.stderr)}",
            where=shelf.link.url,
            hint=f"look at its free space: `edgesr devices {shelf.link.url}`",
        )


def _remove(folder: JobFolder, digests: Sequence[str]) -> None:
    shelf = folder.shelf
    files = " ".join(f'"$root/files/{digest}"' for digest in digests)
    body = f'{CLEAN}end_jobs; rm -rf "$root/jobs/{folder.name}" {files}'
    for digest in digests:
        shelf.checked.pop(digest, None)
    shelf.ask(body, timeout_s=STEP_S)
