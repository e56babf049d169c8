"""`edgesr check`: every problem of recipes and targets, before anything runs."""

from __future__ import annotations

import argparse
import json

from toolkit.errors import ToolkitError, raise_all
from toolkit.spec.read_recipe import read_recipe
from toolkit.spec.read_target import read_target


def run(arguments: argparse.Namespace) -> int:
    """Print `ok` per file; raise all problems of all files together."""
    problems: list[ToolkitError] = []
    good = []
    for path in arguments.files:
        try:
            if path.parent.name == "targets":
                read_target(str(path))
            else:
                read_recipe(path)
            good.append(str(path))
        except ToolkitError as problem:
            problems.append(problem)
    if arguments.json:
        print(json.dumps({"ok": good, "problems": [str(p) for p in problems]}, indent=1))  # noqa: T201
        return problems[0].exit_code if problems else 0
    for name in good:
        print(f"ok  {name}")  # noqa: T201
    raise_all(problems)
    return 0
