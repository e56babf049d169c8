"""What a channel offers, verified: the way from a root that a camera was built with to a file.

    trusted = refresh("https://cdn/channel", store / "metadata", root, family="street", ...)
    trusted.target("street/index.json")    # its URL, length and SHA-256, all signed

Metadata is verified by python-tuf (TUF specification 1.0). It is imported inside the functions: a
camera that only shows its status does not pay for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from toolkit.errors import EnvironmentFailure
from toolkit.pull import clock
from toolkit.pull.clock import Clock
from toolkit.pull.disk import failure_of
from toolkit.pull.kept import Kept
from toolkit.release import DIGEST, INDEX, target_path

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

    from toolkit.pull.fetch import Http
    from toolkit.pull.workflow import Workflow

ROLES = ("timestamp", "snapshot", "targets")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One file of a channel: where it lies and what it must be, both signed."""

    path: str  # as TUF names it: "street/8/release.json"
    url: str
    length: int  # bytes
    sha256: str


@dataclass(frozen=True, kw_only=True)
class RoleState:
    """One role of the trusted metadata."""

    version: int
    expires: datetime  # UTC


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """What a channel offers one family, verified and in date."""

    family: str | None
    clock: Clock  # after what the signed metadata says about the time
    roles: Mapping[str, RoleState]
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
    http: Http,
    floor: datetime,
    on_state: Callable[[str, str], None] = lambda state, phase: None,
    say: Callable[[str], None] = lambda line: None,
) -> Trusted:
    """Bring the trusted metadata of a camera up to date and read what the family offers.

    channel: URL of the folder that holds metadata/ and targets/. metadata: the camera's folder of
    trusted metadata, which only ever moves forward, each file replaced as a whole; a damaged one is
    fetched afresh. root: the root metadata that the camera was built with. family: None for the
    top-level roles only. floor: a time that has passed for sure, UTC. on_state: told each state of
    `root timestamp snapshot targets family` with "before", "in" (halfway through replacing its
    file) and "after". say: told in a line what was mended.

    A channel without news costs two requests. Raises SecurityError (`unsigned`, `wrong-key`,
    `threshold`, `tampered`, `rollback`, `freeze`, `mix-and-match`, `endless-data`, `malformed`),
    EnvironmentFailure (`clock`, `missing`, `disk-full`, `read-only`, `store`, and what `http`
    raises) and UserError (`root`).
    """
    from toolkit.pull.workflow import Workflow

    with _scratch() as scratch:
        workflow = Workflow(
            url=f"{channel.rstrip('/')}/metadata",
            kept=Kept(folder=metadata),
            scratch=Kept(folder=Path(scratch)),
            http=http,
            clock=clock.read(floor),
            ascii_only=True,
            on_state=on_state,
            say=say,
        )
        return _trusted(workflow, channel, root, family)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="edgesr-")
    except OSError as error:
        raise failure_of(error, Path("/tmp")) from error


def _trusted(workflow: Workflow, channel: str, root: bytes, family: str | None) -> Trusted:
    names = (*ROLES, family) if family else ROLES
    workflow.run(root, names, target_path(family, INDEX) if family else None)
    offered: Mapping[str, TargetFile] = {}
    if family:
        offered = _family(workflow, family)
    states = {one: workflow.signed(one) for one in ("root", *names)}
    prefixed = workflow.consistent
    return Trusted(
        family=family,
        clock=workflow.clock,
        roles={
            name: RoleState(version=one.version, expires=one.expires)
            for name, one in states.items()
        },
        targets={
            path: _target(channel, path, file, prefixed)
            for path, file in offered.items()
            if DIGEST.fullmatch(file.hashes.get("sha256", ""))
        },
    )


def _family(workflow: Workflow, family: str) -> Mapping[str, TargetFile]:
    """The files that a family's role signs within its own folder."""
    from tuf.api.metadata import Targets

    above = workflow.signed("targets")
    delegations = above.delegations if isinstance(above, Targets) else None
    roles = (delegations.roles if delegations else None) or {}
    if family not in roles:
        raise EnvironmentFailure(
            f"the channel has no family `{family}`",
            where=workflow.url,
            hint=f"it has: {', '.join(sorted(roles)) or 'none'}",
            kind="missing",
        )
    workflow.check_delegated(family)
    signed = workflow.signed(family)
    files = signed.targets if isinstance(signed, Targets) else {}
    return {path: file for path, file in files.items() if roles[family].is_delegated_path(path)}


def _target(channel: str, path: str, file: TargetFile, prefixed: bool) -> Target:
    folder, _, name = path.rpartition("/")
    sha256 = file.hashes["sha256"]
    stored = f"{folder}/{sha256}.{name}" if prefixed else path
    url = f"{channel.rstrip('/')}/targets/{quote(stored)}"
    return Target(path=path, url=url, length=file.length, sha256=sha256)
