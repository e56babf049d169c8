"""One poll, from the lock to the pointer. A kill at any point leaves a valid model served."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from toolkit.errors import EnvironmentFailure, SecurityError, ToolkitError, UserError
from toolkit.pull import clock
from toolkit.pull.choose import Camera, HeldBack, choose, number_of
from toolkit.pull.disk import failure_of, nothing, read_small
from toolkit.pull.ending import hint_without_model, nothing_taken
from toolkit.pull.fetch import Http
from toolkit.pull.heal import healed, standing
from toolkit.pull.locking import locked
from toolkit.pull.obtain import index_of, manifest_of, missing_files, obtain_file, require_space
from toolkit.pull.result import Outcome, Result, Traffic
from toolkit.pull.runtimes import reason_against_runtime
from toolkit.pull.settings import Settings
from toolkit.pull.store import (
    CURRENT,
    Standing,
    Stored,
    blocked,
    collect,
    make_store,
    read_pointer,
    stored_release,
)
from toolkit.release import Entry, Release, target_path

if TYPE_CHECKING:
    from toolkit.pull.trust import Trusted

# No camera runs this before it was written: where a clock says otherwise, it is wrong.
BUILT = datetime(2026, 11, 21, tzinfo=timezone.utc)
Phase = Literal["before", "in", "after"]
OnState = Callable[[str, str], None]
OnBytes = Callable[[str, int, int], None]  # a file's name, bytes there, bytes in all
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Poll:
    """What the parts of one poll share."""

    settings: Settings
    http: Http
    say: Say
    on_state: OnState
    on_bytes: OnBytes
    clock: dict[str, Any] = field(default_factory=dict)  # filled when it is known
    looked_at: list[str] = field(default_factory=list)  # ids whose manifest was read

    @contextlib.contextmanager
    def state(self, name: str) -> Iterator[Callable[[], None]]:
        """One state; what it yields is called in its middle. `after` only where it went well."""
        self.on_state(name, "before")
        yield lambda: self.on_state(name, "in")
        self.on_state(name, "after")


def pull(
    settings: Settings,
    *,
    say: Say = lambda line: None,
    on_state: OnState = lambda state, phase: None,
    on_bytes: OnBytes = lambda name, have, length: None,
) -> Result:
    """Look for a better model, and have it served once it has proved itself.

    `on_state` is called with each state and its phase, in the order of `clients/README.md`.
    What goes wrong is in the result, and the present model stays; UserError is raised.
    """
    http = Http(
        stall_s=settings.stall_s,
        tries=settings.tries,
        retry_s=settings.retry_s,
        ca=settings.ca,
        say=say,
    )
    poll = Poll(settings=settings, http=http, say=say, on_state=on_state, on_bytes=on_bytes)
    try:
        result = _locked_poll(poll)
    except UserError:
        raise
    except ToolkitError as error:
        result = _failed(settings, error)
    except OSError as error:
        result = _failed(settings, failure_of(error, settings.store))
    finally:
        http.close()
    if result.error is not None and result.standing.current is None:
        result.error.hint = hint_without_model(result.error.hint, settings.store)
    return replace(result, traffic=traffic(http), clock=poll.clock or None)


def _failed(settings: Settings, error: ToolkitError) -> Result:
    outcome: Outcome = "refused" if isinstance(error, SecurityError) else "failed"
    return Result(outcome=outcome, standing=standing(settings.store), error=error)


def traffic(http: Http) -> Traffic:
    """What it cost so far."""
    return Traffic(
        requests=http.requests,
        bytes_fetched=http.bytes_fetched,
        bytes_resumed=http.bytes_resumed,
    )


def _locked_poll(poll: Poll) -> Result:
    store = poll.settings.store
    root = read_root(poll.settings)
    with contextlib.ExitStack() as held:
        with poll.state("lock") as middle:
            make_store(store)
            held.enter_context(locked(store, poll.settings.wait_s, poll.say))
            middle()
            had = read_pointer(store, CURRENT)
            before = _healed(poll)
        try:
            return _poll_in_store(poll, root, before, 0 if had is None else had.release)
        except ToolkitError:
            if before.current is None:
                _healed(poll, anyway=True)
            raise


def _healed(poll: Poll, *, anyway: bool = False) -> Standing:
    store = poll.settings.store
    return healed(store, poll.say, lambda stored: _is_good(poll, stored), anyway=anyway)


def _poll_in_store(poll: Poll, root: bytes, before: Standing, had: int) -> Result:
    """From the metadata to the pointers; `had` is what `current` named, whether it was whole."""
    store = poll.settings.store
    trusted = _refreshed(poll, root, before.current)
    family = trusted.family
    with poll.state("index") as middle:
        index = index_of(store, trusted, family, poll.http)
        middle()
    camera = Camera(
        device_id=poll.settings.device_id,
        compatible=poll.settings.compatible or family,
        firmware=poll.settings.firmware,
    )
    above = number_of(before.current, family, camera.compatible)
    choice = choose(index, camera, above=above, had=had)
    held_back = _told(choice.held_back, poll.say)
    for entry in choice.candidates:
        reason = _taken(poll, trusted, entry, before)
        if reason is None:
            return _updated(poll, held_back)
        held_back += _told((reason,), poll.say)
    if before.current is None:
        before = _healed(poll, anyway=True)
    _collected(poll, before.kept)
    return nothing_taken(before, choice, held_back, camera)


def read_root(settings: Settings) -> bytes:
    """The root metadata that came with the firmware; trust checks it. Raises UserError."""
    data = read_small(settings.root.resolve(), 1 << 20)
    if data is None:
        hint = "--root is the root.json that the channel's owner put into the firmware"
        raise UserError(
            "the root metadata cannot be read", where=str(settings.root), hint=hint, kind="root"
        )
    return data


def _refreshed(poll: Poll, root: bytes, present: Stored | None) -> Trusted:
    from toolkit.pull.trust import refresh

    settings = poll.settings
    with poll.state("clock") as middle:
        floor = max(settings.time_floor or BUILT, BUILT)
        poll.clock.update(clock.read(floor).as_json())  # also for a poll that fails later
        middle()
    trusted = refresh(
        settings.channel,
        settings.store / "metadata",
        root,
        family=settings.family,
        served=None if present is None else present.release.family,
        http=poll.http,
        floor=floor,
        on_state=poll.on_state,
        say=poll.say,
    )
    poll.clock.update(trusted.clock.as_json())
    return trusted


def _told(reasons: tuple[HeldBack, ...], say: Say) -> tuple[HeldBack, ...]:
    for one in reasons:
        say(f"release {one.release} is held back [{one.kind}]: {one.text}")
    return reasons


def _taken(poll: Poll, trusted: Trusted, entry: Entry, before: Standing) -> HeldBack | None:
    """Fetch, test and activate one release; None where it is served now."""
    from toolkit.pull.activate import activate, try_out

    store = poll.settings.store
    with poll.state("manifest") as middle:
        id, release = manifest_of(store, trusted, entry, trusted.family, poll.http, middle)
    poll.looked_at.append(id)
    reason = _reason_against(poll, release)
    if reason is not None:
        return reason
    stored = _fetched(poll, trusted, id, release, before)
    with poll.state("test") as middle:
        verdict = try_out(store, stored, poll.settings.testing, poll.say, middle)
    if verdict.kind:
        return HeldBack(release=entry.release, kind=verdict.kind, text=verdict.text)
    with poll.state("activate") as middle:
        activate(store, stored, before, middle)
    return None


def _is_good(poll: Poll, stored: Stored) -> bool:
    """Whether a release that was stored, but perhaps never served, proves itself."""
    from toolkit.pull.activate import try_out

    if stored.release.content in blocked(poll.settings.store):
        return False
    try:
        verdict = try_out(poll.settings.store, stored, poll.settings.testing, poll.say, nothing)
    except ToolkitError as problem:
        poll.say(problem.problem)
        return False
    return not verdict.kind


def _reason_against(poll: Poll, release: Release) -> HeldBack | None:
    kind = blocked(poll.settings.store).get(release.content)
    if kind is not None:
        text = "this content failed here before and is blocked"
        return HeldBack(release=release.release, kind=kind, text=text)
    text = reason_against_runtime(release, poll.settings)
    return HeldBack(release=release.release, kind="runtime", text=text) if text else None


def _fetched(poll: Poll, trusted: Trusted, id: str, release: Release, before: Standing) -> Stored:
    """Every file of a release, verified once more where it lies."""
    store = poll.settings.store
    with poll.state("space") as middle:
        if before.current is not None:  # else one of the others may be all that this camera has
            collect(store, before.kept | {id})
        missing = missing_files(store, id, release)
        middle()
        require_space(store, id, missing)
    with poll.state("fetch") as middle:
        for file in missing:
            path = target_path(release.family, release.release, file.name)
            on_bytes = _progress(poll, file.name, file.length, middle)
            obtain_file(store, id, trusted, path, file, poll.http, on_bytes)
    with poll.state("verify") as middle:
        middle()
        stored = stored_release(store, id)
    if stored is None:
        raise EnvironmentFailure(
            f"release {release.release} is not what was written a moment ago",
            where=str(store),
            hint="look at the medium (`dmesg`); the present model stays",
            kind="store",
        )
    return stored


def _progress(
    poll: Poll, name: str, length: int, middle: Callable[[], None]
) -> Callable[[int], None]:
    def told(have: int) -> None:
        poll.on_bytes(name, have, length)
        middle()

    return told


def _collected(poll: Poll, keep: frozenset[str]) -> None:
    with poll.state("collect") as middle:
        middle()
        collect(poll.settings.store, keep, manifests=frozenset(poll.looked_at))


def _updated(poll: Poll, held_back: tuple[HeldBack, ...]) -> Result:
    after = standing(poll.settings.store)
    _collected(poll, after.kept)
    return Result(outcome="updated", standing=after, held_back=held_back)
