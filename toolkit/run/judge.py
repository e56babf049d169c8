"""Gates held against measurements. NaN never passes, and a missing measurement does not either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from toolkit.report import Drop, Measured, NpuUse, Verdict
from toolkit.spec.recipe import Gates

# A file in which less than half of the work is INT8 is a float file under another name.
LEAST_INT8_SHARE = 0.5


def _at_most(
    gate: str, file: str, value: float, limit: float, unit: str, note: str = ""
) -> Verdict:
    passed = value <= limit  # False for NaN
    return Verdict(
        gate=gate, file=file, value=value, limit=limit, unit=unit, passed=passed, note=note
    )


def _at_least(
    gate: str, file: str, value: float, limit: float, unit: str, note: str = ""
) -> Verdict:
    passed = value >= limit  # False for NaN
    return Verdict(
        gate=gate, file=file, value=value, limit=limit, unit=unit, passed=passed, note=note
    )


def content_gates(gates: Gates) -> Gates:
    """Those that the bytes of a file decide, without running it on the device."""
    return replace(gates, latency_p90_ms=None, int8_speedup=None, coverage=None)


def picture_gates(gates: Gates) -> Gates:
    """Those that hold for a file which is not the one to ship."""
    return replace(content_gates(gates), size_kb=None)


def _of_npu(gates: Gates, file: str, npu: NpuUse) -> list[Verdict]:
    """What the NPU's compiler says; no file of another kind answers for it."""
    left = ", ".join(f"{o.kind} ({o.reason})" for o in npu.off)
    values = (
        ("npu_operators_off", float(len(npu.off)), gates.npu_operators_off, "operators", left),
        ("npu_sram_kb", npu.sram_kb, gates.npu_sram_kb, "kB", npu.memory_mode),
        ("npu_cycles", float(npu.cycles), gates.npu_cycles, "cycles", npu.accelerator),
    )
    return [
        _at_most(gate, file, value, limit, unit, note)
        for gate, value, limit, unit, note in values
        if limit is not None
    ]


def judge(
    gates: Gates, measured: Measured, drop: Drop, *, speed_up: float | None = None, layers: str = ""
) -> list[Verdict]:
    """Every gate that applies to one file, in the recipe's order.

    speed_up: p50 of the runtime's fastest float mode over this INT8 file's. layers: how many
    layers are left in INT8, in words. No clock is held against a file that another runtime stands
    in for.
    """
    if measured.is_stood_in:
        gates = content_gates(gates)
    verdicts = []
    file = measured.file
    if gates.psnr_drop_db_mean is not None:
        verdicts.append(
            _at_most("psnr_drop_db.mean", file, drop.mean_db, gates.psnr_drop_db_mean, "dB")
        )
    if gates.psnr_drop_db_worst is not None:
        note = f"worst image {drop.worst_image}"
        limit = gates.psnr_drop_db_worst
        verdicts.append(_at_most("psnr_drop_db.worst", file, drop.worst_db, limit, "dB", note))
    if gates.latency_p90_ms is not None:
        p90_ms = measured.latency.p90_ms if measured.latency else float("nan")
        verdicts.append(_at_most("latency_p90_ms", file, p90_ms, gates.latency_p90_ms, "ms"))
    if gates.size_kb is not None:
        verdicts.append(_at_most("size_kb", file, measured.size_kb, gates.size_kb, "kB"))
    if gates.coverage is not None:
        found = float("nan") if measured.coverage is None else measured.coverage
        verdicts.append(_at_least("coverage", file, found, gates.coverage, "at least"))
    if measured.precision == "int8":
        verdicts += _int8(gates, measured, speed_up, layers)
    return verdicts


def _int8(gates: Gates, measured: Measured, speed_up: float | None, layers: str) -> list[Verdict]:
    """That the work is INT8 is held in any case; a stated limit comes before the general one."""
    share, file = measured.int8_macs_share, measured.file
    limit = LEAST_INT8_SHARE if gates.int8_macs_share is None else gates.int8_macs_share
    verdicts = [_at_least("int8_macs_share", file, share, limit, "at least", layers)]
    if gates.int8_speedup is not None:
        value = float("nan") if speed_up is None else speed_up
        verdicts.append(_at_least("int8_speedup", file, value, gates.int8_speedup, "x"))
    if measured.npu is not None:
        verdicts += _of_npu(gates, file, measured.npu)
    return verdicts


def failed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that did not pass."""
    return [verdict for verdict in verdicts if not verdict.passed]


def is_picture(verdict: Verdict) -> bool:
    """Whether a gate is about the picture, which another rung may bring back."""
    return verdict.gate.startswith("psnr_drop_db")
