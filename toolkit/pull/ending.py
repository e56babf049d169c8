"""How a poll ends that took nothing, and what its owner can do about it."""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import EnvironmentFailure
from toolkit.pull.choose import COMPATIBLE, ROLLOUT, Camera, Choice, HeldBack
from toolkit.pull.disk import STAYS
from toolkit.pull.result import Outcome, Result
from toolkit.pull.store import CURRENT, Standing

WORDS_SHOWN = 8


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
    elif camera.compatible not in choice.words:
        outcome = "kept" if before.current else "failed"
        error = EnvironmentFailure(
            f"the channel has no release for `{camera.compatible}`",
            hint=_words_hint(choice.words),
            kind=COMPATIBLE,
        )
    return Result(outcome=outcome, standing=before, held_back=held_back, error=error)


def hint_without_model(hint: str, store: Path) -> str:
    """A hint to a camera that has no whole model which could stay."""
    is_new = not (store / CURRENT).exists()
    return hint.replace(STAYS, "no model is served yet" if is_new else "no whole model is stored")


def _words_hint(words: tuple[str, ...]) -> str:
    if not words:
        return "nothing is published for this family yet"
    shown = " or ".join(f"`--compatible {word}`" for word in words[:WORDS_SHOWN])
    more = len(words) - WORDS_SHOWN
    return f"its releases are for {shown}" + (f", and {more} more" if more > 0 else "")


def _problem(reason: HeldBack) -> EnvironmentFailure:
    hints = {
        "firmware": "update the firmware",
        "runtime": "install the runtime, or state its version with --runtime",
    }
    return EnvironmentFailure(
        f"release {reason.release} is not taken: {reason.text}",
        hint=f"{STAYS}; {hints.get(reason.kind, 'publish a better one')}",
        kind=reason.kind,
    )
