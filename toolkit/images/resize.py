"""The bicubic resize of the super-resolution papers: MATLAB's `imresize`, bit for bit on uint8."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

CUBIC_A = -0.5  # Keys 1981; what MATLAB uses. PyTorch and OpenCV use -0.75.
CUBIC_SUPPORT_PX = 4.0


def keys_cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5, zero outside [-2, 2].

    Source: R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    a = CUBIC_A
    d = np.abs(x)
    inner = (a + 2) * d**3 - (a + 3) * d**2 + 1
    outer = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, inner, np.where(d <= 2, outer, 0.0))


@functools.lru_cache(maxsize=64)
def _taps(
    length_in: int, length_out: int, scale: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Source indices and weights of every output sample, both (length_out, taps)."""
    shrink = min(scale, 1.0)  # below 1 the kernel is widened: that is the antialiasing
    support = CUBIC_SUPPORT_PX / shrink
    taps = int(np.ceil(support)) + 2
    # MATLAB counts pixels from 1 and aligns the outer edges of both images.
    centre = np.arange(1, length_out + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(centre - support / 2)
    index = left[:, None] + np.arange(taps)[None, :]
    weight = shrink * keys_cubic(shrink * (centre[:, None] - index))
    weight /= weight.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(length_in), np.arange(length_in)[::-1]])
    source = mirrored[np.mod(index - 1, 2 * length_in).astype(np.intp)]
    used = np.any(weight != 0, axis=0)
    return source[:, used], weight[:, used]


def round_half_up_u8(values: npt.NDArray[np.float64]) -> Image:
    """Clip to [0, 255] and round half away from zero, as MATLAB's `uint8()` does."""
    rounded: Image = np.floor(np.clip(values, 0.0, 255.0) + 0.5).astype(np.uint8)
    return rounded


def _resize_axis(image: Image, axis: int, length_out: int, scale: float) -> Image:
    moved = np.moveaxis(image, axis, 0)
    source, weight = _taps(moved.shape[0], length_out, scale)
    total = np.zeros((length_out, *moved.shape[1:]), np.float64)
    for tap in range(source.shape[1]):
        tap_weight = weight[:, tap].reshape(-1, *([1] * (moved.ndim - 1)))
        total += tap_weight * moved[source[:, tap]]
    return np.moveaxis(round_half_up_u8(total), 0, axis)


def bicubic_resize(image: Image, scale: float) -> Image:
    """Resize by one factor on both axes, antialiased when shrinking.

    image: uint8, (H, W) or (H, W, C), 0 to 255. Returns uint8, ceil(H * scale) x ceil(W * scale).
    Rows are resized first and the result is rounded to uint8 before the columns: only so are the
    published low-resolution images of Set5 and Set14 reproduced bit for bit.
    Raises ValueError for another dtype or rank, or a scale that is not positive.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"image must be uint8 (H, W[, C]), got {image.dtype} {image.shape}")
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    height_out = int(np.ceil(image.shape[0] * scale))
    width_out = int(np.ceil(image.shape[1] * scale))
    rows_done = _resize_axis(image, 0, height_out, scale)
    return np.ascontiguousarray(_resize_axis(rows_done, 1, width_out, scale))


def crop_to_multiple(image: Image, multiple: int) -> Image:
    """The upper left part of (H, W[, C]) whose height and width are multiples of `multiple`."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def low_resolution(high_resolution: Image, scale: int) -> Image:
    """The LR image of the protocol: HR (already cropped to a multiple) shrunk by `scale`."""
    return bicubic_resize(high_resolution, 1 / scale)
