"""The windows of the validation images where a file's picture leaves the float one the most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    """One window of one image: the original, the float output, the file's output, the input.

    Pictures are uint8, (h, w) luma or (h, w, 3) RGB, all of one shape.
    The place is in output pixels.
    """

    image: str
    file: str
    top_px: int
    left_px: int
    original: Plane
    reference: Plane
    measured: Plane
    low: Plane | None = None  # the input: each of its pixels as a block, so that the boxes agree
    against: str = "float network"  # what `reference` is the picture of

    @property
    def difference(self) -> Plane:
        """Absolute difference of the file's picture and the float one, in grey levels, uint8."""
        return _absolute_difference(self.reference, self.measured)

    @property
    def rms_levels(self) -> float:
        """Root mean square of the difference, in grey levels from 0 to 255."""
        return math.sqrt(float(np.mean(self.difference.astype(np.float64) ** 2)))


def worst_crops(
    hr: Mapping[str, Plane],
    reference_planes: Mapping[str, Plane],
    measured_planes: Mapping[str, Plane],
    n: int,
    size_px: int,
    *,
    file: str = "",
    lr: Mapping[str, Plane] | None = None,
    against: str = "float network",
) -> list[Crop]:
    """The `n` windows with the largest mean squared difference, largest first.

    The three mappings go from image name to its picture, uint8, (H, W) or (H, W, 3), of one shape
    per image. Windows are `size_px` square, smaller where the image is, and never overlap. To show
    more than one picture, each image gives at most its even share of windows, rounded up.
    `lr` has the input of each image, a whole number of times smaller, for the crops to show.
    Raises ValueError where names or shapes differ.
    """
    _check_same(hr, reference_planes, measured_planes)
    found: list[tuple[float, Crop]] = []
    share = math.ceil(n / len(hr)) if hr else 0
    for name in hr:
        planes = hr[name], reference_planes[name], measured_planes[name]
        height, width = (min(size_px, side) for side in planes[0].shape[:2])
        for error, top, left in _worst_windows(planes[1], planes[2], height, width, share):
            cut = (slice(top, top + height), slice(left, left + width))
            original, reference, measured = (plane[cut].copy() for plane in planes)
            crop = Crop(
                image=name,
                file=file,
                top_px=top,
                left_px=left,
                original=original,
                reference=reference,
                measured=measured,
                low=None if lr is None else _enlarged(lr[name], planes[0].shape[0])[cut].copy(),
                against=against,
            )
            found.append((error, crop))
    found.sort(key=lambda pair: (-pair[0], pair[1].image, pair[1].top_px, pair[1].left_px))
    return [crop for _, crop in found[:n]]


def _enlarged(lr: Plane, height: int) -> Plane:
    """Each pixel as a square block, so that the picture is `height` high."""
    scale, rest = divmod(height, lr.shape[0])
    if rest:
        raise ValueError(f"{height} rows are not a multiple of the input's {lr.shape[0]}")
    return lr.repeat(scale, axis=0).repeat(scale, axis=1)


def _absolute_difference(a: Plane, b: Plane) -> Plane:
    return np.abs(a.astype(np.int16) - b.astype(np.int16)).astype(np.uint8)


def _check_same(*mappings: Mapping[str, Plane]) -> None:
    first, *others = mappings
    for other in others:
        if set(other) != set(first):
            raise ValueError("crops compare the same images")
        for name, plane in first.items():
            if other[name].shape != plane.shape:
                raise ValueError(f"{name}: {plane.shape} against {other[name].shape}")


def _worst_windows(
    reference: Plane, measured: Plane, height: int, width: int, n: int
) -> list[tuple[float, int, int]]:
    """Up to `n` disjoint windows as (mean squared difference, top, left), worst first."""
    squared = _absolute_difference(reference, measured).astype(np.int64) ** 2
    if squared.ndim == 3:
        squared = squared.sum(axis=2)
    sums = _window_sums(squared, height, width)
    pixels = height * width * (reference.shape[2] if reference.ndim == 3 else 1)
    windows = []
    for _ in range(n):
        top, left = (int(i) for i in np.unravel_index(int(sums.argmax()), sums.shape))
        if sums[top, left] < 0:  # every window left over overlaps one that was taken
            break
        windows.append((float(sums[top, left]) / pixels, top, left))
        rows = slice(max(0, top - height + 1), top + height)
        sums[rows, max(0, left - width + 1) : left + width] = -1
    return windows


def _window_sums(values: npt.NDArray[np.int64], height: int, width: int) -> npt.NDArray[np.int64]:
    """Sum under each window, by its top left corner: (H - height + 1, W - width + 1)."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1), np.int64)
    table[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    sums: npt.NDArray[np.int64] = (
        table[height:, width:]
        - table[:-height, width:]
        - table[height:, :-width]
        + table[:-height, :-width]
    )
    return sums
