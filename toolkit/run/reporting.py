"""Measurements become a Report: drops split by cause, gates held against them, all conditions."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from toolkit import __version__
from toolkit.images.sets import ImageSet
from toolkit.metrics.protocol import PROTOCOL
from toolkit.model.facts import network_facts
from toolkit.model.network import read_network
from toolkit.report import Latency, Measured, Report, StepRecord, Verdict, psnr_drop
from toolkit.run.judge import failed, judge
from toolkit.run.key import declared, tool_versions
from toolkit.run.measure import Samples
from toolkit.run.score import Scored, int8_shares
from toolkit.run.sources import Spine
from toolkit.spec.recipe import Recipe
from toolkit.spec.target import Target

REFERENCE = "float network"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything measured of one target."""

    reference: Scored  # the float network that the drop is measured against
    spine: Scored  # after prune; the reference itself where nothing was pruned
    files: tuple[Scored, ...]
    rivals: tuple[Scored, ...]  # files once more in a faster float mode, for comparison only
    samples: tuple[Samples, ...]  # of files, then rivals

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
    latencies = [
        _latency(scored, taken, recipe.measuring.threads)
        for scored, taken in zip(everything, evidence.samples, strict=True)
    ]
    reference = _measured(evidence.reference, None, REFERENCE)
    measured = [_measured(s, la) for s, la in zip(everything, latencies, strict=True)]
    shipped = measured[: len(evidence.files)]
    verdicts = [v for one in shipped for v in _verdicts(recipe, reference, one, shipped)]
    return Report(
        recipe=recipe.name,
        target=target.name,
        target_title=target.title,
        passed=not failed(verdicts),
        verdicts=tuple(verdicts),
        reference=reference,
        files=tuple(measured),
        drops=_drops(_measured(evidence.spine, None, REFERENCE), reference, measured),
        steps=tuple(steps),
        network={**_network_facts(spine), "run_key": run_key},
        images={s.name: {"count": len(s.files), "digest": s.digest} for s in images},
        host=_host(),
        versions=_versions(target),
        warnings=tuple(warnings),
        protocol=PROTOCOL,
    )


def _latency(scored: Scored, taken: Samples, threads: int) -> Latency:
    return Latency(
        p50_ms=round(taken.percentile_ms(50), 3),
        p90_ms=round(taken.percentile_ms(90), 3),
        runs=len(taken.nanoseconds),
        threads=threads,
        precision=scored.artefact.precision,
        height_px=taken.height_px,
        width_px=taken.width_px,
        peak_memory_mb=scored.peak_memory_mb,
    )


def _measured(scored: Scored, latency: Latency | None, label: str = "") -> Measured:
    artefact = scored.artefact
    operators_share, macs_share = int8_shares(scored.operators)
    return Measured(
        label=label or f"{artefact.backend} {artefact.precision}",
        file="" if label else artefact.path.name,
        backend=artefact.backend,
        precision=artefact.precision,
        digest=scored.digest,
        size_kb=_size_kb(artefact.path),
        images=scored.images,
        latency=latency,
        int8_operators_share=operators_share,
        int8_macs_share=macs_share,
    )


def _size_kb(path: Path) -> float:
    """Size in kilobytes of 1000; an OpenVINO IR counts its .bin too."""
    parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return round(sum(part.stat().st_size for part in parts) / 1000, 1)


def _drops(
    spine: Measured, reference: Measured, measured: Sequence[Measured]
) -> dict[str, dict[str, Any]]:
    """Per file and precision: the total, and the mean dB each stage cost."""
    pruning_db = psnr_drop(reference, spine).mean_db
    split: dict[str, dict[str, Any]] = {}
    for one in measured:
        floats = [m for m in measured if m.backend == one.backend and m.precision == "float32"]
        twin = floats[0] if floats else one
        name = one.file if one.precision != "bfloat16" else f"{one.file} bfloat16"
        split[name] = {
            "total": psnr_drop(reference, one),
            "pruning": pruning_db,
            "conversion": psnr_drop(spine, twin).mean_db,
            "quantization": psnr_drop(twin, one).mean_db,
        }
    return split


def _verdicts(
    recipe: Recipe, reference: Measured, measured: Measured, shipped: Sequence[Measured]
) -> list[Verdict]:
    """Every gate for INT8 files; float files that lie beside them answer for the picture alone."""
    gates = recipe.gates
    if measured.precision != "int8" and any(m.precision == "int8" for m in shipped):
        gates = replace(gates, latency_p90_ms=None, size_kb=None)
    return judge(gates, measured, psnr_drop(reference, measured))


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


def _host() -> Mapping[str, Any]:
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "device": "this host: no device was named, so latency is not the board's",
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
