"""The measured figures as Markdown; nothing is decided here."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from int8_results import CHARTS, RUNTIMES, SCHEMES, VENDORS, NetworkResult, Variant, geometric_mean
from int8_vendors import VENDORS as VENDOR_PATHS
from int8_verdicts import Requirement, shipped_variant

HEADING = "## INT8, ours beside the vendors' defaults"
CPU_FLAGS = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "i8mm")
PACKAGES = ("onnxruntime", "openvino", "ai-edge-litert", "onnx", "numpy", "torch", "nncf",
            "litert-torch", "ai-edge-quantizer")  # fmt: skip
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "litert": "LiteRT",
          "tensorrt": "TensorRT scheme"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """What the run was asked and where it ran."""

    command: str
    date: str
    sets: Sequence[str]
    threads: int
    load: str  # load averages at start and end
    quick: bool


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every column but the first two is aligned right."""
    marks = ["---" if i < 2 else "--:" for i in range(len(headings))]
    lines = [headings, marks, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def figure(value: float, digits: int = 3) -> str:
    """A number, or a dash where nothing was measured."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def machine() -> str:
    """Processor, cores, the instructions that decide INT8 and bf16, system, Python."""
    model, flags = platform.processor() or platform.machine(), set[str]()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        key, _, text = line.partition(":")
        if key.strip() == "model name":
            model = text.strip()
        if key.strip() in ("flags", "Features"):
            flags |= set(text.split())
    known = ", ".join(flag for flag in CPU_FLAGS if flag in flags)
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{model}, {cores} cores ({known}), {system}"


def versions() -> str:
    """Installed versions of what takes part."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def section(
    occasion: Occasion, results: Sequence[NetworkResult], cells: Sequence[Requirement]
) -> str:
    """The whole section of RESULTS.md, heading included."""
    parts = [
        HEADING,
        _head(occasion),
        "### Verdicts",
        _summary(cells),
        verdict_table(cells),
        "### Drop in dB, " + " / ".join(occasion.sets),
        "Float network in ONNX Runtime minus file, positive is a loss; worst is of the means of "
        "all sets over the three runtimes. Minutes are wall time of the quantize step.",
        drop_table(results, occasion.sets),
        _failures(results),
        "### Agreement of the three runtimes, and charts",
        "Spread is of the mean drops; the share is of pixel values within 1 level, all pictures, "
        "worst pair; charts against the float network, worst runtime, in levels.",
        agreement_table(results),
        chart_table(results),
        f"### Latency at 640x360, {occasion.threads} threads, median ms (n)",
        "All files of one network in turn in one process. Counted is the untrained rung that the "
        "verdicts are about: the first that holds the drop. "
        "LiteRT files are fixed at that size, the others free.",
        latency_table(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(occasion: Occasion) -> str:
    lines = [
        f"`{occasion.command}`, {occasion.date}.",
        f"Machine: {machine()}. {occasion.load}",
        f"Versions: {versions()}.",
        "Vendors' defaults, 32 crops of 128x128 of the shipped photographs for each, on "
        "the network as our import left it (litert-torch refuses some files as they come): "
        + "; ".join(f"{TITLES[v.beside]}: {v.title}" for v in VENDOR_PATHS.values())
        + ".",
        "Ours: 58 crops of 96x96 of the same photographs and 6 charts. TensorRT's scheme is run by "
        "ONNX Runtime: its picture counts, not its time.",
    ]
    if occasion.quick:
        lines.append("**Quick run: few pictures, short timings; a trial of the benchmark only.**")
    return "\n".join(lines)


def _summary(cells: Sequence[Requirement]) -> str:
    verdicts = [cell.verdict(cell.required) for cell in cells]
    met = sum(v == "met" for v in verdicts)
    missed = sum(v.startswith("MISSED") for v in verdicts)
    aims = sum(cell.verdict(cell.aim) == "met" for cell in cells)
    return (
        f"{len(cells)} required cells: {met} met, {missed} missed, "
        f"{len(cells) - met - missed} not measured; {aims} aims met."
    )


def verdict_table(cells: Sequence[Requirement]) -> str:
    """One line for each required cell."""
    sign = {"at most": "≤", "at least": "≥"}
    rows = [
        (
            cell.network,
            cell.text,
            f"{figure(cell.value, cell.digits)} {cell.unit}",
            f"{sign[cell.sense]} {cell.required:.{cell.digits}f}",
            cell.verdict(cell.required),
            f"{sign[cell.sense]} {cell.aim:.{cell.digits}f}",
            cell.verdict(cell.aim),
        )
        for cell in cells
    ]
    headings = ("network", "cell", "measured", "required", "verdict", "aim", "verdict")
    return table(headings, rows)


def drop_table(results: Sequence[NetworkResult], sets: Sequence[str]) -> str:
    """Per network and way to INT8: each scheme's drop on each set."""
    rows = []
    for result in results:
        scores = " / ".join(f"{result.float_db[name]:.3f}" for name in sets)
        rows.append([result.name, f"float: {scores} dB", *[""] * (len(SCHEMES) + 3)])
        rows += [_drop_row(variant, sets) for variant in result.variants.values()]
    headings = ("network", "INT8 by", *(TITLES[s] for s in SCHEMES), "worst", "INT8 MACs", "min")
    return table(headings, rows)


def _drop_row(variant: Variant, sets: Sequence[str]) -> list[str]:
    cells = []
    for scheme in SCHEMES:
        drops = variant.drops.get(scheme)
        each = " / ".join(figure(drops.by_set[name]) for name in sets) if drops else ""
        cells.append(each or _short_failure(variant, scheme))
    shares = [100 * variant.drops[s].int8_macs_share for s in RUNTIMES if s in variant.drops]
    share = f"{min(shares):.0f} %" if shares else "-"
    name = "vendors' defaults" if variant.name == VENDORS else f"ours, `{variant.name}`"
    worst = figure(variant.worst_db())
    return ["", name, *cells, worst, share, figure(variant.minutes, 1)]


def _short_failure(variant: Variant, scheme: str) -> str:
    failure = variant.failures.get(scheme, variant.note)
    if failure.startswith("not installed"):
        return "not installed"
    return "failed" if scheme in variant.failures else "not run"


def _failures(results: Sequence[NetworkResult]) -> str:
    """What failed, in words."""
    lines = []
    for result in results:
        for variant in result.variants.values():
            told = [f"{TITLES[s]}: {why}" for s, why in variant.failures.items()]
            told += [variant.note] if variant.note else []
            lines += [f"- {result.name}, {variant.name}: {text}" for text in told]
    return "\n".join(dict.fromkeys(lines))


def agreement_table(results: Sequence[NetworkResult]) -> str:
    """Spread and shares of near pixels for each of our variants."""
    rows = []
    for result in results:
        for variant in result.variants.values():
            if variant.name != VENDORS:
                chart = variant.worst_chart()
                largest = "-" if math.isnan(chart.mean) else str(chart.largest)
                share = 100 * variant.least_within()
                rows.append(
                    [result.name, f"`{variant.name}`", figure(variant.spread_db()),
                     figure(share), largest, figure(chart.mean)]
                )  # fmt: skip
    return table(
        ("network", "rung", "spread dB", "within 1 level %", "charts: largest", "charts: mean"),
        rows,
    )


def chart_table(results: Sequence[NetworkResult]) -> str:
    """Largest and mean difference of each chart, worst runtime, for each of our variants."""
    rows = []
    for result in results:
        for variant in result.variants.values():
            found = [variant.drops[s].charts for s in RUNTIMES if s in variant.drops]
            if variant.name == VENDORS or not found:
                continue
            cells = []
            for name in CHARTS:
                mean = max((charts[name].mean for charts in found), key=abs)
                cells.append(f"{max(c[name].largest for c in found)} / {mean:+.3f}")
            rows.append([result.name, f"`{variant.name}`", *cells])
    return table(("network", "rung", *(n.removeprefix("chart-") for n in CHARTS)), rows)


def latency_table(results: Sequence[NetworkResult]) -> str:
    """Medians with n, ratios, and geometric means over the networks."""
    rungs = dict.fromkeys(name for r in results for name in r.variants if name != VENDORS)
    columns = ("float32", "bfloat16", *rungs, VENDORS)
    rows = []
    for result in results:
        shipped = shipped_variant(result)
        for scheme in RUNTIMES:
            times = [_milliseconds(result, (scheme, what)) for what in columns]
            ratio = result.ratio((scheme, VENDORS), (scheme, shipped))
            speedups = (result.speedup(scheme, shipped), result.speedup(scheme, VENDORS), ratio)
            cells = [figure(value, 2) for value in speedups]
            rows.append([result.name, TITLES[scheme], *times, f"`{shipped}`", *cells])
    for scheme in RUNTIMES:
        ours = geometric_mean(r.speedup(scheme, shipped_variant(r)) for r in results)
        theirs = geometric_mean(r.speedup(scheme, VENDORS) for r in results)
        ratio = geometric_mean(
            r.ratio((scheme, VENDORS), (scheme, shipped_variant(r))) for r in results
        )
        cells = [figure(value, 2) for value in (ours, theirs, ratio)]
        blank = [""] * (len(columns) + 1)
        rows.append(["geometric mean", TITLES[scheme], *blank, *cells])
    named = ("float32", "bf16", *(f"INT8 `{rung}`" for rung in rungs), "INT8 vendor")
    ratios = ("counted", "counted over f32", "vendor's over f32", "counted over vendor's")
    return table(("network", "runtime", *named, *ratios), rows)


def _milliseconds(result: NetworkResult, key: tuple[str, str]) -> str:
    timing = result.timings.get(key)
    return f"{timing.median_ms:.1f} ({timing.n})" if timing else "-"


def replace_section(text: str, new: str) -> str:
    """`text` of RESULTS.md with the section that has `new`'s heading replaced, or added at the end.

    `new` starts with its heading, `## ...`; a section ends at the next heading of that level.
    """
    heading, lines = new.splitlines()[0], text.splitlines()
    if heading not in lines:
        return text.rstrip() + "\n\n" + new
    start = lines.index(heading)
    rest = [i for i in range(start + 1, len(lines)) if lines[i].startswith("## ")]
    before, after = lines[:start], lines[rest[0] :] if rest else []
    return "\n".join([*before, new.rstrip(), "", *after]).rstrip() + "\n"
