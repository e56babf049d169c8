"""One job from its files to the answer's document."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.runner.batch import run_batch
from toolkit.runner.conditions import memory_mb
from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.golden import check_golden, load_tensor
from toolkit.runner.governor import tuned
from toolkit.runner.job import Job, Timing
from toolkit.runner.recorder import Recorder
from toolkit.runner.session import Runtime, Session, runtime
from toolkit.runner.timing import noise, timed
from toolkit.runner.units import units_of

if TYPE_CHECKING:
    from toolkit.runner.session import Tensor

CHUNK_BYTES = 1 << 20


def fill(document: dict[str, Any], job: Job, *, system: Path, home: Path) -> None:
    """Do a job and write what is found into the document, in the order it is found.

    Numbers come before speed: where golden vectors differ nothing is timed. Raises Failure.
    """
    began_ns = time.perf_counter_ns()
    check_digests(job)
    document["sha256"] = job.sha256
    used = runtime(job.runtime)
    name, version = used.version()
    document["runtime"] = {"name": name, "version": version}
    document["python"], document["numpy"] = sys.version.split()[0], np.__version__
    before_mb = memory_mb(system, "VmHWM")
    if not _numbers(document, job, used):
        return
    if job.time is not None:
        with tuned(system, home, wanted=job.tune) as reason:
            recorder = Recorder(system, began_ns, most_s=job.time.max_s)
            document["tuned"] = job.tune and not reason
            document["remarks"] += [f"not tuned: {reason}"] if reason else []
            _speed(document, job, job.time, used, recorder)
    document["peak_memory_mb"] = _growth_mb(before_mb, memory_mb(system, "VmHWM"))
    if job.operators:
        _place(document, job, used)


def _numbers(document: dict[str, Any], job: Job, used: Runtime) -> bool:
    """Golden vectors, then the batch; False where the golden vectors differ.

    A job that asks for neither still sees whether the file loads.
    """
    if job.time is not None and not job.golden and job.batch is None:
        return True
    session = _opened(document, job, used)
    try:
        check = check_golden(session, job.golden)
        document["golden"] = None if check is None else asdict(check)
        if check is not None and not check.passed:
            return False
        if job.batch is not None:
            document["batch"] = {"count": run_batch(session, job.batch)}
    finally:
        session.close()
    return True


def _speed(
    document: dict[str, Any], job: Job, timing: Timing, used: Runtime, recorder: Recorder
) -> None:
    """Times of a session of its own, which has seen no input before."""
    tensor = noise(timing)
    session = _opened(document, job, used)
    try:
        taken = timed(session, tensor, timing, starting=recorder.starting, between=recorder.between)
    except Exception as error:  # every runtime has its own classes
        raise failure_of(error, "run") from error
    finally:
        session.close()
    document.update(asdict(taken))
    document.update(recorder.finished(len(taken.samples_ns)))
    document["conditions"]["tuned"] = document["tuned"] if job.tune else None


def _opened(document: dict[str, Any], job: Job, used: Runtime) -> Session:
    """A session; the process's first loading is the one that is told, as a program sees it."""
    began_ns = time.perf_counter_ns()
    session = used.open(job.opening)
    if document["load_ms"] is None:
        document["load_ms"] = (time.perf_counter_ns() - began_ns) / 1e6
    return session


def _place(document: dict[str, Any], job: Job, used: Runtime) -> None:
    """Where it ran, from a profiling session after all times; the numbers stand without it."""
    tensor = _sample_input(job)
    if tensor is None:
        document["remarks"].append("where it ran is not known: the job names no input")
        return
    try:
        operators = used.operators(job.opening, tensor)
    except Exception as error:  # every runtime has its own classes
        text = failure_of(error, "run").text
        document["remarks"].append(f"where it ran is not known: {text}")
        return
    document["operators"] = [asdict(operator) for operator in operators]
    document["units"] = units_of(operators)


def _sample_input(job: Job) -> Tensor | None:
    if job.time is not None:
        return noise(job.time)
    return load_tensor(job.golden[0].input) if job.golden else None


def _growth_mb(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(after - before, 3)


def check_digests(job: Job) -> None:
    """Raises Failure `missing` or `digest` where a file is not the one that is meant."""
    path = job.opening.path
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and weights not in job.parts:
        raise Failure("digest", f"the job states no digest of `{weights.name}`")
    for file, digest in {path: job.sha256, **job.parts}.items():
        if not file.is_file():
            raise Failure("missing", f"`{file.name}` is not there")
        found = sha256_file(file)
        if found != digest:
            raise Failure("digest", f"`{file.name}` has SHA-256 {found}, the job says {digest}")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
            hasher.update(chunk)
    return hasher.hexdigest()
