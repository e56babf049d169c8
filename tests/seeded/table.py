"""The table: every fault and every good build, and what the product said."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from seeded import repack
from seeded.builds import Build, make
from seeded.case import Case, Fault, Finding, distance, find, validate, words
from seeded.device import board
from seeded.device_faults import CALM, bench

T = TypeVar("T")
MOST_SAID = 170  # characters of an error
NARROWEST, WIDEST = 100, 170
WIDE = 130
SHARES = (24, 34, 13, 0, 10)  # of a fault's columns where there is room; 0 takes what is left
NARROW_SHARES = (18, 24, 12, 0, 9)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of either table."""

    cells: tuple[str, ...]
    is_well: bool | None  # None: could not be tried here


def fault_row(fault: Fault) -> Row:
    """Put a fault in, and see who catches it where."""
    if lacks := fault.lacks():
        cells = (fault.name, fault.where, fault.stage, lacks, "not tried")
        return Row(cells=cells, is_well=None)
    found = tried(fault)
    verdict = "yes" if found.stage == fault.stage else "NO"
    if found.stage and found.stage != fault.stage:
        verdict = f"NO, at {found.stage}"
    said = textwrap.shorten(found.said, MOST_SAID, placeholder=" ...")
    cells = (fault.name, fault.where, fault.stage, said, verdict)
    return Row(cells=cells, is_well=found.stage == fault.stage)


def tried(fault: Fault) -> Finding:
    """What the product says of a good build with the fault in it."""
    with tempfile.TemporaryDirectory(prefix="edgesr-fault-") as folder:
        made = make(fault.build)
        with fault.put_in(made, Path(folder)) as case:
            return find(case, fault)[0]


def good_row(build: Build) -> Row:
    """A good build, validated and benched on a calm board, and the gate that it came nearest to."""
    made = make(build)
    with tempfile.TemporaryDirectory(prefix="edgesr-good-") as folder:
        place = Path(folder)
        with board(place, "calm") as url:
            bundle = repack.copied(made.bundle, place / "host")
            asked = (
                Case(made=made, bundle=bundle, ask=validate, more={"device": url}),
                Case(made=made, bundle=bundle, ask=bench, more={"words": ["--device", url, *CALM]}),
            )
            answers = [find(case) for case in asked]
    verdicts = [verdict for _, found in answers for verdict in found]
    for found, its in answers:
        if found.stage or not its:
            return Row(cells=(build.name, str(len(verdicts)), found.said, "ALARM"), is_well=False)
    nearest = max(verdicts, key=distance)
    cells = (build.name, str(len(verdicts)), words(nearest), "quiet")
    return Row(cells=cells, is_well=True)


def printed(head: Sequence[str], things: Sequence[T], row_of: Callable[[T], Row]) -> list[Row]:
    """Print a table line by line as it is found; returns its rows."""
    if not things:
        return []
    width = min(max(shutil.get_terminal_size((150, 24)).columns, NARROWEST), WIDEST)
    widths = _widths(len(head), width)
    print(_line(head, widths), _line(["-" * w for w in widths], widths), sep="\n", flush=True)
    rows = []
    for thing in things:
        rows.append(_sure(thing, row_of, len(head)))
        print(_line(rows[-1].cells, widths), flush=True)
    print()
    return rows


def _sure(thing: Any, row_of: Callable[[Any], Row], columns: int) -> Row:
    """The row; where our own code breaks, a row that says so: the others are still tried."""
    try:
        return row_of(thing)
    except Exception as broken:
        said = f"{type(broken).__name__}: {str(broken)[:MOST_SAID]}"
        cells = [thing.name, *[""] * (columns - 3), said, "BROKEN"]
        return Row(cells=tuple(cells), is_well=False)


def _widths(columns: int, width: int) -> list[int]:
    shares = (36, 6, 0, 8)
    if columns == len(SHARES):
        shares = SHARES if width >= WIDE else NARROW_SHARES
    left = width - sum(shares) - 2 * (columns - 1)
    return [share or left for share in shares]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells side by side, each wrapped to its column."""
    wrapped = [textwrap.wrap(c, w) or [""] for c, w in zip(cells, widths, strict=True)]
    height = max(len(lines) for lines in wrapped)
    return "\n".join(
        "  ".join(
            (lines[at] if at < len(lines) else "").ljust(w)
            for lines, w in zip(wrapped, widths, strict=True)
        ).rstrip()
        for at in range(height)
    )
