"""INT8 or float, runtime by runtime: decided by time on the device, or on this host; never against
a gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolkit.report import Measured, Recommendation, Verdict, psnr_drop
from toolkit.run.judge import failed, judge, picture_gates
from toolkit.spec.recipe import Gates

INT8, FLOAT, EITHER = "int8", "float", "either"


def recommend(
    gates: Gates, reference: Measured, files: Sequence[Measured]
) -> tuple[Recommendation, ...]:
    """One recommendation for each runtime that has an INT8 file and a float one, both timed.

    `files` are a target's files, then the same once more in faster float modes. Float is
    recommended where a float mode is as fast as INT8 or faster and holds all gates itself, and
    the recipe does not gate the speed-up (then INT8 fails it).
    """
    found = []
    for file in files:
        rivals = float_modes(file, files)
        if file.precision == "int8" and file.latency and rivals:
            found.append(_decided(gates, reference, file, rivals))
    return tuple(found)


def float_modes(file: Measured, files: Sequence[Measured]) -> list[Measured]:
    """The float modes of the file's runtime that were timed, the fastest first."""
    rivals = [f for f in files if f.backend == file.backend and f.precision != "int8" and f.latency]
    return sorted(rivals, key=_p50_ms)


def _p50_ms(file: Measured) -> float:
    return file.latency.p50_ms if file.latency else float("inf")


def speed_ups(recommendations: Sequence[Recommendation]) -> dict[str, float]:
    """How many times faster than the fastest float mode each INT8 file is, by its name."""
    return {r.int8_file: r.speed_up for r in recommendations}


def _decided(
    gates: Gates,
    reference: Measured,
    file: Measured,
    rivals: Sequence[Measured],
) -> Recommendation:
    """The fastest float mode against INT8, or the next one that holds the gates as well."""
    rival, drop_db = rivals[0], psnr_drop(reference, file).mean_db
    ship, why = _elsewhere(file) or _choice(gates, reference, file, rival)
    for slower in rivals[1:]:
        if ship == INT8 and _p50_ms(slower) <= _p50_ms(file):
            other, because = _elsewhere(file) or _choice(gates, reference, file, slower)
            if other == FLOAT:
                ship, why, rival = other, because, slower
    return Recommendation(
        backend=file.backend,
        ship=ship,
        why=why,
        int8_file=file.file,
        float_file=rival.file,
        float_precision=rival.precision,
        int8_p50_ms=_p50_ms(file),
        float_p50_ms=_p50_ms(rival),
        int8_drop_db=drop_db,
        float_drop_db=psnr_drop(reference, rival).mean_db,
    )


def _elsewhere(file: Measured) -> tuple[str, str] | None:
    """Where the file is computed by what is not at hand, this host's time decides nothing."""
    if file.is_stood_in:
        return EITHER, (
            "ONNX Runtime ran it in TensorRT's place; whether INT8 or float16 is faster, the board "
            "decides (build_engine.sh builds both)"
        )
    if file.npu is not None:
        return INT8, f"{file.npu.accelerator} computes INT8 alone; this host's time is not its"
    return None


def _choice(gates: Gates, reference: Measured, file: Measured, rival: Measured) -> tuple[str, str]:
    """What to ship, and why in a sentence without a full stop."""
    ratio = _p50_ms(rival) / _p50_ms(file)
    speed = f"{ratio:.2f} times as fast as {rival.precision}"
    loss = _loss(psnr_drop(reference, file).mean_db)
    if ratio > 1:
        return INT8, f"{speed}, {loss}"
    if gates.int8_speedup is not None:
        return INT8, f"only {speed}, and the recipe gates int8_speedup"
    broken = failed(judge(gates, rival, psnr_drop(reference, rival)))
    if broken:
        gate = broken[0]
        return INT8, f"only {speed}, but float breaks {gate.gate} of {gate.limit:g} {gate.unit}"
    return FLOAT, f"INT8 is only {speed} {_place(file)}, {loss}"


def _place(file: Measured) -> str:
    device = file.latency.device if file.latency else ""
    return f"on {device}" if device else "on this host"


def _loss(drop_db: float) -> str:
    return f"{abs(drop_db):.3f} dB {'won' if drop_db < 0 else 'lost'}"


def file_verdicts(
    gates: Gates,
    reference: Measured,
    files: Sequence[Measured],
    recommendations: Sequence[Recommendation],
    layers: Mapping[str, str],
) -> list[Verdict]:
    """Every gate for INT8 files, and for float files that are to be shipped; beside an INT8 file
    that is shipped a float one answers for the picture alone. `layers` are `layers_left`, by file.
    """
    ratios = speed_ups(recommendations)
    in_place = {r.float_file for r in recommendations if r.ship == FLOAT}
    has_int8 = any(file.precision == "int8" for file in files)
    verdicts = []
    for file in files:
        beside = has_int8 and file.precision != "int8" and file.file not in in_place
        verdicts += judge(
            picture_gates(gates) if beside else gates,
            file,
            psnr_drop(reference, file),
            speed_up=ratios.get(file.file),
            layers=layers.get(file.file, ""),
        )
    return verdicts


def left_out(recommendations: Sequence[Recommendation]) -> dict[str, str]:
    """INT8 files that are not packed, and why not."""
    return {r.int8_file: r.why for r in recommendations if r.ship == FLOAT}
