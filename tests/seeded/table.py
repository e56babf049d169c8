"""The table: every fault and every good build, and what the product said."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seeded.builds import Build, make
from seeded.case import Case, Fault, distance, find, words


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
    with tempfile.TemporaryDirectory(prefix="edgesr-fault-") as folder:
        made = make(fault.build)
        with fault.put_in(made, Path(folder)) as case:
            found, _ = find(case, fault)
    verdict = "yes" if found.stage == fault.stage else "NO"
    if found.caught and found.stage != fault.stage:
        verdict = f"NO, at {found.stage}"
    cells = (fault.name, fault.where, fault.stage, found.said, verdict)
    return Row(cells=cells, is_well=found.stage == fault.stage)


def good_row(build: Build, case_of: Callable[[Build], Case]) -> Row:
    """A good build and the gate that it came nearest to."""
    found, verdicts = find(case_of(build))
    if found.caught or not verdicts:
        return Row(cells=(build.name, str(len(verdicts)), found.said, "ALARM"), is_well=False)
    nearest = max(verdicts, key=distance)
    cells = (build.name, str(len(verdicts)), words(nearest), "quiet")
    return Row(cells=cells, is_well=True)
