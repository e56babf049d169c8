"""Pictures, agreement, charts and latency of a file: the same functions for ours and vendors."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from int8_ours import File
from int8_results import CHARTS, RUNTIMES, ChartError, Drops, Timing

from toolkit import plugins
from toolkit.contracts import Artefact, Image
from toolkit.digest import sha256_json
from toolkit.errors import ToolkitError
from toolkit.images.charts import charts
from toolkit.images.sets import ImageSet, read_picture
from toolkit.images.tiles import upscale_planes
from toolkit.metrics.protocol import PROTOCOL, network_planes, protocol_pair, score_planes
from toolkit.run.key import Ingredients, declared, tool_versions
from toolkit.run.measure import time_interleaved
from toolkit.run.score import SCORE_TOOLS, SCORE_VERSION, int8_shares, tileable
from toolkit.run.trial import try_out
from toolkit.run.walk import Walk
from toolkit.spec.recipe import Measuring

CHART_PX = 128
THREADS = 2
PICTURES = "pictures.npz"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A file's pictures: where their planes lie, PSNR by set and image, share of MACs in INT8."""

    planes: Path
    psnr_db: Mapping[str, Mapping[str, float]]
    int8_macs_share: float

    def mean_db(self) -> dict[str, float]:
        """Mean of the per-image dB of each set."""
        return {name: statistics.fmean(images.values()) for name, images in self.psnr_db.items()}


def pictures(walk: Walk, slot: str, file: File, sets: Sequence[ImageSet]) -> Pictures:
    """Upscale and measure every picture of every set, and the charts; kept by content.

    The file is tried in a child process first: some abort the process that loads them.
    """
    artefact = file.artefact
    _, tools = declared("backends", artefact.backend)
    ingredients = Ingredients(
        step="int8 pictures",
        version=SCORE_VERSION,
        params={
            "protocol": PROTOCOL,
            "charts": [list(CHARTS), CHART_PX],
            "contract": sha256_json(artefact.contract.as_json()),
            "backend": artefact.backend,
            "precision": artefact.precision,
        },
        inputs={"file": file.digest, **{s.name: s.digest for s in sets}},
        tools=tool_versions(tuple(dict.fromkeys(SCORE_TOOLS + tools))),
    )
    entry = walk.step(
        f"int8.pictures.{slot}",
        f"{slot}: pictures",
        ingredients,
        lambda out, _checkpoints: _pictures(artefact, sets, out / PICTURES),
    )
    assert entry is not None
    return Pictures(
        planes=entry.paths[PICTURES],
        psnr_db=entry.facts["psnr_db"],
        int8_macs_share=entry.facts["int8_macs_share"],
    )


def _pictures(artefact: Artefact, sets: Sequence[ImageSet], path: Path) -> dict[str, Any]:
    trial = try_out(artefact, threads=THREADS, input_px=(64, 64))
    _, share = int8_shares(trial.operators)
    session = plugins.load("backends", artefact.backend).open(artefact, threads=THREADS)
    contract = tileable(artefact.contract)
    planes: dict[str, Image] = {}
    psnr_db: dict[str, dict[str, float]] = {}
    try:
        for images in sets:
            scores = psnr_db.setdefault(images.name, {})
            for file in images.files:
                lr, hr = protocol_pair(read_picture(file), contract.image.scale)
                found = upscale_planes(network_planes(lr, contract), contract, session.run)
                planes[f"{images.name}/{file.name}"] = found
                scores[file.name] = score_planes(found, hr, contract).psnr_db
        for name, chart in charts(CHART_PX, CHART_PX):
            if name in CHARTS:
                levels = network_planes(chart, contract)
                planes[name] = upscale_planes(levels, contract, session.run)
    finally:
        session.close()
    np.savez(path, **planes)  # type: ignore[arg-type]
    return {"psnr_db": psnr_db, "int8_macs_share": share}


def drops(reference: Pictures, found: Pictures) -> Drops:
    """The float network's pictures against a file's."""
    before, after = reference.mean_db(), found.mean_db()
    with np.load(reference.planes) as wanted, np.load(found.planes) as got:
        errors = {name: chart_error(wanted[name], got[name]) for name in CHARTS}
    return Drops(
        by_set={name: before[name] - after[name] for name in before},
        charts=errors,
        int8_macs_share=found.int8_macs_share,
    )


def chart_error(wanted: Image, got: Image) -> ChartError:
    """Differences of two uint8 pictures in levels; `mean` is of the channel that is worst."""
    difference = got.astype(np.int16) - wanted
    means = difference.mean(axis=(0, 1))
    mean = float(means[np.abs(means).argmax()])
    return ChartError(largest=int(np.abs(difference).max()), mean=mean)


def within_one_level(found: Mapping[str, Pictures]) -> dict[str, float]:
    """Share of pixel values within one level, for each pair of runtimes, over all pictures."""
    shares = {}
    for one, other in combinations(RUNTIMES, 2):
        if one in found and other in found:
            with np.load(found[one].planes) as a, np.load(found[other].planes) as b:
                near = [_near(a[name], b[name]) for name in a.files if name not in CHARTS]
            shares[f"{one}, {other}"] = sum(n for n, _ in near) / sum(t for _, t in near)
    return shares


def _near(a: Image, b: Image) -> tuple[int, int]:
    """How many values are within one level, and how many there are."""
    return int((np.abs(a.astype(np.int16) - b) <= 1).sum()), a.size


def timings(
    files: Mapping[tuple[str, str], Artefact], *, min_runs: int, min_s: float
) -> dict[tuple[str, str], Timing]:
    """Median latency of each file at 360 x 640, all in turn in this process."""
    survivors = {key: a for key, a in files.items() if _survives(a)}
    measuring = Measuring(threads=THREADS, min_runs=min_runs, min_s=min_s)
    samples = time_interleaved(list(survivors.values()), measuring)
    return {
        key: Timing(median_ms=taken.percentile_ms(50), n=len(taken.nanoseconds))
        for key, taken in zip(survivors, samples, strict=True)
    }


def _survives(artefact: Artefact) -> bool:
    """The file runs in a child process, so it may run in this one."""
    try:
        try_out(artefact, threads=THREADS, input_px=Measuring().input_px)
    except ToolkitError:
        return False
    return True


def as_bfloat16(artefact: Artefact) -> Artefact:
    """The float file in the mode that OpenVINO would choose by itself on a CPU that has it."""
    return replace(artefact, precision="bfloat16")
