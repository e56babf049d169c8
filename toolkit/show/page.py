"""What every page shares: one file, its own styles and scripts, and nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from toolkit.show.crops import Crop, Plane
from toolkit.show.rows import number, percent, release

HERE = Path(__file__).parent
CLIPPED_SHARE = 0.001  # of the pixels of all crops: they differ by more than is shown
MAX_GAIN = 32  # one grey level of difference then shows as 32 of 255: visible, and not more


@dataclass(frozen=True, kw_only=True)
class ShownCrop:
    """A crop with its pictures as `data:` addresses, in the order in which they are shown."""

    crop: Crop
    panels: tuple[tuple[str, str, str], ...]  # kind, caption, address
    height_px: int
    width_px: int
    max_levels: int


def rendered(template: str, *, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> str:
    """A page from its template, with its styles and scripts in it and only these allowed to run.

    Every value is text to it: names cannot become markup.
    """
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in scripts)
    digest = hashlib.sha256(script.encode()).digest()
    return (
        _environment()
        .get_template(template)
        .render(
            style="\n".join((HERE / name).read_text(encoding="utf-8") for name in styles),
            script=script,
            script_hash=base64.b64encode(digest).decode(),
            **values,
        )
    )


def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(HERE, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        db=partial(number, digits=3),
        ssim=partial(number, digits=4),
        ms=partial(number, digits=2),
        one=partial(number, digits=1),
        release=release,
        percent=percent,
        fact=fact_text,
        coded=coded,
    )
    return env


def coded(text: str) -> Markup:
    """A sentence as markup: what stands between backticks becomes code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )


def amplification(crops: Sequence[Crop]) -> int:
    """One power of two for all crops, so that they compare.

    The largest one that clips at most `CLIPPED_SHARE` of their pixels: with none to spare, one bad
    pixel would leave the rest black.
    """
    levels = np.concatenate([crop.difference.ravel() for crop in crops] or [np.zeros(1, np.uint8)])
    largest = float(np.quantile(levels, 1 - CLIPPED_SHARE, method="higher"))
    gain = MAX_GAIN
    while gain > 1 and gain * largest > 255:
        gain //= 2
    return gain


def shown(crop: Crop, gain: int) -> ShownCrop:
    """A crop ready for the page."""
    amplified = np.minimum(crop.difference.astype(np.uint16) * gain, 255).astype(np.uint8)
    pictures = (
        *([] if crop.low is None else [("input", "input, enlarged", crop.low)]),
        ("original", "original", crop.original),
        ("float", crop.against, crop.reference),
        ("file", crop.file or "file", crop.measured),
        ("difference", f"difference, {gain} times", amplified),
    )
    return ShownCrop(
        crop=crop,
        panels=tuple((kind, caption, png_address(plane)) for kind, caption, plane in pictures),
        height_px=crop.original.shape[0],
        width_px=crop.original.shape[1],
        max_levels=int(crop.difference.max()),
    )


def png_address(plane: Plane) -> str:
    """A picture, uint8 (h, w) or (h, w, 3), as a lossless `data:` address."""
    file = io.BytesIO()
    Image.fromarray(plane).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def fact_text(value: Any) -> str:
    """A JSON value as a short text: digits grouped, mappings and lists on one line."""
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "none"
        case int():
            return f"{value:,}".replace(",", "\u202f")  # narrow no-break space, as ISO 31-0 groups
        case float():
            return f"{value:.6g}"
        case Mapping():
            return ", ".join(f"{key}: {fact_text(item)}" for key, item in value.items()) or "none"
        case list() | tuple():
            return ", ".join(fact_text(item) for item in value) or "none"
    return str(value)
