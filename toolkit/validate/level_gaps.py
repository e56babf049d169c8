"""Grey levels that a file skips: its output went over a second, coarser grid.

Rounding to a grid of a few steps less than the 255 of a picture loses too little PSNR to be seen,
but whole levels are never used again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit.contracts import Image
from toolkit.report import Verdict
from toolkit.validate.comparing import at_most

LEVELS = 256
LEAST_USES = 64  # in the reference's pictures: a level so frequent is not missed by chance
MOST_GAPS = 2  # a range that ends within 1 % of white: off by half a level at most

Counts = npt.NDArray[np.int64]


def level_counts(planes: Image | None) -> Counts:
    """(256,): how often each level occurs in uint8 (H, W, C), all planes together."""
    if planes is None:
        return np.zeros(LEVELS, np.int64)
    counts: Counts = np.bincount(planes.reshape(-1), minlength=LEVELS).astype(np.int64)
    return counts


def level_gaps(found: Counts, wanted: Counts) -> tuple[int, ...]:
    """Levels that a file never gives, between others that it gives.

    A level counts where the reference gives it and both its neighbours often: in a flat picture
    a file may move all of one level to the next.
    """
    often = wanted >= LEAST_USES
    common = often[1:-1] & often[:-2] & often[2:]
    used = np.flatnonzero(found)
    if not used.size:
        return ()
    skipped = np.flatnonzero(common & (found[1:-1] == 0)) + 1
    return tuple(int(level) for level in skipped if used[0] < level < used[-1])


def gap_verdict(file: str, found: Counts, wanted: Counts) -> Verdict:
    """How many levels a file skips that its reference gives."""
    gaps = level_gaps(found, wanted)
    note = f"never {', '.join(map(str, gaps[:8]))}{' ...' if len(gaps) > 8 else ''}" if gaps else ""
    return at_most("levels", file, len(gaps), MOST_GAPS, "levels", note)
