"""Gates held against measurements. NaN never passes, and a missing measurement does not either."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.report import Drop, Measured, Verdict
from toolkit.spec.recipe import Gates


def _at_most(
    gate: str, file: str, value: float, limit: float, unit: str, note: str = ""
) -> Verdict:
    passed = value <= limit  # False for NaN
    return Verdict(
        gate=gate, file=file, value=value, limit=limit, unit=unit, passed=passed, note=note
    )


def judge(gates: Gates, measured: Measured, drop: Drop) -> list[Verdict]:
    """Every gate of the recipe that applies to one file, in the recipe's order."""
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
    if gates.int8_macs_share is not None and measured.precision == "int8":
        share, limit = measured.int8_macs_share, gates.int8_macs_share
        verdicts.append(
            Verdict(
                gate="int8_macs_share",
                file=file,
                value=share,
                limit=limit,
                unit="at least",
                passed=share >= limit,
            )
        )
    return verdicts


def failed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that did not pass."""
    return [verdict for verdict in verdicts if not verdict.passed]
