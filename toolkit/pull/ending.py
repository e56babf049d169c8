"""How a poll ends that took nothing, and what its owner can do about it."""

from __future__ import annotations

from toolkit.errors import EnvironmentFailure
from toolkit.pull.choose import COMPATIBLE, ROLLOUT, Camera, Choice, HeldBack
from toolkit.pull.result import Outcome, Result
from toolkit.pull.store import Standing


def nothing_taken(
    before: Standing, choice: Choice, held_back: tuple[HeldBack, ...], camera: Camera
) -> Result:
    """Nothing was taken: because there is nothing, not yet, or for a reason to act on."""
    own = [one for one in held_back if one.kind != COMPATIBLE]
    bad = [one for one in own if one.kind != ROLLOUT]
    outcome: Outcome = "waiting" if own else "current"
    error = None
    if bad:
        outcome, error = "kept", _problem(bad[0])
    elif not choice.is_meant:
        outcome = "kept" if before.current else "failed"
        error = EnvironmentFailure(
            f"the channel has no release for `{camera.compatible}`",
            hint="--compatible is the word that releases for this camera state",
            kind=COMPATIBLE,
        )
    return Result(outcome=outcome, standing=before, held_back=held_back, error=error)


def _problem(reason: HeldBack) -> EnvironmentFailure:
    hints = {
        "firmware": "update the firmware",
        "runtime": "install the runtime, or state its version with --runtime",
    }
    return EnvironmentFailure(
        f"release {reason.release} is not taken: {reason.text}",
        hint=f"the present model stays; {hints.get(reason.kind, 'publish a better one')}",
        kind=reason.kind,
    )
