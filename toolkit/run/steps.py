"""The steps between the source and the conversion: spine in, spine out, each kept by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.run.key import Ingredients, declared, tool_versions
from toolkit.run.sources import Spine, fresh_arch, folder_digest, image_sets, spine_of
from toolkit.run.store import Entry
from toolkit.run.walk import Walk
from toolkit.spec.recipe import Recipe, StepSpec

# Parameters that say where or how fast, not what: they never reach a key.
NOT_IN_KEY = frozenset({"threads", "processes", "images"})


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """What the steps left: the spine, the plan where one was made, and the float reference."""

    reference: Spine  # what the drop is measured against: the network before prune and quantize
    spine: Spine
    plan: Path | None
    plan_digest: str


def transform(walk: Walk, recipe: Recipe, channel_multiple: int) -> Transformed | None:
    """Run or keep every step of the recipe; None where only planning and something would run."""
    source = spine_of(walk, recipe.network, recipe.name)
    reference = spine = source
    plan: Path | None = None
    plan_digest = ""
    for index, step in enumerate(recipe.steps):
        entry = _one(walk, recipe, index, step, spine, channel_multiple)
        spine = _spine(entry, spine)
        if step.name == "distill":
            reference = spine
        if entry is not None and "plan.json" in entry.paths:
            plan, plan_digest = entry.paths["plan.json"], entry.digests["plan.json"]
    if spine is None or reference is None:
        return None
    return Transformed(reference=reference, spine=spine, plan=plan, plan_digest=plan_digest)


def _spine(entry: Entry | None, before: Spine | None) -> Spine | None:
    if entry is None or before is None:
        return None
    return Spine(
        path=entry.paths["network.onnx"],
        digest=entry.digests["network.onnx"],
        warnings=before.warnings,
    )


def _one(
    walk: Walk,
    recipe: Recipe,
    index: int,
    step: StepSpec,
    spine: Spine | None,
    channel_multiple: int,
) -> Entry | None:
    slot = f"{recipe.name}.{index}.{step.name}"
    others = {name: spine_of(walk, source, slot) for name, source in step.networks.items()}
    params = dict(step.params)
    if index == 0 and step.name == "distill":
        params["arch"] = fresh_arch(recipe.network)
    ingredients = None
    if spine is not None and all(other is not None for other in others.values()):
        inputs = {name: other.digest for name, other in others.items() if other}
        ingredients = _ingredients(recipe, step, params, {"network": spine.digest, **inputs}, channel_multiple)

    def work(out: Path, checkpoints: Path) -> dict[str, Any]:
        assert spine is not None
        return _execute(walk, recipe, step, params, spine, others, channel_multiple, out, checkpoints)

    return walk.step(slot, step.name, ingredients, work)


def _ingredients(
    recipe: Recipe,
    step: StepSpec,
    params: Mapping[str, Any],
    inputs: Mapping[str, str],
    channel_multiple: int,
) -> Ingredients:
    version, tools = declared("steps", step.name)
    digests = dict(inputs)
    for name, folder in step.folders.items():
        digests[name] = folder_digest(folder)
    if step.name == "quantize":
        digests["calibration"] = image_sets(recipe)[0].digest
    return Ingredients(
        step=step.name,
        version=version,
        params={name: value for name, value in params.items() if name not in NOT_IN_KEY},
        inputs=digests,
        tools=tool_versions(tools),
        target={"channel_multiple": channel_multiple} if step.name == "prune" else {},
    )


def _execute(
    walk: Walk,
    recipe: Recipe,
    step: StepSpec,
    params: Mapping[str, Any],
    spine: Spine,
    others: Mapping[str, Spine | None],
    channel_multiple: int,
    out: Path,
    checkpoints: Path,
) -> dict[str, Any]:
    from toolkit.contracts import StepInput
    from toolkit.model.network import read_network

    folders = {name: str(folder) for name, folder in step.folders.items()}
    given = StepInput(
        network=read_network(spine.path),
        params={**params, **folders},
        calibration=image_sets(recipe)[0],
        work=checkpoints,
        show=walk.listener.progress,
        networks={name: read_network(other.path) for name, other in others.items() if other},
        channel_multiple=channel_multiple,
    )
    facts: dict[str, Any] = plugins.load("steps", step.name).run(given, out)
    return facts


def warnings_of(spines: Sequence[Spine]) -> tuple[str, ...]:
    """Every import warning once, in order."""
    return tuple(dict.fromkeys(w for spine in spines for w in spine.warnings))
