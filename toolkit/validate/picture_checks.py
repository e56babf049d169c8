"""What a stage's pictures show besides PSNR: largest error, bias, borders, values that wrapped."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.contracts import Precision
from toolkit.report import Verdict
from toolkit.validate.comparing import at_least, at_most
from toolkit.validation import Stage

# float32 that adds in another order falls on the other side of a rounding, by one level; half the
# bits cost two.
MAX_ERROR_LEVELS = {"float32": 1, "float16": 2, "bfloat16": 8}
BIAS_LEVELS = 0.35  # truncating instead of rounding shifts by 0.5, INT8 by less than 0.3
# Limits of flat charts and of bias are for INT8 files that differ from float by this RMS on
# photographs. Where a recipe lets a file lose more, white and black move with everything else.
USUAL_RMS_LEVELS = 1.5
MOST_ALLOWANCE = 4.0  # beyond 6 levels RMS nothing excuses a white that is no white
BORDER_FACTOR = 2.0  # the border may differ this much more than what is inside
BORDER_LEVELS = 1.0  # and by rounding in any case
# Rounding and conversion only add error: against HR they may gain hundredths of a dB by chance,
# and training for INT8 a few tenths. A file that gains more is another network than its reference,
# or its reference is fed wrongly, and then no drop beside it says anything. Bicubic is no such
# judge: networks trained with a GAN lie below it in PSNR, so that stays a warning (`sanity`).
MOST_GAIN_DB = 1.0
BETTER_DB = 0.05  # a file gains this much by training, or beside a reference that is not its own
DEVICE_WITHIN_ONE = 0.995  # as golden vectors: INT8 kernels may round single products otherwise
DEVICE_RMS_LEVELS = 0.5  # noise of one level everywhere is 0.8


def conversion_verdicts(stage: Stage, precision: Precision) -> list[Verdict]:
    """The largest error of a converted float file on any picture."""
    limit = MAX_ERROR_LEVELS.get(precision)
    if limit is None:
        return []
    worst = max(stage.images, key=lambda image: image.max_error_levels)
    gate, note = "conversion.max_error_levels", f"worst image {worst.name}"
    return [at_most(gate, stage.file, worst.max_error_levels, limit, "levels", note)]


def device_verdicts(stage: Stage) -> list[Verdict]:
    """That the device's pictures are this host's, but for single roundings."""
    least = min(stage.images, key=lambda image: image.within_one_share)
    note = f"worst image {least.name}"
    share = least.within_one_share
    # NumPy's largest is NaN where one is, Python's may not be
    rms = float(np.max([[i.inner_rms_levels, i.border_rms_levels] for i in stage.images]))
    return [
        at_least("device.within_one_share", stage.file, share, DEVICE_WITHIN_ONE, "at least", note),
        at_most("device.rms_levels", stage.file, rms, DEVICE_RMS_LEVELS, "levels"),
    ]


def allowance(stage: Stage) -> float:
    """By how much the limits of systematic errors are widened: 1 to 4, 1 for float files."""
    if stage.name not in ("quantization", "total"):
        return 1.0
    inner = _mean_rms([image.inner_rms_levels for image in stage.images])
    # NaN is no larger than 1
    return min(max(1.0, round(inner / USUAL_RMS_LEVELS, 2)), MOST_ALLOWANCE)


def picture_verdicts(stage: Stage, chart_wraps: int) -> list[Verdict]:
    """Bias, borders and wrapped values of a file against its reference."""
    bias = sum(image.bias_levels for image in stage.images) / len(stage.images)
    most_bias = round(BIAS_LEVELS * allowance(stage), 2)
    inner = _mean_rms([image.inner_rms_levels for image in stage.images])
    border = _mean_rms([image.border_rms_levels for image in stage.images])
    limit = max(BORDER_LEVELS, round(BORDER_FACTOR * inner, 2))
    lost = any(math.isnan(image.bias_levels) for image in stage.images)
    wraps = math.nan if lost else sum(image.wrapped_px for image in stage.images) + chart_wraps
    note = f"{inner:.3f} levels inside"
    return [
        at_most("bias_levels", stage.file, abs(bias), most_bias, "levels", f"{bias:+.3f}"),
        at_most("borders", stage.file, border, limit, "levels", note),
        at_most("clip", stage.file, wraps, 0, "values", "bright turned dark, or dark bright"),
    ]


def gain_verdict(stage: Stage) -> Verdict:
    """That a file is not so much better than its reference that it cannot be made from it."""
    drop_db = stage.mean_db
    gain_db = 0.0 if drop_db >= 0 else -drop_db  # NaN stays NaN, and fails
    note = f"against {stage.against}"
    if not gain_db <= MOST_GAIN_DB:
        note += ": no conversion gains that; the file was made from another network, or the "
        note += "reference is fed wrongly"
    return at_most("reference.gain_db", stage.file, gain_db, MOST_GAIN_DB, "dB", note)


def reference_warnings(stages: Sequence[Stage]) -> list[str]:
    """Files that are surely better than what they are held against: no drop is seen there."""
    return [
        f"{stage.file} is {-stage.mean_db:.3f} dB better than {stage.against}: it was trained "
        "further, or made from another network than this reference"
        for stage in stages
        if stage.mean_db < -BETTER_DB and stage.interval.high < 0
    ]


def _mean_rms(levels: Sequence[float]) -> float:
    return math.sqrt(sum(level**2 for level in levels) / len(levels))


def final_stage(stages: Sequence[Stage], file: str) -> Stage | None:
    """The stage that holds a file against the float network, or what is nearest to it."""
    own = {stage.name: stage for stage in stages if stage.file == file}
    return own.get("total") or own.get("conversion") or own.get("quantization")
