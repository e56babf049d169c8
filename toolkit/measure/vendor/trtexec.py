"""`trtexec` of TensorRT: on Jetson boards and PCs with NVIDIA's runtime.

It gives every sample, layers with precision and time, and outputs for given inputs, so golden
vectors are checked as the runner does. Formats: NVIDIA/TensorRT, samples/common/sampleReporting.cpp
(exportJSONTrace, exportJSONProfile, exportJSONOutput) and the engine inspector's JSON.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.bundle.manifest import Golden
from toolkit.measure.engine import Engine, build_engine
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
from toolkit.runner.golden import compared, together
from toolkit.runner.session import Executed
from toolkit.runner.units import units_of

if TYPE_CHECKING:
    from toolkit.measure.board import Board

BACKENDS = ("tensorrt",)
NAME = "trtexec"
TIMES, LAYERS, PROFILE = "times.json", "layers.json", "profile.json"
RELEASE = re.compile(r"\[TensorRT v([0-9]{4,7})\]")
LOADED = re.compile(r"Engine (?:loaded|deserialized) in ([0-9.e+-]+) sec")
MOST_LAYERS = 20_000
MOVES = ("reformat", "noop", "shuffle", "copy", "constant", "concat", "slice", "signal", "wait")
# Words of a data type or tensor format, the narrow names first: BFloat16 has Float in it.
PRECISIONS = (
    ("int8", "int8"),
    ("fp8", "float8"),
    ("bf16", "bfloat16"),
    ("bfloat16", "bfloat16"),
    ("fp16", "float16"),
    ("half", "float16"),
    ("float16", "float16"),
    ("fp32", "float32"),
    ("float", "float32"),
)
REMARK = "each sample is copy in, GPU and copy out, as trtexec states it"


def measured(board: Board, program: str, task: Task) -> dict[str, Any]:
    """Build the engine or find it, check its golden vectors, then time it; numbers before speed."""
    size = (task.height_px, task.width_px)
    digest = board.put(task.artefact.path)
    engine = build_engine(board, task.artefact, size_px=size, trtexec=program)
    facts: dict[str, Any] = {
        "sha256": digest,
        "golden": golden_of(board, program, engine, task),
        "remarks": [REMARK],
    }
    conditions: dict[str, Any] = {"engine": asdict(engine)}
    if facts["golden"] is not None and not facts["golden"]["passed"]:
        runtime = {"name": "tensorrt", "version": ""}
        return answer(runtime=runtime, conditions=conditions, **facts)
    with tempfile.TemporaryDirectory(prefix="edgesr-") as name:
        results = {file: Path(name) / file for file in _wanted(task)}
        flags = _timing_flags(task)
        said, surroundings = around(
            board, lambda: _run(board, program, engine, task, flags, fetch=results)
        )
        warm_up_ms = 1e3 * task.warm_up_s
        samples = samples_of(read_json(results[TIMES], NAME, board.url), warm_up_ms, board.url)
        executed: list[Executed] = []
        if task.operators:
            layers, profile = (read_json(results[n], NAME, board.url) for n in (LAYERS, PROFILE))
            executed = operators_of(layers, profile, board.url)
    return answer(
        runtime={"name": "tensorrt", "version": release_of(said, board.url)},
        samples_ns=samples,
        load_ms=load_ms_of(said, board.url),
        units=units_of(executed),
        operators=[asdict(operator) for operator in executed],
        conditions={**conditions, **surroundings},
        **facts,
    )


def _wanted(task: Task) -> tuple[str, ...]:
    return (TIMES, LAYERS, PROFILE) if task.operators else (TIMES,)


def _timing_flags(task: Task) -> list[str]:
    flags = [
        f"--warmUp={round(1e3 * task.warm_up_s)}",
        f"--duration={math.ceil(task.min_s)}",
        f"--iterations={task.min_runs}",
        f"--exportTimes={TIMES}",
    ]
    if task.operators:  # profiled in a run of its own: it costs time
        flags += ["--separateProfileRun", "--profilingVerbosity=detailed"]
        flags += [f"--exportProfile={PROFILE}", f"--exportLayerInfo={LAYERS}"]
    return flags + _shapes(task, task.free_shape)


def _shapes(task: Task, shape: Sequence[int] | None) -> list[str]:
    name = task.artefact.contract.input.name
    return [f"--shapes={name}:{'x'.join(map(str, shape))}"] if shape is not None else []


def _run(
    board: Board,
    program: str,
    engine: Engine,
    task: Task,
    flags: Sequence[str],
    *,
    files: Mapping[str, Path] | None = None,
    fetch: Mapping[str, Path],
) -> str:
    words = [program, f"--loadEngine={engine.place}", *flags]
    done = board.command(words, files or {}, timeout_s=task.timeout_s, fetch=fetch)
    return spoken(done, NAME, board.url)


def golden_of(board: Board, program: str, engine: Engine, task: Task) -> dict[str, Any] | None:
    """The engine's golden vectors, as `GoldenCheck` has them; None where the file has none."""
    checks = []
    with tempfile.TemporaryDirectory(prefix="edgesr-") as name:
        for at, vector in enumerate(task.golden):
            given, made = Path(name) / f"golden.{at}.bin", Path(name) / f"golden.{at}.json"
            given.write_bytes(np.ascontiguousarray(vector.input).tobytes())
            free = task.free_shape is not None
            flags = [
                f"--loadInputs={task.artefact.contract.input.name}:{given.name}",
                f"--exportOutput={made.name}",
                *("--iterations=1", "--duration=0", "--warmUp=0"),
                *_shapes(task, vector.input.shape if free else None),
            ]
            files, fetch = {given.name: given}, {made.name: made}
            _run(board, program, engine, task, flags, files=files, fetch=fetch)
            found = output_of(read_json(made, NAME, board.url), vector, board.url)
            checks.append(compared(found, vector.output, vector.tolerance, vector.least_share))
    check = together(checks)
    return None if check is None else asdict(check)


def output_of(value: Any, vector: Golden, url: str) -> np.ndarray[Any, Any]:
    """The one output that `--exportOutput` wrote, in the golden vector's type."""
    try:
        (only,) = value
        shape = tuple(int(size) for size in only["dimensions"].split("x"))
        values = np.array([float(number) for number in only["values"]], np.float64)
        with np.errstate(invalid="ignore"):
            made = values.astype(vector.output.dtype)
        if made.dtype.kind in "iu" and not np.array_equal(made, values):  # NaN would become 0
            raise ValueError(f"values that are no {made.dtype}")
        return made.reshape(shape).reshape(vector.output.shape)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise not_understood(NAME, f"--exportOutput: {error}", url) from error


def samples_of(trace: Any, warm_up_ms: float, url: str) -> list[int]:
    """Latencies in ns of the runs after the warm-up, in order.

    Releases before 8.6 write the warm-up's runs too; they are told apart as trtexec does, by when
    their computing began.
    """
    if not isinstance(trace, list) or not trace:
        raise not_understood(NAME, f"{TIMES} lists no runs", url)
    samples = []
    for run in trace:
        if not isinstance(run, dict):
            raise not_understood(NAME, f"{TIMES}: {run!a}", url)
        if amount(run.get("startComputeMs"), "startComputeMs", NAME, url) >= warm_up_ms:
            latency_ms = amount(run.get("latencyMs"), "latencyMs", NAME, url)
            samples.append(max(1, round(1e6 * latency_ms)))
    if not samples:
        raise not_understood(NAME, f"{TIMES} has only warm-up runs", url)
    return samples


def operators_of(information: Any, profile: Any, url: str) -> list[Executed]:
    """Layers in order, with the precision of the engine inspector and the profile's median time."""
    layers = information.get("Layers") if isinstance(information, dict) else None
    if not isinstance(layers, list) or not 0 < len(layers) <= MOST_LAYERS:
        raise not_understood(NAME, f"{LAYERS} has no `Layers`", url)
    times = _times(profile, url)
    executed = []
    for layer in layers:
        named = {"Name": layer} if isinstance(layer, str) else layer
        if not isinstance(named, dict) or not isinstance(named.get("Name"), str):
            raise not_understood(NAME, f"{LAYERS}: {layer!a}", url)
        kind = str(named.get("LayerType", ""))
        executed.append(
            Executed(
                name=plain(named["Name"], 120),
                kind=plain(kind, 80) if kind else "",
                precision=_precision(named, kind),
                unit="DLA" if kind.lower() == "dla" else "GPU",
                time_ms=times.get(named["Name"]),
            )
        )
    return executed


def _times(profile: Any, url: str) -> dict[str, float]:
    """Milliseconds of one inference by layer; the first entry of the list is the run count."""
    if not isinstance(profile, list):
        raise not_understood(NAME, f"{PROFILE} is no list", url)
    times: dict[str, float] = {}
    for layer in profile:
        if isinstance(layer, dict) and "name" in layer:
            time = layer.get("medianMs", layer.get("averageMs"))
            times[str(layer["name"])] = amount(time, "averageMs", NAME, url)
    return times


def _precision(layer: Mapping[str, Any], kind: str) -> str:
    """Of its weights, else of its first input; "" for data movement and where nothing is told."""
    if any(word in kind.lower() for word in MOVES):
        return ""
    weights, inputs = layer.get("Weights"), layer.get("Inputs")
    words = [layer.get("Precision"), weights.get("Type") if isinstance(weights, dict) else None]
    if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict):
        words.append(inputs[0].get("Format/Datatype", inputs[0].get("Format")))
    told = next((str(word).lower() for word in words if isinstance(word, str)), "")
    return next((precision for word, precision in PRECISIONS if word in told), "")


def release_of(said: str, url: str) -> str:
    """The banner has vMMmmpp: v100300 is 10.3.0, v8602 is 8.6.2."""
    found = RELEASE.search(said)
    if found is None:
        raise not_understood(NAME, said.strip().splitlines()[0] if said.strip() else "", url)
    digits = int(found[1])
    if digits >= 100_000:
        return f"{digits // 10_000}.{digits // 100 % 100}.{digits % 100}"
    return f"{digits // 1000}.{digits // 100 % 10}.{digits % 100}"


def load_ms_of(said: str, url: str) -> float | None:
    """Reading the file and deserialising it, where it states them."""
    found = LOADED.findall(said)
    return sum(1e3 * amount(one, "Engine loaded", NAME, url) for one in found) if found else None
