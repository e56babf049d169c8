"""`edgesr bench`: a bundle's files timed in turn on this host."""

from __future__ import annotations

import argparse
import json
from typing import Any

from toolkit.errors import UserError
from toolkit.spec.recipe import Measuring


def run(arguments: argparse.Namespace) -> int:
    """Print p50 and p90 per file."""
    from toolkit.bundle.manifest import read_bundle
    from toolkit.run.measure import time_interleaved

    measuring = Measuring(
        threads=arguments.threads,
        min_runs=arguments.min_runs,
        min_s=arguments.min_s,
        input_px=_size(arguments.size),
    )
    artefacts = read_bundle(arguments.bundle).artefacts
    rows: list[dict[str, Any]] = [
        {
            "file": artefact.path.name,
            "precision": artefact.precision,
            "input_px": [taken.height_px, taken.width_px],
            "p50_ms": round(taken.percentile_ms(50), 3),
            "p90_ms": round(taken.percentile_ms(90), 3),
            "runs": len(taken.nanoseconds),
            "threads": measuring.threads,
        }
        for artefact, taken in zip(artefacts, time_interleaved(artefacts, measuring), strict=True)
    ]
    if arguments.json:
        print(json.dumps(rows, indent=1))  # noqa: T201
        return 0
    print(f"{'file':<34} {'input':>9} {'p50 ms':>9} {'p90 ms':>9} {'runs':>6}")  # noqa: T201
    for row in rows:
        size = "x".join(map(str, row["input_px"]))
        print(  # noqa: T201
            f"{row['file']:<34} {size:>9} {row['p50_ms']:>9} {row['p90_ms']:>9} {row['runs']:>6}"
        )
    print(f"{measuring.threads} threads, files in turn, on this host")  # noqa: T201
    return 0


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise UserError(f"`--size` must be HEIGHTxWIDTH, got `{text}`", hint="360x640") from None
    return height, width
