"""Pictures from disk to 8-bit RGB and back, with every conversion that was made stated."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image as Pillow
from PIL import (
    ImageFile,
    ImageOps,
    TiffImagePlugin,  # noqa: F401  importing it registers the format
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from toolkit.errors import EnvironmentFailure, UserError
from toolkit.images.resize import Image

# 100 megapixels decode to 300 MB of RGB: more than any camera here delivers, and still bounded.
PIXEL_CAP = 100_000_000
# Few decoders, so that a hostile file meets few parsers.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
ORIENTATION_TAG = 0x0112  # EXIF 2.3, section 4.6.4
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)
# What Pillow's decoders raise on damaged files; UnidentifiedImageError is an OSError.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, struct.error, zlib.error)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture as uint8 RGB (H, W, 3), 0 to 255, and what was done to get there."""

    rgb: Image
    notes: tuple[str, ...]


def read_rgb(path: Path) -> Image:
    """The pixels of `decode`: uint8 (H, W, 3), R first, 0 to 255."""
    return decode(path).rgb


def decode(path: Path) -> Decoded:
    """Read a picture of any usual kind as 8-bit RGB.

    Grey is repeated, 16 bits are scaled to 8 (never clipped), alpha is composited over white, CMYK
    is converted without its profile, the EXIF rotation is applied, of several frames the first
    counts; each of these but the first is a note.
    Raises UserError naming the file and the reason where it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on; our own cap is checked before decoding.
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            return _decode_trusting(path)
    except Pillow.DecompressionBombError as problem:
        raise _refused(path, _too_large()) from problem
    except DAMAGE as problem:
        raise _refused(path, _reason(path, problem)) from problem


def _decode_trusting(path: Path) -> Decoded:
    with Pillow.open(path, formats=FORMATS) as opened:
        if opened.width * opened.height > PIXEL_CAP:
            raise _refused(path, f"{_too_large()}, found {opened.width} x {opened.height}")
        notes = []
        if getattr(opened, "is_animated", False):
            notes.append("several frames: the first was taken")
        if _is_16_bit(opened):
            notes.append("16 bits per channel: scaled to 8")
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        if opened.getexif().get(ORIENTATION_TAG, 1) != 1:
            notes.append("turned as its EXIF orientation says")
        rgb, note = _to_rgb(upright, path)
    return Decoded(rgb=rgb, notes=(*notes, *note))


def _is_16_bit(image: ImageFile.ImageFile) -> bool:
    # Pillow reads 16-bit colour by its high byte as mode RGB; only the raw mode tells.
    raw_modes = " ".join(str(tile.args) for tile in image.tile)
    return ";16" in raw_modes or image.mode.startswith("I")


def _to_rgb(image: Pillow.Image, path: Path) -> tuple[Image, tuple[str, ...]]:
    if image.mode.startswith("I"):
        return _from_16_bit(np.asarray(image), path), ()
    if image.mode == "F":
        raise _refused(path, "floating-point pixels; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return _over_white(image.convert("RGBA"))
    note = ("CMYK: converted without its colour profile",) if image.mode == "CMYK" else ()
    return np.array(image.convert("RGB")), note


def _from_16_bit(levels: np.ndarray, path: Path) -> Image:
    wide = levels.astype(np.int64)
    if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
        raise _refused(path, "32-bit integer pixels; save it with 8 or 16 bits")
    scaled = ((wide * 255 + 32767) // 65535).astype(np.uint8)
    return np.repeat(scaled[:, :, None], 3, axis=2)


def _over_white(rgba: Pillow.Image) -> tuple[Image, tuple[str, ...]]:
    low, _ = cast(tuple[int, int], rgba.getchannel("A").getextrema())
    if low == 255:
        return np.array(rgba.convert("RGB")), ()
    white = Pillow.new("RGBA", rgba.size, (255, 255, 255, 255))
    flat = Pillow.alpha_composite(white, rgba).convert("RGB")
    return np.array(flat), ("transparency: composited over white",)


def _too_large() -> str:
    return f"more than {PIXEL_CAP // 1_000_000} megapixels"


def _reason(path: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError):
        return "there is no such file"
    if isinstance(problem, IsADirectoryError | PermissionError):
        return (problem.strerror or "no access").lower()
    if path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(problem, UnidentifiedImageError):
        return f"not a picture in a known format ({', '.join(FORMATS)})"
    return f"damaged or cut off ({problem})"


def _refused(path: Path, reason: str) -> UserError:
    return UserError(
        f"cannot read the picture `{path.name}`: {reason}",
        where=str(path),
        hint="replace or remove the file",
    )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block succeeds.

    The temporary name keeps the suffix. On any failure it is removed and `path` is as before.
    Raises EnvironmentFailure where the file system refuses.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as problem:
        raise EnvironmentFailure(
            f"cannot write `{path.name}`: {problem.strerror or problem}",
            where=str(path),
            hint="check the free space and the permissions of the folder",
        ) from problem
    finally:
        with suppress(OSError):  # else it would hide the failure that matters
            temporary.unlink(missing_ok=True)


def write_png(path: Path, image: Image) -> None:
    """Write uint8 (H, W) grey or (H, W, 3) RGB as PNG: the whole file or none.

    Raises EnvironmentFailure where it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        Pillow.fromarray(image).save(file, format="PNG")
        file.flush()
        os.fsync(file.fileno())
