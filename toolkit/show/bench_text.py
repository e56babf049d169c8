"""A Benchmark, or two of them compared, on one screen of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from toolkit.benchmark import Benchmark, Device, FileTiming, UnitUse
from toolkit.latency import (
    Difference,
    FileComparison,
    SpeedUp,
    Summary,
    all_samples,
    least_samples,
    speed_ups,
    summary,
)
from toolkit.show.rows import percent, release
from toolkit.show.text import BOLD, DIM, GREEN, RED, YELLOW, hung, paint, printable, wrapped

WIDE = 110  # columns from which the wider table fits
COLUMNS = (9, 9, 9, 9, 9, 9, 9, 9, 7)  # widths; 79 together
WIDE_COLUMNS = (9, 9, 9)
HEADS = (
    ("p50", "p90", "p95", "p99", "max", "first", "load", "memory", "runs"),
    ("ms", "ms", "ms", "ms", "ms", "ms", "ms", "MB", ""),
)
WIDE_HEADS = (("min", "mean", "std"), ("ms", "ms", "ms"))
LABEL_WIDTH = 12
SHADES = {"slower": RED, "faster": GREEN, "no difference seen": DIM, "not decided": YELLOW}


def bench_text(
    benchmark: Benchmark,
    *,
    width: int,
    colour: bool,
    place: Path | None = None,
    remarks: Sequence[str] = (),
) -> str:
    """The benchmark as lines of at most `width` columns (80 or more), ending in a newline.

    `place` is the file that was written, `remarks` are what its times do not say
    of the target. Control characters in names are shown as escapes.
    """
    ratios = {one.file: one for one in speed_ups(benchmark.files)}
    blocks = [_verdict(benchmark, width, colour)]
    if any(all_samples(timing) for timing in benchmark.files):
        blocks.append([paint(line, DIM, colour) for line in _heads(width)])
    blocks += [_file(timing, ratios, width, colour) for timing in benchmark.files]
    blocks.append(_conditions(benchmark, width))
    told = [part for remark in remarks for part in hung(f"warning: {remark}", "", width)]
    blocks.append([paint(part, YELLOW, colour) for part in told])
    blocks.append([f"result: {printable(str(place))}"] if place else [])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _verdict(benchmark: Benchmark, width: int, colour: bool) -> list[str]:
    word, shade = _word(benchmark)
    device = benchmark.device
    title = f"{benchmark.bundle} on {device.name or device.machine} ({device.url})"
    first, *more = wrapped(title, width - len(word) - 2)
    indent = " " * (len(word) + 2)
    lines = [f"{paint(word, shade, colour)}  {paint(first, BOLD, colour)}"]
    return lines + [indent + paint(line, BOLD, colour) for line in more]


def _word(benchmark: Benchmark) -> tuple[str, str]:
    files = benchmark.files
    if any(timing.problem for timing in files):
        return "FAIL", RED
    if any(not timing.stability.is_stable for timing in files):
        return "UNSTABLE", YELLOW
    return ("NUMBERS HOLD", GREEN) if benchmark.device.is_emulated else ("STABLE", GREEN)


def _heads(width: int) -> list[str]:
    return [_cells((*head, *more), width) for head, more in zip(HEADS, WIDE_HEADS, strict=True)]


def _cells(values: Sequence[str], width: int) -> str:
    sizes = COLUMNS + (WIDE_COLUMNS if width >= WIDE else ())
    return "".join(value.rjust(size) for value, size in zip(values, sizes, strict=False)).rstrip()


def _file(timing: FileTiming, ratios: Mapping[str, SpeedUp], width: int, colour: bool) -> list[str]:
    taken = summary(timing)
    lines = _title(timing, width, colour)
    if taken is not None:
        lines.append(_cells(_numbers(taken), width))
    for label, text, shade in _facts(timing, ratios.get(timing.file)):
        first, *more = wrapped(text, width - LABEL_WIDTH)
        lines.append(paint(f"  {label:<{LABEL_WIDTH - 2}}{first}", shade, colour and bool(shade)))
        lines += [" " * LABEL_WIDTH + line for line in more]
    return lines


def _title(timing: FileTiming, width: int, colour: bool) -> list[str]:
    """Name, precision, runtime and size; on lines of their own where one is too narrow."""
    was_timed = bool(all_samples(timing) or timing.stated_ms)
    size = f", {timing.height_px} x {timing.width_px} px" if was_timed else ""
    tool = "" if timing.tool == "runner" else f", by {timing.tool}"
    about = f"{timing.precision} on {release(timing.runtime) or timing.backend}{tool}{size}"
    name = printable(timing.file)
    painted = paint(name, BOLD, colour)
    if len(name) + 2 + len(printable(about)) <= width:
        return [f"{painted}  {printable(about)}"]
    return [painted, *("  " + line for line in wrapped(about, width - 2))]


def _numbers(taken: Summary) -> tuple[str, ...]:
    memory = taken.peak_memory_mb
    return (
        ms(taken.p50_ms), ms(taken.p90_ms), ms(taken.p95_ms), ms(taken.p99_ms), ms(taken.max_ms),
        ms(taken.first_ms), ms(taken.load_ms), "-" if memory is None else _range(memory, ""),
        str(taken.runs), ms(taken.min_ms), ms(taken.mean_ms), ms(taken.std_ms),
    )  # fmt: skip


def ms(value: float | None) -> str:
    """Milliseconds with three or four digits that count; `-` where there are none."""
    if value is None or value != value:
        return "-"
    digits = 3 if value < 1 else 2 if value < 100 else 1 if value < 1000 else 0
    return f"{value:.{digits}f}"


def _facts(timing: FileTiming, ratio: SpeedUp | None) -> Iterator[tuple[str, str, str]]:
    """Label, text and shade of each line below a file's numbers."""
    check = timing.golden
    if timing.problem:
        yield "FAIL", timing.problem, RED
    if check is not None:
        yield (
            "numbers",
            (
                f"{percent(check.within_share)} within {check.tolerance:.3g} "
                f"(at least {percent(check.least_share)}), {percent(check.equal_share)} equal, "
                f"worst {check.worst:.3g}"
            ),
            RED if not check.passed else "",
        )
    elif not timing.problem:
        yield "numbers", "not checked: no golden vectors, or none that this tool checks", YELLOW
    if timing.backend == "tensorrt" and timing.runtime.startswith("onnxruntime"):
        yield (
            "stand-in",
            "no engine was built: ONNX Runtime ran it in TensorRT's place, with other times",
            YELLOW,
        )
    if timing.stated_ms:
        yield "stated", stated_words(timing), ""
    if timing.units:
        yield "ran on", "; ".join(unit_words(unit) for unit in timing.units), ""
    if ratio is not None:
        low, high = ratio.interval.low, ratio.interval.high
        yield "speed-up", f"{ratio.ratio:.2f}x ({low:.2f} to {high:.2f}) of {ratio.against}", ""
    if timing.energy_j_per_frame is not None:
        yield "energy", f"{timing.energy_j_per_frame * 1000:.3g} mJ per frame", ""
    for reason in timing.stability.reasons:
        yield "UNSTABLE", reason, YELLOW


def stated_words(timing: FileTiming) -> str:
    """What a vendor's program states of its own runs; the median where rounds differ."""
    keys = dict.fromkeys(key for one in timing.stated_ms for key in one if key != "runs")
    middle = {key: median(one[key] for one in timing.stated_ms if key in one) for key in keys}
    runs = sum(int(one.get("runs", 0)) for one in timing.stated_ms)
    told = ", ".join(f"{key} {ms(value)} ms" for key, value in middle.items())
    return f"{told}; {runs} runs (all stated by {timing.tool}, median of the rounds)"


def unit_words(unit: UnitUse) -> str:
    """One compute unit's part of a file, as a phrase."""
    time = "" if unit.time_ms is None else f" in {ms(unit.time_ms)} ms"
    kinds = ", ".join(f"{count} {kind or 'moves'}" for kind, count in unit.precisions.items())
    share = percent(unit.operators_share)
    return f"{unit.unit} {unit.operators} operators ({share}){time}" + (
        f": {kinds}" if kinds else ""
    )


def _conditions(benchmark: Benchmark, width: int) -> list[str]:
    protocol, device = benchmark.protocol, benchmark.device
    lines = []
    if device.is_emulated:
        lines.append("an emulator's times say nothing of the device, so none were taken")
    else:
        order = "one file after another" if protocol.sustained_min else "files in turn"
        sustained = f"{protocol.sustained_min:g} min of load first, " * bool(protocol.sustained_min)
        lines.append(
            f"{protocol.threads} threads, {_rounds(protocol.rounds)}, {order}, a fresh process "
            f"each; "
            f"{sustained}{protocol.warm_up_s:g} s of warm-up, then at least {protocol.min_runs} "
            f"runs and {protocol.min_s:g} s over all rounds"
        )
        lines += ["load, first inference: median of the rounds", *_too_few(benchmark.files)]
        lines += state_words([c for timing in benchmark.files for c in timing.conditions])
    memory = f"{device.memory_mb / 1024:.1f} GB"
    lines.append(f"{device.cpu}, {device.cores} cores, {memory}, {device.system}")
    return [part for line in lines if line for part in hung(line, "", width)]


def _rounds(count: int) -> str:
    return f"{count} round{'s' * (count != 1)}"


def _too_few(files: Sequence[FileTiming]) -> list[str]:
    fewest = min((len(s) for t in files if (s := all_samples(t))), default=0)
    lacking = [share for share in (90, 95, 99) if 0 < fewest < least_samples(share)]
    words = ", ".join(f"p{share} needs {least_samples(share)}" for share in lacking)
    return [f"- too few runs to know: {words}"] if words else []


def state_words(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Governor, clock, temperature and company of all rounds, as far as the device told."""
    moments = [m for c in conditions for m in _moments(c)]
    governors = sorted({str(g) for m in moments for g in m.get("governors") or () if g})
    clocks = [x for m in moments for x in m.get("frequencies_mhz") or () if _is_number(x)]
    degrees = [
        x for m in moments for x in (m.get("temperatures_c") or {}).values() if _is_number(x)
    ]
    shares = [c.get("other_cpu_share") for c in conditions]
    others = [float(x) for x in shares if x is not None and _is_number(x)]
    words = [
        f"governor {', '.join(governors)}" if governors else "governor not known",
        f"clock {_range(clocks, ' MHz')}{_cap(moments)}" if clocks else "clock not known",
        f"{_range(degrees, ' °C')}" if degrees else "temperature not known",
    ]
    if others:
        words.append(f"other processes used up to {percent(max(others))} of the CPU")
    remarks = dict.fromkeys(str(r) for c in conditions for r in c.get("remarks") or ())
    return ["; ".join(words), *remarks] if conditions else []


def _cap(moments: Sequence[Mapping[str, Any]]) -> str:
    """How far the clock was allowed to go, where that is less than it can: steady, but slower."""
    limits, most = (
        [x for m in moments for x in m.get(key) or () if _is_number(x)]
        for key in ("frequencies_limit_mhz", "frequencies_max_mhz")
    )
    if not limits or not most or min(limits) >= max(most):
        return ""
    return f", LIMITED to {min(limits):.0f} of {max(most):.0f} MHz"


def _moments(conditions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    ends = [conditions.get("before"), conditions.get("after")]
    during = conditions.get("during")
    found = [*ends, *(during if isinstance(during, list) else [])]
    return [moment for moment in found if isinstance(moment, Mapping)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(values: Sequence[float], unit: str) -> str:
    low, high = (f"{end(values):.0f}" for end in (min, max))
    return f"{low}{unit}" if low == high else f"{low}-{high}{unit}"


def comparison_text(
    device: Device,
    compared: Sequence[FileComparison],
    alone: Sequence[str],
    *,
    places: tuple[str, str],
    limit_percent: float,
    width: int,
    colour: bool,
) -> str:
    """Two results compared, as lines of at most `width` columns, ending in a newline."""
    verdicts = {one.verdict for one in compared}
    word = paint("PASS", GREEN, colour)
    if "not decided" in verdicts:
        word = paint("NOT DECIDED", YELLOW, colour)
    if any(one.is_regression for one in compared):
        word = paint("FAIL", RED, colour)
    blocks = [
        [f"{word}  {printable(device.name)}, at most {limit_percent:g} % slower"],
        *(_compared(one, width, colour) for one in compared),
        [part for line in alone for part in hung(line, "", width)],
        [
            *hung(f"before: {places[0]}", "", width),
            *hung(f"after:  {places[1]}", "", width),
            *hung("95 % intervals: bootstrap over rounds, then samples, of each result", "", width),
        ],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _compared(one: FileComparison, width: int, colour: bool) -> list[str]:
    verdict = f"{one.verdict}, beyond the limit" if one.is_regression else one.verdict
    was = f" (was {one.before})" if one.before != one.file else ""
    title = paint(printable(one.file + was), BOLD, colour)
    lines = [f"{title}  {paint(verdict, SHADES[one.verdict], colour)}"]
    lines += [_difference(difference) for difference in one.differences]
    return lines + [part for why in one.why for part in hung(f"UNSTABLE {why}", "  ", width)]


def _difference(one: Difference) -> str:
    change = f"{one.percent:+.1f} %"
    interval = f"({one.interval.low:+.1f} to {one.interval.high:+.1f} %)"
    levels = f"{ms(one.before_ms):>9} to {ms(one.after_ms):>9} ms"
    return f"  p{one.share:.0f}  {levels}  {change:>9}  {interval}"
