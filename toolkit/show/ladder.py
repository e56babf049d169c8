"""What was tried for the picture, what to ship, where the rest of the loss is: rows and words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from toolkit.report import LayerLoss, Recommendation, Report, Rung, RungFile
from toolkit.show.rows import number, percent

SHIP = {"int8": "ship INT8", "float": "ship float", "either": "INT8 or float"}
MOST_LAYERS = 6  # on the text screen; the page has all of them


@dataclass(frozen=True, kw_only=True)
class RungRow:
    """One rung with what it bought against the one before it that could be built."""

    rung: Rung
    worst_db: float  # on the image that loses most, over all files
    gained_db: float | None
    slowest: RungFile | None  # the timed file that is least faster than float


def rung_rows(report: Report) -> list[RungRow]:
    """One row per rung, in the order in which they were tried."""
    rows: list[RungRow] = []
    before: Rung | None = None
    for rung in report.ladder:
        built = before if rung.files else None
        rows.append(
            RungRow(
                rung=rung,
                worst_db=max((file.worst_db for file in rung.files), default=math.nan),
                gained_db=built.mean_db - rung.mean_db if built else None,
                slowest=min((f for f in rung.files if f.p50_ms), key=_speed_up, default=None),
            )
        )
        before = rung if rung.files else before
    return rows


def _speed_up(file: RungFile) -> float:
    return (file.float_p50_ms or math.nan) / (file.p50_ms or math.nan)


def rung_cells(row: RungRow) -> tuple[str, ...]:
    """Name, mean and worst drop, gain, p50, speed-up, minutes, state: each as its text."""
    file, built = row.slowest, bool(row.rung.files)
    return (
        row.rung.name,
        number(row.rung.mean_db, 3) if built else "",
        number(row.worst_db, 3) if built else "",
        number(row.gained_db, 3) if row.gained_db is not None else "",
        number(file.p50_ms or math.nan, 2) if file else "",
        f"{number(_speed_up(file), 2)}x" if file else "",
        number(row.rung.minutes, 1),
        row.rung.state,
    )


def advice(report: Report) -> list[str]:
    """One line for each runtime: which file to ship, and the numbers that decide it."""
    return [_advice(r) for r in report.recommendations]


def _advice(told: Recommendation) -> str:
    file = told.float_file if told.ship == "float" else told.int8_file
    return f"{SHIP.get(told.ship, told.ship)} on {told.backend}: {file}; {told.why}"


def largest_layers(report: Report) -> list[LayerLoss]:
    """The layers that lose most, for a screen."""
    return list(report.explanation.layers[:MOST_LAYERS]) if report.explanation else []


def layer_cells(layer: LayerLoss) -> tuple[str, str, str]:
    """Drop, share of the work, and who it is."""
    wide = ", more than 8 bits" if layer.widened else ""
    return number(layer.drop_db, 3), percent(layer.macs_share), f"{layer.node} ({layer.kind}{wide})"


def edit_lines(report: Report) -> list[tuple[str, str]]:
    """Lines for the recipe, and what each does."""
    edits = report.explanation.edits if report.explanation else ()
    return [(edit.line, edit.effect) for edit in edits]
