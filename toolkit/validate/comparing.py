"""Two pictures side by side in numbers, and many of them as a stage with its verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from toolkit.contracts import Image
from toolkit.metrics.protocol import Score
from toolkit.report import Verdict
from toolkit.show.rows import number
from toolkit.validation import Comparison, Interval, Stage

RESAMPLES = 10_000
CHUNK = 1_000  # resamples drawn at once: memory stays small with thousands of pictures
BRIGHT, DARK = 224, 32  # levels; no quantization error reaches from one to the other
NO_SCORE = Score(psnr_db=math.nan, ssim=math.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendered:
    """One picture through one file; `planes` is None where the file gave NaN or infinity.

    planes: uint8 (H, W, C), C = 3 in RGB order, or 1 for luma.
    """

    planes: Image | None
    score: Score


def compared(name: str, found: Rendered, wanted: Rendered, band_px: int) -> Comparison:
    """One picture of a file beside the one of what it is held against.

    band_px: how many output pixels from the border belong to the border. Sizes must be equal.
    """
    blank = Comparison(
        name=name,
        psnr_db=found.score.psnr_db,
        ssim=found.score.ssim,
        reference_psnr_db=wanted.score.psnr_db,
        reference_ssim=wanted.score.ssim,
        max_error_levels=255,
        within_one_share=0.0,
        bias_levels=math.nan,
        inner_rms_levels=math.nan,
        border_rms_levels=math.nan,
    )
    if found.planes is None or wanted.planes is None:
        return blank
    difference = found.planes.astype(np.int16) - wanted.planes
    size = np.abs(difference)
    border = border_mask(size.shape[0], size.shape[1], band_px)
    return replace(
        blank,
        max_error_levels=int(size.max()),
        within_one_share=float(np.mean((size <= 1).all(axis=2))),
        bias_levels=float(difference.mean()),
        inner_rms_levels=_rms(size[~border]),
        border_rms_levels=_rms(size[border]),
        wrapped_px=wrapped(found.planes, wanted.planes),
    )


def border_mask(height: int, width: int, band_px: int) -> npt.NDArray[np.bool_]:
    """True (height, width) in a band along all four sides."""
    mask = np.ones((height, width), np.bool_)
    mask[band_px : height - band_px, band_px : width - band_px] = False
    return mask


def wrapped(found: Image, wanted: Image) -> int:
    """How many values went over one end of the range and came back at the other."""
    dark = (wanted >= BRIGHT) & (found <= DARK)
    bright = (wanted <= DARK) & (found >= BRIGHT)
    return int(np.count_nonzero(dark | bright))


def _rms(size: npt.NDArray[np.int16]) -> float:
    return math.sqrt(float(np.mean(size.astype(np.float64) ** 2))) if size.size else 0.0


def interval(drops_db: Sequence[float]) -> Interval:
    """The 95 % percentile bootstrap of the mean drop, seeded: the same drops, the same interval.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", 1979. One picture alone
    says nothing of others: then both ends are the mean.
    """
    drops = np.asarray(drops_db, np.float64)
    if not np.isfinite(drops).all():
        return Interval(low=math.nan, high=math.nan)
    rng = np.random.default_rng(0)
    means = [
        drops[rng.integers(0, len(drops), (CHUNK, len(drops)))].mean(axis=1)
        for _ in range(RESAMPLES // CHUNK)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def stage_verdicts(stage: Stage) -> list[Verdict]:
    """The stage's budget held against its mean and its worst picture."""
    ends = (number(end, 4) for end in (stage.interval.low, stage.interval.high))
    spread = f"95 % between {' and '.join(ends)}"
    held = (
        ("mean", stage.mean_db, stage.budget.mean_db, f"{spread}; against {stage.against}"),
        ("worst", stage.worst.drop_db, stage.budget.worst_db, f"worst image {stage.worst.name}"),
    )
    return [
        at_most(f"{stage.name}.psnr_drop_db.{which}", stage.file, value, limit, "dB", note)
        for which, value, limit, note in held
        if limit is not None
    ]


def at_most(gate: str, file: str, value: float, limit: float, unit: str, note: str = "") -> Verdict:
    """A verdict that passes up to the limit; NaN never does."""
    passed = bool(value <= limit)
    return Verdict(
        gate=gate, file=file, value=float(value), limit=limit, unit=unit, passed=passed, note=note
    )


def at_least(
    gate: str, file: str, value: float, limit: float, unit: str, note: str = ""
) -> Verdict:
    """A verdict that passes from the limit on; NaN never does."""
    passed = bool(value >= limit)
    return Verdict(
        gate=gate, file=file, value=float(value), limit=limit, unit=unit, passed=passed, note=note
    )
