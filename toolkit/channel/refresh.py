"""Signing again what would expire, without changing what is published: for a daily timer."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from toolkit.channel.forward import put_forward
from toolkit.channel.metadata import lacking, life_days
from toolkit.channel.roots import write_root
from toolkit.channel.state import State, check_published, held, read_state
from toolkit.keys.ring import KeyRing
from toolkit.writing import Observer, Say, locked, quiet, unobserved


def refresh(
    channel: Path,
    *,
    keys: KeyRing,
    everything: bool = False,
    now: datetime | None = None,
    on_file: Observer = unobserved,
    say: Say = quiet,
) -> tuple[str, ...]:
    """Sign `timestamp` again, and `snapshot` past half of its life; return the roles, sorted.

    `everything`: also root, targets and families past half of their lives, where their keys are
    here; `say` hears of those whose keys are not. Whatever the present keys have not signed, after
    a rotation elsewhere, is signed as well. Raises as `publish_draft` does.
    """
    now = now or datetime.now(UTC)
    check_published(channel)
    with ExitStack() as stack:
        if everything:
            stack.enter_context(locked(keys.folder, say))  # first, as a rotation does
        ring, state = stack.enter_context(held(channel, keys, say))
        renew = {role for role in ("snapshot",) if _is_old(state, role, now)}
        if everything:
            for role in ("root", "targets", *sorted(state.families)):
                if _is_old(state, role, now) and _can_sign(ring, role, say):
                    renew.add(role)
        if "root" in renew:
            write_root(ring, now)
            state = read_state(channel, ring)
        signed = put_forward(state, ring, None, now=now, renew=frozenset(renew), on_file=on_file)
    return tuple(sorted({*signed, *(renew & {"root"})}))


def _is_old(state: State, role: str, now: datetime) -> bool:
    top = {"root": state.root, "snapshot": state.snapshot, "targets": state.targets}
    metadata = top[role] if role in top else state.families[role]
    assert metadata is not None
    return metadata.signed.expires - now < timedelta(days=life_days(role)) / 2


def _can_sign(keys: KeyRing, role: str, say: Say) -> bool:
    if role not in keys.roles:
        say(f"{role}: not renewed, `keys.json` does not know it")
        return False
    problem = lacking(keys, role)
    if problem is not None:
        say(f"{role}: not renewed, {problem.where}")
    return problem is None
