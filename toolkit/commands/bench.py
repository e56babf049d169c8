"""`edgesr bench`: how fast a bundle's files, or one bare file, are on a device."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from toolkit.benchmark import Benchmark, TimingProtocol
from toolkit.commands.reading import refuse_unwritable
from toolkit.errors import ToolkitError, UserError, raise_all

if TYPE_CHECKING:
    from toolkit.bundle.manifest import Golden
    from toolkit.contracts import Artefact

    Asked: TypeAlias = tuple[str, str, tuple[Artefact, ...], tuple[Golden, ...]]

EXIT_DEVICE, EXIT_GATE = 3, 4
BARE_SUFFIXES = (".onnx", ".tflite", ".xml")
NARROWEST, WIDEST = 80, 120  # columns: the tables need the one, longer lines are hard to read


def run(arguments: argparse.Namespace) -> int:
    """Measure, keep the result, print it; 4 where numbers differ, 3 where a file did not run."""
    from toolkit.contracts import LinkOptions
    from toolkit.measure.board import open_board
    from toolkit.measure.engine import pull_engines
    from toolkit.measure.results import measured_in, results_folder, store, write
    from toolkit.measure.rounds import bench

    protocol = _protocol(arguments)
    bundle, target, artefacts, golden = _read(arguments.bundle, arguments.file)
    subject = measured_in(arguments.bundle)
    folder = results_folder(subject)
    refuse_unwritable([arguments.out or (folder / "result.json" if folder.exists() else folder)])
    options = LinkOptions(accept_new_host=arguments.accept_new_host)
    with open_board(arguments.device, options=options, wait_s=arguments.wait, say=_say) as board:
        result = bench(
            board,
            artefacts,
            golden,
            protocol,
            bundle=bundle,
            target=target,
            say=_say,
            tool=arguments.tool,
        )
        place = arguments.out or store(result, subject)
        if arguments.out:
            write(result, arguments.out)
        for engine in pull_engines(board, result, subject):
            _say(f"engine: {engine}")
    _show(result, place, _remarks(result), as_json=arguments.json)
    return exit_code(result, require_stable=arguments.require_stable)


def exit_code(result: Benchmark, *, require_stable: bool) -> int:
    """4 for golden vectors that differ, 3 for a file that did not run, 4 for unstable samples."""
    from toolkit.measure.rounds import golden_failed

    if any(golden_failed(timing) for timing in result.files):
        return EXIT_GATE
    if any(timing.problem for timing in result.files):
        return EXIT_DEVICE
    unstable = any(not timing.stability.is_stable for timing in result.files)
    return EXIT_GATE if require_stable and unstable else 0


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)  # noqa: T201


def _remarks(result: Benchmark) -> tuple[str, ...]:
    """What these times do not say of the target; nothing for a target that does not ship."""
    from toolkit.measure.remarks import machine_remarks
    from toolkit.spec.read_target import read_target, target_names

    if result.target not in target_names():
        return ()
    return machine_remarks(result.device, read_target(result.target))


def _show(result: Benchmark, place: Path, remarks: Sequence[str], *, as_json: bool) -> None:
    from dataclasses import asdict

    from toolkit.latency import speed_ups, summary
    from toolkit.show.bench_text import bench_text

    if as_json:
        summaries = {timing.file: summary(timing) for timing in result.files}
        value = {
            "result": str(place),
            "remarks": list(remarks),
            "summary": {name: s and asdict(s) for name, s in summaries.items()},
            "speed_up": [asdict(one) for one in speed_ups(result.files)],
            "benchmark": result.as_json(),
        }
        print(json.dumps(value))  # noqa: T201
        return
    width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size((100, 24)).columns))
    colour = sys.stdout.isatty()
    text = bench_text(result, width=width, colour=colour, place=place, remarks=remarks)
    print(text, end="")  # noqa: T201


def _protocol(arguments: argparse.Namespace) -> TimingProtocol:
    """The protocol asked for. Raises every problem of its numbers at once."""
    counts, amounts = ("threads", "min_runs", "rounds"), ("min_s", "warm_up", "sustained", "wait")
    least = {**dict.fromkeys(counts, 1), **dict.fromkeys(amounts, 0)}
    problems: list[ToolkitError] = []
    for name, at_least in least.items():
        value = getattr(arguments, name)
        if not (math.isfinite(value) and value >= at_least):
            word = name.replace("_", "-")
            problems.append(UserError(f"`--{word}` must be {at_least} or more, got {value}"))
    try:
        size = _size(arguments.size)
    except UserError as problem:
        problems.append(problem)
    raise_all(problems)
    return TimingProtocol(
        threads=arguments.threads,
        rounds=arguments.rounds,
        min_runs=arguments.min_runs,
        min_s=arguments.min_s,
        warm_up_s=arguments.warm_up,
        sustained_min=arguments.sustained,
        input_px=size,
        tuned=arguments.tune,
    )


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < 1:
        raise UserError(f"`--size` must be HEIGHTxWIDTH, got `{text}`", hint="--size 360x640")
    return height, width


def _read(subject: Path, names: Sequence[str] | None) -> Asked:
    """Name, target, files and golden vectors of a bundle or of a bare file, which has none."""
    if subject.is_file() and subject.suffix in BARE_SUFFIXES:
        if names:
            raise UserError("`--file` chooses among a bundle's files", where=str(subject))
        return _in_bundle(subject) or (subject.name, "", (_bare(subject),), ())
    if not subject.is_dir():
        raise UserError(
            "this is no file that can be timed" if subject.exists() else "nothing is there",
            where=str(subject),
            hint=f"name a bundle that `edgesr run` wrote, or a file: {', '.join(BARE_SUFFIXES)}",
        )
    from toolkit.bundle.manifest import read_bundle

    bundle = read_bundle(subject)
    name = f"{bundle.recipe}/{bundle.target}"
    return name, bundle.target, _chosen(bundle.artefacts, names), bundle.golden


def _in_bundle(file: Path) -> Asked | None:
    """One file of the bundle around it, with its golden vectors; None where it is of none."""
    from toolkit.bundle.manifest import read_bundle
    from toolkit.measure.results import measured_in

    folder = measured_in(file)
    if folder == file or file.name not in {a.path.name for a in read_bundle(folder).artefacts}:
        return None
    return _read(folder, [file.name])


def _chosen(artefacts: Sequence[Artefact], names: Sequence[str] | None) -> tuple[Artefact, ...]:
    """The files named, in the bundle's order. Raises UserError for each that it does not have."""
    from toolkit.plugins import did_you_mean

    there = {artefact.path.name: artefact for artefact in artefacts}
    unknown = [name for name in names or () if name not in there]
    raise_all([UserError(f"the bundle has no `{n}`", hint=did_you_mean(n, there)) for n in unknown])
    return tuple(a for name, a in there.items() if not names or name in names)


def _bare(file: Path) -> Artefact:
    """A file without a manifest. Its scale and colour change no time: only the channels count."""
    from toolkit.model.contract import ImageContract
    from toolkit.validate.bare import bare_artefact

    try:
        return bare_artefact(file, ImageContract(scale=1))
    except UserError as problem:
        try:
            return bare_artefact(file, ImageContract(scale=1, color="luma"))
        except UserError:
            raise problem from None
