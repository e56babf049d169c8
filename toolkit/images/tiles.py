"""A picture of any size through a network file: padded, tiled with the exact halo, put together."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from toolkit.errors import UserError
from toolkit.images.luma import rgb_to_ycbcr, ycbcr_to_rgb
from toolkit.images.resize import Image, bicubic_resize, round_half_up_u8
from toolkit.model.contract import IoContract, TensorSpec

if TYPE_CHECKING:
    from toolkit.contracts import Tensor

# Above this many LR pixels a file of free size gets tiles: 64 float32 channels of it are 75 MB.
WHOLE_PICTURE_PX = 640 * 480
FREE_TILE_PX = 512
FREE_TILE_HALOS = 8  # a free tile is at least this many halos wide, so that most of it is kept


class NotFinite(UserError):
    """A network gave NaN or infinity, of which no picture can be made."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One tile along one axis: `start` and `length`, and the part of it whose result is kept.

    All in LR pixels of the padded picture; `keep_to` is exclusive. A tile that is longer than the
    picture sticks out of it, at its end or, with a negative `start`, at its beginning.
    """

    start: int
    length: int
    keep_from: int
    keep_to: int


def spans(length: int, *, tile: int, halo: int, multiple_of: int = 1) -> list[Span]:
    """Cut an axis of `length` pixels into tiles of exactly `tile`, or one shorter than that.

    The first tile starts at the picture's border and the last one, shifted inwards, ends there, so
    that a network meets the true border there and nothing but true pixels elsewhere. A picture
    shorter than the tile is run twice, at either end of it, and half of each result is kept.
    Starts are multiples of `multiple_of`, which keeps strides and poolings in phase.
    Raises UserError where a tile is nothing but halo.
    """
    if length == tile or (length < tile and halo == 0):
        return [Span(start=0, length=tile, keep_from=0, keep_to=length)]
    if length < tile:
        middle = length // 2
        return [
            Span(start=0, length=tile, keep_from=0, keep_to=middle),
            Span(start=length - tile, length=tile, keep_from=middle, keep_to=length),
        ]
    step = (tile - 2 * halo) // multiple_of * multiple_of
    if step < 1:
        raise UserError(
            f"a tile of {tile} px has no pixel that is {halo} px away from its borders",
            hint=f"make the file with a tile of at least {2 * halo + multiple_of} px",
        )
    starts = [*range(0, length - tile, step), length - tile]
    ends = [*(start + tile - halo for start in starts[:-1]), length]
    return [
        Span(start=start, length=tile, keep_from=keep_from, keep_to=keep_to)
        for start, keep_from, keep_to in zip(starts, [0, *ends[:-1]], ends, strict=True)
    ]


def to_tensor(planes: Image, spec: TensorSpec, white: float) -> Tensor:
    """Planes as the one tensor that a file reads: N = 1, and layout, dtype and step of `spec`.

    planes: uint8 (h, w, C), 0 to 255 standing for real values from 0 to `white`.
    """
    levels = np.arange(256, dtype=np.float64) * white / 255
    if spec.step is not None:
        limits = np.iinfo(spec.dtype)
        stored = np.floor(levels / spec.step + 0.5) + spec.zero_point
        levels = np.clip(stored, limits.min, limits.max)
    tensor = levels.astype(spec.dtype)[planes]
    if spec.layout == "nchw":
        tensor = tensor.transpose(2, 0, 1)
    return np.ascontiguousarray(tensor[None])


def from_tensor(tensor: Tensor, spec: TensorSpec, white: float) -> Image:
    """The inverse of `to_tensor`: uint8 (H, W, C), clipped, rounded half up.

    Raises NotFinite for NaN and infinity.
    """
    planes = tensor[0].transpose(1, 2, 0) if spec.layout == "nchw" else tensor[0]
    if spec.step is not None:
        lowest = np.iinfo(spec.dtype).min
        stored = np.arange(lowest, lowest + 256, dtype=np.float64)
        table = round_half_up_u8((stored - spec.zero_point) * spec.step * 255 / white)
        return table[planes.astype(np.int16) - lowest]
    if not np.isfinite(planes).all():
        raise NotFinite(
            "the network gave NaN or infinity",
            hint="look for a damaged weight, or for float16 values above 65504",
        )
    return round_half_up_u8(planes.astype(np.float64) * 255 / white)


def _padded(planes: Image, sides: tuple[int, int]) -> Image:
    below, right = sides[0] - planes.shape[0], sides[1] - planes.shape[1]
    if below == right == 0:
        return planes
    return np.pad(planes, ((0, below), (0, right), (0, 0)), mode="edge")


def _rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _sides(height: int, width: int, contract: IoContract) -> tuple[int, int]:
    """Height and width of the picture as multiples of what the network asks for."""
    step = contract.image.multiple_of
    return _rounded_up(height, step), _rounded_up(width, step)


def _tile_sides(sides: tuple[int, int], contract: IoContract) -> tuple[int, int]:
    """The file's own tile; for a file of free size the whole picture if it is not too large."""
    halo, step = contract.image.halo_px, contract.image.multiple_of
    if contract.tile is not None:
        return contract.tile
    if halo is None or sides[0] * sides[1] <= WHOLE_PICTURE_PX:
        least = _rounded_up(contract.image.minimum_px, step)
        return max(sides[0], least), max(sides[1], least)
    side = _rounded_up(max(FREE_TILE_PX, FREE_TILE_HALOS * halo), step)
    return side, side


def _checked_halo(height: int, width: int, contract: IoContract) -> int:
    if contract.image.halo_px is not None:
        return contract.image.halo_px
    if contract.tile in (None, (height, width)):
        return 0
    tile_height, tile_width = contract.tile
    raise UserError(
        f"each pixel depends on the whole picture, so a picture of {width} x {height} cannot go "
        f"through a tile of {tile_width} x {tile_height} without a change",
        hint=f"give a picture of exactly {tile_width} x {tile_height}, use a file of free size, "
        "or state a halo that is good enough",
    )


def with_halo(contract: IoContract, halo_px: int) -> IoContract:
    """The contract with a halo that is good enough, for a network that sees the whole picture."""
    return replace(contract, image=replace(contract.image, halo_px=halo_px))


def with_tile(contract: IoContract, tile: tuple[int, int]) -> IoContract:
    """The contract of a file of free size, used as if its tile were fixed to (height, width)."""
    height, width = tile
    channels = contract.image.channels
    nchw = contract.input.layout == "nchw"
    shape = (1, channels, height, width) if nchw else (1, height, width, channels)
    return replace(contract, input=replace(contract.input, shape=shape))


def upscale_planes(
    planes: Image,
    contract: IoContract,
    run: Callable[[Tensor], Tensor],
    *,
    on_tile: Callable[[int, int], None] | None = None,
) -> Image:
    """Run a file over uint8 planes (h, w, C), in the network's colour order; gives (h*s, w*s, C).

    Tiled equals untiled: every kept pixel is at least the halo away from a tile border that is not
    the picture's, also in a picture smaller than the tile, from two halos on. One that is no
    multiple of what the network asks for is continued by its edge pixels to the right and below and
    cropped afterwards; near those two borders the result then differs from a run at the true size.
    `on_tile(done, total)` is called after each tile. Raises UserError where the network depends on
    the whole picture and the file cannot take it whole, or the output is not what was promised;
    NotFinite for NaN.
    """
    height, width, _ = planes.shape
    scale = contract.image.scale
    sides = _sides(height, width, contract)
    tile = _tile_sides(sides, contract)
    halo = _checked_halo(height, width, contract)
    rows, columns = (
        spans(side, tile=length, halo=halo, multiple_of=contract.image.multiple_of)
        for side, length in zip(sides, tile, strict=True)
    )
    padded = _padded(planes, sides)
    result = np.empty((sides[0] * scale, sides[1] * scale, planes.shape[2]), np.uint8)
    total = len(rows) * len(columns)
    for done, (row, column) in enumerate(itertools.product(rows, columns), start=1):
        kept = _run_tile(padded, row, column, contract, run)
        result[
            row.keep_from * scale : row.keep_to * scale,
            column.keep_from * scale : column.keep_to * scale,
        ] = kept
        if on_tile is not None:
            on_tile(done, total)
    return result[: height * scale, : width * scale]


def _cut(padded: Image, row: Span, column: Span) -> Image:
    """The pixels of one tile; what lies outside of the picture is its nearest edge pixel."""
    rows, columns = (
        np.clip(np.arange(span.start, span.start + span.length), 0, side - 1)
        for span, side in zip((row, column), padded.shape, strict=False)
    )
    return padded[np.ix_(rows, columns)]


def _run_tile(
    padded: Image, row: Span, column: Span, contract: IoContract, run: Callable[[Tensor], Tensor]
) -> Image:
    scale, white = contract.image.scale, contract.image.white
    tile = _cut(padded, row, column)
    planes = from_tensor(run(to_tensor(tile, contract.input, white)), contract.output, white)
    promised = (row.length * scale, column.length * scale, tile.shape[2])
    if planes.shape != promised:
        raise UserError(
            f"the file gave (height, width, channels) {planes.shape}, promised were {promised}",
            hint="check the scale and the layout stated for this network",
        )
    top, left = row.keep_from - row.start, column.keep_from - column.start
    height, width = row.keep_to - row.keep_from, column.keep_to - column.keep_from
    return planes[top * scale : (top + height) * scale, left * scale : (left + width) * scale]


def upscale_rgb(
    rgb: Image,
    contract: IoContract,
    run: Callable[[Tensor], Tensor],
    *,
    on_tile: Callable[[int, int], None] | None = None,
) -> Image:
    """Upscale uint8 RGB (h, w, 3) to uint8 RGB (h*s, w*s, 3) by a network of any colour kind.

    For a luma network Y goes through the network and Cb and Cr through the bicubic of the papers.
    Raises what `upscale_planes` raises.
    """
    if contract.image.color == "rgb":
        return upscale_planes(rgb, contract, run, on_tile=on_tile)
    if contract.image.color == "bgr":
        bgr = upscale_planes(rgb[:, :, ::-1], contract, run, on_tile=on_tile)
        return np.ascontiguousarray(bgr[:, :, ::-1])
    ycbcr = rgb_to_ycbcr(rgb)
    luma = upscale_planes(ycbcr[:, :, :1], contract, run, on_tile=on_tile)
    chroma = bicubic_resize(ycbcr[:, :, 1:], contract.image.scale)
    return ycbcr_to_rgb(np.concatenate([luma, chroma], axis=2))
