"""A Report on one screen of a terminal: the verdict first, then the numbers behind it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from toolkit.report import Measured, Report
from toolkit.show.ladder import (
    advice,
    edit_lines,
    largest_layers,
    layer_cells,
    rung_cells,
    rung_rows,
)
from toolkit.show.rows import (
    FileRow,
    computed_in,
    file_rows,
    headline,
    measured_on,
    npu_lines,
    number,
    percent,
    ran_on,
    reasons,
    unstable,
)

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "1;31", "1;32", "33"
COLUMNS = (9, 8, 8, 8, 9, 9, 8, 8, 8)  # widths; 75 together, so that 80 columns are enough
RUNG_COLUMNS = (8, 8, 9, 9, 8, 9)
RUNG_HEADS = (
    ("rung", "drop", "worst", "gained", "p50", "speed", "minutes", ""),
    ("", "dB", "dB", "dB", "ms", "-up", "", ""),
)
HEADS = (
    ("size", "PSNR", "drop", "worst", "p50", "p90", "speed", "INT8", "INT8"),
    ("kB", "dB", "dB", "dB", "ms", "ms", "-up", "ops", "MACs"),
)


def report_text(
    report: Report, *, colour: bool, width: int = 100, place: Path | None = None
) -> str:
    """The report as lines of at most `width` columns (80 or more), ending in a newline.

    `place` is the folder that was written: the bundle, or the report of a run that failed.
    Control characters in names are shown as escapes, so a name cannot drive the terminal.
    """
    blocks = [
        _verdict(report, colour, width),
        [part for line in advice(report) for part in hung(line, "", width)],
        _table(report, colour),
        _ladder(report, colour, width),
        _explanation(report, colour, width),
        [part for line in npu_lines(report) for part in hung(line, "", width)],
        _conditions(report, width),
        _notes(report, colour, width),
        _place(report, place),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def plan_text(steps: Sequence[tuple[str, str, str]], *, colour: bool, width: int = 100) -> str:
    """What would happen: one line per (step, "run" or "kept", first reason why)."""
    longest = max((len(printable(step)) for step, _, _ in steps), default=0)
    lines = []
    for step, state, reason in steps:
        name = printable(step).ljust(longest)
        first, *more = wrapped(reason, width - longest - 8) or [""]
        word = paint(state.ljust(4), DIM if state == "kept" else YELLOW, colour)
        lines.append(f"{word}  {name}  {first}".rstrip())
        lines += [" " * (longest + 8) + line for line in more]
    return "\n".join(lines) + "\n" if lines else "nothing to do\n"


def printable(text: str) -> str:
    """The text with every control or other unprintable character as its escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _verdict(report: Report, colour: bool, width: int) -> list[str]:
    word = paint("PASS", GREEN, colour) if report.passed else paint("FAIL", RED, colour)
    first, *more = wrapped(headline(report), width - 6)
    lines = [f"{word}  {paint(first, BOLD, colour)}"]
    lines += ["      " + paint(line, BOLD, colour) for line in more]
    for reason in reasons(report):
        lines += hung(reason, "      ", width)
    return lines


def _table(report: Report, colour: bool) -> list[str]:
    lines = [paint(_cells(head), DIM, colour) for head in HEADS]
    lines.append(paint(f"{report.reference.label} (reference)", BOLD, colour))
    lines.append(_cells(_numbers(report.reference, None)))
    for row in file_rows(report):
        file = row.measured
        about = f"{file.precision} on {ran_on(file)}"
        if computed_in(file) not in ("", file.precision):
            about += f", computed in {computed_in(file)}"
        if number(row.total.worst_db, 3) != number(0, 3):
            about += f", worst image {row.total.worst_image}"
        name = paint(printable(file.file), BOLD, colour)
        lines += [f"{name}  {printable(about)}", _cells(_numbers(file, row))]
    return lines


def _ladder(report: Report, colour: bool, width: int) -> list[str]:
    """The rungs that were tried; nothing where the first one did."""
    rows = rung_rows(report)
    if len(rows) < 2:
        return []
    lines = [paint(_rung_line(head), DIM, colour) for head in RUNG_HEADS]
    for row in rows:
        lines.append(_rung_line(rung_cells(row)))
        if row.rung.state == "refused":
            lines += hung(row.rung.why, "  ", width)
    return lines


def _rung_line(cells: Sequence[str]) -> str:
    first, *numbers, state = cells
    sized = zip(numbers, RUNG_COLUMNS, strict=True)
    return f"{first:<8}{''.join(n.rjust(size) for n, size in sized)}  {state}".rstrip()


def _explanation(report: Report, colour: bool, width: int) -> list[str]:
    lines = []
    layers = largest_layers(report)
    if layers:
        title = (
            "where the drop comes from: dB lost on calibration crops by that layer alone, its MACs"
        )
        lines += [paint(part, BOLD, colour) for part in hung(title, "", width)]
    for drop, share, who in map(layer_cells, layers):
        lines += hung(f"{drop:>7} dB  {share:>6}  {who}", "", width)
    edits = edit_lines(report)
    if edits:
        lines.append(paint("what would help, in the recipe", BOLD, colour))
    for line, effect in edits:
        lines += ["  " + printable(line), *hung(effect, "      ", width)]
    return lines


def _numbers(measured: Measured, row: FileRow | None) -> tuple[str, ...]:
    time = measured.latency
    return (
        number(measured.size_kb, 1) if measured.size_kb else "",
        number(measured.psnr_db, 3),
        number(row.total.mean_db, 3) if row else "",
        number(row.total.worst_db, 3) if row else "",
        number(time.p50_ms, 2) if time else "",
        number(time.p90_ms, 2) if time else "",
        f"{number(row.speed_up, 2)}x" if row and row.speed_up is not None else "",
        percent(measured.int8_operators_share) if measured.precision == "int8" else "",
        percent(measured.int8_macs_share) if measured.precision == "int8" else "",
    )


def _cells(values: Sequence[str]) -> str:
    cells = (value.rjust(size) for value, size in zip(values, COLUMNS, strict=True))
    return "".join(cells).rstrip()


def _conditions(report: Report, width: int) -> list[str]:
    """What the numbers mean, and where they were taken."""
    count = len(report.reference.images)
    lines = [
        f"drop: {report.reference.label} minus file, mean and worst of {count} images; "
        "positive is a loss"
    ]
    times = [file.latency for file in report.files if file.latency]
    for how in dict.fromkeys((t.threads, t.height_px, t.width_px) for t in times):
        runs = [t.runs for t in times if (t.threads, t.height_px, t.width_px) == how]
        lines.append("time: {} threads, {} x {} px in, ".format(*how) + f"{min(runs)} runs or more")
    if times:
        lines.append(f"speed-up: true float32 over file, p50, same runtime, {measured_on(report)}")
    if len(report.ladder) > 1 and any(row.slowest for row in rung_rows(report)):
        lines.append("speed of a rung: the runtime's fastest float mode over its slowest file, p50")
    lines += [f"UNSTABLE {who}: {why}" for who, why in unstable(report)]
    return [part for line in lines for part in hung(line, "", width)]


def _notes(report: Report, colour: bool, width: int) -> list[str]:
    lines = [f"warning: {warning}" for warning in report.warnings]
    parts = [part for line in lines for part in hung(line, "", width)]
    return [paint(part, YELLOW, colour) for part in parts]


def _place(report: Report, place: Path | None) -> list[str]:
    if place is None:
        return []
    if report.passed:
        return [f"bundle: {printable(str(place))}"]
    return [
        f"report: {printable(str(place))}",
        "nothing was packed; a bundle that lies beside it is from an earlier run",
    ]


def hung(text: str, indent: str, width: int) -> list[str]:
    """The text wrapped, its first line at `indent`, the rest two columns further in."""
    first, *more = wrapped(text, width - len(indent) - 2) or [""]
    return [indent + first] + [f"{indent}  {line}" for line in more]


def wrapped(text: str, width: int) -> list[str]:
    """Lines of whole words; only a word longer than a line sticks out, so paths can be copied."""
    return textwrap.wrap(printable(text), width, break_long_words=False, break_on_hyphens=False)


def paint(text: str, code: str, colour: bool) -> str:
    """The text in an ANSI style, or as it is."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
