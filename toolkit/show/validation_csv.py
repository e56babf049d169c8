"""A Validation as comma-separated values: one row per file, stage and picture."""

from __future__ import annotations

import csv
import io

from toolkit.show.text import printable
from toolkit.validation import Comparison, Stage, Validation

# Stable: columns are only ever added, at the end.
COLUMNS = (
    "subject",
    "recipe",
    "target",
    "file",
    "sha256",
    "stage",
    "against",
    "picture",
    "psnr_db",
    "reference_psnr_db",
    "drop_db",
    "ssim",
    "reference_ssim",
    "max_error_levels",
    "within_one_share",
    "bias_levels",
    "device",
    "taken_at",
)
# A spreadsheet reads a cell that begins so as a formula, whatever quotes are around it.
# Source: OWASP, "CSV Injection"; the wide forms are what some spreadsheets read as the same.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001


def csv_text(validation: Validation) -> str:
    """The table as RFC 4180 has it: CRLF after each row, quotes doubled, a heading first.

    PSNR and drops are in dB, errors and bias in levels of 255, the share from 0 to 1. Numbers have
    all their digits; `nan` and `inf` are written as such. Names that a spreadsheet would run get a
    leading apostrophe, and control characters are written as escapes.
    """
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for stage in validation.stages:
        rows.writerows(_row(validation, stage, image) for image in stage.images)
    return out.getvalue()


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, without control characters."""
    shown = printable(text)
    return f"'{shown}" if text.lstrip(" ").startswith(FORMULA_STARTS) else shown


def _row(validation: Validation, stage: Stage, image: Comparison) -> list[str | float | int]:
    return [
        cell(validation.subject),
        cell(validation.recipe),
        cell(validation.target),
        cell(stage.file),
        cell(validation.digests.get(stage.file, "")),
        stage.name,
        cell(stage.against),
        cell(image.name),
        image.psnr_db,
        image.reference_psnr_db,
        image.drop_db,
        image.ssim,
        image.reference_ssim,
        image.max_error_levels,
        image.within_one_share,
        image.bias_levels,
        cell(validation.device.url if validation.device and stage.name == "device" else ""),
        cell(validation.taken_at),
    ]
