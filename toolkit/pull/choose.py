"""Which release of an index this camera takes, with a reason for each that it does not."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.pull.store import Stored
from toolkit.release import ALL_BASIS_POINTS, Entry, Index

ROLLOUT, COMPATIBLE, FIRMWARE = "rollout", "compatible", "firmware"


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """A newer release that this camera does not take now."""

    release: int
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What decides: who it is, and what it runs."""

    device_id: str
    compatible: str
    firmware: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to try, best first, and what not to."""

    candidates: tuple[Entry, ...]
    held_back: tuple[HeldBack, ...]
    words: tuple[str, ...]  # every `compatible` that the index has


def choose(index: Index, camera: Camera, *, above: int, had: int = 0) -> Choice:
    """Releases newer than `above` (0: any) that this camera may take, newest first.

    `had`: a release that it served already and whose files were damaged; no share holds it back.
    """
    candidates, held = [], []
    newest_first = sorted(index.releases, key=lambda one: one.release, reverse=True)
    for entry in newest_first:
        if entry.release <= above:
            continue  # it runs this one, or a newer one
        reason = reason_against(entry, camera)
        if reason is None or (entry.release == had and reason.kind == ROLLOUT):
            candidates.append(entry)
        else:
            held.append(reason)
    return Choice(
        candidates=tuple(candidates),
        held_back=tuple(held),
        words=tuple(sorted({one.compatible for one in index.releases})),
    )


def number_of(present: Stored | None, family: str, compatible: str) -> int:
    """What newer releases must exceed; 0: a model of another kind of camera is no measure."""
    if present is None:
        return 0
    release = present.release
    same = (release.family, release.compatible) == (family, compatible)
    return release.release if same else 0


def reason_against(entry: Entry, camera: Camera) -> HeldBack | None:
    """Why a camera does not take a release, as far as the index tells; None: it may."""
    if entry.compatible != camera.compatible:
        kind, text = COMPATIBLE, f"it is for `{entry.compatible}`, this is `{camera.compatible}`"
    elif entry.min_firmware > camera.firmware:
        kind, text = FIRMWARE, f"it needs firmware {entry.min_firmware}, this is {camera.firmware}"
    elif not entry.rollout.admits(camera.device_id):
        kind, text = ROLLOUT, f"{_percent(entry)} of the cameras take it, not yet this one"
        if entry.rollout.basis_points == 0:
            text = "it is for no camera (any more): its share is 0 %"
    else:
        return None
    return HeldBack(release=entry.release, kind=kind, text=text)


def _percent(entry: Entry) -> str:
    return f"{entry.rollout.basis_points * 100 / ALL_BASIS_POINTS:g} %"
