"""`edgesr run`: build, measure and pack; a report on stdout, talk on stderr."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.commands.reading import chosen_targets, wait_s_of
from toolkit.errors import UserError
from toolkit.plugins import did_you_mean
from toolkit.spec.read_recipe import read_recipe

if TYPE_CHECKING:
    from toolkit.run.reach import Reach
    from toolkit.run.runner import Outcome
    from toolkit.spec.recipe import Recipe
    from toolkit.spec.target import Target

EXIT_GATE = 4
NARROWEST, WIDEST = 80, 120  # columns: the tables need the one, longer lines are hard to read


def run(arguments: argparse.Namespace) -> int:
    """Run the recipe; 0, or the code of the first target that failed."""
    from toolkit.run.runner import run_recipe
    from toolkit.run.store import Store
    from toolkit.show.terminal import Terminal

    recipe = read_recipe(arguments.recipe)
    targets = chosen_targets(recipe, arguments.target)
    reach = _reach(recipe, targets, arguments)
    with Terminal() as terminal:
        store = Store(arguments.cache, terminal.say)
        outcomes = run_recipe(recipe, targets, store, arguments.out, terminal, reach)
    if arguments.json:
        print(json.dumps([_json(outcome) for outcome in outcomes], indent=1))  # noqa: T201
    else:
        _show(outcomes)
    return exit_code(outcomes)


def _reach(recipe: Recipe, targets: Sequence[Target], arguments: argparse.Namespace) -> Reach:
    """The recipe's devices, and those of the command line in their place."""
    from toolkit.contracts import LinkOptions
    from toolkit.run.reach import Reach

    names = [target.name for target in targets]
    urls = {name: url for name, url in recipe.devices.items() if name in names}
    for word in arguments.device or ():
        target, is_named, url = word.partition("=")
        if not is_named and len(names) > 1:
            raise UserError(
                f"`--device {word}`: for which of the targets {', '.join(names)}?",
                hint=f"write `--device {names[0]}={word}`, or choose one with `--target`",
            )
        if is_named and not url:
            raise UserError(
                f"`--device {word}` names no device", hint=f"{target}=ssh://user@host, for example"
            )
        if is_named and target not in names:
            raise UserError(f"no target `{target}` here", hint=did_you_mean(target, names))
        urls[target if is_named else names[0]] = url if is_named else word
    options = LinkOptions(accept_new_host=arguments.accept_new_host)
    return Reach(urls=urls, options=options, wait_s=wait_s_of(arguments))


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
