"""A Report as one web page that needs no network: the verdict first, then everything behind it."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image

from toolkit.report import LayerLoss, Measured, Report, Verdict, psnr_drop
from toolkit.show.crops import Crop, Plane
from toolkit.show.ladder import SHIP, edit_lines, rung_cells, rung_rows
from toolkit.show.rows import (
    AT_LEAST,
    FileRow,
    bound,
    computed_in,
    file_rows,
    headline,
    is_share,
    number,
    percent,
    quantity,
    ran_on,
    reasons,
)
from toolkit.show.written import write_text

HERE = Path(__file__).parent
MAX_GAIN = 32  # one grey level of difference then shows as 32 of 255: visible, and not more
LIMIT_MARK = 0.75  # where the limit stands on a ceiling's bar; the rest is room to show excess


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A gate as a bar: how far it is filled and where its limit stands, both from 0 to 100."""

    fill: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One validation image: the reference, then each file's PSNR, SSIM and drop in turn."""

    name: str
    reference_db: float
    reference_ssim: float
    scores: tuple[tuple[float, float, float], ...]
    worst_db: float


@dataclass(frozen=True, kw_only=True)
class ShownCrop:
    """A crop with its pictures as `data:` addresses, in the order in which they are shown."""

    crop: Crop
    panels: tuple[tuple[str, str, str], ...]  # kind, caption, address
    height_px: int
    width_px: int
    max_levels: int


def write_html(report: Report, crops: Sequence[Crop], path: Path) -> None:
    """Write the page whole or not at all; the same report and crops give the same bytes."""
    write_text(path, html_text(report, crops))


def html_text(report: Report, crops: Sequence[Crop]) -> str:
    """The page. Everything in the report is text to it: names cannot become markup."""
    script = (HERE / "report.js").read_text(encoding="utf-8")
    env = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters.update(
        db=partial(number, digits=3),
        ssim=partial(number, digits=4),
        ms=partial(number, digits=2),
        one=partial(number, digits=1),
        percent=percent,
        fact=fact_text,
    )
    rows = file_rows(report)
    gain = amplification(crops)
    template = env.from_string((HERE / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        headline=headline(report),
        reasons=reasons(report),
        advice=[(SHIP.get(r.ship, r.ship), r) for r in report.recommendations],
        rungs=[(row, rung_cells(row)) for row in rung_rows(report)],
        layers=layer_bars(report),
        edits=edit_lines(report),
        gates=[(v, quantity(v), bound(v), gate_bar(v)) for v in report.verdicts],
        rows=rows,
        parts=list(dict.fromkeys(part for row in rows for part in row.parts_db)),
        digests={file.file: file.digest for file in report.files},
        slowest_ms=_slowest_ms(rows),
        npu_files=[file.npu for file in report.files if file.npu],
        computed_in=computed_in,
        ran_on=ran_on,
        images=image_rows(report),
        crops=[shown(crop, gain) for crop in crops],
        gain=gain,
        style=(HERE / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def gate_bar(verdict: Verdict) -> Bar | None:
    """How much of a limit is used; None where a number or a scale is missing."""
    if not math.isfinite(verdict.value) or verdict.limit <= 0:
        return None
    share = verdict.gate in AT_LEAST and is_share(verdict.gate)
    fill = verdict.value if share else verdict.value / verdict.limit * LIMIT_MARK
    mark = verdict.limit if share else LIMIT_MARK
    return Bar(fill=round(100 * min(max(fill, 0.0), 1.0), 1), limit=round(100 * mark, 1))


def layer_bars(report: Report) -> list[tuple[LayerLoss, float]]:
    """Each layer with the width of its bar, 0 to 100: the largest drop is 100."""
    layers = report.explanation.layers if report.explanation else ()
    largest = max((layer.drop_db for layer in layers), default=0.0)
    return [
        (la, round(100 * max(la.drop_db, 0.0) / largest, 1) if largest > 0 else 0.0)
        for la in layers
    ]


def image_rows(report: Report) -> list[ImageRow]:
    """The validation images, the one with the largest drop of any file first."""

    def losses(file: Measured) -> list[tuple[float, float, float]]:
        psnr_drop(report.reference, file)  # refuses other images, or another order
        pairs = zip(report.reference.images, file.images, strict=True)
        return [(m.psnr_db, m.ssim, r.psnr_db - m.psnr_db) for r, m in pairs]

    columns = [losses(file) for file in report.files]
    rows = []
    for index, image in enumerate(report.reference.images):
        scores = tuple(column[index] for column in columns)
        drops = [math.inf if math.isnan(drop) else drop for _, _, drop in scores]
        rows.append(
            ImageRow(
                name=image.name,
                reference_db=image.psnr_db,
                reference_ssim=image.ssim,
                scores=scores,
                worst_db=max(drops, default=0.0),
            )
        )
    return sorted(rows, key=lambda row: (-row.worst_db, row.name))


def amplification(crops: Sequence[Crop]) -> int:
    """One power of two for all crops, so that they compare: the largest that does not clip."""
    largest = max((int(crop.difference.max()) for crop in crops), default=0)
    gain = MAX_GAIN
    while gain > 1 and gain * largest > 255:
        gain //= 2
    return gain


def shown(crop: Crop, gain: int) -> ShownCrop:
    """A crop ready for the page."""
    amplified = np.minimum(crop.difference.astype(np.uint16) * gain, 255).astype(np.uint8)
    pictures = (
        ("original", "original", crop.original),
        ("float", "float network", crop.reference),
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


def _slowest_ms(rows: Sequence[FileRow]) -> float:
    return max((row.measured.latency.p90_ms for row in rows if row.measured.latency), default=0.0)
