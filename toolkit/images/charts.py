"""Test charts made by code: the extremes that photographs leave out."""

from __future__ import annotations

import numpy as np

from toolkit.images.resize import Image

# Pure colours at full drive, in the order of a television test bar: brightest luma first.
BAR_COLOURS = (
    (255, 255, 255),
    (255, 255, 0),
    (0, 255, 255),
    (0, 255, 0),
    (255, 0, 255),
    (255, 0, 0),
    (0, 0, 255),
    (0, 0, 0),
)


def _grey(levels: Image) -> Image:
    return np.ascontiguousarray(np.repeat(levels[:, :, None], 3, axis=2))


def _gradient(length: int) -> Image:
    return np.round(np.linspace(0, 255, length)).astype(np.uint8)


def _colour_bars(height: int, width: int) -> Image:
    bar = np.arange(width) * len(BAR_COLOURS) // width
    row = np.array(BAR_COLOURS, np.uint8)[bar]
    return np.ascontiguousarray(np.broadcast_to(row, (height, width, 3)))


def _single_pixel(height: int, width: int) -> Image:
    levels = np.zeros((height, width), np.uint8)
    levels[height // 2, width // 2] = 255
    return _grey(levels)


def charts(height: int, width: int) -> list[tuple[str, Image]]:
    """Six named charts, each uint8 (height, width, 3) RGB, 0 to 255; the same on every call.

    Raises ValueError where a side is below one pixel.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a chart needs at least one pixel, got {height} x {width}")
    across = np.broadcast_to(_gradient(width)[None, :], (height, width))
    down = np.broadcast_to(_gradient(height)[:, None], (height, width))
    return [
        ("chart-white", np.full((height, width, 3), 255, np.uint8)),
        ("chart-black", np.zeros((height, width, 3), np.uint8)),
        ("chart-gradient-horizontal", _grey(across)),
        ("chart-gradient-vertical", _grey(down)),
        ("chart-colour-bars", _colour_bars(height, width)),
        ("chart-single-pixel", _single_pixel(height, width)),
    ]
