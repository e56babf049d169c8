"""Faults of the board: what it computes, what it times, and what happens meanwhile."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seeded import repack, tflite_edits
from seeded.builds import Made, built, make
from seeded.case import Case, Fault, validate
from seeded.device import board
from seeded.file_faults import LITERT, OPENVINO, ORT, older
from toolkit.cli import _handler, _parser
from toolkit.report import Verdict

CALM = ("--min-runs", "120", "--min-s", "0", "--rounds", "1", "--size", "48x64", "--threads", "1")


def bench(case: Case) -> Sequence[Verdict]:
    """`edgesr bench --require-stable`, its exit code and its result."""
    words = ["bench", str(case.bundle), "--json", "--require-stable", *case.more["words"]]
    arguments, said = _parser().parse_args(words), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = _handler("bench")(arguments)
    found = json.loads(said.getvalue())
    files = found["benchmark"]["files"]
    verdicts = [verdict for file in files for verdict in _of(file)]
    assert (code == 0) == all(v.passed for v in verdicts), f"exit {code}"
    return verdicts


def _of(file: dict[str, Any]) -> list[Verdict]:
    """What the product decided of one file, as gates."""
    golden, reasons = file["golden"], file["stability"]["reasons"]
    verdicts = []
    if golden:
        verdicts.append(
            Verdict(
                gate="device.golden", file=file["file"], value=golden["within_share"],
                limit=golden["least_share"], unit="at least", passed=golden["passed"],
            )
        )  # fmt: skip
    if file["samples_ns"]:
        verdicts.append(
            Verdict(
                gate="stable", file=file["file"], value=len(reasons), limit=0,
                unit="reasons", passed=file["stability"]["is_stable"], note="; ".join(reasons),
            )
        )  # fmt: skip
    return verdicts


def compare(case: Case) -> Sequence[Verdict]:
    """`edgesr compare` of two results: it either decides or refuses."""
    arguments = _parser().parse_args(["compare", *case.more["words"]])
    with contextlib.redirect_stdout(io.StringIO()):
        code = _handler("compare")(arguments)
    return [
        Verdict(gate="latency_p90_ms", file="", value=code, limit=0, unit="exit", passed=code == 0)
    ]


@functools.cache
def _result(bundle: Path) -> str:
    """What a calm board says of a bundle's times, as the file that `edgesr bench` writes."""
    with tempfile.TemporaryDirectory() as folder, board(Path(folder), "calm") as url:
        path = Path(folder) / "result.json"
        words = ["bench", str(bundle), "--device", url, "--json", "--out", str(path), *CALM]
        _quietly(words)
        return path.read_text()


def _quietly(words: Sequence[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = _handler(words[0])(_parser().parse_args(words))
    assert code == 0, f"`edgesr {' '.join(words)}` ended with {code}"


def in_result(change: Callable[[dict[str, Any]], None]) -> Any:
    """Two results of one calm board, the newer one changed."""

    @contextlib.contextmanager
    def put_in(made: Made, folder: Path) -> Iterator[Case]:
        before, after = folder / "before.json", folder / "after.json"
        before.write_text(_result(made.bundle))
        value = json.loads(before.read_text())
        change(value)
        after.write_text(json.dumps(value))
        words = [str(before), str(after)]
        yield Case(made=made, bundle=made.bundle, ask=compare, more={"words": words})

    return put_in


def _emulated(value: dict[str, Any]) -> None:
    value["device"] |= {"is_emulated": True}


def _elsewhere(value: dict[str, Any]) -> None:
    value["device"] |= {"identity": "0" * 64, "name": "another board"}


def _smaller(value: dict[str, Any]) -> None:
    value["protocol"] |= {"input_px": [24, 32]}
    for file in value["files"]:
        file |= {"height_px": 24, "width_px": 32}


@contextlib.contextmanager
def _old_result(made: Made, folder: Path) -> Iterator[Case]:
    """A bundle is built anew; the times that lie beside it are the old one's."""
    bundle = repack.copied(make(older(made)).bundle, folder / "host")
    with board(folder, "calm") as url:
        _quietly(["bench", str(bundle), "--device", url, "--json", *CALM])
    shutil.rmtree(bundle)
    shutil.copytree(made.bundle, bundle)
    words = [str(bundle), str(bundle)]
    yield Case(made=made, bundle=bundle, ask=compare, more={"words": words})


def run(case: Case) -> Sequence[Verdict]:
    """`edgesr run`, its report."""
    return built(case.made.build, case.bundle, gates=case.more["gates"]).verdicts


@contextlib.contextmanager
def _silent_fallback(made: Made, folder: Path) -> Iterator[Case]:
    """The recipe asks for nine tenths of the operators on the unit that the target names."""
    with board(folder, "fallback"):
        gates = {"coverage": 0.9}
        yield Case(made=made, bundle=folder / "project", ask=run, more={"gates": gates})


def on_board(fault: str, ask: Any = validate, words: Sequence[str] = (), other: Any = None) -> Any:
    """A good bundle on a board that has the fault."""

    @contextlib.contextmanager
    def put_in(made: Made, folder: Path) -> Iterator[Case]:
        settings = {"other": str(other(made, folder))} if other else {}
        # times are scripted unless they are the fault, so that no noise of this machine answers
        faults = (fault,) if ask is validate or fault == "throttled" else (fault, "calm")
        with board(folder, *faults, **settings) as url:
            more = {"device": url} if ask is validate else {"words": ["--device", url, *words]}
            bundle = repack.copied(made.bundle, folder / "host")
            yield Case(made=made, bundle=bundle, ask=ask, more=more)

    return put_in


def _with_other_layer(made: Made, folder: Path) -> Path:
    """The bundle's files with one bias lost."""
    bundle = repack.copied(made.bundle, folder / "wrong")
    change = tflite_edits.edited(tflite_edits.lose_bias)
    return repack.changed(bundle, change, None, only=".tflite")


def _last_week(made: Made, folder: Path) -> Path:
    """The bundle of the build before."""
    return make(older(made)).bundle


@contextlib.contextmanager
def _in_company(made: Made, folder: Path) -> Iterator[Case]:
    """As many busy processes as there are cores, for real, on this machine."""
    busy = [sys.executable, "-c", "while True: pass"]
    children = [subprocess.Popen(busy) for _ in range(os.cpu_count() or 1)]
    try:
        with board(folder) as url:
            bundle = repack.copied(made.bundle, folder / "host")
            words = [
                "--device",
                url,
                "--min-s",
                "2",
                "--min-runs",
                "40",
                "--rounds",
                "2",
                "--threads",
                "1",
            ]
            yield Case(made=made, bundle=bundle, ask=bench, more={"words": words})
    finally:
        for child in children:
            child.kill()
            child.wait()


DEVICE = (
    Fault(
        name="noise of one level", where="board: every value one level up or down",
        stage="device", build=LITERT, put_in=on_board("noise"),
    ),
    Fault(
        name="wrong by one layer", where="board: the first convolution has no bias",
        stage="device", build=LITERT,
        put_in=on_board("other_layer", bench, CALM, _with_other_layer),
    ),
    Fault(
        name="golden right, pictures wrong", where="board: pictures end at 16 and 235",
        stage="device", build=ORT, put_in=on_board("video_range"),
    ),
    Fault(
        name="last week's file on the board", where="board: another file under the same name",
        stage="device", build=OPENVINO, error="not the one that was sent",
        put_in=on_board("stale_file", bench, CALM, _last_week),
    ),
)  # fmt: skip

LATENCY = (
    Fault(
        name="latency of the wrong model", where="board: times a file of its own",
        stage="latency", build=ORT, error="did not run",
        put_in=on_board("other_network", bench, CALM, _last_week),
    ),
    Fault(
        name="throttled clock", where="board: 2400 to 1600 MHz while samples are taken",
        stage="latency", build=ORT, put_in=on_board("throttled", bench, CALM),
    ),
    Fault(
        name="latency of the build before", where="results beside the bundle: of older files",
        stage="latency", build=ORT, error="no result can be taken", put_in=_old_result,
    ),
    Fault(
        name="latency of another board", where="a result: two devices compared",
        stage="latency", build=ORT, error="two devices", put_in=in_result(_elsewhere),
    ),
    Fault(
        name="latency at another size", where="a result: a smaller input",
        stage="latency", build=ORT, error="input", put_in=in_result(_smaller),
    ),
    Fault(
        name="latency of an emulator", where="a result: taken in emulation",
        stage="latency", build=ORT, error="emulated", put_in=in_result(_emulated),
    ),
    Fault(
        name="silent fallback", where="board: half of the operators on another unit",
        stage="latency", build=ORT, put_in=_silent_fallback, quick=False,
    ),
    Fault(
        name="background load", where="this machine: a busy process for each core",
        stage="latency", build=ORT, put_in=_in_company, quick=False,
    ),
)  # fmt: skip
