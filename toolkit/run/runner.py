"""`edgesr run` and `edgesr plan`: a recipe in, a verdict and perhaps a bundle per target out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import EnvironmentFailure, InternalFailure, Problems, ToolkitError, raise_all
from toolkit.run import convert as converting
from toolkit.run.key import declared, tool_versions
from toolkit.run.reach import EVERYWHERE_HERE, Reach, unreachable
from toolkit.run.rungs import plan_ladder, quantize_step
from toolkit.run.sources import Spine, image_sets, label, spine_of
from toolkit.run.steps import Transformed, transform
from toolkit.run.store import Store
from toolkit.run.walk import Listener, Planned, Walk
from toolkit.spec.gate_table import gates_for
from toolkit.spec.recipe import Recipe
from toolkit.spec.target import Target

if TYPE_CHECKING:
    from toolkit.run.assemble import Assembled

MIN_FREE_MB = 200.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one target: an assembled result, or the failure that stopped it."""

    target: str
    assembled: Assembled | None = None
    failure: ToolkitError | None = None
    warnings: tuple[str, ...] = ()  # what the lint found slow


def preflight(recipe: Recipe, targets: Sequence[Target], out: Path, reach: Reach) -> None:
    """Everything that can be known to fail before any work, all at once."""
    problems = unreachable(recipe, targets, reach)
    rooms = [("steps", step.name) for step in recipe.steps]
    rooms += [("backends", b) for b in sorted({b.backend for t in targets for b in t.builds})]
    if any(build.npu for target in targets for build in target.builds):
        rooms.append(("lowering", "vela"))
    for room, name in rooms:
        try:
            tool_versions(declared(room, name)[1])
        except EnvironmentFailure as missing:
            problems.append(missing)
    existing = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    stats = os.statvfs(existing)
    free_mb = stats.f_bavail * stats.f_frsize / 1e6
    if free_mb < MIN_FREE_MB:
        problems.append(
            EnvironmentFailure(
                f"{free_mb:.0f} MB are free, a run needs {MIN_FREE_MB:.0f}",
                where=str(existing),
                hint="free some space or choose another --out",
            )
        )
    raise_all(problems)


def plan_recipe(
    recipe: Recipe, targets: Sequence[Target], store: Store, listener: Listener
) -> list[Planned]:
    """What a run would do now, step by step, with the first reason why. Writes nothing."""
    walk = Walk(store, listener, execute=False)
    source = spine_of(walk, recipe.network, recipe.name)
    made = transform(walk, recipe, source, _channel_multiple(targets))
    step = quantize_step(recipe)
    if step is None:
        for target in targets:
            converting.plan_convert(walk, recipe, target, label(recipe.network), made)
    else:
        plan_ladder(walk, recipe, targets, step, made)
    return walk.planned


def run_recipe(
    recipe: Recipe,
    targets: Sequence[Target],
    store: Store,
    out: Path,
    listener: Listener,
    reach: Reach = EVERYWHERE_HERE,
) -> list[Outcome]:
    """Run or keep every step and build every target; a bad target does not stop the good ones."""
    preflight(recipe, targets, out, reach)
    with store.locked():
        walk = Walk(store, listener, execute=True)
        source = spine_of(walk, recipe.network, recipe.name)
        assert source is not None
        linted = {target.name: _linted(source, target) for target in targets}
        good = [target for target in targets if linted[target.name].failure is None]
        if not good:  # nothing would be built: say so before anything is calibrated
            return [linted[target.name] for target in targets]
        made = transform(walk, recipe, source, _channel_multiple(good))
        assert made is not None
        shared = len(walk.records)
        outcomes = []
        for target in targets:
            del walk.records[shared:]  # a report lists the shared steps and its own target's
            outcome = linted[target.name]
            if outcome.failure is None:
                outcome = _one_target(walk, recipe, target, made, outcome.warnings, out, reach)
            outcomes.append(outcome)
        return outcomes


def _linted(source: Spine, target: Target) -> Outcome:
    from toolkit.run.linting import lint_network

    stops, slow = lint_network(source.path, target)
    failure = None
    if stops:
        failure = stops[0] if len(stops) == 1 else Problems(stops)
    return Outcome(target=target.name, failure=failure, warnings=tuple(slow))


def _one_target(
    walk: Walk,
    recipe: Recipe,
    target: Target,
    made: Transformed,
    warnings: Sequence[str],
    out: Path,
    reach: Reach,
) -> Outcome:
    from toolkit.run.assemble import assemble, earlier_rungs
    from toolkit.run.ladder import climb
    from toolkit.run.score import Scoring

    recipe = replace(recipe, gates=gates_for(recipe.gates, target))
    step, climbed = quantize_step(recipe), None
    try:
        scoring = Scoring(
            walk=walk,
            recipe=recipe,
            slot=f"{recipe.name}.{target.name}",
            images=image_sets(recipe)[1],
        )
        with walk.store.scratch() as folder:
            if step is None:
                stem = label(recipe.network)
                converted = converting.convert(walk, recipe, target, stem, made, folder)
            else:
                earlier = earlier_rungs(recipe, target, out)
                climbed = climb(scoring, target, step, made, folder, earlier)
                made, converted = climbed.taken.made, list(climbed.taken.converted)
            assembled = assemble(scoring, target, made, climbed, converted, warnings, out, reach)
    except ToolkitError as failure:
        return Outcome(target=target.name, failure=failure)
    except OSError:
        raise  # a full disk stops every target
    except Exception as broken:
        return Outcome(target=target.name, failure=InternalFailure.of(broken))
    return Outcome(target=target.name, assembled=assembled)


def _channel_multiple(targets: Sequence[Target]) -> int:
    return max((target.limits.channel_multiple for target in targets), default=1)
