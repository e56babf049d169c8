"""Where a drop comes from, layer by layer, and which edit of the recipe would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit.contracts import Progress
from toolkit.report import Explanation, LayerLoss, RecipeEdit, Verdict
from toolkit.run.attempt import Attempt
from toolkit.run.judge import LEAST_INT8_SHARE, failed, is_picture
from toolkit.run.key import Ingredients, declared, tool_versions
from toolkit.run.ladder import Climbed
from toolkit.run.rungs import AUTO
from toolkit.run.score import Scoring
from toolkit.run.sources import image_sets
from toolkit.run.steps import TRAINING_RUNG
from toolkit.spec.recipe import Gates, StepSpec

EXPLAIN_VERSION = 1
WORTH_EXPLAINING_DB = 0.02  # below it the drop is the rounding of the output, not of any layer
MOST_NODES = 6  # that an edit names: more are no edit but another network
LONGER = 3.0  # times as many minutes, where training did not do


def layer_losses(scoring: Scoring, taken: Attempt, step: StepSpec) -> tuple[LayerLoss, ...]:
    """What each layer costs, largest drop first; nothing where there is no loss to explain."""
    if taken.passed and not taken.mean_db > WORTH_EXPLAINING_DB:
        return ()
    widened = set(taken.made.facts.get("widened", ()))
    layers = taken.made.facts.get("layers")  # rung `mixed` looked already
    if layers is None:
        layers = _explained(scoring, taken, int(step.params["seed"]))
    found = [LayerLoss(**layer, widened=layer["node"] in widened) for layer in layers]
    return tuple(sorted(found, key=lambda layer: -layer.drop_db))


def _explained(scoring: Scoring, taken: Attempt, seed: int) -> Sequence[Mapping[str, Any]]:
    """The drops of all layers, kept by content as a step of its own."""
    walk, recipe, made = scoring.walk, scoring.recipe, taken.made
    _, tools = declared("steps", "quantize")
    ingredients = Ingredients(
        step="explain",
        version=EXPLAIN_VERSION,
        params={"seed": seed},
        inputs={
            "network": made.spine.digest,
            "plan": made.plan_digest,
            "calibration": image_sets(recipe)[0].digest,
        },
        tools=tool_versions(tools),
    )
    entry = walk.step(
        f"{recipe.name}.explain.{taken.rung}",
        "explain the drop",
        ingredients,
        lambda _out, _work: _explain(scoring, made.spine.path, made.plan, seed),
    )
    assert entry is not None
    layers: Sequence[Mapping[str, Any]] = entry.facts["layers"]
    return layers


def _explain(scoring: Scoring, spine: Path, plan: Path | None, seed: int) -> dict[str, Any]:
    from toolkit.model.network import read_network
    from toolkit.model.quant_plan import read_plan
    from toolkit.quant.sensitivity import layer_drops

    assert plan is not None

    def show(done: int, total: int) -> None:
        scoring.walk.listener.progress(Progress(done=done, total=total, note="layers"))

    images = image_sets(scoring.recipe)[0]
    drops = layer_drops(read_network(spine), read_plan(plan), images, seed=seed, show=show)
    return {"layers": [asdict(drop) for drop in drops]}


def explanation(
    climbed: Climbed,
    layers: Sequence[LayerLoss],
    verdicts: Sequence[Verdict],
    step: StepSpec,
    gates: Gates,
) -> Explanation | None:
    """The layers with the edits that would help; nothing where neither is worth a word."""
    lost = failed(verdicts)
    picture = any(is_picture(verdict) for verdict in lost)
    edits = _edits(climbed, layers, step, gates) if picture else []
    if lost and not picture:
        edits = _other_edits(lost, step)
    if not layers and not edits:
        return None
    return Explanation(layers=tuple(layers), edits=tuple(edits))


def _edits(
    climbed: Climbed, layers: Sequence[LayerLoss], step: StepSpec, gates: Gates
) -> list[RecipeEdit]:
    tried = [rung.name for rung in climbed.rungs]
    edits = []
    if step.params["rung"] not in (AUTO, TRAINING_RUNG):
        edits.append(_edit("rung: auto", "climbs on to the rungs that do more"))
    elif TRAINING_RUNG not in tried and step.params["train_minutes"] <= 0:
        edits.append(_edit("train_minutes: 20", "allows rung qat, which trains in 8 bits"))
    elif TRAINING_RUNG in tried:
        minutes = LONGER * step.params["train_minutes"]
        edits.append(_edit(f"train_minutes: {minutes:g}", "trains longer in 8 bits"))
        if not step.folders:
            edits.append(_edit("images: photographs/", "trains on more images of your own"))
    return edits + _float_edit(layers, step, gates)


def _edit(parameter: str, effect: str) -> RecipeEdit:
    return RecipeEdit(line=f"- quantize: {{{parameter}}}", effect=effect)


def _float_edit(layers: Sequence[LayerLoss], step: StepSpec, gates: Gates) -> list[RecipeEdit]:
    """The layers that lose most for their work, as `float_nodes`."""
    least = LEAST_INT8_SHARE if gates.int8_macs_share is None else gates.int8_macs_share
    chosen: list[LayerLoss] = []
    for layer in layers[:MOST_NODES]:
        share = sum(c.macs_share for c in chosen) + layer.macs_share
        if layer.drop_db > WORTH_EXPLAINING_DB and not layer.widened and share <= 1 - least:
            chosen.append(layer)
    if not chosen:
        return []
    widened = [layer.node for layer in layers if layer.widened]
    names = ", ".join([*step.params["float_nodes"], *widened, *(c.node for c in chosen)])
    share = sum(layer.macs_share for layer in chosen)
    noun = "layer" if len(chosen) == 1 else "layers"
    return [
        _edit(
            f"float_nodes: [{names}]",
            f"keeps {len(chosen)} {noun} with {100 * share:.0f} % of the multiply-accumulates "
            "out of 8 bits",
        )
    ]


def _other_edits(lost: Sequence[Verdict], step: StepSpec) -> list[RecipeEdit]:
    gates = {verdict.gate for verdict in lost}
    if "int8_macs_share" in gates and step.params["float_nodes"]:
        return [_edit("float_nodes: []", "lets every layer run in INT8")]
    if gates & {"int8_macs_share", "int8_speedup"}:
        effect = "ships the float network, where INT8 brings nothing"
        return [RecipeEdit(line="steps: []", effect=effect)]
    return []
