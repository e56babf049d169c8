"""Calibration inputs: crops of photographs and charts, as the tensors a network expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.images.charts import charts
from toolkit.images.decode import read_rgb
from toolkit.images.luma import luma_bt601, rgb_to_ycbcr
from toolkit.images.resize import Image, crop_to_multiple, low_resolution
from toolkit.images.sets import ImageSet
from toolkit.model.contract import ImageContract

Batch = npt.NDArray[np.float32]


def tensor_from_rgb(rgb: Image, contract: ImageContract) -> Batch:
    """uint8 RGB (H, W, 3), 0 to 255, to float32 (1, C, H, W), 0 to `contract.white`."""
    if contract.color == "luma":
        planes = rgb_to_ycbcr(rgb)[:, :, :1]
    else:
        planes = rgb[:, :, ::-1] if contract.color == "bgr" else rgb
    scaled = planes.astype(np.float32) * np.float32(contract.white / 255.0)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def patch_px(wanted_px: int, contract: ImageContract) -> int:
    """The least size from `wanted_px` on that the network accepts."""
    step = contract.multiple_of
    return -(-max(wanted_px, contract.minimum_px) // step) * step


def cut_patches(
    images: ImageSet, contract: ImageContract, *, count: int, size_px: int, seed: int
) -> Iterator[Batch]:
    """`count` LR crops, images taken in turn, places drawn from `seed`.

    An image smaller than the crop gives all of it that the network accepts; one smaller than that
    is passed over.
    """
    for crop in _crops(images, contract, count, size_px, seed):
        yield tensor_from_rgb(low_resolution(crop, contract.scale), contract)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a network reads, (1, C, h, w) float32, and the luma it should give, (H, W) float64."""

    lr: Batch
    luma: npt.NDArray[np.float64]


def cut_pairs(
    images: ImageSet, contract: ImageContract, *, count: int, size_px: int, seed: int
) -> Iterator[Pair]:
    """`cut_patches` with the luma of the HR crop (BT.601, 16 to 235, not rounded) beside each."""
    for crop in _crops(images, contract, count, size_px, seed):
        lr = tensor_from_rgb(low_resolution(crop, contract.scale), contract)
        yield Pair(lr=lr, luma=luma_bt601(crop))


def _crops(
    images: ImageSet, contract: ImageContract, count: int, size_px: int, seed: int
) -> Iterator[Image]:
    rng = np.random.default_rng(seed)
    for index in range(count if images.files else 0):
        rgb = crop_to_multiple(
            read_rgb(images.files[index % len(images.files)].path), contract.scale
        )
        crop = _random_crop(rgb, size_px * contract.scale, contract, rng)
        if crop is not None:
            yield crop


def _random_crop(
    rgb: Image, size_px: int, contract: ImageContract, rng: np.random.Generator
) -> Image | None:
    step = contract.scale * contract.multiple_of
    height, width = (min(size_px, side // step * step) for side in rgb.shape[:2])
    top, left = (
        rng.integers(0, rgb.shape[0] - height + 1),
        rng.integers(0, rgb.shape[1] - width + 1),
    )
    if min(height, width) < max(contract.minimum_px, contract.multiple_of) * contract.scale:
        return None
    return rgb[top : top + height, left : left + width]


def chart_patches(contract: ImageContract, *, size_px: int) -> Iterator[Batch]:
    """The charts that code draws, at LR size, without the single pixel.

    One white pixel on black drives features two to four times further than any photograph or
    other chart, and would take a bit from all of them.
    """
    for name, chart in charts(size_px, size_px):
        if name != "chart-single-pixel":
            yield tensor_from_rgb(chart, contract)
