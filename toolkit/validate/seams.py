"""Tiles against the whole picture: where two tiles meet nothing may show."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from toolkit.contracts import Image, Tensor
from toolkit.images.tiles import NotFinite, upscale_planes, with_tile
from toolkit.model.contract import IoContract
from toolkit.report import Verdict
from toolkit.validate.comparing import at_most
from toolkit.validate.files import OpenFile

# Float output is looked at through a magnifier: a halo that is one pixel short changes the picture
# by less than a level, which rounding would hide.
MAGNIFIED = 64
LEAST_KEPT_PX = 16  # of a tile, so that there is something between two seams
FLOAT_LEVELS = 2 / MAGNIFIED  # two runs of other sizes may add in another order


def seam_verdicts(file: OpenFile, graph_halo_px: int | None) -> list[Verdict]:
    """Noise through other tilings of one file, which must agree; and the halo that is stated.

    graph_halo_px: what the float network's graph says of the halo; None: not known. Nothing is
    said of a file whose every pixel depends on the whole picture: no halo is exact there.
    """
    halo_px = file.artefact.contract.image.halo_px
    if halo_px is None:
        return []
    integer = file.artefact.contract.output.step is not None
    try:
        levels = _tile_difference(file) if file.contract.tile is None else _moved_difference(file)
    except NotFinite:
        levels = math.nan
    limit = 0.0 if integer else FLOAT_LEVELS
    found = [at_most("seams", file.name, levels, limit, "levels", "largest, on noise")]
    if graph_halo_px is not None:
        note = f"the contract states {halo_px} px, the network's graph needs {graph_halo_px} px"
        short_px = max(0, graph_halo_px - halo_px)
        found.append(at_most("seams.halo_short_px", file.name, short_px, 0, "px", note))
    return found


def _tile_difference(file: OpenFile) -> float:
    """Levels between a picture run whole and the same one run in tiles."""
    image = file.contract.image
    halo, step = image.halo_px or 0, image.multiple_of
    tile = _up(max(2 * halo + LEAST_KEPT_PX, image.minimum_px), step)
    side = _two_tiles(tile, halo)
    planes = noise(side, side, image.channels)
    whole = _magnified(file, planes, file.contract)
    tiled = _magnified(file, planes, with_tile(file.contract, (tile, tile)))
    return _largest(whole, tiled, file)


def _moved_difference(file: OpenFile) -> float:
    """Levels between a picture and a part of it, whose tiles begin elsewhere; fixed tiles only."""
    image, tile = file.contract.image, file.contract.tile
    assert tile is not None
    halo, step = image.halo_px or 0, image.multiple_of
    moved = _up(LEAST_KEPT_PX // 2 + 1, step)
    height, width = (_two_tiles(side, halo) for side in tile)
    planes = noise(height, width, image.channels)
    whole = _magnified(file, planes, file.contract)
    part = _magnified(file, planes[moved:, moved:], file.contract)
    # what is less than a halo from the part's own border sees that border
    a, b = (moved + halo) * image.scale, halo * image.scale
    return _largest(whole[a:, a:], part[b:, b:], file)


def _two_tiles(tile: int, halo: int) -> int:
    """The length at which two tiles overlap by two halos: both are kept up to their last pixel."""
    return 2 * (tile - halo)


def noise(height: int, width: int, channels: int) -> Image:
    """Seeded noise over the whole range, uint8 (height, width, channels): each pixel counts."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, channels), np.uint8)


def _magnified(file: OpenFile, planes: Image, contract: IoContract) -> Image:
    integer, white = contract.output.step is not None, contract.image.white

    def run(tensor: Tensor) -> Tensor:
        output = file.session.run(tensor)
        return output if integer else folded(output, white)

    return upscale_planes(planes, contract, run)


def folded(output: Tensor, white: float) -> npt.NDArray[np.float64]:
    """Float output times `MAGNIFIED`, folded back and forth into 0 to `white`.

    Equal values stay equal, and what differs by a 64th of a level differs by one.
    """
    turns = output.astype(np.float64) / white * MAGNIFIED
    return np.abs(turns % 2 - 1) * white


def _largest(a: Image, b: Image, file: OpenFile) -> float:
    difference = float(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())
    return difference if file.contract.output.step is not None else difference / MAGNIFIED


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
