"""The report's figures of one file as whole numbers, the unit in each name.

Published JSON holds no floats: dB become micro-dB (`_udb`), milliseconds microseconds (`_us`),
shares and SSIM millionths (`_ppm`). What was not measured, or is no finite number, has no entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from toolkit.contracts import Artefact
from toolkit.report import Latency, Measured, Report, psnr_drop

MICRO = 1_000_000
US_PER_MS = 1_000
BYTES_PER_KB = 1_000
LATENCY_GATE = "latency_p90_ms"


def measured_of(report: Report, artefact: Artefact) -> Measured:
    """What the report measured of this file, in the file's own precision.

    Raises ValueError where it measured nothing of it, which no packed bundle has.
    """
    name, precision = artefact.path.name, artefact.precision
    for measured in report.files:
        if measured.file == name and measured.precision == precision:
            return measured
    raise ValueError(f"the report has no figures of `{name}` in {precision}")


def model_paths(artefact: Artefact) -> tuple[Path, ...]:
    """The model's file, and the weights that an OpenVINO IR keeps beside it."""
    path = artefact.path
    return (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,)


def figures_of(report: Report, artefact: Artefact) -> dict[str, int]:
    """Every figure of `release.json`, by its name."""
    measured = measured_of(report, artefact)
    drop = psnr_drop(report.reference, measured)
    found = {
        "psnr_drop_mean_udb": _micro(drop.mean_db),
        "psnr_drop_worst_udb": _micro(drop.worst_db),
        "psnr_udb": _micro(measured.psnr_db),
        "psnr_float_udb": _micro(report.reference.psnr_db),
        "ssim_ppm": _micro(measured.ssim),
        "ssim_float_ppm": _micro(report.reference.ssim),
        "images": len(measured.images),
        "size_bytes": sum(path.stat().st_size for path in model_paths(artefact)),
        "int8_macs_share_ppm": _micro(measured.int8_macs_share),
        "int8_operators_share_ppm": _micro(measured.int8_operators_share),
        "gates_held": sum(v.file == measured.file and v.passed for v in report.verdicts),
        **_network(report.network),
        **_time(measured),
        **_npu(measured),
    }
    return {name: value for name, value in found.items() if value is not None}


def latency_limit_us(report: Report, artefact: Artefact) -> int | None:
    """The recipe's limit on p90 latency in microseconds, at least 1.

    None where there was no such gate, or where it was held against the building host's clock: that
    says nothing about a camera.
    """
    latency = measured_of(report, artefact).latency
    if latency is None or not latency.device:
        return None
    for verdict in report.verdicts:
        if (verdict.gate, verdict.file) == (LATENCY_GATE, artefact.path.name):
            limit_us = _whole(verdict.limit * US_PER_MS)
            return None if limit_us is None else max(limit_us, 1)
    return None


def _time(measured: Measured) -> dict[str, int | None]:
    """Times of the device; those of the building host are named so, another runtime's left out."""
    latency = measured.latency
    if latency is None or measured.is_stood_in:
        return {}
    where = "" if latency.device else "host_"
    return {
        f"{where}latency_p50_us": _whole(latency.p50_ms * US_PER_MS),
        f"{where}latency_p90_us": _whole(latency.p90_ms * US_PER_MS),
        f"{where}peak_memory_kb": _whole(latency.peak_memory_mb * 1000),
        **_conditions(latency),
    }


def _conditions(latency: Latency) -> dict[str, int]:
    return {
        "latency_runs": latency.runs,
        "latency_threads": latency.threads,
        "latency_height_px": latency.height_px,
        "latency_width_px": latency.width_px,
    }


def _network(network: Mapping[str, object]) -> dict[str, int | None]:
    names = {"parameters": "parameters", "macs_360x640": "macs_at_360x640"}
    return {
        told: value
        for name, told in names.items()
        if isinstance(value := network.get(name), int) and not isinstance(value, bool)
    }


def _npu(measured: Measured) -> dict[str, int | None]:
    """What the NPU's compiler estimates for one tile."""
    npu = measured.npu
    if npu is None:
        return {}
    return {
        "npu_cycles": npu.cycles,
        "npu_sram_bytes": _whole(npu.sram_kb * BYTES_PER_KB),
        "npu_operators_off": len(npu.off),
    }


def _micro(value: float) -> int | None:
    return _whole(value * MICRO)


def _whole(value: float) -> int | None:
    """Rounded half to even; None for what is no finite number, such as the PSNR of equal images."""
    return round(value) if math.isfinite(value) else None
