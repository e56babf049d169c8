"""One run of TUF's client workflow: python-tuf decides; we fetch, date, keep and explain.

python-tuf's Updater works in a folder in memory. Whatever role it has verified is dated by our own
clock and then copied to the camera's store, one file at a time, before the next role is fetched: a
run that fails later, or dies, has not forgotten which versions it has seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, TargetFile
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from toolkit.errors import EnvironmentFailure, SecurityError, ToolkitError, UserError
from toolkit.pull import verdicts
from toolkit.pull.clock import Clock, signed_at, system_now
from toolkit.pull.disk import failure_of
from toolkit.pull.fetch import Http, HttpStatus
from toolkit.pull.kept import Kept, is_family, root_name
from toolkit.pull.needed import unusable
from toolkit.pull.stored import Stored
from toolkit.pull.strict_json import parse_metadata
from toolkit.pull.verdicts import TOP
from toolkit.pull.verified import Verified, asked_for, file_of

# Bytes that are read of each file at most; python-tuf's own limits.
MOST_BYTES = {"root": 512_000, "timestamp": 16_384, "snapshot": 2_000_000}
TARGETS_MOST_BYTES = 5_000_000
ROOTS_MOST = 256  # rotations that one run follows; python-tuf's own limit
OVER_BYTES = 16_384  # read beyond a signed length, to tell another signed file from endless data
ABSENT = (403, 404)  # object stores answer 403 for what is not there
FORESEEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError)  # of hostile text


class _Updater(Updater):
    def _update_root_symlink(self) -> None:
        """Nothing: only a start without a given root reads that link, and FAT has no links."""


class Workflow(FetcherInterface):
    """TUF's client workflow over an `Http`; made for one run.

    `on_state(state, phase)` is told "before" a role is asked for, "in" the middle of replacing its
    file, and "after". Only ToolkitErrors leave it.
    """

    def __init__(
        self,
        *,
        url: str,
        kept: Kept,
        scratch: Path,
        http: Http,
        clock: Clock,
        ascii_only: bool,
        on_state: Callable[[str, str], None],
        say: Callable[[str], None],
    ) -> None:
        self.url = url.rstrip("/")
        self.clock = clock
        self.verified = Verified(scratch)
        self._kept = kept
        self._stored = Stored(kept=kept, ascii_only=ascii_only, say=say)
        self._http = http
        self._ascii_only = ascii_only
        self._on_state = on_state
        self._say = say
        self._updater: Updater | None = None
        self._asked = ("root", 1)  # role and version of the file that is being fetched
        self._at = self.url
        self._body = b""
        self._before: bytes | None = None  # of that role, what was stored
        self._given_version = 0  # of the root that the chain begins with
        self._entered: set[str] = set()
        self._passed: set[str] = set()

    def refresh(self, root: bytes, roles: Sequence[str]) -> None:
        """Bring the top-level roles up to date.

        root: the root metadata that this camera was built with. roles: which stored files to use.
        Raises UserError `root` for a root that cannot be used, SecurityError and
        EnvironmentFailure for what `verdicts`, `disk` and `fetch` name.
        """
        with self._explained():
            self._updater = self._started(root, roles)
            self._enter("root")
            self._updater.refresh()
            self._pass_all_before(None)

    def find(self, path: str) -> TargetFile | None:
        """A target, after `refresh`; loads the delegated roles that lead to it."""
        assert self._updater is not None
        with self._explained():
            found = self._updater.get_targetinfo(path)
            self._pass_all_before(None)
        return found

    def check_delegated(self, role: str) -> None:
        """Pass a role below `targets` that `find` has loaded, from the network or the store.

        Raises EnvironmentFailure `missing` where it was not on the way to what was to be found.
        """
        if role in self._passed:
            return
        stored = self.verified.read(role)
        problem = None if stored is None else verdicts.fault(self._scene(role, stored))
        if stored is None or (problem is not None and problem.kind not in ("freeze", "clock")):
            raise EnvironmentFailure(
                f"`targets` of the channel does not lead to the index of `{role}`",
                where=self.url,
                hint=f"{verdicts.STAYS}; tell whoever runs the channel",
                kind="missing",
            )
        if problem is not None:
            raise problem
        self._pass(role)

    # The start

    def _started(self, root: bytes, roles: Sequence[str]) -> Updater:
        try:
            parse_metadata(root, "root.json", ascii_only=self._ascii_only)
            self._given_version = Metadata[Root].from_bytes(root).signed.version
            self._stored.copy_in(self.verified, roles, self._given_version)
            updater = _Updater(
                str(self.verified.folder),
                self.url,
                fetcher=self,
                config=UpdaterConfig(max_root_rotations=ROOTS_MOST),
                bootstrap=root,
            )
        except (SecurityError, RepositoryError, DeserializationError) as error:
            found = error.problem if isinstance(error, ToolkitError) else verdicts.plain(error)
            raise UserError(
                f"the given root metadata cannot be used: {found}",
                hint="it is the root.json that `edgesr keys init` wrote for cameras",
                kind="root",
            ) from error
        self.verified.root_version = self._given_version
        return updater

    # What python-tuf calls

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError("metadata comes by download_bytes")

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """One metadata file. All roles before it are verified by now, so they pass first."""
        role, version = asked_for(url)
        if role == "root":
            self.verified.root_version = version - 1
        else:
            self._pass_all_before(role)
        self._enter(role)
        self._asked, self._at, self._body = (role, version), url, b""
        self._before = self.verified.read(role)
        limit = min(MOST_BYTES.get(role, TARGETS_MOST_BYTES), max_length + OVER_BYTES)
        self._body = self._got(url, limit)
        self._stored.compare(self.verified, role, version, self._body)
        scene = self._scene(role, self._body)
        if len(self._body) > max_length:
            raise verdicts.too_long(scene, max_length)
        parse_metadata(self._body, scene.file, ascii_only=self._ascii_only, where=url)
        return self._body

    def _got(self, url: str, most_bytes: int) -> bytes:
        try:
            return self._http.get(url, most_bytes)
        except HttpStatus as error:
            if self._asked[0] != "root" and error.kind == "missing":
                raise verdicts.absent(self._asked[0], url) from error
            if self._asked[0] != "root" or error.status not in ABSENT:
                raise
            self._pass("root")  # it is the last one; now, as next python-tuf reads what is stored
            raise DownloadHTTPError(str(error), 404) from error

    # From role to role

    def _enter(self, role: str) -> None:
        if role not in self._entered:
            self._entered.add(role)
            self._on_state(_state(role), "before")

    def _pass_all_before(self, role: str | None) -> None:
        """Pass every verified role that comes before `role`; None: all of them."""
        asked = self._asked[0]
        delegated = [asked] if asked not in TOP and asked != role else []
        before = TOP[: TOP.index(role)] if role in TOP else [*TOP, *delegated]
        for one in before:
            if one not in self._passed:
                self._pass(one)

    def _pass(self, role: str) -> None:
        """Date a verified role and keep it."""
        self._enter(role)
        if role == "root":
            self._keep_roots()
            self._drop_unsigned()
        else:
            self._date(role)
            self._keep(role)
        self._passed.add(role)
        self._on_state(_state(role), "after")

    def _keep_roots(self) -> None:
        newer = self._stored.newer_root(self.verified.root)
        if newer is not None:
            trusted = f"version {newer} was trusted before"
            raise verdicts.rolled_back("root", self.verified.root_version, trusted, self._at)
        for version in range(self._given_version + 1, self.verified.root_version + 1):
            data = self.verified.root_bytes(version)
            if data is not None:
                self._kept.write(root_name(version), data)
        self._keep("root")

    def _keep(self, role: str) -> None:
        if self._ascii_only and role not in TOP and not is_family(role):
            return  # no role of a channel; "Timestamp" would replace `timestamp.json` on FAT
        halfway = partial(self._on_state, _state(role), "in")
        self._kept.write(file_of(role), self.verified.must_read(role), halfway)

    def _drop_unsigned(self) -> None:
        """Forget stored roles that the present root's keys do not sign, learn the time of others.

        This is the way back after stolen keys signed versions that no honest role can exceed. Both
        go where the keys of one were changed: each states versions of the other (TUF 5.3.11).
        """
        stored = [role for role in ("timestamp", "snapshot") if self.verified.read(role)]
        dropped = set()
        for role in stored:
            metadata = self.verified.metadata(role)
            scene = self._scene(role, b"")
            problem = verdicts.signature_fault(self.verified.root, scene, metadata, "root")
            if problem is not None:
                self._say(f"the stored `{role}.json` is not signed by this root; it is dropped")
                dropped |= {role} if problem.kind == "tampered" else set(stored)
            elif role == "timestamp":
                self.clock = self.clock.at_least(verdicts.said(metadata.signed))
        for role in dropped:
            self.verified.drop(role)

    def _date(self, role: str) -> None:
        """Judge a verified role by our clock: the Updater knows only the system's."""
        dated: dict[str, Signed] = {role: self.verified.signed(role)}
        if role == "timestamp":
            self.clock = self.clock.at_least(signed_at(dated[role].unrecognized_fields))
            dated = {"root": self.verified.root, **dated}
        for name, one in dated.items():
            if one.is_expired(self.clock.now):
                signed = verdicts.said(self.verified.signed("timestamp"))
                raise verdicts.expired(name, one.expires, self.clock, signed, self._at)

    # When it fails

    def _scene(self, role: str, body: bytes) -> verdicts.Scene:
        return self.verified.scene(role, self._asked[1], self._at, body, self.clock)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Every failure under its one name; what was verified before it is kept."""
        try:
            yield
        except (ToolkitError, RepositoryError, DeserializationError, OSError, *FORESEEN) as error:
            verdict = self._verdict(error)
            with contextlib.suppress(
                ToolkitError, OSError, *FORESEEN
            ):  # the first failure is to be told
                self._keep_verified()
            raise verdict from error

    def _verdict(self, error: Exception) -> ToolkitError:
        if isinstance(error, ToolkitError):
            return error
        if isinstance(error, OSError):
            return failure_of(error, self.verified.folder)
        if not self._body and isinstance(error, FORESEEN):  # nobody else has said a word yet
            return unusable(error)
        self.clock = self.clock.at_least(system_now())  # not behind what python-tuf compared with
        if self._body and not self._is_taken:
            return verdicts.refusal(error, self._scene(self._asked[0], self._body))
        return verdicts.incomplete(error, self._at)

    @property
    def _is_taken(self) -> bool:
        """Whether python-tuf has verified the last file: then it has replaced the one before."""
        return self._before != self._body == self.verified.read(self._asked[0])

    def _keep_verified(self) -> None:
        role = self._asked[0]
        if role == "root" and self.verified.root_version:
            self._keep_roots()
        elif role != "root" and self._is_taken:
            self._pass(role)


def _state(role: str) -> str:
    return role if role in TOP else "family"
