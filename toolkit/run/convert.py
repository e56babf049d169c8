"""Per target: the spine and the plan become files, one kept step for each backend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.contracts import Artefact
from toolkit.digest import sha256_json
from toolkit.run.key import Ingredients, declared, tool_versions
from toolkit.run.steps import Transformed
from toolkit.run.store import Entry
from toolkit.run.trial import artefact_from_json, artefact_json
from toolkit.run.walk import Walk
from toolkit.spec.recipe import Recipe
from toolkit.spec.target import Build, Target

ARTEFACTS = "artefacts.json"
TILE_STEP_PX = 32  # tiles that are made larger grow by this
TILE_HALOS = 4  # an enlarged tile is so many halos wide, so that half of each side is kept


def fitted(target: Target, halo_px: int | None, multiple_of: int) -> Target:
    """The target with tiles that leave something between their halos and that the network takes."""

    def fit(build: Build) -> Build:
        if build.tile is None:
            return build
        too_small = halo_px is not None and min(build.tile) <= 2 * halo_px
        least = TILE_HALOS * halo_px if halo_px is not None and too_small else 0
        step = TILE_STEP_PX if least else multiple_of
        while step % multiple_of:
            step += TILE_STEP_PX
        height, width = (-(-max(side, least) // step) * step for side in build.tile)
        return replace(build, tile=(height, width))

    return replace(target, builds=tuple(fit(build) for build in target.builds))


def backend_facts(target: Target, backend: str) -> dict[str, Any]:
    """What of a target the lowering of one backend may read; part of the key."""
    builds = [asdict(build) for build in target.builds if build.backend == backend]
    limits = {**asdict(target.limits), "refused": sorted(target.limits.refused)}
    return {"builds": builds, "limits": limits}


def plan_convert(
    walk: Walk, recipe: Recipe, target: Target, stem: str, made: Transformed | None, rung: str = ""
) -> None:
    """Enter a target's conversions into the plan."""
    for backend in _backends(target):
        _step(walk, recipe, target, backend, stem, made, rung)


def convert(
    walk: Walk,
    recipe: Recipe,
    target: Target,
    stem: str,
    made: Transformed,
    folder: Path,
    rung: str = "",
) -> list[tuple[Artefact, str]]:
    """Every file of a target, laid out in `folder`, with a digest over all its parts."""
    found = []
    for backend in _backends(target):
        entry = _step(walk, recipe, target, backend, stem, made, rung)
        assert entry is not None
        walk.store.materialise(entry, folder)
        listed = folder / ARTEFACTS
        for value in json.loads(listed.read_text()):
            artefact = artefact_from_json(value, folder)
            parts = {n: d for n, d in entry.digests.items() if Path(n).stem == artefact.path.stem}
            found.append((artefact, sha256_json(parts)))
        listed.unlink()
    return found


def _backends(target: Target) -> list[str]:
    return sorted({build.backend for build in target.builds})


def _step(
    walk: Walk,
    recipe: Recipe,
    target: Target,
    backend: str,
    stem: str,
    made: Transformed | None,
    rung: str,
) -> Entry | None:
    return walk.step(
        ".".join(part for part in (recipe.name, target.name, rung, backend) if part),
        f"convert {target.name} {backend}",
        _convert_ingredients(target, backend, stem, made) if made else None,
        lambda out, _work: _lower(backend, target, stem, made, out),
    )


def _convert_ingredients(target: Target, backend: str, stem: str, made: Transformed) -> Ingredients:
    version, tools = declared("backends", backend)
    return Ingredients(
        step="convert",
        version=version,
        params={"stem": stem, "backend": backend},
        inputs={"network": made.spine.digest, "plan": made.plan_digest},
        tools=tool_versions(tools),
        target=backend_facts(target, backend),
    )


def _lower(
    backend: str, target: Target, stem: str, made: Transformed | None, out: Path
) -> dict[str, Any]:
    from toolkit.model.network import read_network
    from toolkit.model.quant_plan import read_plan

    assert made is not None
    plan = read_plan(made.plan) if made.plan else None
    network = read_network(made.spine.path)
    halo_px, multiple_of = network.contract.halo_px, network.contract.multiple_of
    plug = plugins.load("backends", backend)
    artefacts = plug.lower(network, plan, fitted(target, halo_px, multiple_of), out, stem)
    listed = [{**artefact_json(a), "path": a.path.name} for a in artefacts]
    (out / ARTEFACTS).write_text(json.dumps(listed, sort_keys=True))
    return {"files": [a.path.name for a in artefacts]}


def tiling_warnings(artefacts: Sequence[tuple[Artefact, str]]) -> list[str]:
    """Name the files that are fixed to a tile although the network looks at the whole picture."""
    found = []
    for artefact, _ in artefacts:
        if artefact.contract.tile and artefact.contract.image.halo_px is None:
            height, width = artefact.contract.tile
            found.append(
                f"the network's output depends on the whole picture: "
                f"`{artefact.path.name}` sees {height} x {width} at a time, so tiled differs from "
                f"untiled; set the target's `tile` to your frame size"
            )
    return found
