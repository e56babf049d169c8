"""`edgesr init`: a commented recipe for a network of one's own, after a look at the network."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from toolkit.commands.reading import source_of
from toolkit.spec.init import recipe_text
from toolkit.spec.read_target import read_target


def run(arguments: argparse.Namespace) -> int:
    """Import the network once, so that what the recipe states was seen; print the recipe."""
    from toolkit.run.sources import import_source

    for target in arguments.target:
        read_target(target)
    source = source_of(arguments.model, arguments.scale, arguments.arch)
    imported = import_source(source)
    for warning in imported.warnings:
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
    text = recipe_text(
        _relative(arguments.model),
        contract=imported.contract,
        targets=arguments.target,
        arch=arguments.arch,
    )
    print(json.dumps({"recipe": text}) if arguments.json else text, end="")  # noqa: T201
    return 0


def _relative(model: Path) -> Path:
    """The path as the recipe should say it: relative to here, where the recipe is saved."""
    absolute = model.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
