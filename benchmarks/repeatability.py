"""How well `edgesr bench` repeats: one bundle, several benches, p90 of each file side by side.

    python benchmarks/repeatability.py BUNDLE [--device local:] [--benches 5] [--out RESULTS.md]

Each bench is what `edgesr bench BUNDLE` does, default protocol. MLPerf Mobile asks results to
repeat within 5 % in five tries: those that were not marked UNSTABLE, with a cause, must. Exit 1
where they do not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from int8_table import replace_section, table

from toolkit.benchmark import Benchmark, FileTiming, TimingProtocol
from toolkit.bundle.manifest import read_bundle
from toolkit.latency import all_samples, percentile_ms
from toolkit.measure.board import open_board
from toolkit.measure.rounds import bench

HEADING = "## Repeatability of latency"
MOST_SPREAD = 0.05


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """One file in every bench."""

    file: str
    p90_ms: tuple[float, ...]
    reasons: tuple[tuple[str, ...], ...]  # of each bench; empty: stable

    @property
    def spread(self) -> float:
        """Slowest p90 over the fastest, less one."""
        return max(self.p90_ms) / min(self.p90_ms) - 1

    @property
    def holds(self) -> bool:
        """Whether all that were called stable lie within the limit."""
        stable = [ms for ms, why in zip(self.p90_ms, self.reasons, strict=True) if not why]
        return not stable or max(stable) <= min(stable) * (1 + MOST_SPREAD)


def repeated(results: Sequence[Benchmark]) -> list[Repeated]:
    """The files of equal benches, side by side."""
    return [_one(timings) for timings in zip(*(r.files for r in results), strict=True)]


def _one(timings: Sequence[FileTiming]) -> Repeated:
    return Repeated(
        file=timings[0].file,
        p90_ms=tuple(percentile_ms(all_samples(t), 90) for t in timings),
        reasons=tuple(t.stability.reasons for t in timings),
    )


def section(results: Sequence[Benchmark], rows: Sequence[Repeated]) -> str:
    """The text for RESULTS.md."""
    device, protocol = results[0].device, results[0].protocol
    cells = [
        [
            f"`{row.file}`",
            ", ".join(f"{ms:.2f}" for ms in row.p90_ms),
            f"{row.spread * 100:.1f} %",
            f"{sum(map(bool, row.reasons))} of {len(row.reasons)}",
            "yes" if row.holds else "NO",
        ]
        for row in rows
    ]
    causes = dict.fromkeys(f"- {r.file}: {why}" for r in rows for one in r.reasons for why in one)
    head = ["file", "p90, ms, in order", "spread", "marked UNSTABLE", "others within 5 %"]
    lines = [
        HEADING,
        "",
        f"`python benchmarks/repeatability.py`: {len(results)} benches of one bundle on "
        f"{device.cpu} ({device.cores} cores, {device.system}), {protocol.threads} threads, "
        f"{protocol.rounds} processes per file, at least {protocol.min_s:g} s and "
        f"{protocol.min_runs} runs each, {results[0].taken_at[:10]}.",
        "",
        table(head, cells),
    ]
    if causes:
        lines += ["", "Causes that the marks named:", "", *causes]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Bench, print, renew the section of the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--device", default="local:")
    parser.add_argument("--benches", type=int, default=5)
    parser.add_argument("--out", type=Path, help="renew the section of this file")
    arguments = parser.parse_args()
    bundle = read_bundle(arguments.bundle)
    results = []
    for at in range(arguments.benches):
        print(f"bench {at + 1} of {arguments.benches}", file=sys.stderr)
        with open_board(arguments.device) as board:
            results.append(
                bench(
                    board,
                    bundle.artefacts,
                    bundle.golden,
                    TimingProtocol(),
                    bundle=bundle.recipe,
                    target=bundle.target,
                    say=lambda line: print(f"  {line}", file=sys.stderr),
                )
            )
    rows = repeated(results)
    text = section(results, rows)
    print(text)
    if arguments.out:
        arguments.out.write_text(replace_section(arguments.out.read_text(), text))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
