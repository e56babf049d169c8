"""Which devices there are, what they have, and who is at work on them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.contracts import Link, LinkOptions
from toolkit.errors import DeviceBusy, EnvironmentFailure, ToolkitError, UserError
from toolkit.measure.board import RUNTIMES, install_hint, linked, missing_for
from toolkit.measure.lock import CLEAN, LOCK_S, Holder, Say, holder_of, release, take
from toolkit.measure.probe import ROOT, Probe, probe
from toolkit.measure.words import plain
from toolkit.spec.read_recipe import read_recipe

AT_ONCE = 8  # devices that are asked side by side
_FORGET = 'rm -rf "${root:?}/files" "${root:?}/jobs" "${root:?}/engines"\n'


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One device, or why it cannot be used."""

    url: str
    found: Probe | None
    holder: Holder | None  # who is at work on it
    problem: ToolkitError | None
    note: str = ""

    @property
    def state(self) -> str:
        """`free`, `busy: ...`, `unreachable: ...`, or `unusable: ...` for a URL that is none."""
        if isinstance(self.problem, UserError):
            return f"unusable: {self.problem.problem}"
        if isinstance(self.problem, DeviceBusy):
            return f"busy: {self.problem.problem.removeprefix('the device is busy: ')}"
        if self.problem is not None:
            return f"unreachable: {self.problem.problem}"
        if self.holder is not None and not self.holder.is_over:
            return f"busy: {self.holder.owner} for {self.holder.age}"
        return f"free{f' ({self.note})' if self.note else ''}"

    @property
    def runtimes(self) -> list[str]:
        """Runtimes that the runner can use there, with their versions."""
        if self.found is None:
            return []
        usable = [name for name in RUNTIMES if not missing_for(self.found, name)]
        packages = self.found.packages
        return [
            f"{package} {packages[package]}"
            for name in usable
            for package in RUNTIMES[name]
            if package in packages
        ] + sorted(self.found.tools)

    @property
    def missing(self) -> list[str]:
        """What the runner lacks there for one runtime or another, in words."""
        return [] if self.found is None else missing_for(self.found, *RUNTIMES)

    @property
    def hint(self) -> str:
        """What to do: about the problem, or the line that installs what is missing."""
        if self.problem is not None:
            return self.problem.hint
        if self.found is None or not self.missing:
            return ""
        return install_hint(self.found, *RUNTIMES)

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        found, problem = self.found, self.problem
        return {
            "url": self.url,
            "state": self.state.partition(":")[0].partition(" ")[0],
            "device": None if found is None else asdict(found.device),
            "free_mb": None if found is None else found.free_mb,
            "folder": None if found is None else found.root,
            "python": None if found is None else found.python,
            "packages": {} if found is None else dict(found.packages),
            "tools": {} if found is None else dict(found.tools),
            "runtimes": self.runtimes,
            "holder": None if self.holder is None else asdict(self.holder),
            "missing": self.missing,
            "problem": None if problem is None else problem.problem,
            "hint": self.hint or None,
        }


def unnamed() -> list[str]:
    """URLs of devices that can be seen from here, and of those that ./recipes names."""
    urls: list[str] = []
    for name in plugins.names("links"):
        urls += plugins.load("links", name).present()
    for file in sorted(Path("recipes").glob("*.yaml")):
        try:
            urls += read_recipe(file).devices.values()
        except ToolkitError:
            continue  # `edgesr check` says what is wrong with a recipe
    return sorted(set(urls), key=lambda url: (url != "local:", url))


def survey(urls: Sequence[str], options: LinkOptions) -> list[Seen]:
    """Ask devices what they are, several at once; one that cannot be reached spoils nothing."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda url: _seen(url, options), urls))


def clean(url: str, options: LinkOptions, *, wait_s: float, say: Say) -> Seen:
    """Remove what earlier runs left on a device, files by digest included; its lock is taken.

    A virtual environment `venv` in the folder is the user's, an `emulated` one is another
    device: both stay.
    """
    try:
        with linked(url, options) as link:
            lock = take(link, wait_s=wait_s, say=say)
            try:
                _forget(link)
            finally:
                release(link, lock, say)
            return _asked(link, note="cleaned")
    except ToolkitError as problem:
        return Seen(url=url, found=None, holder=None, problem=problem)


def _forget(link: Link) -> None:
    done = link.run(f"{ROOT}{CLEAN}end_jobs\n{_FORGET}", timeout_s=LOCK_S)
    if done.code != 0:
        raise EnvironmentFailure(
            f"the device could not remove everything: {plain(done.stderr)}", where=link.url
        )


def _seen(url: str, options: LinkOptions) -> Seen:
    try:
        with linked(url, options) as link:
            return _asked(link)
    except ToolkitError as problem:
        return Seen(url=url, found=None, holder=None, problem=problem)


def _asked(link: Link, note: str = "") -> Seen:
    found = probe(link)
    holder = None
    if found.lock is not None:
        holder = holder_of(found.lock, now_s=found.now_s, boot=found.boot)
        if holder is not None and holder.is_over:
            note, holder = f"{holder.owner} left a lock: {holder.reason}", None
    return Seen(url=link.url, found=found, holder=holder, problem=None, note=note)
