"""INT8 of every kind beside the vendors' defaults: drop, agreement, speed, charts, verdicts.

    python benchmarks/int8.py --test-images DIR --models DIR [--train-images DIR]

DIR of the test images holds one folder for each set (`Set5`, `Set14`, with or without `HR` below);
the shipped validation photographs serve without it. DIR of the models holds networks that are not
in this project, such as etds_s_x2.onnx; the reference networks alone are measured without it.
`pip install "edge-sr-toolkit[bench]"` brings the vendors' quantizers. A run that was broken off is
continued by the same command; latency is always measured anew.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from int8_measure import THREADS, Pictures, as_bfloat16, drops, pictures, timings, within_one_level
from int8_ours import FOREIGN, REFERENCE, File, NotRun, Quantized, files, imported, quantized
from int8_results import SCHEMES, VENDORS, Drops, NetworkResult, Variant
from int8_table import Occasion, replace_section, section
from int8_vendors import VENDORS as VENDOR_PATHS
from int8_vendors import calibration_crops, convert
from int8_verdicts import requirements

from toolkit.contracts import Artefact, Progress
from toolkit.digest import sha256_file, sha256_json
from toolkit.errors import ToolkitError
from toolkit.images.sets import ImageSet, folder_set, shipped
from toolkit.model.network import read_network
from toolkit.report import StepRecord
from toolkit.run.key import Ingredients, tool_versions
from toolkit.run.score import spine_artefact
from toolkit.run.sources import Spine
from toolkit.run.store import Store
from toolkit.run.trial import artefact_from_json, artefact_json
from toolkit.run.walk import Walk

RUNGS = ("rounding", "mixed", "qat")
QUICK_IMAGES = 2
QUICK_RUNS, FULL_RUNS = (20, 0.2), (40, 3.0)  # timed runs of each file at least, and seconds
VENDOR_TILES = [[64, 64], [360, 640]]  # the first is scored, the second timed
RESULTS = Path(__file__).parent / "RESULTS.md"
VENDOR_VERSION = 2


class Talk:
    """Tells on stderr what runs; stdout is for the table."""

    def started(self, title: str, reason: str) -> None:
        """A step starts."""
        print(f"{title} ...", file=sys.stderr, flush=True)

    def progress(self, progress: Progress) -> None:
        """Nothing: lines of steps are enough."""

    def finished(self, title: str, record: StepRecord) -> None:
        """A step ran or was kept."""
        print(f"{title}: {record.state}, {record.seconds} s", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """One line of talk."""
        print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything a network's measurement needs."""

    walk: Walk
    folder: Path  # files laid out for the runtimes
    models: Path | None
    train_images: Path | None
    qat_minutes: float
    rungs: Sequence[str]
    sets: Sequence[ImageSet]
    runs: tuple[int, float] | None  # None: nothing is timed


@dataclass(frozen=True, kw_only=True)
class Made:
    """One variant before it is a result: the files to time by (scheme, what), and its drops."""

    variant: Variant
    timed: Mapping[tuple[str, str], Artefact]


def image_sets(folder: Path | None, most: int | None) -> list[ImageSet]:
    """One set for each folder below `folder`; the shipped photographs where there is none."""
    if folder is None:
        found = [replace(shipped("validation"), name="shipped photographs")]
    else:
        places = sorted((p for p in folder.iterdir() if p.is_dir()), key=_set_order)
        found = [folder_set(p / "HR" if (p / "HR").is_dir() else p, p.name) for p in places]
    return [replace(s, files=s.files[:most]) for s in found]


def _set_order(path: Path) -> tuple[int, str]:
    """Set5 before Set14."""
    digits = "".join(filter(str.isdigit, path.name))
    return int(digits or 0), path.name


def measured(bench: Bench, name: str) -> NetworkResult:
    """Every variant of one network scored, then all files timed in turn."""
    spine = imported(bench.walk, name, bench.models)
    source = File(artefact=spine_artefact(spine), digest=spine.digest)
    reference = pictures(bench.walk, f"{name}.float", source, bench.sets)
    made = [_ours(bench, name, spine, rung, reference) for rung in bench.rungs]
    made.append(_vendors(bench, name, spine, reference))
    timed: dict[tuple[str, str], Artefact] = {}
    for one in made:
        timed = {**one.timed, **timed}  # float files are the same for every rung
    result = NetworkResult(
        name=name,
        float_db=reference.mean_db(),
        variants={one.variant.name: one.variant for one in made},
    )
    if bench.runs is None:
        return result
    bench.walk.listener.say(f"{name}: {len(timed)} files timed in turn ...")
    least_runs, least_s = bench.runs
    return replace(result, timings=timings(timed, min_runs=least_runs, min_s=least_s))


def _ours(bench: Bench, name: str, spine: Spine, rung: str, reference: Pictures) -> Made:
    """One rung: quantized, lowered for every scheme, scored."""

    def made_for(scheme: str) -> Quantized:
        symmetric = rung == "qat" and scheme == SCHEMES[3]
        return quantized(
            bench.walk,
            name,
            spine,
            rung,
            minutes=bench.qat_minutes,
            images=bench.train_images,
            symmetric=symmetric,
        )

    try:
        if rung == "qat" and bench.qat_minutes == 0:
            raise NotRun("not run: `--qat-minutes 0`")
        made = made_for(SCHEMES[0])
    except Exception as problem:  # one rung that breaks must not lose hours of others
        return Made(variant=Variant(name=rung, note=_told(problem)), timed={})
    timed: dict[tuple[str, str], Artefact] = {}

    def scored(scheme: str) -> Pictures:
        folder = bench.folder / name / rung / scheme
        found = files(bench.walk, name, made_for(scheme), rung, scheme, folder)
        timed[scheme, "float32"] = found.timed_float.artefact
        if scheme == "openvino":
            timed[scheme, "bfloat16"] = as_bfloat16(found.timed_float.artefact)
        timed[scheme, rung] = found.timed_int8.artefact
        return pictures(bench.walk, f"{name}.{rung}.{scheme}", found.int8, bench.sets)

    variant = _variant(rung, scored, reference)
    timed = {key: a for key, a in timed.items() if key[0] in variant.drops and key[0] != SCHEMES[3]}
    return Made(variant=replace(variant, minutes=made.minutes, note=_note(made)), timed=timed)


def _told(problem: Exception) -> str:
    """A failure in one line; a traceback on stderr where it is no sentence of the toolkit's."""
    if isinstance(problem, ToolkitError):
        print(problem, file=sys.stderr)
        return problem.problem
    traceback.print_exception(problem)
    return f"{type(problem).__name__}: {' '.join(str(problem).split())}"[:200]


def _note(made: Quantized) -> str:
    widened = made.facts.get("widened")
    if made.facts.get("training_gained") is False:
        return "training gained nothing on the held-out pictures; the untrained rounding is kept"
    return f"out of 8 bits: {', '.join(widened)}" if widened else ""


def _variant(name: str, scored: Callable[[str], Pictures], reference: Pictures) -> Variant:
    """Every scheme tried; one that fails leaves its sentence."""
    found: dict[str, Pictures] = {}
    lost: dict[str, Drops] = {}
    failures: dict[str, str] = {}
    for scheme in SCHEMES:
        try:
            found[scheme] = scored(scheme)
            lost[scheme] = drops(reference, found[scheme])
        except Exception as problem:
            failures[scheme] = _told(problem)
    return Variant(
        name=name, drops=lost, within_one_level=within_one_level(found), failures=failures
    )


def _vendors(bench: Bench, name: str, spine: Spine, reference: Pictures) -> Made:
    """Each vendor's default beside the runtime that it is for."""
    beside = {vendor.beside: vendor.name for vendor in VENDOR_PATHS.values()}
    timed: dict[tuple[str, str], Artefact] = {}

    def scored(scheme: str) -> Pictures:
        made = _converted(bench, name, spine, beside[scheme])
        if scheme != SCHEMES[3]:
            timed[scheme, VENDORS] = made[-1].artefact
        return pictures(bench.walk, f"{name}.{beside[scheme]}", made[0], bench.sets)

    return Made(variant=_variant(VENDORS, scored, reference), timed=timed)


def _converted(bench: Bench, name: str, spine: Spine, vendor: str) -> list[File]:
    """A vendor's files, kept by content."""
    crops = calibration_crops(shipped("calibration"), read_network(spine.path).contract)
    tools = [d for d in VENDOR_PATHS[vendor].packages if d not in VENDOR_PATHS[vendor].missing()]
    ingredients = Ingredients(
        step=f"vendor {vendor}",
        version=VENDOR_VERSION,
        params={"tiles": VENDOR_TILES},
        inputs={"network": spine.digest, "crops": sha256_json(crops.tolist())},
        tools=tool_versions(("onnx", *tools)),
    )

    def work(out: Path, checkpoints: Path) -> dict[str, object]:
        checkpoints.mkdir(parents=True, exist_ok=True)
        np.save(checkpoints / "crops.npy", crops)
        found = convert(vendor, spine.path, checkpoints / "crops.npy", out, VENDOR_TILES)
        return {"artefacts": [{**artefact_json(a), "path": a.path.name} for a in found]}

    entry = bench.walk.step(f"int8.{name}.{vendor}", f"{name}: {vendor}", ingredients, work)
    assert entry is not None
    folder = bench.folder / name / vendor
    bench.walk.store.materialise(entry, folder)
    artefacts = [artefact_from_json(value, folder) for value in entry.facts["artefacts"]]
    return [File(artefact=a, digest=_parts_digest(a.path)) for a in artefacts]


def _parts_digest(path: Path) -> str:
    """Over the file and what lies beside it under the same stem, such as an IR's .bin."""
    return sha256_json(
        [[p.name, sha256_file(p)] for p in sorted(path.parent.glob(path.stem + ".*"))]
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--test-images", type=Path, help="folder of test sets")
    parser.add_argument("--models", type=Path, help="folder of other ONNX networks")
    parser.add_argument("--train-images", type=Path, help="for rung `qat`")
    parser.add_argument("--qat-minutes", type=float, default=20.0, help="0 never trains")
    parser.add_argument("--networks", help="names, with commas; all by default")
    parser.add_argument("--rungs", default=",".join(RUNGS), help="rungs of ours, with commas")
    parser.add_argument("--out", type=Path, default=RESULTS, help="Markdown file to renew")
    parser.add_argument("--work", type=Path, default=Path("out/bench-int8"), help="kept results")
    parser.add_argument("--quick", action="store_true", help="few pictures, short timings")
    parser.add_argument("--no-latency", action="store_true", help="pictures only")
    return parser.parse_args()


def all_measured(bench: Bench, names: Sequence[str]) -> list[NetworkResult]:
    """Network by network; one that is not there is left out with a line on stderr."""
    results = []
    for name in names:
        try:
            results.append(measured(bench, name))
        except ToolkitError as problem:
            print(f"{name}: {problem}", file=sys.stderr)
    return results


def _load() -> str:
    return "/".join(f"{value:.1f}" for value in os.getloadavg())


def main() -> None:
    """Measure, print the section, write it into the results file."""
    asked = arguments()
    before = _load()
    store = Store(asked.work / "kept", lambda line: print(line, file=sys.stderr))
    default = itertools.chain(REFERENCE, FOREIGN if asked.models else ())
    sets = image_sets(asked.test_images, QUICK_IMAGES if asked.quick else None)
    bench = Bench(
        walk=Walk(store, Talk(), execute=True),
        folder=asked.work / "files",
        models=asked.models,
        train_images=asked.train_images,
        qat_minutes=asked.qat_minutes,
        rungs=tuple(asked.rungs.split(",")),
        sets=sets,
        runs=None if asked.no_latency else QUICK_RUNS if asked.quick else FULL_RUNS,
    )
    with store.locked():
        results = all_measured(bench, asked.networks.split(",") if asked.networks else [*default])
    occasion = Occasion(
        command=shlex.join(["python", "benchmarks/int8.py", *_without_places(sys.argv[1:])]),
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        sets=[s.name for s in sets],
        threads=THREADS,
        load=f"Load average (1/5/15 min) {before} at the start, {_load()} at the end.",
        quick=asked.quick,
    )
    text = section(occasion, results, requirements(results))
    print(text)
    old = asked.out.read_text() if asked.out.exists() else "# Results\n"
    asked.out.write_text(replace_section(old, text))


def _without_places(words: Sequence[str]) -> list[str]:
    """The command with folders as `DIR`: where they lie on this machine says nothing."""
    return ["DIR" if Path(word).is_dir() else word for word in words]


if __name__ == "__main__":
    main()
