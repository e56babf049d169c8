"""Files on a device by their digest: sent once, checked before each use."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
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
TOLD_BYTES = 1_000_000  # what is sent at once even over a slow link needs no words
TRIES = 3  # a push over a link that was lost; then it is not the moment
# Each digest is `there` as a file or as a part that arrived whole, else what lies there is removed.
_SETTLE = """\
echo 'edgesr-file 1'
for digest in $digests; do
  file="$root/files/$digest" part="$root/files/$digest.$token.part" found=
  if [ -f "$file" ] && [ "$(sum_of "$file")" != "$digest" ]; then rm -f "$file"; fi
  if [ ! -f "$file" ] && [ -f "$part" ]; then
    found=$(sum_of "$part")
    if [ "$found" = "$digest" ]; then mv "$part" "$file"; else rm -f "$part"; fi
  fi
  if [ -f "$file" ]; then echo "there.$digest=yes"; else echo "there.$digest=$found"; fi
done
echo "free_kb=$(free_kb "$root/files")"
"""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The files of one locked device."""

    link: Link
    probe: Probe
    lock: Lock
    say: Say
    checked: dict[str, Path] = field(default_factory=dict)  # what is there, by digest

    def script(self, body: str, *, lease_s: float = LEASE_S) -> str:
        """A script that stops where the lock was lost, and holds it for longer where not."""
        return (
            f"{ROOT}sum_of() {{ {_hash(self.probe, self.link.url)}; }}\n"
            f"{self.lock.renewed(lease_s)}{body}"
        )

    def ask(self, body: str, *, timeout_s: float, stdin: bytes = b"") -> Finished:
        """Run a script under the lock; the messages for a lost lock and a full disk are here."""
        script = self.script(body, lease_s=timeout_s + LEASE_S)
        done = self.link.run(script, timeout_s=timeout_s, stdin=stdin)
        refuse_lost_lock(done, self.link.url)
        return done

    def again(self, step: Callable[[], T]) -> T:
        """Do something that a lost link does not spoil, up to three times."""
        for attempt in range(1, TRIES):
            try:
                return step()
            except LinkLost as lost:
                self.say(f"{self.link.url}: {lost.problem}; trying again ({attempt + 1}/{TRIES})")
        return step()

    def put(self, paths: Sequence[Path]) -> list[str]:
        """Have the bytes of files on the device; returns their SHA-256.

        Raises EnvironmentFailure where there is no room, LinkLost after three lost links,
        SecurityError where the bytes arrive changed, twice.
        """
        digests = [sha256_file(path) for path in paths]
        wanted = {
            digest: path
            for digest, path in zip(digests, paths, strict=True)
            if digest not in self.checked
        }
        if wanted:
            self.again(lambda: self._put(wanted))
            self.checked.update(wanted)
        return digests

    def _put(self, wanted: Mapping[str, Path]) -> None:
        found, free_kb = self._settled(wanted)
        absent = {digest: path for digest, path in wanted.items() if found[digest] != "yes"}
        if absent:
            self._refuse_full(free_kb, absent)
        for is_last in (False, True):
            for digest, path in absent.items():
                self._send(path, digest)
            if not absent:
                return
            found, _ = self._settled(absent)
            absent = {digest: path for digest, path in absent.items() if found[digest] != "yes"}
            for digest, path in absent.items():
                if is_last:
                    raise _changed(self.link.url, path, digest, found[digest])
                self.say(f"{self.link.url}: {path.name} arrived changed; sending it again")

    def _settled(self, wanted: Mapping[str, Path]) -> tuple[dict[str, str], str]:
        """What each digest is on the device: `yes`, or the digest of what arrived instead."""
        body = f"digests={shlex.quote(' '.join(wanted))}\n{_SETTLE}"
        done = self.ask(body, timeout_s=CHECK_S + _sending_s(wanted))
        values = marked(done, FIRST_LINE, self.link.url)
        found = {digest: values.get(f"there.{digest}") for digest in wanted}
        if done.code != 0 or None in found.values():
            raise EnvironmentFailure(
                f"files on the device could not be checked (exit {done.code}): "
                f"{plain(done.stderr)}",
                where=self.link.url,
                hint=f"look at the device by hand: `{plain(self.root)}`",
            )
        shown = {digest: plain(str(word), 64) for digest, word in found.items()}
        return shown, values.get("free_kb", "")

    def _send(self, path: Path, digest: str) -> None:
        size = path.stat().st_size
        if size >= TOLD_BYTES:
            self.say(f"sending {path.name} to {self.link.url}, {size / 1e6:.1f} MB")
        remote = f"{self.root}/files/{digest}.{self.lock.token}.part"
        # what arrived of a file that failed goes at the next check, or with the lock
        self.link.push(path, remote, timeout_s=CHECK_S + _sending_s({digest: path}))

    @property
    def root(self) -> str:
        """The folder on the device under which everything of ours lives."""
        return self.probe.root

    def _refuse_full(self, free_kb: str, absent: Mapping[str, Path]) -> None:
        if not (free_kb.isascii() and free_kb.isdigit()):
            return  # the device does not tell; then it says so itself when it is full
        size = sum(path.stat().st_size for path in absent.values())
        free_mb, needed_mb = int(free_kb[:15]) / 1024, size / (1 << 20) + SPARE_MB
        if free_mb < needed_mb:
            names = ", ".join(path.name for path in absent.values())
            raise EnvironmentFailure(
                f"no room on the device for {names}: {needed_mb:.1f} MB are needed with a spare, "
                f"{free_mb:.1f} MB are free in `{plain(self.root)}`",
                where=self.link.url,
                hint=f"`edgesr devices {self.link.url} --clean` removes what earlier runs sent, or "
                "set EDGESR_HOME on the device to a folder with more room",
            )


def _sending_s(files: Mapping[str, Path]) -> float:
    return sum(path.stat().st_size for path in files.values()) / SLOWEST_BYTES_PER_S


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
