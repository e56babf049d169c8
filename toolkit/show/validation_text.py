"""A Validation on one screen of a terminal: QA's three answers first, then the numbers behind."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.show.rows import number
from toolkit.show.text import BOLD, DIM, GREEN, RED, YELLOW, hung, paint, printable, wrapped
from toolkit.show.validation_rows import (
    Check,
    FileView,
    StageView,
    answers,
    checks,
    failures,
    file_views,
    headline,
    measured_nowhere,
    stage_view,
)
from toolkit.show.verdict_words import failure_sentence, held_text, share_text
from toolkit.validation import Validation

QUESTION_WIDTH = 21
COLUMNS = (14, 9, 17, 9, 9, 11, 9)  # widths; 78 together
HEADS = (
    ("stage", "mean", "95 % interval", "worst", "largest", "within", "bias"),
    ("", "dB", "of the mean", "dB", "error", "1 level", "levels"),
)


def validation_text(
    validation: Validation, *, width: int, colour: bool, timed: bool = False
) -> str:
    """The validation as lines of at most `width` columns (80 or more), ending in a newline.

    Control characters in names are shown as escapes, so a name cannot drive the terminal; names
    of pictures are shortened in their middle where a table has no room. timed: a benchmark was
    given, so that times are not called missing.
    """
    blocks = [
        _verdict(validation, width, colour),
        _failed(validation, width, colour),
        *(_file(view, width, colour) for view in file_views(validation)),
        _checks(validation, width, colour),
        _notes(validation, width, colour),
        _conditions(validation, width, timed),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _verdict(validation: Validation, width: int, colour: bool) -> list[str]:
    word = paint("PASS", GREEN, colour) if validation.passed else paint("FAIL", RED, colour)
    first, *more = wrapped(headline(validation), width - 6)
    lines = [f"{word}  {paint(first, BOLD, colour)}"]
    lines += ["      " + paint(line, BOLD, colour) for line in more] + [""]
    for told in answers(validation):
        shade = {True: GREEN, False: RED, None: BOLD}[told.good]
        start, *rest = wrapped(told.answer, width - QUESTION_WIDTH)
        lines.append(f"{told.question:<{QUESTION_WIDTH}}{paint(start, shade, colour)}")
        lines += [" " * QUESTION_WIDTH + line for line in rest]
    return lines


def _failed(validation: Validation, width: int, colour: bool) -> list[str]:
    sentences = [failure_sentence(v) for v in failures(validation)]
    parts = [part for said in sentences for part in hung(said, "  ", width)]
    return [paint("failed", RED, colour), *parts] if parts else []


def _file(view: FileView, width: int, colour: bool) -> list[str]:
    word = paint("ok", GREEN, colour) if view.passed else paint("FAIL", RED, colour)
    digest = f"sha256 {view.digest[:12]}" if view.digest else ""
    count = f"{len(view.headline.images)} pictures"
    told = "  ".join(part for part in (digest, count) if part)
    lines = [f"{paint(printable(view.file), BOLD, colour)}  {word}  {told}"]
    lines += [paint(_line(head), DIM, colour) for head in HEADS]
    stages = [stage_view(stage) for stage in view.stages]
    room = width - sum(COLUMNS) - 2
    if all(len(printable(stage.worst.name)) <= room for stage in stages):
        return lines + [f"{_line(_cells(s))}  {printable(s.worst.name)}" for s in stages]
    return lines + [_line(_cells(stage)) for stage in stages] + _worst(stages, width)


def _worst(stages: Sequence[StageView], width: int) -> list[str]:
    """The worst picture of each stage, where a line of the table has no room for it."""
    found: dict[str, list[str]] = {}
    for stage in stages:
        found.setdefault(stage.worst.name, []).append(stage.stage.name)
    if len(found) == 1:
        return hung(f"worst picture {next(iter(found))}", "  ", width)
    named = (f"worst picture in {', '.join(at)}: {name}" for name, at in found.items())
    return [line for text in named for line in hung(text, "  ", width)]


def _cells(view: StageView) -> tuple[str, ...]:
    interval = view.stage.interval
    return (
        view.stage.name,
        number(view.mean_db, 3),
        f"{number(interval.low, 3)}..{number(interval.high, 3)}",
        number(view.worst.drop_db, 3),
        str(view.max_error_levels),
        share_text(view.within_one_share),
        number(view.bias_levels, 2),
    )


def _line(cells: Sequence[str]) -> str:
    first, *numbers = cells
    sized = "".join(n.rjust(size) for n, size in zip(numbers, COLUMNS[1:], strict=True))
    return f"  {first:<{COLUMNS[0] - 2}}{sized}"


def _checks(validation: Validation, width: int, colour: bool) -> list[str]:
    found = checks(validation)
    longest = max((len(check.gate) for check in found), default=0)
    lines = [paint("checks", BOLD, colour)] if found else []
    for check in found:
        word = paint("ok  ", GREEN, colour) if check.passed else paint("FAIL", RED, colour)
        start, *rest = wrapped(_check_text(check), width - longest - 10)
        lines.append(f"  {word}  {printable(check.gate):<{longest}}  {start}")
        lines += [" " * (longest + 10) + line for line in rest]
    return lines


def _check_text(check: Check) -> str:
    shown = check.shown
    several = "both files" if check.files == 2 else f"all {check.files} files"
    where = several if check.passed and check.files > 1 else shown.file
    parts = (held_text(shown), where, shown.note)
    return "; ".join(part for part in parts if part)


def _notes(validation: Validation, width: int, colour: bool) -> list[str]:
    lines = [part for w in validation.warnings for part in hung(f"warning: {w}", "", width)]
    return [paint(line, YELLOW, colour) for line in lines]


def _conditions(validation: Validation, width: int, timed: bool) -> list[str]:
    data = ", ".join(f"{key} {value}" for key, value in validation.data.items() if key != "digest")
    digest = str(validation.data.get("digest", ""))[:12]
    device = validation.device
    lines = [
        "drop: reference minus file, mean and worst over the pictures; positive is a loss",
        f"data: {data}" + (f", sha256 {digest}" if digest else ""),
        f"protocol: {validation.protocol}",
        *([f"device: {device.name} ({device.url})"] if device else []),
        *(
            f"not measured: {', '.join(g)}; {how}"
            for how, g in measured_nowhere(validation, timed=timed).items()
        ),
    ]
    return [part for line in lines for part in hung(line, "", width)]
