"""The last steps: a trial with a memory, then two pointers. A failing candidate touches neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolkit.errors import EnvironmentFailure, ToolkitError
from toolkit.pull.disk import STAYS
from toolkit.pull.heal import healed
from toolkit.pull.self_test import CRASH, Verdict, self_test
from toolkit.pull.settings import Testing
from toolkit.pull.store import (
    CURRENT,
    PREVIOUS,
    Standing,
    Stored,
    attempts,
    begin_trial,
    block,
    drop_pointer,
    end_trial,
    write_pointer,
)

ATTEMPTS_MOST = 5  # self-tests that the machine did not survive
MISBEHAVED = "misbehaved"  # the kind of what firmware sent back


def try_out(
    store: Path,
    stored: Stored,
    testing: Testing,
    say: Callable[[str], None],
    within: Callable[[], None],
) -> Verdict:
    """Test a release and block its content where it fails.

    A test that takes the whole machine down leaves no verdict: after five of them that is one.
    Raises as `self_test` does.
    """
    number = stored.release.release
    if not testing.wanted:
        say(f"release {number} is not tested on this camera (--no-self-test)")
        within()
        return Verdict()
    if attempts(store, stored.id) >= ATTEMPTS_MOST:
        verdict = Verdict(kind=CRASH, text=f"{ATTEMPTS_MOST} self-tests never came to an end")
    else:
        attempt = begin_trial(store, stored.id)
        say(f"release {number}: self-test" + (f", attempt {attempt}" if attempt > 1 else ""))
        within()
        try:
            verdict = self_test(stored, testing)
        except ToolkitError:  # it was not the model that failed
            end_trial(store)
            raise
    if verdict.kind:
        block(store, stored.release.content, verdict.kind)
    end_trial(store)
    return verdict


def activate(store: Path, stored: Stored, before: Standing, within: Callable[[], None]) -> None:
    """`previous` is what was served, `current` is the new one; each pointer changes in one step."""
    if before.current is not None:
        write_pointer(store, PREVIOUS, before.current)
    within()
    write_pointer(store, CURRENT, stored)


def return_to_previous(store: Path, say: Callable[[str], None]) -> Standing:
    """Firmware says that the present model misbehaves: serve the one before, block this one.

    The caller holds the lock. Raises EnvironmentFailure `store` where there is none before.
    """
    found = healed(store, say, lambda stored: False)
    current, previous = found.current, found.previous
    if current is None or previous is None or previous.id == current.id:
        raise EnvironmentFailure(
            "there is no previous model to return to",
            where=str(store),
            hint=f"{STAYS}; a better one must be published",
            kind="store",
        )
    block(store, current.release.content, MISBEHAVED)
    write_pointer(store, CURRENT, previous)
    drop_pointer(store, PREVIOUS)
    return Standing(current=previous, previous=None)
