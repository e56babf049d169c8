"""BT.601 luma and chroma of 8-bit images, limited range, as SR papers score and cameras deliver."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit.images.resize import Image, round_half_up_u8

# ITU-R BT.601, limited range (Y 16 to 235, Cb and Cr 16 to 240); rows Y, Cb, Cr for RGB in [0, 1].
RGB_TO_YCBCR = np.array(
    [
        [65.481, 128.553, 24.966],
        [-37.797, -74.203, 112.0],
        [112.0, -93.786, -18.214],
    ]
)
YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])


def luma_bt601(rgb: Image) -> npt.NDArray[np.float64]:
    """Luma of an 8-bit RGB image, limited range 16 to 235, not rounded.

    rgb: uint8, (H, W, 3), R first, 0 to 255. Returns float64, (H, W).
    Raises ValueError where the last axis is not 3.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"rgb must be (H, W, 3), got {rgb.shape}")
    weighted = rgb.astype(np.float64) @ (RGB_TO_YCBCR[0] / 255.0)
    luma: npt.NDArray[np.float64] = weighted + YCBCR_OFFSET[0]
    return luma


def rgb_to_ycbcr(rgb: Image) -> Image:
    """8-bit Y, Cb, Cr planes, (H, W, 3) uint8, each rounded, as a camera delivers them."""
    planes = rgb.astype(np.float64) @ (RGB_TO_YCBCR.T / 255.0) + YCBCR_OFFSET
    return round_half_up_u8(planes)


def ycbcr_to_rgb(ycbcr: Image) -> Image:
    """Inverse of `rgb_to_ycbcr`: (H, W, 3) uint8 in, (H, W, 3) uint8 out, clipped and rounded."""
    inverse = np.linalg.inv(RGB_TO_YCBCR / 255.0)
    return round_half_up_u8((ycbcr.astype(np.float64) - YCBCR_OFFSET) @ inverse.T)
