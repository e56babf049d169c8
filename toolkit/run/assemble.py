"""One target's files are scored and timed, judged, and become a bundle or a failed report."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from toolkit import __version__
from toolkit.benchmark import Benchmark
from toolkit.bundle.manifest import REPORT, failure_folder, read_bundle
from toolkit.bundle.pack import bundle_folder, pack, write_failure
from toolkit.bundle.report_file import parse_report
from toolkit.contracts import Artefact
from toolkit.digest import sha256_json
from toolkit.errors import SecurityError, UserError
from toolkit.images.sets import ImageSet
from toolkit.report import Report, Rung
from toolkit.run.convert import tiling_warnings
from toolkit.run.evidence import crops_of
from toolkit.run.explain import layer_losses
from toolkit.run.ladder import Climbed
from toolkit.run.npu import with_npu
from toolkit.run.reach import Reach
from toolkit.run.recommend import left_out
from toolkit.run.reporting import Evidence, build_report, with_golden
from toolkit.run.rungs import quantize_step
from toolkit.run.score import Scored, Scoring, float_rivals, spine_artefact
from toolkit.run.sources import Spine, image_sets
from toolkit.run.steps import Transformed, warnings_of
from toolkit.run.timing import time_here, time_on
from toolkit.spec.recipe import Recipe
from toolkit.spec.target import Target


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A finished target: its report, and the folder of the bundle or of the failed report."""

    report: Report
    folder: Path
    kept: bool


def assemble(
    scoring: Scoring,
    target: Target,
    made: Transformed,
    climbed: Climbed | None,
    converted: Sequence[tuple[Artefact, str]],
    lint_warnings: Sequence[str],
    out: Path,
    reach: Reach,
) -> Assembled:
    """Score and time every file, hold the gates against them, write the bundle or the failure."""
    walk, recipe = scoring.walk, scoring.recipe
    evidence = _untimed(scoring, target, made, climbed, converted)
    url = reach.url_of(recipe, target)
    run_key = _run_key(recipe, target, evidence, url)
    kept = _kept_bundle(recipe, target, out, run_key)
    if kept is not None:
        return kept
    images = image_sets(recipe)
    evidence = with_golden(evidence, images[1], threads=recipe.measuring.threads)
    timed = [*evidence.files, *evidence.rivals]
    walk.listener.say(f"timing {len(timed)} files in turn{f' on {url}' if url else ''}")
    if url:
        place = bundle_folder(out, recipe.name, target.name)
        golden, say = evidence.golden, walk.listener.say
        clock = time_on(url, reach, timed, golden, recipe, target, say, bundle=place)
    else:
        clock = time_here(timed, recipe.measuring)
    evidence = replace(evidence, timed=clock)
    warnings = [
        *warnings_of([made.reference, made.spine]),
        *lint_warnings,
        *tiling_warnings(converted),
        *clock.warnings,
    ]
    report = build_report(
        recipe, target, evidence, walk.records, made.spine, images, warnings, run_key
    )
    return _write(recipe, report, evidence, images[1], out)


def _untimed(
    scoring: Scoring,
    target: Target,
    made: Transformed,
    climbed: Climbed | None,
    converted: Sequence[tuple[Artefact, str]],
) -> Evidence:
    """Everything that content decides: scores, what an NPU makes of it, where the drop is from."""

    def scored(spine: Spine) -> Scored:
        return scoring.of(spine_artefact(spine), spine.digest)

    reference = scored(made.reference)
    pruned = made.pruned.digest != made.reference.digest
    files = [scoring.of(*pair) for pair in converted]
    step = quantize_step(scoring.recipe)
    return Evidence(
        reference=reference,
        spine=scored(made.pruned) if pruned else reference,
        files=with_npu(scoring.walk, scoring.slot, target, files),
        rivals=tuple(scoring.of(*pair) for pair in float_rivals(converted)),
        climbed=climbed,
        layers=layer_losses(scoring, climbed.taken, step) if climbed and step else (),
    )


def _run_key(recipe: Recipe, target: Target, evidence: Evidence, url: str) -> str:
    """Changes with anything the report says, except what only a clock decides."""
    files, rungs = evidence.files, evidence.climbed.rungs if evidence.climbed else ()
    return sha256_json(
        {
            "files": {scored.artefact.path.name: scored.digest for scored in files},
            "pictures": [[asdict(i) for i in s.images] for s in (evidence.reference, *files)],
            "npu": [asdict(scored.npu) for scored in files if scored.npu],
            "rungs": [[rung.name, rung.key] for rung in rungs],
            "layers": [asdict(layer) for layer in evidence.layers],
            "gates": asdict(recipe.gates),
            "measuring": asdict(recipe.measuring),
            "target": target.title,
            "toolkit": __version__,
            "host": platform.node(),
            "device": url,
        }
    )


def earlier_rungs(recipe: Recipe, target: Target, out: Path) -> dict[str, Rung]:
    """Rungs of the reports that lie there already, the bundle's and a failed run's, by their key.

    They only save timing the same files again; a report that cannot be read saves nothing.
    """
    bundle = bundle_folder(out, recipe.name, target.name)
    found: dict[str, Rung] = {}
    for folder in (bundle, failure_folder(bundle)):
        try:
            report = parse_report((folder / REPORT).read_bytes())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        found |= {rung.key: rung for rung in report.ladder if rung.key}
    return found


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
    _keep_samples(evidence.timed.benchmark, bundle_folder(out, report.recipe, report.target))
    if not report.passed:
        return Assembled(report=report, folder=write_failure(report, crops, out), kept=False)
    apart = left_out(report.recommendations)
    artefacts = [s.artefact for s in evidence.files if s.artefact.path.name not in apart]
    golden = [vector for vector in evidence.golden if vector.file not in apart]
    extra: dict[str, bytes | Path] = {**_extra(artefacts), **_compiled_files(evidence)}
    network = evidence.spine.artefact  # what the files were made from, after any pruning
    folder = pack(report, artefacts, golden, extra, _licence(recipe), crops, out, network)
    return Assembled(report=report, folder=folder, kept=False)


def _keep_samples(taken: Benchmark | None, bundle: Path) -> None:
    """A device's raw samples and conditions lie beside the bundle, as those of `edgesr bench`,
    also where a gate failed."""
    if taken is not None:
        from toolkit.measure.results import store

        store(taken, bundle)


def _extra(artefacts: Sequence[Artefact]) -> Mapping[str, bytes]:
    """What a target's bundle carries beside its files: the engine script of a Jetson."""
    from toolkit.quant.engine_script import engine_script

    engines = [artefact for artefact in artefacts if artefact.backend == "tensorrt"]
    return {"build_engine.sh": engine_script(engines).encode()} if engines else {}


def _compiled_files(evidence: Evidence) -> Mapping[str, Path]:
    """Files for an NPU, which lie in the bundle beside those they were compiled from."""
    return {f.npu.file: f.npu_file for f in evidence.files if f.npu and f.npu_file}


def _licence(recipe: Recipe) -> str:
    return "Apache-2.0" if recipe.network.reference else "as of the network that was handed in"
