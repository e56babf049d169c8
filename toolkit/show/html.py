"""A Report as one web page that needs no network: the verdict first, then everything behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.report import LayerLoss, Measured, Report, Verdict, psnr_drop
from toolkit.show.crops import Crop
from toolkit.show.ladder import SHIP, edit_lines, rung_cells, rung_rows
from toolkit.show.page import amplification, rendered, shown
from toolkit.show.rows import (
    AT_LEAST,
    FileRow,
    bound,
    computed_in,
    file_rows,
    headline,
    is_share,
    measured_on,
    quantity,
    ran_on,
    reasons,
    unstable,
)
from toolkit.show.written import write_text

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


def write_html(report: Report, crops: Sequence[Crop], path: Path) -> None:
    """Write the page whole or not at all; the same report and crops give the same bytes."""
    write_text(path, html_text(report, crops))


def html_text(report: Report, crops: Sequence[Crop]) -> str:
    """The page. Everything in the report is text to it: names cannot become markup."""
    rows = file_rows(report)
    gain = amplification(crops)
    word = "PASS" if report.passed else "FAIL"
    return rendered(
        "report.html.j2",
        styles=["report.css"],
        scripts=["sort.js", "crops.js"],
        page_title=f"{word}: {report.recipe} for {report.target}",
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
        place=measured_on(report),
        unstable=unstable(report),
        ran_on=ran_on,
        images=image_rows(report),
        crops=[shown(crop, gain) for crop in crops],
        gain=gain,
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


def _slowest_ms(rows: Sequence[FileRow]) -> float:
    return max((row.measured.latency.p90_ms for row in rows if row.measured.latency), default=0.0)
