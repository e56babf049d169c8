"""Charts through a file and through its reference: the extremes that photographs leave out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.contracts import Image
from toolkit.images.charts import BAR_COLOURS, charts
from toolkit.report import Verdict
from toolkit.validate.comparing import at_most, border_mask, wrapped
from toolkit.validate.files import OpenFile

LEAST_PX = 64  # eight bars of eight pixels
LARGEST_TILE_PX = 256  # a chart fills a fixed tile up to this size
FLAT_LEVELS = 4.0  # mean difference of a white or black chart
STEP_LEVELS = 4.0  # a step of a gradient beyond the reference's largest
BAR_LEVELS = 8.0  # of a bar's mean colour: full drive is where INT8 is at its limits
CENTROID_PX = 0.1  # LR pixels; half a pixel of x4 output is 0.125
RESPONSE_LEVELS = 8  # what is smaller may be rounding
NEAR_PX = 4  # LR pixels around the single one that are looked at

Drawn = Mapping[str, Image | None]  # by chart name, in RGB order or luma; None: NaN
Plane = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Charts:
    """The charts' LR pictures for all files of a subject, and what one file made of them."""

    pictures: Mapping[str, Image]
    scale: int
    border_px: int  # output pixels that see beyond the chart

    def drawn(self, file: OpenFile) -> Drawn:
        """Every chart through one file."""
        return {name: file.planes(rgb) for name, rgb in self.pictures.items()}


def charts_for(file: OpenFile) -> Charts:
    """Charts that are large enough for the file's halo and sizes."""
    image, tile = file.contract.image, file.contract.tile
    step, halo = image.multiple_of, image.halo_px or 0
    side = max(LEAST_PX, image.minimum_px, 2 * halo + LEAST_PX // 4)
    height = width = -(-side // step) * step
    if tile is not None and 2 * halo < min(tile) and max(tile) <= LARGEST_TILE_PX:
        height, width = tile  # one run
    return Charts(
        pictures=dict(charts(height, width)),
        scale=image.scale,
        border_px=max(halo, 1) * image.scale,
    )


def chart_verdicts(
    file: str, own: Charts, found: Drawn, wanted: Drawn, allowance: float = 1.0
) -> list[Verdict]:
    """One verdict per law, each against the reference's picture of the same chart.

    allowance: times the limits in levels, see `picture_checks.allowance`.
    """

    def both(name: str) -> tuple[Image, Image] | None:
        a, b = found[f"chart-{name}"], wanted[f"chart-{name}"]
        return None if a is None or b is None else (a, b)

    laws = (
        ("white", FLAT_LEVELS * allowance, "levels", _apart(own, both("white"))),
        ("black", FLAT_LEVELS * allowance, "levels", _apart(own, both("black"))),
        (
            "gradient",
            STEP_LEVELS * allowance,
            "levels",
            _largest(
                _steps(own, both("gradient-horizontal"), 1),
                _steps(own, both("gradient-vertical"), 0),
            ),
        ),
        ("bars", BAR_LEVELS * allowance, "levels", _bars(own, both("colour-bars"))),
        ("pixel", CENTROID_PX, "px", _shift(own, both("single-pixel"))),
    )
    return [at_most(f"charts.{law}", file, value, limit, unit) for law, limit, unit, value in laws]


def chart_wraps(found: Drawn, wanted: Drawn) -> int:
    """Values of all charts that went over one end and came back at the other."""
    pairs = ((found[name], wanted[name]) for name in found)
    return sum(wrapped(a, b) for a, b in pairs if a is not None and b is not None)


def _largest(*values: float) -> float:
    return float(np.max(values))  # NaN wins


def _inner(own: Charts, planes: Image) -> npt.NDArray[np.bool_]:
    return ~border_mask(planes.shape[0], planes.shape[1], own.border_px)


def _apart(own: Charts, pair: tuple[Image, Image] | None) -> float:
    """Mean absolute difference of a flat chart, away from its border."""
    if pair is None:
        return float("nan")
    found, wanted = pair
    inner = _inner(own, found)
    return float(np.abs(found[inner].astype(np.float64) - wanted[inner]).mean())


def _steps(own: Charts, pair: tuple[Image, Image] | None, axis: int) -> float:
    """How much farther than the reference's a gradient's largest step goes, up or back."""
    if pair is None:
        return float("nan")
    found, wanted = (np.diff(_profile(own, planes, axis)) for planes in pair)
    back = max(0.0, float(-found.min())) - max(0.0, float(-wanted.min()))
    up = max(0.0, float(found.max())) - max(0.0, float(wanted.max()))
    return max(back, up, 0.0)


def _profile(own: Charts, planes: Image, axis: int) -> Plane:
    """Mean level along one axis, away from the border."""
    band = own.border_px
    inner = planes[band : planes.shape[0] - band, band : planes.shape[1] - band]
    profile: Plane = inner.astype(np.float64).mean(axis=(1 - axis, 2))
    return profile


def _bars(own: Charts, pair: tuple[Image, Image] | None) -> float:
    """Largest difference of a bar's mean colour, in its middle."""
    if pair is None:
        return float("nan")
    found, wanted = (_bar_colours(own, planes) for planes in pair)
    return float(np.abs(found - wanted).max())


def _bar_colours(own: Charts, planes: Image) -> Plane:
    """(8, C): mean of each bar's middle third, away from the upper and the lower border."""
    height, width, _ = planes.shape
    count, band = len(BAR_COLOURS), own.border_px
    edges = np.arange(count + 1) * width // count
    means = []
    for left, right in itertools.pairwise(edges):
        third = (right - left) // 3
        part = planes[band : height - band, left + third : right - third]
        means.append(part.astype(np.float64).mean(axis=(0, 1)))
    return np.array(means)


def _shift(own: Charts, pair: tuple[Image, Image] | None) -> float:
    """LR pixels between the centres of the answers to one white pixel; 0 where neither answers."""
    if pair is None:
        return float("nan")
    centres = [_centre(planes, NEAR_PX * own.scale) for planes in pair]
    if all(centre is None for centre in centres):
        return 0.0
    if any(centre is None for centre in centres):
        return float("inf")
    a, b = (np.array(centre) for centre in centres)
    return float(np.hypot(*(a - b)) / own.scale)


def _centre(planes: Image, near_px: int) -> tuple[float, float] | None:
    """Row and column of the centre of what stands out around the middle, in output pixels."""
    levels = planes.astype(np.float64).mean(axis=2)
    response = np.abs(levels - np.median(levels))
    middle, across = (side // 2 for side in levels.shape)
    response = response[
        max(0, middle - near_px) : middle + near_px, max(0, across - near_px) : across + near_px
    ]
    response[response < RESPONSE_LEVELS] = 0
    response **= 2  # the peak decides, not the rings around it, which INT8 rounds
    total = response.sum()
    if total == 0:
        return None
    row, column = np.mgrid[: response.shape[0], : response.shape[1]]
    return float((row * response).sum() / total), float((column * response).sum() / total)
