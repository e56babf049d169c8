"""`python3 edgesr-runner.pyz JOB.json`: does one job, prints one framed answer on stdout.

Exit code 0 where the job was done, also where golden vectors differ (the answer says so); 1 where
it could not be, with the reason in the answer.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit.runner.answer import EMPTY, framed, with_failure
from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.job import Job, read_job
from toolkit.runner.session import Session, runtime

CHUNK_BYTES = 1 << 20


def main(arguments: Sequence[str]) -> int:
    """Run the job named by the only argument; whatever a runtime prints goes to stderr."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    document: dict[str, Any] = dict(EMPTY)
    try:
        if len(arguments) != 1:
            raise Failure("run", "usage: edgesr-runner.pyz JOB.json")
        fill(document, read_job(Path(arguments[0])))
    except Exception as error:
        document = with_failure(document, failure_of(error, "run"))
    with os.fdopen(answer_fd, "wb") as stream:
        stream.write(framed(document))
    return 1 if document["error"] else 0


def fill(document: dict[str, Any], job: Job) -> None:
    """Do a job and write what was found into the document, in the order it is found."""
    check_digests(job)
    document["sha256"] = job.sha256
    import numpy

    used = runtime(job.runtime)
    name, version = used.version()
    document["runtime"] = {"name": name, "version": version}
    document["python"], document["numpy"] = sys.version.split()[0], numpy.__version__
    began = time.perf_counter_ns()
    session = used.open(job.opening)
    document["load_ms"] = (time.perf_counter_ns() - began) / 1e6
    try:
        _use(document, job, session)
    finally:
        session.close()


def _use(document: dict[str, Any], job: Job, session: Session) -> None:
    from toolkit.runner.batch import run_batch
    from toolkit.runner.golden import check_golden
    from toolkit.runner.timing import noise, timed

    check = check_golden(session, job.golden)
    document["golden"] = None if check is None else asdict(check)
    if check is not None and not check.passed:
        return
    if job.batch is not None:
        document["batch"] = {"count": run_batch(session, job.batch)}
    if job.time is not None:
        tensor = noise(job.time)
        taken = timed(session, tensor, job.time, starting=lambda: None, between=lambda now_ns: None)
        document.update(asdict(taken))


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
