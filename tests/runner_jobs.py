"""Jobs for the on-device runner: small INT8 files of each runtime, answers read strictly."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
from quant_networks import anchored, quantized, target

from toolkit import plugins
from toolkit.runner.zipped import FILE, zipapp_bytes

TILE = (24, 32)
RUNTIMES = ("onnxruntime", "openvino", "litert")


def int8_file(runtime, folder):
    """An INT8 artefact of a network of three convolutions, scale 2, RGB."""
    network, plan, _ = quantized(anchored(), folder)
    stated = {"layout": "nhwc", "tile": TILE, "io_dtype": "uint8"} if runtime == "litert" else {}
    wanted = target(runtime, **stated)
    return plugins.load("backends", runtime).lower(network, plan, wanted, folder, "tiny")[1]


def picture_tensor(artefact, seed=0):
    """A seeded input of the file's own type at TILE."""
    spec = artefact.contract.input
    shape = (1, 3, *TILE) if spec.layout == "nchw" else (1, *TILE, 3)
    rng = np.random.default_rng(seed)
    if spec.dtype == "uint8":
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.random(shape, np.float32)


def output_here(artefact, tensor):
    """What the host makes of it."""
    session = plugins.load("backends", artefact.backend).open(artefact, threads=1)
    try:
        return session.run(tensor)
    finally:
        session.close()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def timing(tensor, **more):
    stated = {
        "shape": list(tensor.shape), "dtype": str(tensor.dtype), "white": 1.0, "warm_up_s": 0.0,
        "min_runs": 5, "min_s": 0.0, "max_s": 60.0, "sustained_s": 0.0,
    }  # fmt: skip
    return {**stated, **more}


def prepared(artefact, folder, **more):
    """Fill `folder` with the file, its golden vector and a job; returns the job."""
    folder.mkdir(parents=True, exist_ok=True)
    tensor = picture_tensor(artefact)
    np.save(folder / "golden.input.npy", tensor)
    np.save(folder / "golden.output.npy", output_here(artefact, tensor))
    shutil.copy(artefact.path, folder)
    parts = {}
    if artefact.path.suffix == ".xml":
        weights = artefact.path.with_suffix(".bin")
        shutil.copy(weights, folder)
        parts = {weights.name: sha256(weights)}
    golden = {
        "input": "golden.input.npy", "output": "golden.output.npy", "tolerance": 0.0,
        "least_share": 1.0,
    }  # fmt: skip
    return {
        "schema": 1, "runtime": artefact.backend, "file": artefact.path.name,
        "sha256": sha256(artefact.path), "parts": parts, "precision": "int8", "threads": 1,
        "contract": artefact.contract.as_json(), "golden": [golden], "time": timing(tensor),
        "batch": None, "operators": False, "tune": False, "expires_s": 120, **more,
    }  # fmt: skip


def written(folder, job):
    """The command that runs a job, which is now in `folder` beside the runner."""
    (folder / FILE).write_bytes(zipapp_bytes())
    (folder / "job.json").write_text(json.dumps(job))
    return [sys.executable, str(folder / FILE), str(folder / "job.json")]


def environment(folder, **more):
    return {**os.environ, "OMP_NUM_THREADS": "1", "EDGESR_HOME": str(folder / "home"), **more}


def executed(folder, job, **more):
    """Run a job in a child; returns the exit code and the answer."""
    child = subprocess.run(
        written(folder, job), capture_output=True, env=environment(folder, **more), timeout=120
    )
    return child.returncode, answer(child.stdout)


def answer(stdout):
    """The one document on stdout, and nothing else."""
    head, _, rest = stdout.partition(b"\n")
    mark, version, size, digest = head.decode().split(" ")
    assert (mark, version) == ("edgesr-answer", "1")
    content = rest[: int(size)]
    assert rest[int(size) :] == b"\n"
    assert hashlib.sha256(content).hexdigest() == digest
    return json.loads(content, parse_constant=no_json)


def no_json(word):
    raise AssertionError(f"{word} is no JSON")
