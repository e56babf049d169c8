"""Measurements become a Report: drops split by cause, gates held against them, all conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx

from toolkit import __version__
from toolkit.bundle.manifest import Golden
from toolkit.images.sets import ImageSet
from toolkit.metrics.protocol import PROTOCOL
from toolkit.model.facts import network_facts
from toolkit.model.network import read_network
from toolkit.report import (
    Explanation,
    LayerLoss,
    Measured,
    Recommendation,
    Report,
    Rung,
    StepRecord,
    Verdict,
    psnr_drop,
)
from toolkit.run.attempt import with_times, without_int8
from toolkit.run.evidence import golden_of
from toolkit.run.explain import explanation
from toolkit.run.host import FASTER_FLOATS, host_facts
from toolkit.run.judge import failed
from toolkit.run.key import declared, tool_versions
from toolkit.run.ladder import Climbed
from toolkit.run.recommend import EITHER, file_verdicts, recommend
from toolkit.run.rungs import quantize_step
from toolkit.run.score import RUNS_FASTER_FLOATS, Scored, layers_left, measured_file
from toolkit.run.sources import Spine
from toolkit.run.timing import UNTIMED, Timed
from toolkit.spec.recipe import Gates, Recipe
from toolkit.spec.target import Target

REFERENCE = "float network"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything measured of one target."""

    reference: Scored  # the float network that the drop is measured against
    spine: Scored  # after prune; the reference itself where nothing was pruned
    files: tuple[Scored, ...]
    rivals: tuple[Scored, ...]  # files once more in a faster float mode, for comparison only
    golden: tuple[Golden, ...] = ()  # of the files
    timed: Timed = UNTIMED  # of files, then rivals
    climbed: Climbed | None = None  # None: the recipe quantizes nothing
    layers: tuple[LayerLoss, ...] = ()  # where the drop comes from, where there is one

    @property
    def judged(self) -> Scored:
        """The file whose worst crops are shown: the first INT8 one, else the first."""
        return next((s for s in self.files if s.artefact.precision == "int8"), self.files[0])


def build_report(
    recipe: Recipe,
    target: Target,
    evidence: Evidence,
    steps: Sequence[StepRecord],
    spine: Spine,
    images: Sequence[ImageSet],
    warnings: Sequence[str],
    run_key: str,
) -> Report:
    """The whole report of one target; its verdicts decide whether a bundle is packed."""
    everything = (*evidence.files, *evidence.rivals)
    reference = measured_file(evidence.reference, None, REFERENCE)
    measured = [
        replace(measured_file(scored, latency), coverage=_coverage(scored, coverage))
        for scored, latency, coverage in zip(
            everything, evidence.timed.latencies, evidence.timed.coverage, strict=True
        )
    ]
    advice = recommend(recipe.gates, reference, measured)
    verdicts = _verdicts(recipe.gates, target, reference, evidence, measured, advice)
    return Report(
        recipe=recipe.name,
        target=target.name,
        target_title=target.title,
        passed=not failed(verdicts),
        verdicts=tuple(verdicts),
        reference=reference,
        files=tuple(measured),
        drops=_drops(measured_file(evidence.spine, None, REFERENCE), reference, measured),
        steps=tuple(steps),
        network={
            **_network_facts(spine),
            "run_key": run_key,
            "float_digest": evidence.spine.digest,  # of the network that a bundle carries
        },
        images={s.name: _images(s) for s in images},
        host=host_facts(evidence.timed.benchmark),
        versions=_versions(target),
        warnings=(*warnings, *_not_held(recipe.gates, measured)),
        protocol=PROTOCOL,
        ladder=_ladder(evidence.climbed, advice),
        recommendations=advice,
        explanation=_explained(recipe, evidence, verdicts),
    )


def _images(images: ImageSet) -> dict[str, Any]:
    pictures = {file.name: file.digest for file in images.files}
    return {"count": len(images.files), "digest": images.digest, "pictures": pictures}


def _verdicts(
    gates: Gates,
    target: Target,
    reference: Measured,
    evidence: Evidence,
    measured: Sequence[Measured],
    advice: Sequence[Recommendation],
) -> list[Verdict]:
    layers = {s.artefact.path.name: layers_left(s.operators) for s in evidence.files}
    shipped = measured[: len(evidence.files)]
    verdicts = file_verdicts(gates, reference, shipped, advice, layers)
    if evidence.climbed is not None:
        made = {one.backend for one in shipped if one.precision == "int8"}
        verdicts += without_int8(target, made)
    return [*verdicts, *evidence.timed.verdicts]


def with_golden(evidence: Evidence, validation: ImageSet, *, threads: int) -> Evidence:
    """The evidence with one golden vector of each file, computed on this host."""
    files = [scored.artefact for scored in evidence.files]
    return replace(
        evidence, golden=tuple(golden_of(file, validation, threads=threads) for file in files)
    )


def _coverage(scored: Scored, found: float | None) -> float | None:
    """An NPU's compiler says itself what it takes; of the rest a device told, or nobody."""
    if scored.npu is None:
        return found
    return len(scored.npu.on) / max(1, len(scored.npu.on) + len(scored.npu.off))


def _not_held(gates: Gates, measured: Sequence[Measured]) -> list[str]:
    """Gates on time that say nothing of files which another runtime stands in for."""
    stated = {"latency_p90_ms": gates.latency_p90_ms, "int8_speedup": gates.int8_speedup}
    names = [name for name, limit in stated.items() if limit is not None]
    if not names or not any(one.is_stood_in for one in measured):
        return []
    verb = "are" if len(names) > 1 else "is"
    listed = " and ".join(f"`{name}`" for name in names)
    return [f"{listed} {verb} not held here: ONNX Runtime ran the files in TensorRT's place"]


def _ladder(climbed: Climbed | None, advice: Sequence[Recommendation]) -> tuple[Rung, ...]:
    """The rungs, the taken one with the times of the report."""
    if climbed is None:
        return ()
    times = {r.int8_file: (r.int8_p50_ms, r.float_p50_ms) for r in advice if r.ship != EITHER}
    return tuple(with_times(rung, times) if rung.is_taken else rung for rung in climbed.rungs)


def _explained(
    recipe: Recipe, evidence: Evidence, verdicts: Sequence[Verdict]
) -> Explanation | None:
    step = quantize_step(recipe)
    if evidence.climbed is None or step is None:
        return None
    return explanation(evidence.climbed, evidence.layers, verdicts, step, recipe.gates)


def _drops(
    spine: Measured, reference: Measured, measured: Sequence[Measured]
) -> dict[str, dict[str, Any]]:
    """Per file and precision: the total, and the mean dB each stage cost."""
    pruning_db = psnr_drop(reference, spine).mean_db
    split: dict[str, dict[str, Any]] = {}
    for one in measured:
        floats = [m for m in measured if m.backend == one.backend and m.precision == "float32"]
        twin = floats[0] if floats else one
        is_rival = one.precision in FASTER_FLOATS and one.backend in RUNS_FASTER_FLOATS
        name = f"{one.file} {one.precision}" if is_rival else one.file
        split[name] = {
            "total": psnr_drop(reference, one),
            "pruning": pruning_db,
            "conversion": psnr_drop(spine, twin).mean_db,
            "quantization": psnr_drop(twin, one).mean_db,
        }
    return split


def _network_facts(spine: Spine) -> dict[str, Any]:
    facts = network_facts(onnx.load(spine.path))
    return {
        "digest": spine.digest,
        "parameters": facts.parameters,
        "macs_360x640": facts.macs,
        "receptive_field_px": facts.receptive_field_px,
        "contract": asdict(read_network(spine.path).contract),
    }


def _versions(target: Target) -> dict[str, str]:
    backends = sorted({build.backend for build in target.builds})
    tools = [tool for backend in backends for tool in declared("backends", backend)[1]]
    return {"edge-sr-toolkit": __version__, **tool_versions(tuple(dict.fromkeys(tools)))}
