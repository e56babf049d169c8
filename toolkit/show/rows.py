"""A Report in the words and the order in which people read it, for text and page alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.report import Drop, Measured, NpuUse, Report, Verdict, psnr_drop

# the other gates are ceilings
AT_LEAST = frozenset(
    {
        "int8_macs_share",
        "int8_operators_share",
        "int8_speedup",
        "coverage",
        "device.golden_share",
        "device.within_one_share",
        "reference.psnr_db",
    }
)
DIGITS = {"dB": 3, "ms": 2, "kB": 1}
COUNTED = frozenset(  # units that lose their last letter after a single one
    {
        "charts",
        "cycles",
        "files",
        "levels",
        "operators",
        "pictures",
        "protocols",
        "reasons",
        "values",
        "vectors",
    }
)
MEASURED = frozenset({"cycles", "levels", "operators"})  # counted, but not as breaches of a rule
WHOLE = {"pairs": "LR", "protocol": "the bundle"}  # what a gate without a file speaks of
HOST = "this host"
TIMES = "x"  # the unit of a ratio, written without a space
SENTENCES = {
    "psnr_drop_db.mean": "loses {value} on average, {bound}",
    "psnr_drop_db.worst": "loses {value} on its worst image, {bound}",
    "latency_p90_ms": "takes {value} at p90, {bound}",
    "size_kb": "is {value} large, {bound}",
    "int8_macs_share": "does {value} of its multiply-accumulates in INT8, {bound}",
    "coverage": "runs {value} of its operators on the unit that the target names, {bound}",
    "int8_speedup": "is {value} as fast as the fastest float mode, {bound}",
    "npu_operators_off": "leaves {value} to the CPU, {bound}",
    "npu_sram_kb": "needs {value} of SRAM on the NPU, {bound}",
    "npu_cycles": "takes {value} on the NPU, {bound}",
    "total.psnr_drop_db.mean": "loses {value} on average, {bound}",
    "total.psnr_drop_db.worst": "loses {value} on its worst picture, {bound}",
    "conversion.psnr_drop_db.mean": "loses {value} on average by conversion, {bound}",
    "conversion.psnr_drop_db.worst": "loses {value} on its worst picture by conversion, {bound}",
    "conversion.max_error_levels": "is off by {value} at its worst pixel by conversion, {bound}",
    "quantization.psnr_drop_db.mean": "loses {value} on average by quantization, {bound}",
    "quantization.psnr_drop_db.worst": "loses {value} on its worst picture by quantization, "
    "{bound}",
    "device.psnr_drop_db.mean": "loses {value} on average on the device, {bound}",
    "device.psnr_drop_db.worst": "loses {value} on its worst picture on the device, {bound}",
    "device.within_one_share": "has {value} of the device's pixels within one level, {bound}",
    "device.golden_share": "gives {value} of its golden values on the device, {bound}",
    "reference.gain_db": "is {value} better than what it is held against, {bound}",
    "stable": "was timed on an unsteady device: {value}, {bound}",
    "device.rms_levels": "differs by {value} RMS between device and host, {bound}",
    "seams": "shows its tiles by {value} at the seams, {bound}",
    "seams.halo_short_px": "overlaps its tiles by {value} too little, {bound}",
    "borders": "is off by {value} at the borders, {bound}",
    "bias_levels": "is brighter or darker by {value}, {bound}",
    "levels": "never gives {value} that its reference gives, {bound}",
    "clip": "turns {value} from bright to dark or back, {bound}",
    "charts.white": "is off by {value} on flat white, {bound}",
    "charts.black": "is off by {value} on flat black, {bound}",
    "charts.gradient": "is off by {value} on gradients, {bound}",
    "charts.bars": "is off by {value} on colour bars, {bound}",
    "charts.pixel": "shifts a single pixel by {value}, {bound}",
    "digest": "is not what its manifest says: {value}, {bound}",
    "golden": "answers otherwise than when it was packed: {value}, {bound}",
    "pairs": "does not belong to its HR: {value}, {bound}",
    "protocol": "was scored by another protocol: {value}, {bound}",
    "baseline_precision": "computes in less than float32: {value}, {bound}",
    "report": "is {value} away from what its report says, {bound}",
}


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """One measured file beside what it is compared with."""

    measured: Measured
    total: Drop
    parts_db: Mapping[str, float]  # what each stage cost on average, such as "conversion"
    speed_up: float | None  # p50 of true float32 on the same runtime over this file's p50


def is_share(gate: str) -> bool:
    """Whether a gate's value is a share from 0 to 1, shown as a percentage."""
    return gate == "coverage" or gate.endswith("_share")


def number(value: float, digits: int) -> str:
    """Fixed digits; `NaN`, `inf` and `-inf` by name; never `-0.000`."""
    if math.isnan(value):
        return "NaN"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def release(runtime: str) -> str:
    """A runtime's name and release, without the build, commit and branch that OpenVINO adds."""
    name, space, version = runtime.rpartition(" ")
    return f"{name} {version.partition('-')[0]}" if space else runtime


def percent(share: float) -> str:
    """A share from 0 to 1 as a percentage; 100 % is only said where nothing is left over."""
    if math.isnan(share):
        return "NaN"
    whole = round(share * 100)
    if (whole == 100 and share < 1) or (whole == 0 and share > 0):
        return f"{min(max(share * 100, 0.1), 99.9):.1f} %"
    return f"{whole} %"


def quantity(verdict: Verdict) -> str:
    """A gate's value with its unit."""
    if is_share(verdict.gate):
        return percent(verdict.value)
    if verdict.unit == TIMES:
        return f"{number(verdict.value, 2)}{TIMES}"
    if not verdict.value and verdict.unit in COUNTED - MEASURED:
        return "none"
    digits = DIGITS.get(verdict.unit, 0 if verdict.unit in COUNTED else 3)
    if verdict.unit == "levels" and not float(verdict.value).is_integer():
        digits = 2
    if verdict.unit == "px" and float(verdict.value).is_integer():
        digits = 0
    return f"{number(verdict.value, digits)} {unit_after(verdict.value, verdict.unit)}".rstrip()


def unit_after(value: float, unit: str) -> str:
    """A unit as it is written after a number: 1 level, 2 levels."""
    return unit[:-1] if value == 1 and unit in COUNTED else unit


def bound(verdict: Verdict) -> str:
    """The limit in words, such as `at most 0.300 dB`."""
    side = "at least" if verdict.gate in AT_LEAST else "at most"
    if is_share(verdict.gate):
        return f"{side} {percent(verdict.limit)}"
    if not verdict.limit and verdict.unit in COUNTED - MEASURED:
        return "none allowed"
    gap = "" if verdict.unit == TIMES else " "
    unit = unit_after(verdict.limit, verdict.unit)
    return f"{side} {verdict.limit:.6g}{gap}{unit}".rstrip()


def sentence(verdict: Verdict) -> str:
    """One verdict as a sentence without a full stop, the file first."""
    who = verdict.file or WHOLE.get(verdict.gate, "the network")
    if math.isnan(verdict.value):
        why = f": {verdict.note}" if verdict.note else ""
        return f"{who} has no number for {verdict.gate}, {bound(verdict)}{why}"
    form = SENTENCES.get(verdict.gate, verdict.gate + " is {value}, {bound}")
    said = f"{who} {form.format(value=quantity(verdict), bound=bound(verdict))}"
    return (
        f"{said} ({verdict.note})" if verdict.gate == "int8_macs_share" and verdict.note else said
    )


def headline(report: Report) -> str:
    """What the verdict means, in one sentence, without the word PASS or FAIL."""
    state = "is ready for" if report.passed else "is not good enough for"
    return f"{report.recipe} {state} {report.target_title}"


def reasons(report: Report) -> list[str]:
    """Why: each gate that failed; where all held, how many did. Then the worst image."""
    failed = [v for v in report.verdicts if not v.passed]
    if failed:
        why = [sentence(v) for v in failed]
    else:
        count = len(report.verdicts)
        why = [f"{count} of {count} gates held" if count else "no gate was set"]
    return why + worst_image(report)


def worst_image(report: Report) -> list[str]:
    """The image that loses most over all files, NaN before any number; nothing without files."""
    rows = file_rows(report)
    if not rows:
        return []
    row = max(rows, key=lambda r: math.inf if math.isnan(r.total.worst_db) else r.total.worst_db)
    loss = number(row.total.worst_db, 3)
    return [f"worst image: {row.total.worst_image}, {loss} dB lost by {row.measured.file}"]


def file_rows(report: Report) -> list[FileRow]:
    """One row per measured file, in the report's order."""
    return [_row(report, measured) for measured in report.files]


def npu_lines(report: Report) -> list[str]:
    """What the NPU's compiler says of each file that was compiled: an estimate, nothing was run."""
    return [line for m in report.files if m.npu for line in _npu_lines(m.npu)]


def _npu_lines(npu: NpuUse) -> list[str]:
    memories = {"SRAM": npu.sram_kb, "DRAM": npu.dram_kb, "flash": npu.flash_kb}
    used = ", ".join(f"{number(kb, 1)} kB {name}" for name, kb in memories.items() if kb)
    traffic_kb = npu.sram_traffic_kb + npu.dram_traffic_kb + npu.flash_traffic_kb
    count = len(npu.on) + len(npu.off)
    return [
        f"NPU: {npu.file} for {npu.accelerator} ({npu.system_config}, {npu.memory_mode}): "
        f"{len(npu.on)} of {count} operators on it",
        f"NPU: {npu.cycles} cycles a tile, {number(npu.inference_ms, 2)} ms at "
        f"{npu.clock_mhz:g} MHz; {used}, {number(traffic_kb / 1000, 1)} MB moved; an estimate",
        *(f"NPU: {o.kind} `{o.name}` stays on the CPU: {o.reason}" for o in npu.off),
    ]


def ran_on(measured: Measured) -> str:
    """The runtime, and which one really computed where it is not at hand on this host."""
    if measured.is_stood_in:
        return f"onnxruntime, in the place of {measured.backend}"
    return measured.backend


def computed_in(measured: Measured) -> str:
    """The precision the runtime computed in, which is not always the file's."""
    return measured.latency.precision if measured.latency else measured.precision


def _row(report: Report, measured: Measured) -> FileRow:
    return FileRow(
        measured=measured,
        total=psnr_drop(report.reference, measured),
        parts_db=_parts_db(report, measured),
        speed_up=_speed_up(report, measured),
    )


def _parts_db(report: Report, measured: Measured) -> dict[str, float]:
    """The stages of `Report.drops` for one file; a file run in two precisions has two entries."""
    by_precision = f"{measured.file} {measured.precision}"
    split = report.drops.get(by_precision, report.drops.get(measured.file, {}))
    means = {k: v["mean_db"] if isinstance(v, Mapping) else v for k, v in split.items()}
    return {key.removesuffix("_db"): mean for key, mean in means.items() if key != "total"}


def _speed_up(report: Report, measured: Measured) -> float | None:
    rival = _true_float32(report, measured)
    if rival is None or rival is measured or rival.latency is None or measured.latency is None:
        return None
    return rival.latency.p50_ms / measured.latency.p50_ms if measured.latency.p50_ms else None


def _true_float32(report: Report, measured: Measured) -> Measured | None:
    """The file that computed in float32 on the same runtime, threads and input size."""

    def conditions(m: Measured) -> tuple[str, int, int, int] | None:
        t = m.latency
        return (m.backend, t.threads, t.height_px, t.width_px) if t else None

    for rival in report.files:
        same = conditions(rival) is not None and conditions(rival) == conditions(measured)
        if same and rival.precision == "float32" and computed_in(rival) == "float32":
            return rival
    return None


def measured_on(report: Report) -> str:
    """Whose clock it was: a device's URL, or `this host`."""
    return next((f.latency.device for f in report.files if f.latency and f.latency.device), HOST)


def unstable(report: Report) -> list[tuple[str, str]]:
    """Files whose times cannot be trusted, with the precision they ran in, and every reason."""
    return [
        (f"{file.file} in {computed_in(file)}", why)
        for file in report.files
        if file.latency
        for why in file.latency.unstable
    ]
