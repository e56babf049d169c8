"""`edgesr run`: build, measure and pack; a report on stdout, talk on stderr."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.commands.reading import chosen_targets
from toolkit.spec.read_recipe import read_recipe

if TYPE_CHECKING:
    from toolkit.run.runner import Outcome

EXIT_GATE = 4
NARROWEST, WIDEST = 80, 120  # columns: the tables need the one, longer lines are hard to read


def run(arguments: argparse.Namespace) -> int:
    """Run the recipe; 0, or the code of the first target that failed."""
    from toolkit.run.runner import run_recipe
    from toolkit.run.store import Store
    from toolkit.show.terminal import Terminal

    recipe = read_recipe(arguments.recipe)
    targets = chosen_targets(recipe, arguments.target)
    with Terminal() as terminal:
        store = Store(arguments.cache, terminal.say)
        outcomes = run_recipe(recipe, targets, store, arguments.out, terminal)
    if arguments.json:
        print(json.dumps([_json(outcome) for outcome in outcomes], indent=1))  # noqa: T201
    else:
        _show(outcomes)
    return exit_code(outcomes)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """The code of the first target that failed, 0 where none did."""
    for outcome in outcomes:
        if outcome.failure is not None:
            return outcome.failure.exit_code
        if outcome.assembled is not None and not outcome.assembled.report.passed:
            return EXIT_GATE
    return 0


def _show(outcomes: Sequence[Outcome]) -> None:
    from toolkit.show.text import report_text

    width = min(max(shutil.get_terminal_size((100, 24)).columns, NARROWEST), WIDEST)
    for outcome in outcomes:
        if outcome.failure is not None:
            print(f"target {outcome.target}:\n{outcome.failure}", file=sys.stderr)  # noqa: T201
        if outcome.assembled is not None:
            colour = sys.stdout.isatty()
            report, folder = outcome.assembled.report, outcome.assembled.folder
            text = report_text(report, colour=colour, width=width, place=_short(folder))
            print(text)  # noqa: T201


def _short(folder: Path) -> Path:
    absolute = folder.absolute()
    here = Path.cwd()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute


def _json(outcome: Outcome) -> dict[str, object]:
    if outcome.assembled is None:
        return {"target": outcome.target, "passed": False, "error": str(outcome.failure)}
    return {
        "target": outcome.target,
        "passed": outcome.assembled.report.passed,
        "kept": outcome.assembled.kept,
        "folder": str(outcome.assembled.folder),
        "report": outcome.assembled.report.as_json(),
    }
