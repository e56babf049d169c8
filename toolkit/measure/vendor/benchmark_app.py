"""`benchmark_app` of OpenVINO: on PCs with Intel's runtime; it comes with the Python package.

It states one percentile, the mean, the least and the largest, with two decimals; it gives no
samples. Files: openvino/tools/benchmark/utils/statistics_report.py (JSON).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.measure.vendor.conditions import around
from toolkit.measure.vendor.task import (
    Task,
    amount,
    answer,
    not_understood,
    read_json,
    spoken,
)
from toolkit.measure.words import plain
from toolkit.runner.runtimes.openvino import HINTS
from toolkit.runner.session import Executed
from toolkit.runner.units import units_of

if TYPE_CHECKING:
    from toolkit.measure.board import Board

BACKENDS = ("openvino",)
NAME = "benchmark_app"
REPORT = "benchmark_report.json"
COUNTERS = "benchmark_detailed_counters_report.json"
PERCENTILE = 90
BUILD = re.compile(r"Build \.+ ([0-9]+\.[0-9]+\.[0-9]+)")
UNIT = re.compile(r"Execution Devices:\s*\['?\(?([A-Z]+)")
# The end of an execution type such as `brgconv_avx512_I8`.
PRECISIONS = {"i8": "int8", "u8": "int8", "f32": "float32", "bf16": "bfloat16", "f16": "float16"}
MOVES = frozenset({
    "Parameter", "Result", "Constant", "Const", "Reorder", "Concat", "Split", "DepthToSpace",
    "SpaceToDepth", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "StridedSlice", "Gather",
    "Convert", "Pad", "Tile", "Broadcast",
})  # fmt: skip
MOST_NODES = 20_000
PROFILE_S = 1.0
LEAST_S = 1.0  # whole seconds are asked for


def measured(board: Board, program: str, task: Task) -> dict[str, Any]:
    """Time the file in one stream, then count per layer in a second process."""
    digest = board.put(task.artefact.path)
    with tempfile.TemporaryDirectory(prefix="edgesr-") as name:
        folder = Path(name)
        report = {REPORT: folder / REPORT}
        if task.warm_up_s >= LEAST_S:  # it has one untimed run; the chip is warmed before
            _run(board, program, task, task.warm_up_s, ["no_counters"], {})
        text, conditions = around(
            board, lambda: _run(board, program, task, task.min_s, ["no_counters"], report)
        )
        facts = times_of(read_json(folder / REPORT, NAME, board.url), board.url)
        units: list[dict[str, Any]] = []
        if task.operators:
            more = ["detailed_counters", "-pc"]
            said = _run(board, program, task, PROFILE_S, more, {COUNTERS: folder / COUNTERS})
            unit = UNIT.search(said)
            counters = read_json(folder / COUNTERS, NAME, board.url)
            units = units_of(operators_of(counters, unit[1] if unit else "CPU", board.url))
    build = BUILD.search(text)
    runtime = {"name": "openvino", "version": build[1] if build else ""}
    return answer(sha256=digest, runtime=runtime, units=units, conditions=conditions, **facts)


def _run(
    board: Board,
    program: str,
    task: Task,
    seconds: float,
    report: list[str],
    fetch: Mapping[str, Path],
) -> str:
    from toolkit.measure.board import files_of

    words = [program, "-m", task.name, "-d", "CPU", "-api", "sync"]
    words += ["-hint", "none", "-nstreams", "1", "-nireq", "1", "-nthreads", str(task.threads)]
    # without it "float" runs in bfloat16 wherever the CPU has it
    words += ["-infer_precision", HINTS[task.artefact.precision]]
    words += [
        "-t",
        str(round(max(seconds, LEAST_S))),
        "-niter",
        str(task.min_runs),
        "-latency_percentile",
        str(PERCENTILE),
    ]
    words += ["-json_stats", "-report_folder", ".", "-report_type", *report]
    if task.free_shape is not None:
        words += ["-data_shape", f"[{','.join(map(str, task.free_shape))}]"]
    files = files_of(task.artefact)
    done = board.command(words, files, timeout_s=task.timeout_s, fetch=fetch)
    return spoken(done, NAME, board.url)


def times_of(report: Any, url: str) -> dict[str, Any]:
    """What `benchmark_report.json` states. Raises EnvironmentFailure where it lacks something."""
    results = report.get("execution_results") if isinstance(report, dict) else None
    if not isinstance(results, dict):
        raise not_understood(NAME, f"{REPORT} has no `execution_results`", url)

    def value(key: str) -> float:
        return amount(results.get(key), key, NAME, url)

    return {
        "load_ms": value("read model time (ms)") + value("compile model time (ms)"),
        "first_ms": value("first inference time (ms)"),
        "stated_ms": {
            "runs": value("total number of iterations"),
            "average": value("avg latency"),
            "min": value("min latency"),
            "max": value("max latency"),
            f"p{PERCENTILE}": value(f"latency ({PERCENTILE} percentile) (ms)"),
        },
    }


def operators_of(report: Any, unit: str, url: str) -> list[Executed]:
    """The layers that ran, of the first inference request's counters."""
    try:
        nodes = report["detailed_performance"][0]["nodes"][:MOST_NODES]
        return [
            Executed(
                name=plain(str(node["name"]), 120),
                kind=plain(str(node["node_type"]), 80),
                precision=_precision(str(node["node_type"]), str(node["exec_type"])),
                unit=unit,
                time_ms=amount(node["real_time"], "real_time", NAME, url),
            )
            for node in nodes
            if str(node["status"]).endswith("EXECUTED")
        ]
    except (KeyError, IndexError, TypeError) as error:
        raise not_understood(NAME, f"{COUNTERS}: {error!r}", url) from error


def _precision(kind: str, execution: str) -> str:
    """ "" for data movement, which is of any type."""
    if kind in MOVES:
        return ""
    end = execution.rpartition("_")[2].lower()
    return PRECISIONS.get(end, plain(end, 20))
