"""Results on disk, by content: written whole, checked on reading, only successes kept.

files/<aa>/<sha256 of the bytes>    the bytes
keys/<aa>/<key>.json                a record: which files a key gave; written last
slots/<slot>.json                   the ingredients of a slot's last run, to say why it runs
work/<key>/                         checkpoints of a step that has not finished
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit.digest import sha256_file
from toolkit.errors import EnvironmentFailure
from toolkit.run.key import Ingredients, first_difference

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A kept result: file names with the places of their bytes, and the step's facts."""

    key: str
    digests: Mapping[str, str]
    paths: Mapping[str, Path]
    facts: Mapping[str, Any]
    seconds: float


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside, flush to disk, rename: a reader sees the old bytes or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a sentence."""
    try:
        yield
    except OSError as problem:
        if problem.errno is None:
            raise
        raise EnvironmentFailure(
            f"could not write: {problem.strerror}",
            where=str(problem.filename or where),
            hint="free some space or point --cache and --out elsewhere; run again to resume",
        ) from problem


class Store:
    """The cache of one folder. Every method may be called by several processes at once."""

    def __init__(self, root: Path, say: Say = lambda _line: None) -> None:
        self.root = root
        self._say = say

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time works in a store; another waits and says for whom."""
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / "lock").open("a+")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                self._say(f"waiting for another run in {self.root} (process {owner})")
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield  # the kernel frees the lock when the process ends, however it ends

    def find(self, key: str) -> Entry | None:
        """The kept result, if every byte of it is still what was stored."""
        record_path = self._record(key)
        try:
            record = json.loads(record_path.read_text())
            paths = {name: self._file(digest) for name, digest in record["digests"].items()}
            for name, digest in record["digests"].items():
                if sha256_file(paths[name]) != digest:
                    self._say(f"cache: the bytes of `{name}` changed on disk; it is built again")
                    paths[name].unlink()
                    return None
        except (FileNotFoundError, KeyError, json.JSONDecodeError):
            return None
        return Entry(
            key=key,
            digests=record["digests"],
            paths=paths,
            facts=record["facts"],
            seconds=record["seconds"],
        )

    def why(self, slot: str, ingredients: Ingredients) -> str:
        """The first reason why this slot's last result does not serve any more."""
        path = self.root / "slots" / f"{slot}.json"
        if not path.exists():
            return "never run"
        last, now = json.loads(path.read_text()), json.loads(json.dumps(asdict(ingredients)))
        return "its result is not in the cache" if last == now else first_difference(last, now)

    def put(
        self,
        slot: str,
        ingredients: Ingredients,
        folder: Path,
        facts: Mapping[str, Any],
        seconds: float,
    ) -> Entry:
        """Take over every file of `folder`, then write the record, then drop checkpoints."""
        digests = {}
        with disk_errors(self.root):
            for source in sorted(p for p in folder.rglob("*") if p.is_file()):
                digest = sha256_file(source)
                digests[str(source.relative_to(folder))] = digest
                if not self._file(digest).exists():
                    write_atomic(self._file(digest), source.read_bytes())
            record = {"digests": digests, "facts": dict(facts), "seconds": seconds}
            data = json.dumps(record, sort_keys=True, indent=1).encode()
            write_atomic(self._record(ingredients.key), data)
            slot_data = json.dumps(asdict(ingredients), sort_keys=True).encode()
            write_atomic(self.root / "slots" / f"{slot}.json", slot_data)
        shutil.rmtree(self.work(ingredients.key), ignore_errors=True)
        found = self.find(ingredients.key)
        assert found is not None
        return found

    def work(self, key: str) -> Path:
        """Where a step keeps its checkpoints until it has succeeded."""
        return self.root / "work" / key

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the store's disk, gone afterwards."""
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.root, prefix="tmp-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def materialise(self, entry: Entry, folder: Path) -> None:
        """Lay an entry's files out under their names; changing them cannot harm the store."""
        with disk_errors(folder):
            for name, source in entry.paths.items():
                goal = folder / name
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, goal)

    def _file(self, digest: str) -> Path:
        return self.root / "files" / digest[:2] / digest

    def _record(self, key: str) -> Path:
        return self.root / "keys" / key[:2] / f"{key}.json"
