"""`edgesr validate`: whether a bundle's files, or one file, are as good as the float network."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from toolkit.commands.bench import BARE_SUFFIXES, NARROWEST, WIDEST
from toolkit.commands.reading import refuse_unwritable, wait_s_of
from toolkit.errors import UserError, raise_all
from toolkit.validation import Budget, StageName

if TYPE_CHECKING:
    from toolkit.benchmark import Benchmark
    from toolkit.validate.asked import Asked, Show
    from toolkit.validate.validating import Validated
    from toolkit.validation import Validation

EXIT_GATE = 4


def run(arguments: argparse.Namespace) -> int:
    """Validate; data on stdout, files where asked for, 4 where a verdict failed."""
    from toolkit.show.terminal import Terminal

    _check_options(arguments)
    asked = _asked(arguments)
    _refuse_twice(arguments)
    refuse_unwritable([arguments.csv, arguments.junit, arguments.html])
    timed = _benchmark(arguments.bench, arguments.subject)
    asked = replace(asked, timed=timed)
    with Terminal() as terminal:
        terminal.started("validate", str(arguments.subject))
        validated = _validated(arguments, asked, terminal.progress)
    validation = validated.validation
    _write_files(arguments, validated, timed)
    if arguments.json:
        from toolkit.bundle.report_file import plain

        if not validation.passed:
            sys.stderr.write(failed_line(validation))
        print(json.dumps(plain(validation.as_json()), indent=1))  # noqa: T201
    else:
        print(_text(validation, timed=timed is not None))  # noqa: T201
    return 0 if validation.passed else EXIT_GATE


def _validated(arguments: argparse.Namespace, asked: Asked, show: Show) -> Validated:
    from toolkit.validate.validating import validate_bundle, validate_file

    subject = arguments.subject
    if not is_bare(subject):
        return validate_bundle(subject, asked, show)
    if arguments.scale is None:
        raise UserError(
            f"`{subject.name}` is no bundle, so its scale must be stated", hint="--scale 2"
        )
    return validate_file(
        subject,
        asked,
        scale=arguments.scale,
        color=arguments.color,
        white=arguments.white,
        show=show,
    )


def is_bare(subject: Path) -> bool:
    """Whether this is meant as one file, not as a bundle's folder."""
    return subject.suffix in BARE_SUFFIXES and not subject.is_dir()


def _check_options(arguments: argparse.Namespace) -> None:
    """What a bundle states itself is not taken from the command line."""
    subject = arguments.subject
    if is_bare(subject):
        return
    if subject.is_file():
        *some, last = BARE_SUFFIXES
        raise UserError(
            f"`{subject.name}` is neither a bundle nor an {', '.join(some)} or {last} file",
            where=str(subject),
            hint="name the folder `OUT/<recipe>/<target>` that `edgesr run` wrote",
        )
    raise_all(
        [
            UserError(f"`--{name}` is of a bare file; a bundle states its own")
            for name in ("scale", "color", "white")
            if getattr(arguments, name) is not None
        ]
    )


def _refuse_twice(arguments: argparse.Namespace) -> None:
    """Two outputs in one file: the second would be all that is left, as would the times."""
    named: dict[Path, list[str]] = {}
    for option in ("csv", "junit", "html", "bench"):
        if path := getattr(arguments, option):
            named.setdefault(path.resolve(), []).append(f"`--{option}`")
    raise_all(
        [
            UserError(f"{' and '.join(options)} name one file", where=str(path))
            for path, options in named.items()
            if len(options) > 1
        ]
    )


def failed_line(validation: Validation) -> str:
    """The gates that failed, with their files, as one line."""
    from toolkit.show.text import printable
    from toolkit.show.validation_rows import failures

    gates = [f"{v.gate} ({v.file})" if v.file else v.gate for v in failures(validation)]
    return f"gate failed: {printable(', '.join(gates) or 'refused')}\n"


def _asked(arguments: argparse.Namespace) -> Asked:
    from toolkit.contracts import LinkOptions
    from toolkit.validate.asked import Asked

    return Asked(
        data=arguments.data,
        lr=arguments.lr,
        own_lr=arguments.own_lr,
        reference=arguments.reference,
        device=arguments.device,
        link=LinkOptions(accept_new_host=arguments.accept_new_host),
        wait_s=wait_s_of(arguments),
        budgets=budgets(arguments.budget or ()),
        images=arguments.images,
        threads=arguments.threads,
    )


def budgets(words: Sequence[str]) -> Mapping[StageName, Budget]:
    """`STAGE=MEAN,WORST` in dB, each of them may be left empty: not held. Raises UserError."""
    found: dict[StageName, Budget] = {}
    for word in words:
        stage, _, limits = word.partition("=")
        parts = limits.split(",")
        if stage not in get_args(StageName) or len(parts) != 2:
            raise _no_budget(word)
        try:
            mean_db, worst_db = (float(part) if part else None for part in parts)
        except ValueError:
            raise _no_budget(word) from None
        if not all(limit is None or math.isfinite(limit) for limit in (mean_db, worst_db)):
            raise _no_budget(word)
        if mean_db is not None and worst_db is not None and mean_db > worst_db:
            raise UserError(
                f"`--budget {word}` allows the mean more than the worst picture, which no mean can "
                "reach",
                hint=f"the mean comes first: --budget {stage}={worst_db:g},{mean_db:g}",
            )
        found[stage] = Budget(mean_db=mean_db, worst_db=worst_db)  # type: ignore[index]
    return found


def _no_budget(word: str) -> UserError:
    stages = ", ".join(get_args(StageName))
    return UserError(
        f"`--budget {word}` is no STAGE=MEAN,WORST in dB",
        hint=f"--budget quantization=0.10,0.30; stages are {stages}",
    )


def _write_files(
    arguments: argparse.Namespace, validated: Validated, timed: Benchmark | None
) -> None:
    """Whole files or none; what is asked for costs, the rest is not imported."""
    from toolkit.show.written import write_text

    validation = validated.validation
    if arguments.csv:
        from toolkit.show.validation_csv import csv_text

        write_text(arguments.csv, csv_text(validation))
    if arguments.junit:
        from toolkit.show.junit import junit_text

        write_text(arguments.junit, junit_text(validation, timed))
    if arguments.html:
        from toolkit.show.validation_page import page_text

        write_text(arguments.html, page_text(validation, validated.crops, timed))


def _benchmark(path: Path | None, subject: Path) -> Benchmark | None:
    """Raises UserError where it is of other bytes: they are the times of another network."""
    if path is None:
        return None
    from toolkit.measure.results import other_bytes, read

    result = read(path)
    if others := other_bytes(result, _digests(subject)):
        raise UserError(
            f"these times were taken of other files: {'; '.join(others)}",
            where=str(path),
            hint=f"`edgesr bench {subject}` measures them as they are now",
        )
    return result


def _digests(subject: Path) -> Mapping[str, str]:
    """As a bench states them, by the file's name."""
    from toolkit.measure.subject import file_digest

    if is_bare(subject):
        return {subject.name: file_digest(subject)}
    from toolkit.bundle.manifest import read_bundle

    return {a.path.name: file_digest(a.path) for a in read_bundle(subject).artefacts}


def _text(validation: Validation, *, timed: bool) -> str:
    from toolkit.show.validation_text import validation_text

    width = min(max(shutil.get_terminal_size((100, 24)).columns, NARROWEST), WIDEST)
    colour = sys.stdout.isatty()
    return validation_text(validation, width=width, colour=colour, timed=timed)
