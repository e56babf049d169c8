"""A Validation as one web page that needs no network: the answers first, then every picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from toolkit.benchmark import Benchmark
from toolkit.report import Verdict
from toolkit.show.crops import Crop
from toolkit.show.html import Bar, gate_bar
from toolkit.show.page import ShownCrop, amplification, rendered, shown
from toolkit.show.pictures import pictures_json
from toolkit.show.rows import bound
from toolkit.show.timed import timed_files
from toolkit.show.validation_rows import (
    STAGE_MEANING,
    FileView,
    StageView,
    answers,
    failures,
    file_views,
    headline,
    how_far,
    interval_text,
    measured_nowhere,
    stage_view,
    title,
)
from toolkit.show.verdict_words import failure_sentence, share_text, value_text
from toolkit.validation import Comparison, Stage, Validation

MAX_CROP_BYTES = 6 << 20  # of pictures as they stand in the page; the rest is left out, and said
PRINTED_ROWS = 40  # of the table of pictures on paper
FIRST_CROPS = 6  # the rest is folded away


@dataclass(frozen=True, kw_only=True)
class StageBar:
    """One stage with where its numbers stand on an axis that all stages share, 0 to 100."""

    view: StageView
    interval: str
    zero: float
    start: float  # of the bar from nothing to the mean
    length: float
    low: float  # of the interval
    high: float
    worst: float
    limit: float | None


@dataclass(frozen=True, kw_only=True)
class GateCell:
    """One gate on one file."""

    verdict: Verdict
    value: str
    limit: str
    bar: Bar | None


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """One gate on every file; what differs from file to file is said in the cells."""

    gate: str
    limit: str  # of all cells; "" where it differs
    note: str  # of all cells; "" where it differs
    others: tuple[GateCell, ...]  # of what is none of the files: the bundle, the float network
    cells: tuple[GateCell | None, ...]
    passed: bool


def page_text(validation: Validation, crops: Sequence[Crop], benchmark: Benchmark | None) -> str:
    """The page. Everything in it is text to it: names cannot become markup.

    Crops that differ most are shown first, as many as fit into `MAX_CROP_BYTES`. The same
    arguments give the same bytes.
    """
    views = file_views(validation)
    gain = amplification(crops)
    figures = _fitting(crops, gain)
    opened = _opened(views)
    word = "PASS" if validation.passed else "FAIL"
    return rendered(
        "validation.html.j2",
        styles=["report.css", "validation.css"],
        scripts=["sort.js", "crops.js", "pictures.js"],
        page_title=f"{word}: {title(validation)}",
        validation=validation,
        benchmark=benchmark,
        headline=headline(validation),
        answers=answers(validation),
        failed=[failure_sentence(v) for v in failures(validation)],
        gates=gate_rows(validation),
        gate_columns=gate_columns(validation),
        views=views,
        bars={view.file: stage_bars(view, views) for view in views},
        meaning=STAGE_MEANING,
        missing=measured_nowhere(validation, timed=benchmark is not None),
        opened=opened,
        pictures=_rows(opened),
        data=pictures_json(validation, opened),
        printed=PRINTED_ROWS,
        crops=figures[:FIRST_CROPS],
        more_crops=figures[FIRST_CROPS:],
        left_out=len(crops) - len(figures),
        gain=gain,
        timed=timed_files(benchmark) if benchmark else [],
        share=share_text,
    )


def gate_columns(validation: Validation) -> list[str]:
    """The files that gates were held on; where no stage was measured, all that gates name."""
    staged = {stage.file for stage in validation.stages}
    named = dict.fromkeys(v.file for v in validation.verdicts if v.file)
    return [file for file in named if file in staged or not staged]


def gate_rows(validation: Validation) -> list[GateRow]:
    """One row per gate, those that failed first."""
    columns = gate_columns(validation)
    rows = []
    for gate in dict.fromkeys(verdict.gate for verdict in validation.verdicts):
        held = {v.file: _cell(v) for v in validation.verdicts if v.gate == gate}
        rows.append(
            GateRow(
                gate=gate,
                limit=_common(cell.limit for cell in held.values()),
                note=_common(cell.verdict.note for cell in held.values()),
                others=tuple(cell for file, cell in held.items() if file not in columns),
                cells=tuple(held.get(file) for file in columns),
                passed=all(cell.verdict.passed for cell in held.values()),
            )
        )
    return sorted(rows, key=lambda row: row.passed)


def _common(texts: Iterable[str]) -> str:
    found = set(texts)
    return found.pop() if len(found) == 1 else ""


def _cell(verdict: Verdict) -> GateCell:
    return GateCell(
        verdict=verdict, value=value_text(verdict), limit=bound(verdict), bar=gate_bar(verdict)
    )


def _opened(views: Sequence[FileView]) -> Stage | None:
    """The stage whose pictures are shown first: of the file that loses most."""
    stages = [view.headline for view in views]
    return max(stages, key=lambda stage: how_far(stage.worst.drop_db), default=None)


def _rows(stage: Stage | None) -> list[Comparison]:
    """Its pictures, the largest loss first."""
    images = stage.images if stage else ()
    return sorted(images, key=lambda image: (-how_far(image.drop_db), image.name))


def _fitting(crops: Sequence[Crop], gain: int) -> list[ShownCrop]:
    """The crops that fit, those that differ most first; each file's worst is taken before any
    file's second."""
    turns: dict[str, int] = {}
    ranked = []
    for crop in sorted(crops, key=lambda crop: -crop.rms_levels):
        turn = turns[crop.file] = turns.get(crop.file, -1) + 1
        ranked.append((turn, crop))
    kept, used = [], 0
    for _, crop in sorted(ranked, key=lambda pair: pair[0]):
        figure = shown(crop, gain)
        used += sum(len(address) for _, _, address in figure.panels)
        if used > MAX_CROP_BYTES:
            break
        kept.append(figure)
    return sorted(kept, key=lambda figure: -figure.crop.rms_levels)


def stage_bars(view: FileView, views: Sequence[FileView]) -> list[StageBar]:
    """The stages of one file on the axis of all files; what is no number stands at its end."""
    low, high = _axis([stage for one in views for stage in one.stages])

    def place(value: float) -> float:
        share = 1.0 if math.isnan(value) else (value - low) / (high - low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    bars = []
    for stage in view.stages:
        zero, mean = place(0.0), place(stage.mean_db)
        limit = stage.budget.mean_db
        bars.append(
            StageBar(
                view=stage_view(stage),
                interval=interval_text(stage),
                zero=zero,
                start=min(zero, mean),
                length=round(abs(mean - zero), 2),
                low=place(stage.interval.low),
                high=place(stage.interval.high),
                worst=place(stage.worst.drop_db),
                limit=None if limit is None else place(limit),
            )
        )
    return bars


def _axis(stages: Sequence[Stage]) -> tuple[float, float]:
    values = [0.0]
    for stage in stages:
        values += [stage.mean_db, stage.interval.low, stage.interval.high, stage.worst.drop_db]
        values += [stage.budget.mean_db] if stage.budget.mean_db is not None else []
    known = [value for value in values if math.isfinite(value)]
    room = max(max(known) - min(known), 1e-3)
    return min(known) - 0.02 * room if min(known) < 0 else 0.0, max(known) + 0.04 * room
