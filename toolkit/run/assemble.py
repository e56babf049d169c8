"""One target's files are scored and timed, judged, and become a bundle or a failed report."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit import __version__
from toolkit.bundle.manifest import read_bundle
from toolkit.bundle.pack import bundle_folder, pack, write_failure
from toolkit.contracts import Artefact
from toolkit.digest import sha256_json
from toolkit.errors import SecurityError, UserError
from toolkit.images.sets import ImageSet
from toolkit.report import Report
from toolkit.run.convert import tiling_warnings
from toolkit.run.evidence import crops_of, golden_of
from toolkit.run.measure import time_interleaved
from toolkit.run.reporting import Evidence, build_report
from toolkit.run.score import Scored, float_rivals, score, spine_artefact
from toolkit.run.sources import image_sets
from toolkit.run.steps import Transformed, warnings_of
from toolkit.run.walk import Walk
from toolkit.spec.recipe import Recipe
from toolkit.spec.target import Target


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A finished target: its report, and the folder of the bundle or of the failed report."""

    report: Report
    folder: Path
    kept: bool


def assemble(
    walk: Walk,
    recipe: Recipe,
    target: Target,
    made: Transformed,
    converted: Sequence[tuple[Artefact, str]],
    lint_warnings: Sequence[str],
    out: Path,
) -> Assembled:
    """Score and time every file, hold the gates against them, write the bundle or the failure."""
    images = image_sets(recipe)
    reference, spine, files, rivals = _score_all(walk, recipe, target, made, converted, images[1])
    run_key = _run_key(recipe, target, reference, files)
    kept = _kept_bundle(recipe, target, out, run_key)
    if kept is not None:
        return kept
    timed = [*files, *rivals]
    walk.listener.say(f"timing {len(timed)} files in turn")
    samples = time_interleaved([scored.artefact for scored in timed], recipe.measuring)
    evidence = Evidence(
        reference=reference, spine=spine, files=files, rivals=rivals, samples=tuple(samples)
    )
    warnings = [
        *warnings_of([made.reference, made.spine]),
        *lint_warnings,
        *tiling_warnings(converted),
    ]
    report = build_report(
        recipe, target, evidence, walk.records, made.spine, images, warnings, run_key
    )
    return _write(recipe, report, evidence, images[1], out)


def _score_all(
    walk: Walk,
    recipe: Recipe,
    target: Target,
    made: Transformed,
    converted: Sequence[tuple[Artefact, str]],
    validation: ImageSet,
) -> tuple[Scored, Scored, tuple[Scored, ...], tuple[Scored, ...]]:
    slot = f"{recipe.name}.{target.name}"

    def scored(artefact: Artefact, digest: str) -> Scored:
        return score(walk, recipe, slot, artefact, digest, validation)

    reference = scored(spine_artefact(made.reference), made.reference.digest)
    spine = reference
    if made.pruned.digest != made.reference.digest:
        spine = scored(spine_artefact(made.pruned), made.pruned.digest)
    files = tuple(scored(*pair) for pair in converted)
    return reference, spine, files, tuple(scored(*pair) for pair in float_rivals(converted))


def _run_key(recipe: Recipe, target: Target, reference: Scored, files: Sequence[Scored]) -> str:
    """Changes with anything the report says, except what only a clock decides."""
    return sha256_json(
        {
            "files": {scored.artefact.path.name: scored.digest for scored in files},
            "pictures": [[asdict(image) for image in s.images] for s in (reference, *files)],
            "gates": asdict(recipe.gates),
            "measuring": asdict(recipe.measuring),
            "target": target.title,
            "toolkit": __version__,
            "host": platform.node(),
        }
    )


def _kept_bundle(recipe: Recipe, target: Target, out: Path, run_key: str) -> Assembled | None:
    folder = bundle_folder(out, recipe.name, target.name)
    if not folder.exists():
        return None
    try:
        bundle = read_bundle(folder)
    except (SecurityError, UserError):
        return None  # damaged or of another version: it is built again
    if bundle.later_failure or bundle.report.network.get("run_key") != run_key:
        return None
    return Assembled(report=bundle.report, folder=folder, kept=True)


def _write(
    recipe: Recipe, report: Report, evidence: Evidence, validation: ImageSet, out: Path
) -> Assembled:
    threads = recipe.measuring.threads
    crops = crops_of(evidence.reference, evidence.judged, validation, threads=threads)
    if not report.passed:
        return Assembled(report=report, folder=write_failure(report, crops, out), kept=False)
    artefacts = [scored.artefact for scored in evidence.files]
    golden = [golden_of(artefact, validation, threads=threads) for artefact in artefacts]
    extra = _extra(artefacts)
    folder = pack(report, artefacts, golden, extra, _licence(recipe), crops, out)
    return Assembled(report=report, folder=folder, kept=False)


def _extra(artefacts: Sequence[Artefact]) -> Mapping[str, bytes]:
    """What a target's bundle carries beside its files: the engine script of a Jetson."""
    from toolkit.quant.engine_script import engine_script

    engines = [artefact for artefact in artefacts if artefact.backend == "tensorrt"]
    return {"build_engine.sh": engine_script(engines).encode()} if engines else {}


def _licence(recipe: Recipe) -> str:
    return "Apache-2.0" if recipe.network.reference else "as of the network that was handed in"
