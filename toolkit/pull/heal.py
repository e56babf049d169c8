"""What a store can serve, and the repair of pointers that lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolkit.pull.store import (
    CURRENT,
    PREVIOUS,
    Standing,
    Stored,
    blocked,
    drop_pointer,
    read_pointer,
    release_ids,
    stored_release,
    write_pointer,
)

Say = Callable[[str], None]


def standing(store: Path) -> Standing:
    """What the pointers name, as far as it is complete; nothing is changed."""
    return Standing(current=_named(store, CURRENT), previous=_named(store, PREVIOUS))


def _named(store: Path, name: str) -> Stored | None:
    pointer = read_pointer(store, name)
    return None if pointer is None else stored_release(store, pointer.id)


def healed(store: Path, say: Say) -> Standing:
    """The same with pointers repaired: a camera that has a valid release serves one.

    `current` falls back to `previous`, then to the newest complete release that is not blocked.
    Raises EnvironmentFailure `read-only`, `disk-full`, `store` where that cannot be written.
    """
    found = standing(store)
    previous = found.previous
    current = found.current or previous or _newest(store)
    if found.current is None and (store / CURRENT).exists():
        say(f"`{CURRENT}` names no complete release{_instead(current)}")
    elif found.current is None and current is not None:
        say(f"`{CURRENT}` is lost{_instead(current)}")
    if current is not None and current is not found.current:
        write_pointer(store, CURRENT, current)
    if previous is None and (store / PREVIOUS).exists():
        say(f"`{PREVIOUS}` names no complete release: dropped")
        drop_pointer(store, PREVIOUS)
    return Standing(current=current, previous=previous)


def _instead(stored: Stored | None) -> str:
    if stored is None:
        return ", and no other is stored: a fresh one is fetched"
    return f": release {stored.release.release} is served instead"


def _newest(store: Path) -> Stored | None:
    """The complete release with the highest number, of those that no self-test failed."""
    bad = blocked(store)
    found = [stored_release(store, id) for id in release_ids(store)]
    good = [one for one in found if one is not None and one.release.content not in bad]
    return max(good, key=lambda one: one.release.release, default=None)
