"""Which rungs of quantization a recipe allows, cheapest first, and each as a step of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from toolkit.run.convert import plan_convert
from toolkit.run.judge import LEAST_INT8_SHARE
from toolkit.run.sources import label
from toolkit.run.steps import Transformed, quantize
from toolkit.run.walk import Planned, Walk
from toolkit.spec.gate_table import gates_for
from toolkit.spec.recipe import Gates, Recipe, StepSpec
from toolkit.spec.step_params import RUNGS
from toolkit.spec.target import Target

AUTO = "auto"
# Only these rungs read these parameters: for the others a change of them changes nothing.
READ_BY = {
    "mixed_macs_share": ("mixed",),
    "train_minutes": ("qat",),
    "images": ("qat",),
}
WITHOUT_GATE = RUNGS[: RUNGS.index("mixed")]  # what is not asked for is not paid with time


def quantize_step(recipe: Recipe) -> StepSpec | None:
    """The recipe's `quantize`, which is its last step where there is one."""
    return next((step for step in recipe.steps if step.name == "quantize"), None)


def rungs_to_try(step: StepSpec, gates: Gates) -> tuple[str, ...]:
    """The one that the recipe names; else all that the gates ask for and the recipe allows."""
    named = str(step.params["rung"])
    if named != AUTO:
        return (named,)
    is_gated = gates.psnr_drop_db_mean is not None or gates.psnr_drop_db_worst is not None
    found = list(RUNGS if is_gated else WITHOUT_GATE)
    if "mixed" in found and mixed_macs_share(step, gates) <= 0:
        found.remove("mixed")
    if "qat" in found and step.params["train_minutes"] <= 0:
        found.remove("qat")
    return tuple(found)


def mixed_macs_share(step: StepSpec, gates: Gates) -> float:
    """The most that rung `mixed` may take out of 8 bits without breaking the gate on INT8."""
    least = LEAST_INT8_SHARE if gates.int8_macs_share is None else gates.int8_macs_share
    return round(min(float(step.params["mixed_macs_share"]), 1 - least), 6)


def at_rung(step: StepSpec, rung: str, gates: Gates, target: Target | None = None) -> StepSpec:
    """The step at one rung, with the parameters that this rung reads and no others.

    Training alone looks at the target: one plan serves all schemes, but grids without a zero point
    are half as fine, and integers that were trained for them lose less there.
    """
    params = {
        key: value
        for key, value in step.params.items()
        if key not in READ_BY or rung in READ_BY[key]
    }
    if "mixed_macs_share" in params:
        params["mixed_macs_share"] = mixed_macs_share(step, gates)
    if rung == "qat" and target is not None:
        params["symmetric"] = all(build.scheme == "tensorrt" for build in target.builds)
    folders = {k: v for k, v in step.folders.items() if rung in READ_BY.get(k, (rung,))}
    return replace(step, params={**params, "rung": rung}, folders=folders)


def plan_ladder(
    walk: Walk,
    recipe: Recipe,
    targets: Sequence[Target],
    step: StepSpec,
    made: Transformed | None,
) -> None:
    """Enter the rungs and the conversions into the plan: the first rung runs, others may."""
    gates = {target.name: gates_for(recipe.gates, target) for target in targets}
    tried = [
        rung
        for rung in (AUTO, *RUNGS)
        if any(rung in rungs_to_try(step, g) for g in gates.values())
    ]
    last: Transformed | None = None
    for rung in tried:
        asking = next(t for t in targets if rung in rungs_to_try(step, gates[t.name]))
        found = quantize(walk, recipe, at_rung(step, rung, gates[asking.name], asking), made)
        if found is not None:
            last = found
        elif rung != tried[0]:
            walk.planned[-1] = _perhaps(walk.planned[-1], step, rung)
    for target in targets:
        plan_convert(walk, recipe, target, label(recipe.network), last, _of(last))


def _perhaps(planned: Planned, step: StepSpec, rung: str) -> Planned:
    reason = "only if the gates fail before it"
    if rung == "qat":
        reason += f"; trains {step.params['train_minutes']:g} minutes at most"
    return replace(planned, state="may", reason=reason)


def _of(made: Transformed | None) -> str:
    return str(made.facts["rung"]) if made else ""
