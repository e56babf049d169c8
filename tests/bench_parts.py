"""What tests of the bench share: timings from scripted samples, and a board that is scripted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.benchmark import (
    Benchmark,
    Device,
    FileTiming,
    GoldenCheck,
    Stability,
    TimingProtocol,
    UnitUse,
)
from toolkit.bundle.manifest import Golden
from toolkit.contracts import Artefact
from toolkit.measure.board import Board
from toolkit.measure.probe import Probe
from toolkit.model.contract import ImageContract, IoContract, TensorSpec

DEVICE = Device(
    url="ssh://pi@camera",
    name="Raspberry Pi 5 Model B Rev 1.0",
    identity="0123456789abcdef",
    machine="aarch64",
    cpu="Cortex-A76",
    cores=4,
    memory_mb=8192.0,
    system="Linux 6.6.51",
)
PROTOCOL = TimingProtocol(rounds=3, min_runs=100, min_s=1.0)
GOLDEN = GoldenCheck(
    vectors=1,
    worst=1.0,
    tolerance=1.0,
    within_share=1.0,
    least_share=0.995,
    equal_share=0.999,
    passed=True,
)


def noisy_rounds(
    *, rounds: int = 3, runs: int = 100, ms: float = 10.0, spread: float = 0.01, seed: int = 0
) -> tuple[tuple[int, ...], ...]:
    """Quiet samples: `ms` with a one-sided tail of `spread`, as latencies have."""
    rng = np.random.default_rng(seed)
    taken = ms * 1e6 * (1 + spread * rng.exponential(size=(rounds, runs)))
    return tuple(tuple(int(value) for value in row) for row in taken)


def timing(samples_ns: Sequence[Sequence[int]], **changed: Any) -> FileTiming:
    """One INT8 file with these samples."""
    made = FileTiming(
        file="tiny.int8.onnx",
        digest="a" * 64,
        backend="onnxruntime",
        precision="int8",
        tool="runner",
        runtime="onnxruntime 1.31.1",
        height_px=360,
        width_px=640,
        golden=GOLDEN,
        samples_ns=tuple(tuple(one) for one in samples_ns),
        load_ms=tuple(80.0 + at for at in range(len(samples_ns))),
        first_ms=tuple(20.0 + at for at in range(len(samples_ns))),
        peak_memory_mb=tuple(45.0 + at for at in range(len(samples_ns))),
        energy_j_per_frame=None,
        stability=Stability(is_stable=True),
        units=(
            UnitUse(
                unit="CPU",
                operators=12,
                operators_share=1.0,
                time_ms=9.5,
                precisions={"int8": 10},
            ),
        ),
        conditions=tuple({} for _ in samples_ns),
    )
    return replace(made, **changed)


def result(*files: FileTiming, **changed: Any) -> Benchmark:
    """A benchmark of these files."""
    made = Benchmark(
        bundle="tiny/raspberry-pi-5",
        target="raspberry-pi-5",
        device=DEVICE,
        protocol=PROTOCOL,
        files=files,
        toolkit="0",
        taken_at="2026-11-21T15:00:00Z",
    )
    return replace(made, **changed)


class ScriptedBoard:
    """A board whose answers are scripted: `answers(job)` changes what a good one says."""

    def __init__(
        self,
        answers: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda job: {},
        *,
        is_emulated: bool = False,
    ) -> None:
        self.device = replace(DEVICE, is_emulated=is_emulated)
        self.url = DEVICE.url
        self.is_emulated = is_emulated
        self.probe = Probe(
            device=self.device,
            root="/home/pi/.cache/edgesr",
            user="pi",
            hash="sha256sum",
            free_mb=1000.0,
            is_writable=True,
            has_timeout=True,
            python="/usr/bin/python3",
            python_version=(3, 11, 2),
            packages={"numpy": "2.4.6", "onnxruntime": "1.31.1", "openvino": "2026.4.1"},
        )
        self.jobs: list[Mapping[str, Any]] = []
        self._answers = answers

    def require(self, *runtimes: str) -> None:
        """As a real board does."""
        Board.require(self, *runtimes)  # type: ignore[arg-type]

    def execute(
        self, job: Mapping[str, Any], files: Mapping[str, Path], *, timeout_s: float
    ) -> dict[str, Any]:
        """A good answer, changed by the script."""
        self.jobs.append(job)
        missing = [name for name, path in files.items() if not path.is_file()]
        assert not missing
        assert timeout_s > job["expires_s"]
        golden = {
            "vectors": len(job["golden"]),
            "worst": 0.0,
            "tolerance": 1.0,
            "within_share": 1.0,
            "least_share": 0.995,
            "equal_share": 1.0,
            "passed": True,
        }
        runs = job["time"]["min_runs"] if job["time"] else 0
        unit = {"unit": "CPU", "operators": 3, "operators_share": 1.0, "time_ms": 2.0}
        answer = {
            "schema": 1,
            "error": None,
            "runtime": {"name": "onnxruntime", "version": "1.31.1"},
            "sha256": job["sha256"],
            "golden": golden if job["golden"] else None,
            "load_ms": 5.0,
            "first_ms": 3.0,
            "samples_ns": [2_000_000 + at for at in range(runs)],
            "peak_memory_mb": 12.0,
            "energy_j_per_frame": None,
            "tuned": job["tune"],
            "conditions": {"other_cpu_share": 0.0} if job["time"] else None,
            "units": [unit] if job["operators"] else [],
            "remarks": [],
        }
        return {**answer, **self._answers(job)}


def artefact(
    folder: Path, name: str = "tiny.int8.onnx", *, content: bytes = b"network"
) -> Artefact:
    """A file of free size with some bytes; an .xml gets weights beside it."""
    path = folder / name
    path.write_bytes(content)
    if path.suffix == ".xml":
        path.with_suffix(".bin").write_bytes(b"weights")
    spec = TensorSpec(name="lr", dtype="float32", layout="nchw", shape=(1, 3, None, None))
    return Artefact(
        path=path,
        backend={".xml": "openvino", ".tflite": "litert"}.get(path.suffix, "onnxruntime"),
        precision="int8" if "int8" in name else "float32",
        contract=IoContract(
            image=ImageContract(scale=2, multiple_of=8), input=spec, output=replace(spec, name="sr")
        ),
    )


def golden(name: str = "tiny.int8.onnx") -> Golden:
    """A vector of one file."""
    tensor = np.zeros((1, 3, 8, 8), np.float32)
    output = np.zeros((1, 3, 16, 16), np.float32)
    return Golden(file=name, input=tensor, output=output, tolerance=1.0, least_share=0.995)
