"""What a store can serve, and the repair of pointers that lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolkit.pull.store import (
    CURRENT,
    PREVIOUS,
    Standing,
    Stored,
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


def healed(
    store: Path, say: Say, is_good: Callable[[Stored], bool], *, anyway: bool = False
) -> Standing:
    """The same with pointers repaired: a camera that has a valid release serves one.

    `current` falls back to `previous`, which was served before; then to the newest complete release
    that `is_good`: it may have been stored and never been tried. Where there are no pointers at all
    the last is left to the normal course of a poll, unless `anyway`. Raises EnvironmentFailure
    `read-only`, `disk-full`, `store` where that cannot be written.
    """
    found = standing(store)
    current = found.current or found.previous
    if current is None and (anyway or any((store / n).exists() for n in (CURRENT, PREVIOUS))):
        current = _proved(store, is_good)
    if found.current is None and (current is not None or (store / CURRENT).exists()):
        why = "names no complete release" if (store / CURRENT).exists() else "is lost"
        say(f"`{CURRENT}` {why}{_instead(current)}")
    if current is not None and read_pointer(store, CURRENT) != current.pointer:
        write_pointer(store, CURRENT, current)
    if found.previous is None and (store / PREVIOUS).exists():
        say(f"`{PREVIOUS}` names no complete release: dropped")
        drop_pointer(store, PREVIOUS)
    return Standing(current=current, previous=found.previous)


def _instead(stored: Stored | None) -> str:
    if stored is None:
        return ", and no other is stored: a fresh one is fetched"
    return f": release {stored.release.release} is served instead"


def _proved(store: Path, is_good: Callable[[Stored], bool]) -> Stored | None:
    """The complete release with the highest number of those that prove themselves."""
    found = [stored_release(store, id) for id in release_ids(store)]
    newest_first = sorted(
        (one for one in found if one is not None),
        key=lambda one: one.release.release,
        reverse=True,
    )
    return next((one for one in newest_first if is_good(one)), None)
