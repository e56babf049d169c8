"""`benchmark_model` of TensorFlow Lite and LiteRT: the usual way to time on Android.

It states count, first, min, max, mean and, in newer releases, median and two percentiles; it gives
no samples. Format: tensorflow/lite/tools/benchmark/benchmark_model.cc (OnBenchmarkEnd) and
tensorflow/core/util/stats_calculator.h (Stat::OutputToStream, the table of operators).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from toolkit.measure.vendor.conditions import around
from toolkit.measure.vendor.task import Task, amount, answer, not_understood, spoken, stated
from toolkit.measure.words import plain
from toolkit.runner.session import Executed
from toolkit.runner.units import units_of

if TYPE_CHECKING:
    from toolkit.measure.board import Board

BACKENDS = ("litert",)
NAME = "benchmark_model"
NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
RUNS = re.compile(rf"\bcount=([0-9]+)((?: [a-z0-9]+={NUMBER})+)")
TIMINGS = re.compile(
    rf"Inference timings in us: Init: ({NUMBER}), First inference: ({NUMBER}), "
    rf"Warmup \(avg\): {NUMBER}, Inference \(avg\): ({NUMBER})"
)
MEMORY = re.compile(rf"footprint.*\(MB\): init=-?{NUMBER} overall=({NUMBER})")
STATED = {"avg": "average", "min": "min", "max": "max", "p5": "p5", "median": "p50", "p95": "p95"}
TABLE = "= Run Order ="
ROW = re.compile(
    rf"\s*(?P<kind>\S.*?)\s+(?:{NUMBER}\s+)?{NUMBER}\s+(?P<average>{NUMBER})\s+{NUMBER}%"
    rf"\s+{NUMBER}%\s+{NUMBER}\s+(?P<calls>[0-9]+)\s+(?P<name>\S.*)"
)
MOST_ROWS = 20_000
INSIDE = "Delegate/"  # a row of XNNPACK's own profile, which has its delegate's row beside it
DELEGATES = {"xnnpack": "XNNPACK", "nnapi": "NNAPI", "gpu": "GPU", "hexagon": "DSP", "qnn": "NPU"}
PROFILE_RUNS = 20


def measured(board: Board, program: str, task: Task) -> dict[str, Any]:
    """Time the file, then profile it in a second process: profiling costs time."""
    digest = board.put(task.artefact.path)
    said, conditions = around(board, lambda: _run(board, program, task, _timing_flags(task)))
    facts = {**times_of(said, board.url), "conditions": conditions}
    units: list[dict[str, Any]] = []
    if task.operators:
        flags = ["--enable_op_profiling=true", f"--num_runs={PROFILE_RUNS}", "--min_secs=0"]
        units = units_of(operators_of(_run(board, program, task, flags), board.url))
    runtime = {"name": NAME, "version": ""}  # it does not state one
    return answer(sha256=digest, runtime=runtime, units=units, **facts)


def _timing_flags(task: Task) -> list[str]:
    return [
        f"--num_runs={task.min_runs}",
        f"--min_secs={task.min_s:g}",
        f"--max_secs={task.max_s:g}",
        "--warmup_runs=2",
        f"--warmup_min_secs={task.warm_up_s:g}",
    ]


def _run(board: Board, program: str, task: Task, flags: list[str]) -> str:
    words = [program, f"--graph={task.name}", f"--num_threads={task.threads}", *flags]
    # its talk goes to stderr or stdout, by platform
    both = ["sh", "-c", 'exec "$0" "$@" 2>&1', *words]
    done = board.command(both, {task.name: task.artefact.path}, timeout_s=task.timeout_s)
    return spoken(done, NAME, board.url)


def times_of(text: str, url: str) -> dict[str, Any]:
    """Load time, first inference and what is stated of the timed runs.

    Raises EnvironmentFailure where the lines of the benchmark's end are not there.
    """
    ends, runs = TIMINGS.search(text), list(RUNS.finditer(text))
    if ends is None or not runs:
        raise not_understood(NAME, _last_line(text), url)
    values = dict(pair.split("=") for pair in runs[-1][2].split())
    found = {
        name: amount(values[key], key, NAME, url) / 1e3 if key in values else None
        for key, name in STATED.items()
    }
    if found["average"] is None:  # a single run: all of them are that one
        found["average"] = amount(ends[3], "Inference (avg)", NAME, url) / 1e3
    memory = MEMORY.search(text)
    return {
        "load_ms": amount(ends[1], "Init", NAME, url) / 1e3,
        "first_ms": amount(ends[2], "First inference", NAME, url) / 1e3,
        "peak_memory_mb": amount(memory[1], "overall", NAME, url) if memory else None,
        "stated_ms": {"runs": float(runs[-1][1]), **stated(found)},
    }


def operators_of(text: str, url: str) -> list[Executed]:
    """The rows of the timed runs' table, in order; its precisions are not told."""
    _, found, table = text.rpartition(TABLE)
    if not found:
        raise not_understood(NAME, _last_line(text), url)
    lines = table.splitlines()[2 : MOST_ROWS + 2]  # after the rest of the title, and the heads
    rows = []
    for line in lines:
        if not line.strip() or line.lstrip().startswith("="):
            break
        row = ROW.fullmatch(line)
        if row is None:
            raise not_understood(NAME, line, url)
        rows.append(row)
    if not rows:
        raise not_understood(NAME, _last_line(text), url)
    inside = any(row["name"].startswith(INSIDE) for row in rows)
    return [
        Executed(
            name=plain(row["name"], 120),
            kind=plain(row["kind"], 80),
            precision="",
            unit=_unit(row["kind"], row["name"]),
            time_ms=amount(row["average"], "avg ms", NAME, url),
        )
        for row in rows
        if not (inside and "xnnpackdelegate" in row["kind"].lower())
    ]


def _unit(kind: str, name: str) -> str:
    """`TfLiteXNNPackDelegate` is one partition that a delegate took; other rows are the CPU's."""
    if name.startswith(INSIDE):
        return "XNNPACK"
    if "delegate" not in kind.lower():
        return "CPU"
    return next((unit for word, unit in DELEGATES.items() if word in kind.lower()), "delegate")


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "nothing")
