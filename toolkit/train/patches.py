"""Random training patches from a folder of high-resolution images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.images.luma import rgb_to_ycbcr
from toolkit.images.resize import Image, crop_to_multiple, low_resolution


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image at two resolutions. lr: uint8 (h, w, C); hr: uint8 (h * scale, w * scale, C)."""

    lr: Image
    hr: Image


def make_pair(rgb: Image, *, scale: int, luma_only: bool) -> Pair:
    """The LR and HR image of the protocol; C is 1 for a luma-only network, else 3.

    rgb: uint8 (H, W, 3). The luma is taken after the RGB image was shrunk and rounded, because
    that is what a luma-only network gets to see of an RGB picture.
    """
    hr = crop_to_multiple(rgb, scale)
    lr = low_resolution(hr, scale)
    if luma_only:
        lr, hr = rgb_to_ycbcr(lr)[..., :1], rgb_to_ycbcr(hr)[..., :1]
    return Pair(lr=np.ascontiguousarray(lr), hr=np.ascontiguousarray(hr))


def _turn(patch: Image, turn: int) -> Image:
    """One of the eight symmetries of the square; bit 2 flips, bits 0 and 1 count quarter turns."""
    turned: Image = np.rot90(patch, turn & 3)
    return turned[:, ::-1] if turn & 4 else turned


def sample_batch(
    pairs: Sequence[Pair], *, scale: int, batch: int, lr_px: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Random crops, each in a random orientation; images are drawn in proportion to their area.

    Returns LR (batch, C, lr_px, lr_px) and HR (batch, C, lr_px * scale, lr_px * scale), float32
    in [0, 1].
    """
    areas = np.array([p.lr.shape[0] * p.lr.shape[1] for p in pairs], np.float64)
    chosen = rng.choice(len(pairs), size=batch, p=areas / areas.sum())
    lr_patches, hr_patches = [], []
    for index in chosen:
        pair = pairs[index]
        top = int(rng.integers(pair.lr.shape[0] - lr_px + 1))
        left = int(rng.integers(pair.lr.shape[1] - lr_px + 1))
        turn = int(rng.integers(8))
        lr = pair.lr[top : top + lr_px, left : left + lr_px]
        hr = pair.hr[top * scale : (top + lr_px) * scale, left * scale : (left + lr_px) * scale]
        lr_patches.append(_turn(lr, turn))
        hr_patches.append(_turn(hr, turn))
    return _to_nchw(lr_patches), _to_nchw(hr_patches)


def _to_nchw(patches: Sequence[Image]) -> npt.NDArray[np.float32]:
    stacked = np.stack(patches).transpose(0, 3, 1, 2)
    scaled: npt.NDArray[np.float32] = stacked.astype(np.float32) / np.float32(255)
    return scaled
