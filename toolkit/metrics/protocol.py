"""The one image-quality protocol: how LR is made, what is compared, what is left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from toolkit.errors import UserError
from toolkit.images.luma import luma_bt601, rgb_to_ycbcr
from toolkit.images.resize import Image, crop_to_multiple, low_resolution
from toolkit.images.tiles import NotFinite, upscale_planes
from toolkit.metrics.psnr_db import psnr_db
from toolkit.metrics.ssim import WINDOW_PX, ssim
from toolkit.model.contract import IoContract

if TYPE_CHECKING:
    from toolkit.contracts import Tensor

PROTOCOL = (
    "Y of BT.601 (16 to 235); HR cropped to a multiple of the scale; LR by the bicubic of the "
    "papers (a = -0.5, antialiased) rounded to 8 bits; output clipped and rounded to 8 bits; "
    "`scale` pixels shaved on each side; mean of the PSNR per picture, peak 255; SSIM 11 x 11, "
    "sigma 1.5, valid windows"
)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One picture measured; NaN where the network gave no finite picture."""

    psnr_db: float
    ssim: float


def protocol_pair(rgb: Image, scale: int) -> tuple[Image, Image]:
    """The LR and the HR picture, uint8 (h, w, 3) and (h*scale, w*scale, 3).

    Raises UserError where too little would be left for one SSIM window after shaving.
    """
    hr = crop_to_multiple(rgb, scale)
    least = WINDOW_PX + 2 * scale
    if min(hr.shape[:2]) < least:
        raise UserError(
            f"a picture of {rgb.shape[1]} x {rgb.shape[0]} is too small to be measured at "
            f"x{scale}: each side must be at least {_least_side(least, scale)} px"
        )
    return low_resolution(hr, scale), hr


def _least_side(least: int, scale: int) -> int:
    return -(-least // scale) * scale


def network_planes(rgb: Image, contract: IoContract) -> Image:
    """RGB (h, w, 3) as the uint8 planes (h, w, C) that the network reads, in its order."""
    if contract.image.color == "luma":
        return rgb_to_ycbcr(rgb)[:, :, :1]
    return rgb if contract.image.color == "rgb" else rgb[:, :, ::-1]


def output_luma(planes: Image, contract: IoContract) -> npt.NDArray[np.float64]:
    """Luma (H, W) of a network's rounded output (H, W, C); a luma network's output is the luma."""
    if contract.image.color == "luma":
        return planes[:, :, 0].astype(np.float64)
    return luma_bt601(planes if contract.image.color == "rgb" else planes[:, :, ::-1])


def score_planes(planes: Image, hr_rgb: Image, contract: IoContract) -> Score:
    """Measure rounded output planes uint8 (H, W, C) against the HR picture uint8 (H, W, 3).

    The HR luma is not rounded. Raises ValueError where the sizes differ.
    """
    shave = contract.image.scale
    inner = (slice(shave, -shave), slice(shave, -shave))
    wanted, got = luma_bt601(hr_rgb)[inner], output_luma(planes, contract)[inner]
    return Score(psnr_db=psnr_db(wanted, got), ssim=ssim(wanted, got))


def score_image(rgb: Image, contract: IoContract, run: Callable[[Tensor], Tensor]) -> Score:
    """Make the pair from one HR picture uint8 (H, W, 3), upscale its LR by `run`, and measure.

    A network that gives NaN or infinity scores NaN, which passes no gate.
    Raises UserError for a picture that is too small, and what `upscale_planes` raises.
    """
    lr, hr = protocol_pair(rgb, contract.image.scale)
    try:
        planes = upscale_planes(network_planes(lr, contract), contract, run)
    except NotFinite:
        return Score(psnr_db=math.nan, ssim=math.nan)
    return score_planes(planes, hr, contract)
