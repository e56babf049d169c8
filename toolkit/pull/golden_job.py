"""What the runner is asked to do with a stored release."""

from __future__ import annotations

import ast
import json
import struct
from collections.abc import Mapping
from typing import Any

from toolkit.errors import SecurityError
from toolkit.pull.disk import read_small
from toolkit.pull.settings import Testing
from toolkit.pull.store import Stored
from toolkit.runner.job import SCHEMA
from toolkit.runner.session import RUNTIMES

CONTRACT_MAX_BYTES = 64 << 10
HEADER_MAX_BYTES = 4096  # of a .npy file of one plain tensor: about 128
MICRO = 1_000_000
THREADS_MOST = 16
WARM_UP_S, MIN_RUNS, MIN_S, MAX_S = 0.2, 20, 0.5, 10.0  # enough for a p90, little for a camera
INTEGERS = ("uint8", "int8")


def job_of(stored: Stored, testing: Testing) -> bytes:
    """The JSON file of the job. Raises SecurityError `malformed` where a contract is none."""
    release = stored.release
    contract = _contract(stored)
    threads = testing.threads or release.figures.get("latency_threads", 1)
    limit = testing.max_latency_us or release.latency_limit_us
    files = {file.name: file.sha256 for file in release.fetched if file.role == "part"}
    job = {
        "schema": SCHEMA,
        "runtime": release.runtime if release.runtime in RUNTIMES else "?",
        "file": release.model.name,
        "sha256": release.model.sha256,
        "parts": files,
        "precision": release.precision,
        "threads": max(1, min(threads, THREADS_MOST)),
        "contract": contract,
        "golden": [
            {
                "input": pair.input,
                "output": pair.output,
                "tolerance": pair.tolerance_micro / MICRO,
                "least_share": pair.least_share_ppm / MICRO,
            }
            for pair in release.golden
        ],
        "time": None if limit is None else _timing(stored, contract),
        "batch": None,
        "operators": False,
        "tune": False,
        "expires_s": testing.limit_s,
    }
    return json.dumps(job).encode("ascii")


def _contract(stored: Stored) -> Mapping[str, Any]:
    """Names and types of the model's tensors; the file may state a step as a float."""
    named = [file.name for file in stored.release.fetched if file.role == "contract"]
    data = read_small(stored.folder / named[0], CONTRACT_MAX_BYTES) if named else None
    if data is None:
        raise _malformed("the release has no contract of its model")
    try:
        value = json.loads(data)
        str(value["input"]["name"]), str(value["output"]["name"])
        value["input"]["shape"], value["image"]["white"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _malformed(f"`{named[0]}` cannot be understood: {error!a:.80}") from error
    contract: Mapping[str, Any] = value
    return contract


def _timing(stored: Stored, contract: Mapping[str, Any]) -> dict[str, Any]:
    given = contract["input"]
    return {
        "shape": _shape(stored, given),
        "dtype": given["dtype"],
        "white": float(contract["image"]["white"]),
        "warm_up_s": WARM_UP_S,
        "min_runs": MIN_RUNS,
        "min_s": MIN_S,
        "max_s": MAX_S,
        "sustained_s": 0.0,
    }


def _shape(stored: Stored, given: Mapping[str, Any]) -> list[int]:
    """The size that the limit was set for; a free edge that it does not name is the golden one."""
    figures, shape = stored.release.figures, list(given["shape"])
    rows = 2 if given.get("layout") == "nchw" else 1
    timed = {rows: "latency_height_px", rows + 1: "latency_width_px"}
    for axis, name in timed.items():
        if len(shape) == 4 and shape[axis] is None and name in figures:
            shape[axis] = figures[name]
    if None in shape:
        golden = _golden_shape(stored, len(shape))
        shape = [golden[axis] if edge is None else edge for axis, edge in enumerate(shape)]
    return [int(edge) for edge in shape]


def _golden_shape(stored: Stored, axes: int) -> list[int]:
    """The shape in a .npy file's header, which is a Python literal; numpy is not imported here."""
    pairs = stored.release.golden
    if not pairs:
        return [1] * axes
    try:
        with (stored.folder / pairs[0].input).open("rb") as stream:
            start = stream.read(HEADER_MAX_BYTES)
        size, begin = struct.unpack("<H", start[8:10])[0], 10
        if start[6] > 1:  # version 2 and 3 have a longer length
            size, begin = struct.unpack("<I", start[8:12])[0], 12
        shape = list(ast.literal_eval(start[begin : begin + size].decode("latin-1"))["shape"])
        if len(shape) != axes:
            raise ValueError(f"it has {len(shape)} axes")
    except (OSError, ValueError, KeyError, IndexError, TypeError, SyntaxError, struct.error,
            MemoryError, RecursionError) as error:  # fmt: skip
        raise _malformed(f"`{pairs[0].input}` is no vector: {error!a:.80}") from error
    return shape


def _malformed(found: str) -> SecurityError:
    return SecurityError(
        found, hint="the present model stays; tell whoever runs the channel", kind="malformed"
    )
