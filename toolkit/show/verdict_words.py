"""One verdict in words: its value, its limit, and the sentence that says what failed."""

from __future__ import annotations

import math

from toolkit.report import Verdict
from toolkit.show.rows import bound, quantity, sentence

NOTHING = "none"  # how `rows` says that a count of breaches is zero
FINE_SHARES = ("_one_share", "golden_share")  # near all, where hundredths of a percent count


def gate_sentence(verdict: Verdict) -> str:
    """One verdict as a sentence; a share is not rounded up over the limit that it missed."""
    return sentence(verdict).replace(quantity(verdict), value_text(verdict), 1)


def failure_sentence(verdict: Verdict) -> str:
    """What failed with value, limit and what the note adds, without a full stop."""
    said = gate_sentence(verdict)
    return f"{said} ({verdict.note})" if verdict.note and verdict.note not in said else said


def share_text(share: float) -> str:
    """A share from 0 to 1 as a percentage, rounded; only all is 100 %, and only nothing is 0 %."""
    if math.isnan(share):
        return "NaN"
    found = hundredths(share)
    return "100 %" if found == 10_000 else f"{found / 100:.2f} %"


def hundredths(share: float) -> int:
    """A share from 0 to 1 in whole hundredths of a percent; 0 and 10,000 for nothing and all."""
    return int(share) * 10_000 if share in (0, 1) else min(max(round(share * 1e4), 1), 9_999)


def value_text(verdict: Verdict) -> str:
    """A gate's value with its unit; a share that missed its limit is not rounded up to it."""
    if verdict.gate.endswith(FINE_SHARES):
        shown = share_text(verdict.value)
        missed = verdict.value < verdict.limit and round(verdict.value, 4) >= verdict.limit
        return f"{math.floor(verdict.value * 1e6) / 1e4:.6g} %" if missed else shown
    found = quantity(verdict)
    if found != NOTHING:
        return found
    return "nothing against it" if verdict.unit == "reasons" else "none wrong"


def held_text(verdict: Verdict) -> str:
    """A gate's value beside its limit, for a line of its own."""
    value = value_text(verdict)
    return value if quantity(verdict) == NOTHING else f"{value}, {bound(verdict)}"
