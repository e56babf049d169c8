"""`edgesr compare`: two results of one device."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.benchmark import Benchmark, Device

EXIT_GATE = 4


def run(arguments: argparse.Namespace) -> int:
    """Print what changed; 4 where a file is surely slower by more than the limit, or is not timed
    any more."""
    from dataclasses import asdict

    from toolkit.commands.bench import NARROWEST, WIDEST
    from toolkit.measure.compare import compare, lost, unpaired
    from toolkit.show.bench_text import comparison_text

    limit = limit_percent(arguments.limit)
    (before, old), (after, new) = _both(arguments.before, arguments.after)
    compared = compare(before, after, limit_percent=limit)
    alone = unpaired(before, after, compared)
    if arguments.json:
        value = {"before": str(old), "after": str(new), "limit_percent": limit, "alone": alone}
        print(json.dumps({**value, "files": [asdict(one) for one in compared]}, indent=1))  # noqa: T201
    else:
        width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size((100, 24)).columns))
        text = comparison_text(
            after.device,
            compared,
            alone,
            places=(str(old), str(new)),
            limit_percent=limit,
            width=width,
            colour=sys.stdout.isatty(),
        )
        print(text, end="")  # noqa: T201
    undecided = any(one.verdict == "not decided" for one in compared)
    failed = any(one.is_regression for one in compared) or bool(lost(before, after))
    return EXIT_GATE if failed or (arguments.require_stable and undecided) else 0


def limit_percent(text: str) -> float:
    """`5%` or `5` as 5.0. Raises UserError."""
    try:
        limit = float(text.strip().removesuffix("%"))
    except ValueError:
        limit = math.nan
    if not (math.isfinite(limit) and limit >= 0):
        raise UserError(f"`--limit` must be a percentage, got `{text}`", hint="--limit 5%")
    return limit


def _both(before: Path, after: Path) -> tuple[tuple[Benchmark, Path], tuple[Benchmark, Path]]:
    """Two results; of a bundle the newest that is of the other's device."""
    if before.is_dir() and not after.is_dir():
        new = _read(after, None)
        return _read(before, new[0].device), new
    old = _read(before, None)
    return old, _read(after, old[0].device)


def _read(path: Path, device: Device | None) -> tuple[Benchmark, Path]:
    """A result file, or the newest result of a bundle as it is now."""
    from toolkit.measure.results import newest, read

    if not path.is_dir():
        return read(path), path
    from toolkit.bundle.manifest import read_bundle
    from toolkit.measure.subject import file_digest

    digests = {a.path.name: file_digest(a.path) for a in read_bundle(path).artefacts}
    return newest(path, digests, device=device, say=_say)


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201
