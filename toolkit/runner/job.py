"""What a runner is asked to do: a JSON file, its paths relative to the folder it lies in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from toolkit.runner.failure import Failure
from toolkit.runner.session import Opening

SCHEMA = 1
JOB_MAX_BYTES = 1 << 20
DTYPES = ("float32", "float16", "uint8", "int8")
PRECISIONS = ("int8", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Golden:
    """What the file must give for one input; see `toolkit.bundle.manifest.Golden`."""

    input: Path  # .npy
    output: Path
    tolerance: float
    least_share: float


@dataclass(frozen=True)
class Timing:
    """A single stream of runs on one seeded input."""

    shape: tuple[int, ...]
    dtype: str
    white: float
    warm_up_s: float
    min_runs: int
    min_s: float
    max_s: float  # no run starts later, whatever the other two ask for
    sustained_s: float  # of load before the warm-up: thermal steady state


@dataclass(frozen=True)
class Batch:
    """Files of .npy arrays one after another."""

    inputs: Path
    outputs: Path


@dataclass(frozen=True)
class Job:
    """One file, and what to find out about it."""

    runtime: str
    opening: Opening
    sha256: str
    parts: Mapping[Path, str]  # SHA-256 of what belongs to the file: an .xml's .bin
    golden: tuple[Golden, ...]
    time: Timing | None
    batch: Batch | None
    operators: bool
    tune: bool
    expires_s: float


def read_job(path: Path) -> Job:
    """Read and check a job. Raises Failure `run` where it cannot be understood."""
    try:
        with path.open("rb") as stream:
            text = stream.read(JOB_MAX_BYTES + 1)
        if len(text) > JOB_MAX_BYTES:
            raise ValueError(f"larger than {JOB_MAX_BYTES} bytes")
        return _job(json.loads(text), path.parent)
    except KeyError as error:
        raise Failure("run", f"the job lacks the key {error}") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise Failure("run", f"the job cannot be understood: {error}") from error


def _job(value: Mapping[str, Any], folder: Path) -> Job:
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']!r}, this runner reads {SCHEMA}")
    contract = value["contract"]
    opening = Opening(
        path=_inside(folder, value["file"]),
        precision=_one_of(value["precision"], PRECISIONS, "precision"),
        threads=_count(value["threads"], "threads"),
        input=str(contract["input"]["name"]),
        output=str(contract["output"]["name"]),
    )
    time, batch = value["time"], value["batch"]
    parts = value.get("parts") or {}
    return Job(
        runtime=str(value["runtime"]),
        opening=opening,
        sha256=str(value["sha256"]),
        parts={_inside(folder, name): str(digest) for name, digest in parts.items()},
        golden=tuple(_golden(one, folder) for one in value["golden"]),
        time=None if time is None else _timing(time),
        batch=None if batch is None else _batch(batch, folder),
        operators=bool(value["operators"]),
        tune=bool(value["tune"]),
        expires_s=_amount(value["expires_s"], "expires_s"),
    )


def _golden(value: Mapping[str, Any], folder: Path) -> Golden:
    return Golden(
        input=_inside(folder, value["input"]),
        output=_inside(folder, value["output"]),
        tolerance=_amount(value["tolerance"], "tolerance"),
        least_share=_amount(value["least_share"], "least_share"),
    )


def _timing(value: Mapping[str, Any]) -> Timing:
    return Timing(
        shape=tuple(_count(edge, "shape") for edge in value["shape"]),
        dtype=_one_of(value["dtype"], DTYPES, "dtype"),
        white=_amount(value["white"], "white"),
        warm_up_s=_amount(value["warm_up_s"], "warm_up_s"),
        min_runs=_count(value["min_runs"], "min_runs"),
        min_s=_amount(value["min_s"], "min_s"),
        max_s=_amount(value["max_s"], "max_s"),
        sustained_s=_amount(value["sustained_s"], "sustained_s"),
    )


def _batch(value: Mapping[str, Any], folder: Path) -> Batch:
    return Batch(inputs=_inside(folder, value["inputs"]), outputs=_inside(folder, value["outputs"]))


def _inside(folder: Path, name: Any) -> Path:
    path = PurePosixPath(str(name))
    if not isinstance(name, str) or not path.parts or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"`{name}` is no path inside the job's folder")
    return folder / path


def _amount(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"`{what}` must be a number, found {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"`{what}` must be finite and not negative, found {value}")
    return float(value)


def _count(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{what}` must be a whole number from 1, found {value!r}")
    return value


def _one_of(value: Any, words: tuple[str, ...], what: str) -> str:
    if value not in words:
        raise ValueError(f"`{what}` must be one of {', '.join(words)}, found {value!r}")
    return str(value)
