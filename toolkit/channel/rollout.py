"""A living release for more cameras or fewer, and the way back: an older release as a newer one."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from toolkit.channel.folder import blob_file
from toolkit.channel.forward import Blob, put_forward
from toolkit.channel.publish import (
    Published,
    add_release,
    alive,
    index_change,
    next_number,
    published,
)
from toolkit.channel.state import State, check_published, family_of, held, recorded
from toolkit.errors import UserError
from toolkit.keys.ring import KeyRing, stamp
from toolkit.plugins import did_you_mean
from toolkit.release import ALL_BASIS_POINTS, Entry, Index, target_path
from toolkit.writing import Observer, Say, quiet, unobserved

SHARE = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?%")


def basis_points_of(text: str) -> int:
    """`10%`, `0.5%` as 1,000 and 50 basis points, 0 to 10,000. Raises UserError."""
    match = SHARE.fullmatch(text.strip())
    points = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else -1
    if not 0 <= points <= ALL_BASIS_POINTS:
        raise UserError(
            f"a share is a percentage from 0% to 100%, in steps of 0.01%, got `{text}`",
            hint=f"{text}%" if re.fullmatch(r"[0-9]{1,2}", text) else "10%",
        )
    return points


def set_share(
    channel: Path,
    basis_points: int,
    *,
    keys: KeyRing,
    family: str | None = None,
    release: int | None = None,
    now: datetime | None = None,
    on_file: Observer = unobserved,
    say: Say = quiet,
) -> Published:
    """Sign the family's index with another share for one living release, its newest where None.

    A camera that has taken the release keeps it when the share goes down; 0 stops further ones.
    Raises UserError where there is no such family or living release, or `release` is not stated
    and there are several kinds of cameras; and as `publish_draft` does.
    """
    now = now or datetime.now(UTC)
    check_published(channel)
    with held(channel, keys, say) as (ring, state):
        name = family_of(state, family)
        index = state.index(name)
        entry = _entry(index, release)
        changed = entry.rollout.basis_points != basis_points
        if changed:
            share = replace(entry.rollout, basis_points=basis_points)
            entries = [
                replace(one, rollout=share) if one == entry else one for one in index.releases
            ]
            after = alive(replace(index, releases=tuple(entries)))
            put_forward(state, ring, index_change(state, after, []), now=now, on_file=on_file)
        return published(state, name, entry, basis_points=basis_points, changed=changed)


def _entry(index: Index, release: int | None) -> Entry:
    by_number = {one.release: one for one in index.releases}
    words = sorted({one.compatible for one in index.releases})
    if release is None and len(words) > 1:
        raise UserError(
            f"`{index.family}` is for several kinds of cameras: {', '.join(words)}",
            hint=f"--release with one of {', '.join(map(str, by_number))}",
        )
    if release is None:
        return index.releases[0]
    if release not in by_number:
        hint = did_you_mean(str(release), map(str, by_number))
        raise UserError(f"`{index.family}` has no living release {release}", hint=hint)
    return by_number[release]


def roll_back(
    channel: Path,
    *,
    keys: KeyRing,
    family: str | None = None,
    to: int | None = None,
    now: datetime | None = None,
    on_file: Observer = unobserved,
    say: Say = quiet,
) -> Published:
    """Publish an older release again under the next number, for all its cameras.

    `to`: which one; None: the newest that was for all before the present one. What is newer than
    it gets a share of 0, so that no camera takes it any more. Going back by going forward keeps
    TUF's protection against rollback whole.
    Raises UserError where there is no such release; and as `publish_draft` does.
    """
    now = now or datetime.now(UTC)
    check_published(channel)
    with held(channel, keys, say) as (ring, state):
        name = family_of(state, family)
        index = state.index(name)
        number = to if to is not None else _before(state, index)
        old = recorded(state, name, number)
        own = [one for one in index.releases if one.compatible == old.compatible]
        if own and state.release(name, own[0]).content == old.content and _is_for_all(own[0]):
            return published(state, name, own[0], changed=False)
        new = next_number(channel, index, name)
        release = replace(old, release=new, created=stamp(now))
        blobs = [
            Blob(
                path=target_path(name, new, file.name),
                content=blob_file(channel, target_path(name, number, file.name), file.sha256),
                length=file.length,
                sha256=file.sha256,
            )
            for file in old.files
        ]
        others = tuple(_stopped(one, number, old.compatible) for one in index.releases)
        say(f"release {new} has the files of release {number}; no camera takes one between them")
        return add_release(
            state, ring, release, blobs, ALL_BASIS_POINTS, others=others, now=now, on_file=on_file
        )


def _is_for_all(entry: Entry) -> bool:
    return entry.rollout.basis_points == ALL_BASIS_POINTS


def _stopped(entry: Entry, above: int, compatible: str) -> Entry:
    if entry.compatible != compatible or entry.release <= above:
        return entry
    return replace(entry, rollout=replace(entry.rollout, basis_points=0))


def _before(state: State, index: Index) -> int:
    """The newest release with another content than the present one that is for all cameras."""
    newest = _entry(index, None)
    content = state.release(index.family, newest).content
    for one in index.releases:
        older = one.release < newest.release and _is_for_all(one)
        if older and state.release(index.family, one).content != content:
            return one.release
    raise UserError(
        f"`{index.family}` has no living release before {newest.release} to go back to",
        hint="--to N names an older one; `edgesr channel rollout 0%` stops the present one",
    )
