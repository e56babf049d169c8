"""The steps between the source and the conversion: spine in, spine out, each kept by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.run.key import Ingredients, declared, tool_versions
from toolkit.run.sources import Spine, folder_digest, fresh_arch, image_sets, spine_of
from toolkit.run.store import Entry
from toolkit.run.walk import Walk
from toolkit.spec.recipe import Recipe, StepSpec

READS_CALIBRATION = frozenset({"prune", "quantize"})
# Parameters that say where or how fast, not what: they never reach a key.
NOT_IN_KEY = frozenset({"threads", "processes", "images"})
TRAINING_RUNG = "qat"  # the one rung of `quantize` that needs torch
TRAINING_TOOLS = ("torch",)


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """What the steps left: the spine, the plan where one was made, and the float reference."""

    reference: Spine  # what the drop is measured against: the network before prune and quantize
    pruned: Spine  # the float network that `quantize` was given, or the last one without it
    spine: Spine
    plan: Path | None = None
    plan_digest: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # of `quantize`
    minutes: float = 0.0  # that `quantize` took when it ran


def transform(
    walk: Walk, recipe: Recipe, source: Spine | None, channel_multiple: int
) -> Transformed | None:
    """Run or keep every step but `quantize`; None where only planning and something would run."""
    reference = spine = source
    for index, step in enumerate(recipe.steps):
        if step.name == "quantize":
            continue
        occasion = _occasion(walk, recipe, index, step, spine, channel_multiple)
        entry = _one(walk, f"{recipe.name}.{index}.{step.name}", step.name, occasion)
        spine = _spine(entry, spine)
        if step.name == "distill":
            reference = spine
    if spine is None or reference is None:
        return None
    return Transformed(reference=reference, pruned=spine, spine=spine)


def quantize(
    walk: Walk, recipe: Recipe, step: StepSpec, made: Transformed | None
) -> Transformed | None:
    """Run or keep `quantize` at the rung that `step` names; None where only planning."""
    rung = step.params["rung"]
    slot = f"{recipe.name}.quantize.{rung}"
    occasion = _occasion(walk, recipe, -1, step, made.spine, 1) if made else None
    entry = _one(walk, slot, f"quantize {rung}", occasion)
    if entry is None or made is None:
        return None
    spine = _spine(entry, made.spine)
    assert spine is not None
    return replace(
        made,
        spine=spine,
        plan=entry.paths["plan.json"],
        plan_digest=entry.digests["plan.json"],
        facts=entry.facts,
        minutes=entry.seconds / 60,
    )


def _spine(entry: Entry | None, before: Spine | None) -> Spine | None:
    if entry is None or before is None:
        return None
    return Spine(
        path=entry.paths["network.onnx"],
        digest=entry.digests["network.onnx"],
        warnings=before.warnings,
    )


def _occasion(
    walk: Walk,
    recipe: Recipe,
    index: int,
    step: StepSpec,
    spine: Spine | None,
    channel_multiple: int,
) -> _Occasion | None:
    """What the step reads; None where a step before it would run first."""
    slot = f"{recipe.name}.{index}.{step.name}"
    others = {name: spine_of(walk, source, slot) for name, source in step.networks.items()}
    params = dict(step.params)
    if index == 0 and step.name == "distill":
        params["arch"] = fresh_arch(recipe.network)
    known = {name: other for name, other in others.items() if other is not None}
    if spine is None or len(known) < len(others):
        return None
    return _Occasion(
        recipe=recipe,
        step=step,
        params=params,
        spine=spine,
        others=known,
        channel_multiple=channel_multiple,
    )


def _one(walk: Walk, slot: str, title: str, occasion: _Occasion | None) -> Entry | None:
    if occasion is None:
        return walk.step(slot, title, None, _nothing)
    return walk.step(
        slot,
        title,
        _ingredients(occasion),
        lambda out, work: _execute(walk, occasion, out, work),
    )


def _nothing(_out: Path, _work: Path) -> dict[str, Any]:
    raise AssertionError("a step without ingredients is never run")


@dataclass(frozen=True, kw_only=True)
class _Occasion:
    """One step of one run with everything it reads."""

    recipe: Recipe
    step: StepSpec
    params: Mapping[str, Any]
    spine: Spine
    others: Mapping[str, Spine]
    channel_multiple: int


def _ingredients(occasion: _Occasion) -> Ingredients:
    step = occasion.step
    version, tools = declared("steps", step.name)
    inputs = {"network": occasion.spine.digest}
    inputs.update({name: other.digest for name, other in occasion.others.items()})
    inputs.update({name: folder_digest(folder) for name, folder in step.folders.items()})
    if step.name in READS_CALIBRATION:
        inputs["calibration"] = image_sets(occasion.recipe)[0].digest
    if step.params.get("rung") == TRAINING_RUNG:
        tools = (*tools, *TRAINING_TOOLS)
    multiple = {"channel_multiple": occasion.channel_multiple}
    return Ingredients(
        step=step.name,
        version=version,
        params={k: v for k, v in occasion.params.items() if k not in NOT_IN_KEY},
        inputs=inputs,
        tools=tool_versions(tools),
        target=multiple if step.name == "prune" else {},
    )


def _execute(walk: Walk, occasion: _Occasion, out: Path, checkpoints: Path) -> dict[str, Any]:
    from toolkit.contracts import StepInput
    from toolkit.model.network import read_network
    from toolkit.run.step_process import run_in_processes

    step = occasion.step
    folders = {name: str(folder) for name, folder in step.folders.items()}
    given = StepInput(
        network=read_network(occasion.spine.path),
        params={**occasion.params, **folders},
        calibration=image_sets(occasion.recipe)[0],
        work=checkpoints,
        show=walk.listener.progress,
        networks={name: read_network(other.path) for name, other in occasion.others.items()},
        channel_multiple=occasion.channel_multiple,
    )
    processes = int(occasion.params.get("processes", 1))
    if processes > 1:
        return run_in_processes(step.name, given, out, processes)
    facts: dict[str, Any] = plugins.load("steps", step.name).run(given, out)
    return facts


def warnings_of(spines: Sequence[Spine]) -> tuple[str, ...]:
    """Every import warning once, in order."""
    return tuple(dict.fromkeys(w for spine in spines for w in spine.warnings))
