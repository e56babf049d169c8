"""`edgesr validate`: whether a bundle's files, or one file, are as good as the float network."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from toolkit.errors import UserError
from toolkit.validation import Budget, StageName

if TYPE_CHECKING:
    from toolkit.validate.asked import Asked, Show
    from toolkit.validate.validating import Validated
    from toolkit.validation import Validation

EXIT_GATE = 4
BARE_SUFFIXES = (".onnx", ".tflite", ".xml")
NARROWEST, WIDEST = 80, 120  # columns: the tables need the one, longer lines are hard to read


def run(arguments: argparse.Namespace) -> int:
    """Validate; data on stdout, files where asked for, 4 where a verdict failed."""
    from toolkit.show.terminal import Terminal

    asked = _asked(arguments)
    with Terminal() as terminal:
        terminal.started("validate", str(arguments.subject))
        validated = _validated(arguments, asked, terminal.progress)
    validation = validated.validation
    _write_files(arguments, validated)
    if arguments.json:
        from toolkit.bundle.report_file import plain

        print(json.dumps(plain(validation.as_json()), indent=1))  # noqa: T201
    else:
        print(_text(validation))  # noqa: T201
    return 0 if validation.passed else EXIT_GATE


def _validated(arguments: argparse.Namespace, asked: Asked, show: Show) -> Validated:
    from toolkit.validate.validating import validate_bundle, validate_file

    subject = arguments.subject
    if subject.is_dir() or subject.suffix not in BARE_SUFFIXES:
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
        wait_s=arguments.wait,
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
        found[stage] = Budget(mean_db=mean_db, worst_db=worst_db)  # type: ignore[index]
    return found


def _no_budget(word: str) -> UserError:
    stages = ", ".join(get_args(StageName))
    return UserError(
        f"`--budget {word}` is no STAGE=MEAN,WORST in dB",
        hint=f"--budget quantization=0.10,0.30; stages are {stages}",
    )


def _write_files(arguments: argparse.Namespace, validated: Validated) -> None:
    pass


def _text(validation: Validation) -> str:
    lines = [f"{validation.subject}: {'passed' if validation.passed else 'FAILED'}", ""]
    for verdict in validation.verdicts:
        mark = "pass" if verdict.passed else "FAIL"
        lines.append(
            f"{mark}  {verdict.gate:<34} {verdict.file:<28} {verdict.value:>9.4f} "
            f"{verdict.limit:>8.4g} {verdict.unit:<8} {verdict.note}"
        )
    lines += [f"warning: {warning}" for warning in validation.warnings]
    return "\n".join(lines)
