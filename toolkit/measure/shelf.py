"""Files on a device by their digest: sent once, checked before each use."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from toolkit.contracts import Finished, Link
from toolkit.digest import sha256_file
from toolkit.errors import EnvironmentFailure, LinkLost, SecurityError
from toolkit.measure.lock import LEASE_S, Lock, Say
from toolkit.measure.probe import HASHES, ROOT, Probe
from toolkit.measure.words import marked, plain

FIRST_LINE = "edgesr-file 1"
CHECK_S = 120.0  # to hash the largest file on a slow card
SLOWEST_BYTES_PER_S = 50_000  # a link below this is given up
SPARE_MB = 8.0  # left free beside what is sent
TRIES = 3  # a push over a link that was lost; then it is not the moment
_CHECK = """\
echo 'edgesr-file 1'
if [ -f "$file" ]; then
  if [ "$(hash "$file")" = "$digest" ]; then echo state=there; exit 0; fi
  rm -f "$file"
fi
echo "free_kb=$(df -Pk "$root/files" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)"
echo state=absent
"""
_KEEP = """\
echo 'edgesr-file 1'
found=$(hash "$part")
echo "found=$found"
if [ "$found" = "$digest" ]; then
  mv "$part" "$file" && echo state=there
else
  rm -f "$part"; echo state=differs
fi
"""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The files of one locked device."""

    link: Link
    probe: Probe
    lock: Lock
    say: Say
    checked: dict[str, str] = field(default_factory=dict)  # digest -> digest, of this visit

    def script(self, body: str, *, lease_s: float = LEASE_S, digest: str = "") -> str:
        """A script that stops where the lock was lost, and holds it for longer where not."""
        name = f'digest={digest}; file="$root/files/$digest"; part="$file.$token.part"\n'
        return (
            f"{ROOT}hash() {{ {_hash(self.probe, self.link.url)}; }}\n"
            f"{self.lock.renewed(lease_s)}{name if digest else ''}{body}"
        )

    def ask(self, body: str, *, timeout_s: float, digest: str = "") -> Finished:
        """Run a script under the lock; the messages for a lost lock and a full disk are here."""
        script = self.script(body, lease_s=timeout_s + LEASE_S, digest=digest)
        done = self.link.run(script, timeout_s=timeout_s)
        refuse_lost_lock(done, self.link.url)
        return done

    def again(self, step: Callable[[], T]) -> T:
        """Do something that a lost link does not spoil, up to three times."""
        for attempt in range(1, TRIES + 1):
            try:
                return step()
            except LinkLost as lost:
                if attempt == TRIES:
                    raise
                self.say(f"{self.link.url}: {lost.problem}; trying again ({attempt + 1}/{TRIES})")
        raise AssertionError("unreachable")

    def put(self, path: Path) -> str:
        """Have a file's bytes on the device; returns their SHA-256.

        Raises EnvironmentFailure where there is no room, LinkLost after three lost links,
        SecurityError where the bytes arrive changed, twice.
        """
        digest = sha256_file(path)
        if digest not in self.checked:
            self.again(lambda: self._put(path, digest))
            self.checked[digest] = digest
        return digest

    def drop(self, digest: str) -> None:
        """Remove a file that nobody will ask for again."""
        self.checked.pop(digest, None)
        self.ask('rm -f "$file"', timeout_s=CHECK_S, digest=digest)

    def _put(self, path: Path, digest: str) -> None:
        size = path.stat().st_size
        timeout_s = CHECK_S + size / SLOWEST_BYTES_PER_S
        values = self._values(_CHECK, digest, timeout_s)
        if values.get("state") == "there":
            return
        self._refuse_full(values.get("free_kb", ""), size, path)
        self.say(f"{self.link.url}: sending {path.name}, {size / 1e6:.1f} MB")
        remote = f"{self.root}/files/{digest}.{self.lock.token}.part"
        for attempt in (1, 2):
            self._send(path, remote, timeout_s)
            values = self._values(_KEEP, digest, timeout_s)
            if values.get("state") == "there":
                return
            found = plain(values.get("found", ""), 64)
            self.say(f"{self.link.url}: {path.name} arrived with SHA-256 {found}")
            if attempt == 2:
                raise _changed(self.link.url, path, digest, found)

    @property
    def root(self) -> str:
        """The folder on the device under which everything of ours lives."""
        return self.probe.root

    def _send(self, path: Path, remote: str, timeout_s: float) -> None:
        try:
            self.link.push(path, remote, timeout_s=timeout_s)
        except LinkLost:
            raise  # what was sent is removed by the next check, or by whoever comes next
        except EnvironmentFailure:
            self.link.run(f"rm -f {shlex.quote(remote)}", timeout_s=CHECK_S)
            raise

    def _values(self, body: str, digest: str, timeout_s: float) -> dict[str, str]:
        done = self.ask(body, timeout_s=timeout_s, digest=digest)
        values = marked(done, FIRST_LINE, self.link.url)
        if done.code != 0 or "state" not in values:
            raise EnvironmentFailure(
                f"a file on the device could not be checked (exit {done.code}): "
                f"{plain(done.stderr)}",
                where=self.link.url,
            )
        return values

    def _refuse_full(self, free_kb: str, size: int, path: Path) -> None:
        if not (free_kb.isascii() and free_kb.isdigit()):
            return  # the device does not tell; then it says so itself when it is full
        free_mb, needed_mb = int(free_kb[:15]) / 1024, size / (1 << 20) + SPARE_MB
        if free_mb < needed_mb:
            raise EnvironmentFailure(
                f"no room for `{path.name}`: {needed_mb:.1f} MB are needed with a spare, "
                f"{free_mb:.1f} MB are free in `{plain(self.root)}`",
                where=self.link.url,
                hint=f"`edgesr devices {self.link.url} --clean` removes what earlier runs sent, or "
                "set EDGESR_HOME on the device to a folder with more room",
            )


def refuse_lost_lock(done: Finished, url: str) -> None:
    """Raises EnvironmentFailure where a script found the lock gone, or could not renew it."""
    if done.code == 97:
        raise EnvironmentFailure(
            "the device was taken over by somebody else while this run was at work on it",
            where=url,
            hint="run again, with `--wait SECONDS` where it is busy",
        )
    if done.code == 98:
        raise EnvironmentFailure(
            f"the device cannot write into its folder any more: {plain(done.stderr)}",
            where=url,
            hint=f"`edgesr devices {url} --clean` removes what earlier runs sent",
        )


def _hash(probe: Probe, url: str) -> str:
    if probe.hash not in HASHES:
        raise EnvironmentFailure(
            f"the device has nothing to check a file with: none of {', '.join(HASHES)}",
            where=url,
            hint="install one of them (busybox has `sha256sum`); files are never run unchecked",
        )
    python = f"python={shlex.quote(probe.python)}; " if probe.python else ""
    return python + HASHES[probe.hash]


def _changed(url: str, path: Path, digest: str, found: str) -> SecurityError:
    return SecurityError(
        f"`{path.name}` arrived changed, twice: SHA-256 {found} instead of {digest}",
        where=url,
        hint="the device's memory, its card or the link is damaged; nothing was run",
    )
