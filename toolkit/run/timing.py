"""The times of a target's files: on this host, or on the device that the recipe names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from toolkit.benchmark import Benchmark, FileTiming, TimingProtocol
from toolkit.bundle.manifest import Golden
from toolkit.latency import all_samples, percentile_ms
from toolkit.report import Latency, Verdict
from toolkit.run.measure import Samples, time_interleaved
from toolkit.run.reach import HERE, Reach
from toolkit.run.score import Scored
from toolkit.spec.recipe import Measuring, Recipe
from toolkit.spec.target import Target

WARM_UP_S = 0.5  # per file and round: a run times several files, `edgesr bench` takes its time


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What the clock said of each file, in their order."""

    latencies: tuple[Latency | None, ...]
    coverage: tuple[float | None, ...]
    verdicts: tuple[Verdict, ...] = ()  # of the golden vectors on the device
    benchmark: Benchmark | None = None  # None: taken on this host, without a device's conditions
    warnings: tuple[str, ...] = ()


UNTIMED = Timed(latencies=(), coverage=())


def time_here(files: Sequence[Scored], measuring: Measuring) -> Timed:
    """Files in turn, in this process."""
    samples = time_interleaved([scored.artefact for scored in files], measuring)
    pairs = zip(files, samples, strict=True)
    return Timed(
        latencies=tuple(_host_latency(scored, taken, measuring.threads) for scored, taken in pairs),
        coverage=(None,) * len(files),
    )


def _host_latency(scored: Scored, taken: Samples, threads: int) -> Latency:
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


def time_on(
    url: str,
    reach: Reach,
    files: Sequence[Scored],
    golden: Sequence[Golden],
    recipe: Recipe,
    target: Target,
    say: Callable[[str], None],
    *,
    bundle: Path,
) -> Timed:
    """Golden vectors first, then the clock, both on the device at `url`.

    `golden` has one vector of each file that ships; those come first in `files`. One that the
    device cannot run fails its golden gate. Engines that were built there come back into
    `<bundle>.engines`. Raises what `measure.rounds.bench` raises.
    """
    from toolkit.measure.board import open_board
    from toolkit.measure.engine import pull_engines
    from toolkit.measure.remarks import engine_remarks, machine_remarks
    from toolkit.measure.rounds import bench

    measuring = recipe.measuring
    protocol = TimingProtocol(
        threads=measuring.threads,
        min_runs=measuring.min_runs,
        min_s=measuring.min_s,
        warm_up_s=WARM_UP_S,
        input_px=measuring.input_px,
    )
    name = f"{recipe.name}/{target.name}"
    artefacts = [scored.artefact for scored in files]
    with open_board(url, options=reach.options, wait_s=reach.wait_s, say=say) as board:
        taken = bench(board, artefacts, golden, protocol, bundle=name, target=target.name, say=say)
        pull_engines(board, taken, bundle)
    return Timed(
        latencies=tuple(_device_latency(one, taken) for one in taken.files),
        coverage=tuple(_coverage(one, target) for one in taken.files),
        verdicts=tuple(v for one in taken.files[: len(golden)] if (v := _golden_verdict(one))),
        benchmark=taken,
        warnings=(
            *(machine_remarks(taken.device, target) if url != HERE else ()),
            *engine_remarks(taken),
        ),
    )


def _device_latency(timing: FileTiming, taken: Benchmark) -> Latency | None:
    samples = all_samples(timing)
    if not samples:  # a program that states figures and no samples decides no gate
        return None
    return Latency(
        p50_ms=round(percentile_ms(samples, 50), 3),
        p90_ms=round(percentile_ms(samples, 90), 3),
        runs=len(samples),
        threads=taken.protocol.threads,
        precision=timing.precision,
        height_px=timing.height_px,
        width_px=timing.width_px,
        peak_memory_mb=median(timing.peak_memory_mb) if timing.peak_memory_mb else 0.0,
        device=taken.device.url,
        tool=timing.tool,
        unstable=timing.stability.reasons,
    )


def _coverage(timing: FileTiming, target: Target) -> float | None:
    """Share of a file's operators on the unit that must carry them; None where nobody told."""
    if not timing.units:
        return None
    wanted = target.unit_of(timing.backend)
    return sum(unit.operators_share for unit in timing.units if unit.unit == wanted)


def _golden_verdict(timing: FileTiming) -> Verdict | None:
    """None where the vendor's program cannot check numbers; what did not run never passes."""
    check = timing.golden
    if timing.problem and (check is None or check.passed):
        return Verdict(
            gate="golden",
            file=timing.file,
            value=math.nan,
            limit=1.0,
            unit="at least",
            passed=False,
            note=f"not run on the device: {timing.problem}",
        )
    if check is None:
        return None
    return Verdict(
        gate="golden",
        file=timing.file,
        value=check.within_share,
        limit=check.least_share,
        unit="at least",
        passed=check.passed,
        note=f"values within {check.tolerance:g} on the device, worst {check.worst:.3g}",
    )
