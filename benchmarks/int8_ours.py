"""Our side of the INT8 benchmark: import, quantize at each rung, files for every scheme.

Results are kept by content, so that a run that crashed goes on. The key of an untrained rung holds
the toolkit's sources too; training takes 20 minutes, so it goes by the step's own VERSION.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.contracts import Artefact, StepInput
from toolkit.digest import sha256_file, sha256_json
from toolkit.errors import ToolkitError
from toolkit.images.sets import shipped
from toolkit.model.network import read_network
from toolkit.model.quant_plan import read_plan
from toolkit.run.convert import fitted
from toolkit.run.key import Ingredients, declared, tool_versions
from toolkit.run.sources import Spine, folder_digest, spine_of
from toolkit.run.store import Entry
from toolkit.run.trial import artefact_from_json, artefact_json
from toolkit.run.walk import Walk
from toolkit.spec.read_target import read_target
from toolkit.spec.recipe import NetworkSource

REFERENCE = {"student": 2, "teacher": 2}  # scale
FOREIGN = ("etds_s_x2", "abpn_m4c28_x3", "espcn_tanh_x3")
TARGETS = {
    "onnxruntime": "generic-cpu",
    "openvino": "intel-n100",
    "litert": "raspberry-pi-5",
    "tensorrt": "jetson-orin-nano",
}
TIMED_PX = (360, 640)
SCORED_TILE_PX = (64, 64)  # the smallest test picture is 76 px high at x3: no tile is padded
CHARTS_DRAWN = 6  # generated crops that `charts` adds; they count as calibration crops here
CROPS = 64
SEED = 0
QUANTIZING_ROOMS = ("images", "model", "quant", "steps")
LOWERING_ROOMS = (*QUANTIZING_ROOMS, "lowering", "backends")


class NotRun(ToolkitError):
    """A cell that this run leaves empty, and why."""


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What the step left at one rung."""

    spine: Path
    plan: Path
    digest: str
    minutes: float  # wall, of the run that made it
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class File:
    """An artefact with a digest over all its parts."""

    artefact: Artefact
    digest: str


@dataclass(frozen=True, kw_only=True)
class Files:
    """One scheme's files: those that are scored and, where sizes are fixed, those timed."""

    int8: File
    timed_float: File
    timed_int8: File


def source(name: str, models: Path | None) -> NetworkSource:
    """A reference network by name, or `models/NAME.onnx` whose name ends in its scale: `_x3`.

    Raises NotRun where there is no such file, ToolkitError for a name without a scale.
    """
    if name in REFERENCE:
        return NetworkSource(scale=REFERENCE[name], reference=name)
    path = models / f"{name}.onnx" if models else None
    if path is None or not path.is_file():
        raise NotRun(f"`{name}` needs `--models` with {name}.onnx in it")
    scale = re.search(r"_x(\d)$", name)
    if scale is None:
        raise ToolkitError(f"`{name}` does not end in a scale", hint="rename it, such as net_x2")
    return NetworkSource(scale=int(scale[1]), file=path)


def imported(walk: Walk, name: str, models: Path | None) -> Spine:
    """The network as a spine file with its image contract."""
    spine = spine_of(walk, source(name, models), f"int8.{name}")
    assert spine is not None  # the walk executes
    return spine


def sources_digest(rooms: Sequence[str]) -> str:
    """Digest of the Python files of some rooms of the toolkit."""
    files = sorted(p for room in rooms for p in (plugins.PACKAGE / room).rglob("*.py"))
    return sha256_json([[str(p.relative_to(plugins.PACKAGE)), sha256_file(p)] for p in files])


def quantized(
    walk: Walk,
    name: str,
    spine: Spine,
    rung: str,
    *,
    minutes: float,
    images: Path | None,
    symmetric: bool = False,
) -> Quantized:
    """Run or keep the quantize step. Raises NotRun where the rung is not there.

    With `symmetric` the rung `qat` trains for TensorRT's grids, as a run does for such a target.
    """
    version, tools = declared("steps", "quantize")
    trains = rung == "qat"
    params: dict[str, Any] = {
        "patches": CROPS - CHARTS_DRAWN,
        "patch_px": 96,
        "charts": True,
        "rung": rung,
        "float_nodes": (),
        "train_minutes": minutes if trains else 0,
        "mixed_macs_share": 0.3,
        "seed": SEED,
    }
    params |= {"symmetric": True} if symmetric else {}
    calibration = shipped("calibration")
    inputs = {"network": spine.digest, "calibration": calibration.digest}
    inputs |= {"images": folder_digest(images)} if trains and images else {}
    inputs |= {} if trains else {"sources": sources_digest(QUANTIZING_ROOMS)}
    ingredients = Ingredients(
        step="quantize",
        version=version,
        params=params,
        inputs=inputs,
        tools=tool_versions((*tools, "torch") if trains else tools),
    )

    def work(out: Path, checkpoints: Path) -> dict[str, Any]:
        given = StepInput(
            network=read_network(spine.path),
            params={**params, "images": str(images) if trains and images else None},
            calibration=calibration,
            work=checkpoints,
            show=walk.listener.progress,
        )
        facts: dict[str, Any] = plugins.load("steps", "quantize").run(given, out)
        if trains and "training_gained" not in facts:
            raise NotRun("the quantize step has no rung `qat`")
        return facts

    entry = walk.step(f"int8.{name}.{rung}", f"{name}: quantize {rung}", ingredients, work)
    assert entry is not None
    return Quantized(
        spine=entry.paths["network.onnx"],
        plan=entry.paths["plan.json"],
        digest=sha256_json(dict(entry.digests)),
        minutes=entry.seconds / 60,
        facts=entry.facts,
    )


def files(walk: Walk, name: str, made: Quantized, rung: str, scheme: str, folder: Path) -> Files:
    """Lower for one scheme, laid out below `folder`."""
    scored = _lowered(walk, f"{name}.{rung}", made, scheme, SCORED_TILE_PX, folder / "scored")
    if scored[0].artefact.contract.tile is None:
        return Files(int8=scored[1], timed_float=scored[0], timed_int8=scored[1])
    timed = _lowered(walk, f"{name}.{rung}", made, scheme, TIMED_PX, folder / "timed")
    return Files(int8=scored[1], timed_float=timed[0], timed_int8=timed[1])


def _lowered(
    walk: Walk, stem: str, made: Quantized, scheme: str, tile: tuple[int, int], folder: Path
) -> tuple[File, File]:
    """The float32 and the INT8 file; `tile` counts where the target's build has a fixed one."""
    network = read_network(made.spine)
    target = read_target(TARGETS[scheme])
    builds = tuple(
        replace(build, tile=tile if build.tile else None)
        for build in target.builds
        if build.backend == scheme
    )
    image = network.contract
    target = fitted(replace(target, builds=builds), image.halo_px, image.multiple_of)
    version, tools = declared("backends", scheme)
    ingredients = Ingredients(
        step="convert",
        version=version,
        params={"stem": stem, "builds": [asdict(build) for build in target.builds]},
        inputs={"made": made.digest, "sources": sources_digest(LOWERING_ROOMS)},
        tools=tool_versions(tools),
    )

    def work(out: Path, _checkpoints: Path) -> dict[str, Any]:
        plan = read_plan(made.plan)
        artefacts = plugins.load("backends", scheme).lower(network, plan, target, out, stem)
        return {"artefacts": [{**artefact_json(a), "path": a.path.name} for a in artefacts]}

    slot = f"int8.{stem}.{scheme}.{tile[0]}x{tile[1]}"
    entry = walk.step(slot, f"{stem}: files for {scheme}", ingredients, work)
    assert entry is not None
    return laid_out(walk, entry, folder, "float32"), laid_out(walk, entry, folder, "int8")


def laid_out(walk: Walk, entry: Entry, folder: Path, precision: str) -> File:
    """The first artefact of a precision, with its parts copied into `folder`."""
    walk.store.materialise(entry, folder)
    for value in entry.facts["artefacts"]:
        artefact = artefact_from_json(value, folder)
        if artefact.precision == precision:
            parts = {n: d for n, d in entry.digests.items() if Path(n).stem == artefact.path.stem}
            return File(artefact=artefact, digest=sha256_json(parts))
    raise ToolkitError(f"no {precision} file was made", where=str(folder))
