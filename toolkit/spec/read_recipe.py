"""Reads a recipe: every problem in it is found, and all are told at once, before anything runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import UserError
from toolkit.plugins import did_you_mean
from toolkit.spec.containers import raise_flat
from toolkit.spec.fields import check_version
from toolkit.spec.kinds import NAME, SAFE_NAME
from toolkit.spec.recipe import Gates, Measuring, NetworkSource, Recipe, StepSpec
from toolkit.spec.recipe_table import FORMAT_VERSION, RECIPE
from toolkit.spec.target import Target
from toolkit.spec.yaml_source import MappingAt, Place, read_yaml, shown


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe; relative paths in it start at its folder.

    Raises UserError, or Problems with all there are, each with file:line:column. Nothing but the
    recipe and its targets is opened.
    """
    source = read_yaml(path)
    mapping = source.mapping
    check_version(mapping, FORMAT_VERSION)
    problems = list(source.problems)
    values: dict[str, Any] = {}
    try:
        values = RECIPE.read(mapping, "", path.parent)
    except UserError as problem:
        problems.append(problem)
    name = values.get("name") or path.stem
    if values.get("name") is None and not re.fullmatch(SAFE_NAME, path.stem):
        problems.append(_unsafe_stem(path, mapping.place))
    if values:
        problems += _same_folder(values["data"], mapping)
        problems += _same_target(values["targets"], mapping)
        problems += _untrained(values["network"], values["steps"], mapping)
        problems += _device_without_target(values["devices"], values["targets"], mapping)
    raise_flat(problems)
    return _recipe(name, path, values)


def _recipe(name: str, path: Path, values: dict[str, Any]) -> Recipe:
    data = values["data"] or {"calibration": None, "validation": None}
    targets = [target for _, target in values["targets"]]
    network: NetworkSource = values["network"]
    return Recipe(
        name=name,
        path=path,
        network=network,
        steps=tuple(_completed(step, values["seed"], targets) for step in values["steps"]),
        targets=tuple(word for word, _ in values["targets"]),
        gates=values["gates"] or Gates(),
        measuring=values["measure"] or Measuring(),
        devices=values["devices"],
        calibration=data["calibration"],
        validation=data["validation"],
        seed=values["seed"],
    )


def _completed(step: StepSpec, seed: int, targets: Sequence[Target]) -> StepSpec:
    """The step with the defaults that come from the rest of the recipe."""
    filled = {"seed": seed}
    if "channel_multiple" in step.params:
        filled["channel_multiple"] = max(t.limits.channel_multiple for t in targets)
    params = {key: filled.get(key) if v is None else v for key, v in step.params.items()}
    return dataclasses.replace(step, params=params)


def _unsafe_stem(path: Path, place: Place) -> UserError:
    return UserError(
        f"the file's name `{shown(path.stem)}` cannot name a folder of results",
        where=str(place),
        hint="add `name:`, " + NAME.wanted,
    )


def _place_of(mapping: MappingAt, name: str) -> str:
    return next((str(key.place) for key, _ in mapping.entries if key.text == name), "")


def _same_folder(data: dict[str, Path | None] | None, mapping: MappingAt) -> list[UserError]:
    if not data or not data["calibration"] or not data["validation"]:
        return []
    if not data["calibration"].samefile(data["validation"]):
        return []
    return [
        UserError(
            "`data.calibration` and `data.validation` are the same folder",
            where=_place_of(mapping, "data"),
            hint="a network judged on what it was calibrated on looks better than it is",
        )
    ]


def _same_target(targets: Sequence[tuple[str, Target]], mapping: MappingAt) -> list[UserError]:
    names = [target.name for _, target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [
        UserError(
            f"two of `targets` are named `{name}`",
            where=_place_of(mapping, "targets"),
            hint="each target has a folder of that name for its results",
        )
        for name in twice
    ]


def _device_without_target(
    devices: Mapping[str, str], targets: Sequence[tuple[str, Target]], mapping: MappingAt
) -> list[UserError]:
    names = [target.name for _, target in targets]
    return [
        UserError(
            f"`devices` names `{name}`, which is no target of this recipe",
            where=_place_of(mapping, "devices"),
            hint=did_you_mean(name, names),
        )
        for name in devices
        if name not in names
    ]


def _untrained(
    network: NetworkSource, steps: Sequence[StepSpec], mapping: MappingAt
) -> list[UserError]:
    is_fresh = network.reference is None and network.file is None
    if not is_fresh or (steps and steps[0].name == "distill"):
        return []
    return [
        UserError(
            f"a fresh `{network.arch}` network is untrained",
            where=_place_of(mapping, "network"),
            hint="make `distill` the first step, or name a `file` with its weights",
        )
    ]
