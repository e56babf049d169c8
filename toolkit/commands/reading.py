"""What several commands read the same way: a recipe's targets, an artefact of a bundle."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import EnvironmentFailure, ToolkitError, UserError, raise_all
from toolkit.plugins import did_you_mean
from toolkit.spec.read_target import read_target
from toolkit.spec.recipe import NetworkSource, Recipe
from toolkit.spec.target import Target

if TYPE_CHECKING:
    from toolkit.contracts import Artefact

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")


def source_of(model: Path, scale: int, arch: str | None) -> NetworkSource:
    """A network named on the command line. Raises UserError where there is no such file."""
    if not model.is_file():
        raise UserError("there is no such file", where=str(model))
    if model.suffix not in (".onnx", *WEIGHT_SUFFIXES):
        raise UserError(
            f"`{model.suffix}` is no kind of network file",
            where=str(model),
            hint=f"there are: .onnx, {', '.join(WEIGHT_SUFFIXES)}",
        )
    return NetworkSource(scale=scale, file=model, arch=arch)


def chosen_targets(recipe: Recipe, names: Sequence[str] | None) -> list[Target]:
    """The recipe's targets, or those of them that were named."""
    for name in names or ():
        if name not in recipe.targets:
            raise UserError(
                f"`{name}` is not a target of this recipe",
                where=str(recipe.path),
                hint=did_you_mean(name, recipe.targets),
            )
    return [read_target(name) for name in names or recipe.targets]


def wait_s_of(arguments: argparse.Namespace) -> float:
    """`--wait` in seconds. Raises UserError for what no clock reaches."""
    wait_s = float(arguments.wait)
    if not (math.isfinite(wait_s) and wait_s >= 0):
        raise UserError(f"`--wait` must be 0 or more, got {wait_s:g}", hint="--wait 600")
    return wait_s


def refuse_unwritable(files: Sequence[Path | None]) -> None:
    """Raises for each file that could not be written after the work: a folder, or no rights.

    One missing folder is made when the file is written; more than one, or one in the root of the
    file system, is a slip of the pen.
    """
    problems: list[ToolkitError] = []
    for file in files:
        if file is None:
            continue
        folder = file.absolute().parent
        near = next(place for place in (folder, *folder.parents) if place.exists())
        if file.is_dir():
            problems.append(UserError("this is a folder, a file is to be written", where=str(file)))
        elif near.is_dir() and near != folder and (near != folder.parent or near == near.parent):
            problems.append(
                UserError(
                    "there is no such folder",
                    where=str(folder),
                    hint=f"`mkdir -p {folder}` makes it",
                )
            )
        elif not (near.is_dir() and os.access(near, os.W_OK)):
            problems.append(
                EnvironmentFailure(
                    "nothing can be written there",
                    where=str(near),
                    hint="name another place, or change its permissions",
                )
            )
    raise_all(problems)


def bundle_artefact(folder: Path, file: str | None) -> Artefact:
    """One file of a verified bundle: the named one, else the first INT8 one, else the first."""
    from toolkit.bundle.manifest import artefact_of, read_bundle

    return artefact_of(read_bundle(folder), file)
