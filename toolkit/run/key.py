"""What a step's result depends on, as a key; and why a key changed, as a sentence."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from toolkit.digest import sha256_json
from toolkit.errors import EnvironmentFailure
from toolkit.plugins import PACKAGE

KEY_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """Everything that can change a step's output, and nothing else: no path, host or time."""

    step: str
    version: int
    params: Mapping[str, Any]
    inputs: Mapping[str, str]  # name -> digest
    tools: Mapping[str, str]  # distribution -> version
    target: Mapping[str, Any] = field(default_factory=dict)  # the facts of a target it reads

    @property
    def key(self) -> str:
        """SHA-256 over the canonical JSON of all of it."""
        return sha256_json({"format": KEY_FORMAT, **asdict(self)})


def declared(room: str, plug: str) -> tuple[int, tuple[str, ...]]:
    """A plug's VERSION and TOOLS, read from its source so that nothing heavy is imported."""
    found: dict[str, Any] = {"VERSION": 1, "TOOLS": ()}
    tree = ast.parse((PACKAGE / room / f"{plug}.py").read_text())
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id in found and node.value:  # type: ignore[attr-defined]
                found[target.id] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
    return int(found["VERSION"]), tuple(found["TOOLS"])


def tool_versions(distributions: Sequence[str]) -> dict[str, str]:
    """Installed versions. Raises EnvironmentFailure naming what is missing and the pip line."""
    versions, missing = {}, []
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise EnvironmentFailure(
            f"not installed: {', '.join(f'`{name}`' for name in missing)}",
            hint=f"pip install {' '.join(missing)}   (the pinned versions are in pyproject.toml)",
        )
    return versions


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat.update(_flat(inner, f"{prefix}.{name}" if prefix else str(name)))
    return flat


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first reason why two sets of ingredients differ, e.g. `params.patches: 64 -> 32`."""
    before, after = _flat(old), _flat(new)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            was, now = before.get(name, "absent"), after.get(name, "absent")
            return f"{name}: {_short(was)} -> {_short(now)}"
    return "nothing changed"


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text[:60]
