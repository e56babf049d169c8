"""One run of TUF's client workflow: python-tuf decides; we fetch, date, keep and explain.

python-tuf's Updater works in a folder in memory. Whatever role it has verified is dated by our own
clock and then copied to the camera's store, one file at a time, before the next role is fetched: a
run that fails later, or dies, has not forgotten which versions it has seen.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, TargetFile
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from toolkit.errors import SecurityError, ToolkitError, UserError
from toolkit.pull import verdicts
from toolkit.pull.clock import Clock, signed_at
from toolkit.pull.disk import failure_of
from toolkit.pull.fetch import Http, HttpStatus
from toolkit.pull.kept import Kept, root_name
from toolkit.pull.strict_json import parse
from toolkit.pull.verdicts import TOP, Scene

# Bytes that are read of each file at most; python-tuf's own limits.
MOST_BYTES = {"root": 512_000, "timestamp": 16_384, "snapshot": 2_000_000}
TARGETS_MOST_BYTES = 5_000_000
ROOTS_MOST = 256  # rotations that one run follows; python-tuf's own limit
OVER_BYTES = 16_384  # read beyond a signed length, to tell another signed file from endless data
ABSENT = (403, 404)  # object stores answer 403 for what is not there
_VERSIONED = re.compile(r"([1-9][0-9]{0,15})\.(.+)")


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
        scratch: Kept,
        http: Http,
        clock: Clock,
        ascii_only: bool,
        on_state: Callable[[str, str], None],
        say: Callable[[str], None],
    ) -> None:
        self.clock = clock
        self.url = url.rstrip("/")
        self._kept = kept
        self._scratch = scratch
        self._http = http
        self._ascii_only = ascii_only
        self._on_state = on_state
        self._say = say
        self._asked = ("root", 1)  # role and version of the file that is being fetched
        self._at = self.url
        self._body = b""
        self._given_version = self._root_version = 0  # of the verified chain: first, last
        self._entered: set[str] = set()
        self._passed: set[str] = set()

    def run(self, root: bytes, roles: Sequence[str], path: str | None) -> TargetFile | None:
        """Refresh the top-level roles, then find `path`, loading the roles that it needs.

        root: the root metadata that this camera was built with. roles: which stored files to use.
        Raises UserError `root` for a root that cannot be used, SecurityError and
        EnvironmentFailure for what `verdicts`, `kept` and `fetch` name.
        """
        with self._explained():
            updater = self._started(root, roles)
            self._enter("root")
            updater.refresh()
            found = None if path is None else updater.get_targetinfo(path)
        self._pass_all_before(None)
        return found

    def signed(self, role: str) -> Signed:
        """The metadata of a role that has passed."""
        return Metadata[Any].from_bytes(self._bytes(role)).signed

    @property
    def consistent(self) -> bool:
        """Whether targets lie under names that begin with their digest."""
        return bool(self._signed_root().consistent_snapshot)

    def check_delegated(self, role: str) -> None:
        """Pass a role below `targets` that `run` has loaded, from the network or the store."""
        if role not in self._passed:
            scene = self._scene(role, self._bytes(role))
            problem = verdicts.fault(scene)
            if problem is not None:
                raise problem
            self._pass(role)

    # The start

    def _started(self, root: bytes, roles: Sequence[str]) -> Updater:
        try:
            parse(root, "root.json", ascii_only=self._ascii_only)
            self._given_version = Metadata[Root].from_bytes(root).signed.version
            self._root_version = self._given_version
            self._copy_in(roles)
            return _Updater(
                str(self._scratch.folder),
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

    def _copy_in(self, roles: Sequence[str]) -> None:
        """Give the Updater what is stored; whatever cannot even be read is fetched afresh."""
        chain = [root_name(one) for one in self._kept.root_versions() if one > self._given_version]
        for name in [_file(role) for role in roles] + chain:
            data = self._kept.read(name)
            if data is None:
                continue
            try:
                parse(data, name, ascii_only=self._ascii_only)
                Metadata[Any].from_bytes(data)
            except (SecurityError, DeserializationError):
                self._say(f"the stored `{name}` is damaged; it is fetched afresh")
            else:
                self._scratch.write(name, data)

    # What python-tuf calls

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError("metadata comes by download_bytes")

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """One metadata file. All roles before it are verified by now, so they pass first."""
        role, version = _role_of(url)
        if role == "root":
            self._root_version = version - 1
        else:
            self._pass_all_before(role)
        self._enter(role)
        self._asked, self._at, self._body = (role, version), url, b""
        limit = min(MOST_BYTES.get(role, TARGETS_MOST_BYTES), max_length + OVER_BYTES)
        self._body = self._got(url, limit)
        scene = self._scene(role, self._body)
        if len(self._body) > max_length:
            raise verdicts.too_long(scene, max_length)
        parse(self._body, scene.file, ascii_only=self._ascii_only)
        return self._body

    def _got(self, url: str, most_bytes: int) -> bytes:
        try:
            return self._http.get(url, most_bytes)
        except HttpStatus as error:
            if self._asked[0] == "root" and error.status in ABSENT:
                raise DownloadHTTPError(str(error), 404) from error  # there is no newer root
            raise

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
        self._refuse_older_root()
        for version in range(self._given_version + 1, self._root_version + 1):
            self._kept.write(root_name(version), self._scratch.read(root_name(version)) or b"")
        self._keep("root")

    def _keep(self, role: str) -> None:
        halfway = partial(self._on_state, _state(role), "in")
        self._kept.write(_file(role), self._bytes(role), halfway)

    def _refuse_older_root(self) -> None:
        """A stored root that is newer than the chain: somebody keeps the chain from this camera."""
        stored = self._kept.read("root.json")
        if stored is None:
            return
        try:
            parse(stored, "root.json", ascii_only=self._ascii_only)
            metadata = Metadata[Root].from_bytes(stored)
            own = verdicts.signs(metadata.signed, "root", metadata)
        except (SecurityError, DeserializationError):
            own = False
        if not own:
            self._say("the stored `root.json` is damaged; it is made anew")
        elif metadata.signed.version > self._root_version:
            trusted = f"version {metadata.signed.version} was trusted before"
            raise verdicts.rolled_back("root", self._root_version, trusted, self._at)

    def _drop_unsigned(self) -> None:
        """Forget stored roles that the present root's keys do not sign, learn the time of others.

        This is the way back after stolen keys signed versions that no honest role can exceed.
        """
        root = self._signed_root()
        for role in ("timestamp", "snapshot"):
            data = self._scratch.read(_file(role))
            if data is None:
                continue
            metadata = Metadata[Any].from_bytes(data)
            if not verdicts.signs(root, role, metadata):
                self._say(f"the stored `{role}.json` is not signed by this root; it is dropped")
                (self._scratch.folder / _file(role)).unlink()
            elif role == "timestamp":
                self.clock = self.clock.at_least(verdicts.said(metadata.signed))

    def _date(self, role: str) -> None:
        """Judge a verified role by our clock: the Updater knows only the system's."""
        signed = self.signed(role)
        if role == "timestamp":
            with self._explained():
                self.clock = self.clock.at_least(signed_at(signed.unrecognized_fields))
        dated = {"root": self._signed_root()} if role == "timestamp" else {}
        for name, one in {**dated, role: signed}.items():
            if one.is_expired(self.clock.now):
                timestamp = verdicts.said(self.signed("timestamp"))
                raise verdicts.expired(name, one.expires, self.clock, timestamp, self._at)

    # What is verified so far

    def _bytes(self, role: str) -> bytes:
        name = root_name(self._root_version) if role == "root" else _file(role)
        data = self._scratch.read(name)
        if data is None:
            raise verdicts.malformed(name, "nothing signed leads to it", self.url)
        return data

    def _signed_root(self) -> Root:
        return Metadata[Root].from_bytes(self._bytes("root")).signed

    def _scene(self, role: str, body: bytes) -> Scene:
        trusted: dict[str, Signed] = {"root": self._signed_root()}
        for one in TOP[1:]:
            data = self._scratch.read(_file(one))
            if data is not None:
                trusted[one] = Metadata[Any].from_bytes(data).signed
        return Scene(
            role=role,
            url=self._at,
            body=body,
            version=self._asked[1],
            trusted=trusted,
            clock=self.clock,
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Every failure under its one name; what was verified before it is kept."""
        try:
            yield
        except Exception as error:
            verdict = self._verdict(error)
            with contextlib.suppress(ToolkitError):  # the first failure is the one to tell
                self._keep_verified()
            raise verdict from error

    def _verdict(self, error: Exception) -> ToolkitError:
        if isinstance(error, ToolkitError):
            return error
        if isinstance(error, OSError):
            return failure_of(error, self._scratch.folder)
        role = self._asked[0]
        if self._body and self._body != self._scratch.read(_file(role)):
            return verdicts.refusal(error, self._scene(role, self._body))
        return verdicts.incomplete(error, self._at)

    def _keep_verified(self) -> None:
        role = self._asked[0]
        if role == "root" and self._root_version:
            self._keep_roots()
        elif self._body and self._body == self._scratch.read(_file(role)):
            self._pass(role)


def _file(role: str) -> str:
    return f"{quote(role, '')}.json"


def _state(role: str) -> str:
    return role if role in TOP else "family"


def _role_of(url: str) -> tuple[str, int]:
    """The role and the version that a URL of python-tuf names; 0: none."""
    name = url.rsplit("/", 1)[-1].removesuffix(".json")
    match = _VERSIONED.fullmatch(name)
    return (unquote(match[2]), int(match[1])) if match else (unquote(name), 0)
