"""Every picture's numbers as data in the page, from which its table is made when asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from toolkit.show.verdict_words import hundredths
from toolkit.validation import Stage, Validation


def pictures_json(validation: Validation, opened: Stage | None) -> str:
    """Every comparison as JSON that is safe inside a script element, for the table to show.

    Columns per stage, by picture: drop, PSNR and reference in dB, SSIM and reference, largest error
    in levels, share within one level in whole hundredths of a percent, bias in levels; as they
    are shown, so that no text is rounded twice. What is no finite number is a text.
    """
    names = list(dict.fromkeys(i.name for stage in validation.stages for i in stage.images))
    index = {name: at for at, name in enumerate(names)}
    value = {
        "names": names,
        "opened": validation.stages.index(opened) if opened else 0,
        "stages": [_columns(stage, index) for stage in validation.stages],
    }
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _columns(stage: Stage, index: Mapping[str, int]) -> dict[str, Any]:
    images = stage.images
    return {
        "name": stage.name,
        "file": stage.file,
        "against": stage.against,
        "at": [index[image.name] for image in images],
        "rows": [
            [
                _rounded(image.drop_db, 3),
                _rounded(image.psnr_db, 3),
                _rounded(image.reference_psnr_db, 3),
                _rounded(image.ssim, 4),
                _rounded(image.reference_ssim, 4),
                image.max_error_levels,
                hundredths(image.within_one_share),
                _rounded(image.bias_levels, 2),
            ]
            for image in images
        ],
    }


def _rounded(value: float, digits: int) -> float | str:
    return round(value, digits) if math.isfinite(value) else str(value)
