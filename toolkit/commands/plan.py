"""`edgesr plan`: what `run` would do now, and the first reason why."""

from __future__ import annotations

import argparse
import json
import sys

from toolkit.commands.reading import chosen_targets
from toolkit.spec.read_recipe import read_recipe


def run(arguments: argparse.Namespace) -> int:
    """Print one line per step; writes nothing."""
    from toolkit.run.runner import plan_recipe
    from toolkit.run.store import Store
    from toolkit.show.terminal import Terminal
    from toolkit.show.text import plan_text

    recipe = read_recipe(arguments.recipe)
    targets = chosen_targets(recipe, arguments.target)
    planned = plan_recipe(recipe, targets, Store(arguments.cache), Terminal())
    if arguments.json:
        print(json.dumps([vars(step) for step in planned], indent=1))  # noqa: T201
        return 0
    lines = [(step.title, step.state, step.reason) for step in planned]
    print(plan_text(lines, colour=sys.stdout.isatty()), end="")  # noqa: T201
    return 0
