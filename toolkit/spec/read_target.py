"""Finds and reads targets: one YAML file for each device, shipped or of the user's own."""

from __future__ import annotations

import sysconfig
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.errors import UserError
from toolkit.spec.containers import raise_flat
from toolkit.spec.fields import check_version
from toolkit.spec.gate_table import stated_gates
from toolkit.spec.target import Build, LimitFact, OperatorLimits, Target
from toolkit.spec.target_table import FORMAT_VERSION, LIMIT_KINDS, TARGET
from toolkit.spec.yaml_source import MappingAt, Place, read_yaml

INSTALLED = Path("share", "edgesr", "targets")  # below the environment's data folder


def target_folders() -> list[Path]:
    """Where shipped targets lie: in the checkout, and in an installed package's data folder."""
    checkout = plugins.PACKAGE.parent
    installed = Path(sysconfig.get_path("data")) / INSTALLED
    here = [checkout / "targets"] if (checkout / "pyproject.toml").is_file() else []
    return [folder for folder in [*here, installed] if folder.is_dir()]


def target_names() -> list[str]:
    """Names of the shipped targets, sorted."""
    return sorted({path.stem for folder in target_folders() for path in folder.glob("*.yaml")})


def read_target(name_or_path: str | Path) -> Target:
    """Read a shipped target by its name, or any target by the path of its YAML file.

    Raises UserError, or Problems with all there are, each with file:line:column.
    """
    path = _found(str(name_or_path))
    source = read_yaml(path)
    check_version(source.mapping, FORMAT_VERSION)
    problems = list(source.problems)
    try:
        values = TARGET.read(source.mapping, "", path.parent)
    except UserError as problem:
        raise_flat([*problems, problem])
        raise
    if values["name"] != path.stem:
        problems.append(_other_name(values["name"], path, source.mapping))
    raise_flat(problems)
    return _target(path, values)


def _found(word: str) -> Path:
    if word.endswith((".yaml", ".yml")):
        return Path(word)
    for folder in target_folders():
        path = folder / f"{word}.yaml"
        if word in target_names() and path.is_file():
            return path
    raise UserError(f"no target `{word}`", hint=plugins.did_you_mean(word, target_names()))


def _target(path: Path, values: dict[str, Any]) -> Target:
    limits, facts = _limits(values["limits"] or {})
    builds: tuple[Build, ...] = values["builds"]
    return Target(
        name=values["name"],
        title=values["title"],
        builds=builds,
        limits=limits,
        rules=values["rules"],
        gates=stated_gates(values["gates"]) if values["gates"] else {},
        path=path,
        facts={
            "builds": [asdict(build) for build in builds],
            "channel_multiple": limits.channel_multiple,
        },
        limit_facts=facts,
        units=values["units"],
        machine=values["machine"],
    )


def _limits(values: dict[str, Any]) -> tuple[OperatorLimits, dict[str, LimitFact]]:
    operators: dict[str, LimitFact] = values.get("operators", {})
    facts = dict(operators)
    found: dict[str, Any] = {}
    for name in LIMIT_KINDS:
        stated = values.get(name)
        if stated:
            found[name] = stated.pop("value")
            facts[name] = LimitFact(**stated)
    refused = {key: fact.instead for key, fact in operators.items() if fact.level == "refused"}
    return OperatorLimits(refused=refused, **found), facts


def _other_name(name: str, path: Path, mapping: MappingAt) -> UserError:
    place: Place = next(key.place for key, _ in mapping.entries if key.text == "name")
    return UserError(
        f"`name` is `{name}`, but the file is `{path.name}`",
        where=str(place),
        hint="a target is found by its file's name; make the two agree",
    )
