"""What a channel offers, verified: the way from a root that a camera was built with to a file.

    trusted = refresh("https://cdn/channel", store / "metadata", root, family="street", ...)
    trusted.target("street/index.json")    # its URL, length and SHA-256, all signed

Metadata is verified by python-tuf (TUF specification 1.0). It is imported inside the functions: a
camera that only shows its status does not pay for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from toolkit.errors import EnvironmentFailure, UserError
from toolkit.pull import clock
from toolkit.pull.clock import Clock
from toolkit.pull.disk import failure_of
from toolkit.pull.kept import Kept, is_family
from toolkit.release import DIGEST, INDEX, target_path

if TYPE_CHECKING:
    from tuf.api.metadata import DelegatedRole, Signed, TargetFile

    from toolkit.pull.fetch import Http
    from toolkit.pull.workflow import Workflow

SCRATCH = "edgesr-metadata"
ROLES = ("timestamp", "snapshot", "targets")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One file of a channel: where it lies and what it must be, both signed."""

    path: str  # as TUF names it: "street/8/release.json"
    url: str
    length: int  # bytes
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """What a channel offers one family, verified and in date."""

    family: str
    clock: Clock  # after what the signed metadata says about the time
    targets: Mapping[str, Target]  # of the family, by TUF path

    def target(self, path: str) -> Target | None:
        """The file at a TUF path; None where the family has none."""
        return self.targets.get(path)


def refresh(
    channel: str,
    metadata: Path,
    root: bytes,
    *,
    family: str | None,
    served: str | None = None,
    http: Http,
    floor: datetime,
    on_state: Callable[[str, str], None] = lambda state, phase: None,
    say: Callable[[str], None] = lambda line: None,
) -> Trusted:
    """Bring the trusted metadata of a camera up to date and read what the family offers.

    channel: URL of the folder that holds metadata/ and targets/. metadata: the camera's folder of
    trusted metadata, which only ever moves forward, each file replaced as a whole; a damaged one is
    fetched afresh. root: the root metadata that the camera was built with. family: None
    for that of the model that is `served`, so that a second family on a channel stops no camera, or
    else for the only one. floor: a time that has passed for sure, UTC. on_state: told each state of
    `root timestamp snapshot targets family` with "before", "in" (halfway through replacing its
    file) and "after". say: told in a line what was mended.

    A channel without news costs two requests. Raises SecurityError (`unsigned`, `wrong-key`,
    `threshold`, `tampered`, `rollback`, `freeze`, `mix-and-match`, `endless-data`, `malformed`),
    EnvironmentFailure (`clock`, `missing`, `disk-full`, `read-only`, `store`, and what `http`
    raises) and UserError (`root`, or a family that must be named).
    """
    from toolkit.pull.workflow import Workflow

    with _scratch() as scratch:
        kept = Kept(folder=metadata)
        workflow = Workflow(
            url=f"{channel.rstrip('/')}/metadata",
            kept=kept,
            scratch=Path(scratch),
            http=http,
            clock=clock.read(floor),
            ascii_only=True,
            on_state=on_state,
            say=say,
        )
        workflow.refresh(root, [*ROLES, *filter(is_family, kept.names())])
        return _trusted(workflow, channel, family, served)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Where python-tuf works, in memory on most cameras: some 100 kB, gone afterwards."""
    try:
        _sweep(Path(tempfile.gettempdir()))
        return tempfile.TemporaryDirectory(prefix=f"{SCRATCH}-{os.getpid()}-")
    except OSError as error:
        failure = failure_of(error, Path(os.environ.get("TMPDIR", "/tmp")))
        failure.hint = "let TMPDIR name a folder for small temporary files"
        raise failure from error


def _sweep(folder: Path) -> None:
    """Remove what runs left there that were killed: memory is short where it lies in memory."""
    for left in folder.glob(f"{SCRATCH}-[1-9]*-*"):
        with contextlib.suppress(OSError, ValueError):
            is_ours = left.lstat().st_uid == os.geteuid()
            if is_ours and not _runs(int(left.name.split("-")[-2])):
                shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _trusted(workflow: Workflow, channel: str, wanted: str | None, served: str | None) -> Trusted:
    delegated = _delegated(workflow)
    if wanted is None and served in delegated:
        wanted = served
    family = _chosen(wanted, sorted(delegated), channel)
    workflow.find(target_path(family, INDEX))
    workflow.check_delegated(family)
    prefixed = bool(workflow.verified.root.consistent_snapshot)
    return Trusted(
        family=family,
        clock=workflow.clock,
        targets={
            path: _target(channel, path, file, prefixed)
            for path, file in _files(workflow.verified.signed(family)).items()
            if delegated[family].is_delegated_path(path)
            and DIGEST.fullmatch(file.hashes.get("sha256", ""))
        },
    )


def _delegated(workflow: Workflow) -> Mapping[str, DelegatedRole]:
    """The families of a channel: the roles that `targets` delegates to by name."""
    from tuf.api.metadata import Targets

    targets = workflow.verified.signed("targets")
    delegations = targets.delegations if isinstance(targets, Targets) else None
    roles = delegations.roles if delegations is not None else None
    return {name: role for name, role in (roles or {}).items() if is_family(name)}


def _chosen(wanted: str | None, families: Sequence[str], channel: str) -> str:
    shown = ", ".join(families[:20]) or "none"
    if wanted is None and len(families) == 1:
        return families[0]
    if wanted is None and families:
        raise UserError(
            f"the channel has {len(families)} families",
            where=channel,
            hint=f"name one with --family: {shown}",
        )
    if wanted is None or wanted not in families:
        named = "family" if wanted is None else f"family `{wanted}`"
        raise EnvironmentFailure(
            f"the channel has no {named}", where=channel, hint=f"it has: {shown}", kind="missing"
        )
    return wanted


def _files(signed: Signed) -> Mapping[str, TargetFile]:
    from tuf.api.metadata import Targets

    return signed.targets if isinstance(signed, Targets) else {}


def _target(channel: str, path: str, file: TargetFile, prefixed: bool) -> Target:
    folder, _, name = path.rpartition("/")
    sha256 = file.hashes["sha256"]
    stored = f"{folder}/{sha256}.{name}" if prefixed else path
    url = f"{channel.rstrip('/')}/targets/{quote(stored)}"
    return Target(path=path, url=url, length=file.length, sha256=sha256)
