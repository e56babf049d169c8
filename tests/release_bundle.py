"""Bundles of every runtime's files in a few milliseconds: real ones on disk, of made-up content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from sample_report import FILES, measured, report

from toolkit.bundle.manifest import Golden
from toolkit.bundle.pack import pack
from toolkit.contracts import Artefact
from toolkit.digest import sha256_bytes, sha256_json
from toolkit.model.contract import ImageContract, IoContract, TensorSpec
from toolkit.report import Latency, Verdict

VERSIONS = {
    "edge-sr-toolkit": "0.1.0", "openvino": "2026.4.1", "onnxruntime": "1.31.1",
    "ai-edge-litert": "2.3.0", "onnx": "1.23.2",
}  # fmt: skip
CONTRACT = IoContract(
    image=ImageContract(scale=2, halo_px=7),
    input=TensorSpec(
        name="x", dtype="uint8", layout="nhwc", shape=(1, 4, 5, 3), step=1 / 255, zero_point=0
    ),
    output=TensorSpec(
        name="y", dtype="uint8", layout="nhwc", shape=(1, 8, 10, 3), step=1 / 255, zero_point=3
    ),
)
OPENVINO, ONNX = FILES[2], FILES[4]
LITERT = measured("net.int8.tflite", "litert", "int8", 21.4, (0.05, 0.02, 0.1), 9.0)
TENSORRT = measured("net.int8.qdq.onnx", "tensorrt", "int8", 22.9, (0.05, 0.02, 0.1), 9.0)


def content_of(file: str) -> dict[str, bytes]:
    """What lies on disk under the file's name; an IR has its weights beside it."""
    if file.endswith(".xml"):
        weights = file.replace(".xml", ".bin")
        return {file: f"<net of='{file}'/>".encode(), weights: _noise(weights)}
    return {file: _noise(file)}


def _noise(name: str) -> bytes:
    """9 kB that nothing compresses, as weights are."""
    return Random(name).randbytes(9000)


def golden_of(file: str, seed: int = 0) -> Golden:
    drawn = np.random.default_rng(seed)
    return Golden(
        file=file,
        input=drawn.integers(0, 256, (1, 4, 5, 3), np.uint8),
        output=drawn.integers(0, 256, (1, 8, 10, 3), np.uint8),
        tolerance=1.0,
        least_share=0.995,
    )


def bundle(out, *files, licence="Apache-2.0", extra=None, golden=None, verdicts=(), **changes):
    """Pack `files` (of `toolkit.report.Measured`, the OpenVINO INT8 one) and return the folder."""
    files = files or (OPENVINO,)
    work = Path(out) / "work"
    work.mkdir(parents=True)
    said, artefacts = [], []
    for file in files:
        parts = content_of(file.file)
        for name, data in parts.items():
            (work / name).write_bytes(data)
        digest = sha256_json({name: sha256_bytes(data) for name, data in parts.items()})
        said.append(replace(file, digest=digest))
        artefacts.append(
            Artefact(
                path=work / file.file,
                backend=file.backend,
                precision=file.precision,
                contract=CONTRACT,
            )
        )
    if golden is None:
        golden = [golden_of(file.file) for file in files]
    whole = report(
        **{"files": tuple(said), "verdicts": tuple(verdicts), "versions": VERSIONS, **changes}
    )
    return pack(whole, artefacts, golden, extra or {}, licence, [], Path(out) / "out")


def on_a_board(file, limit_ms=45.0):
    """The file as a board timed it, and the gate that was held against that."""
    latency: Latency = replace(file.latency, device="ssh://pi@camera")
    gate = Verdict(
        gate="latency_p90_ms", file=file.file, value=latency.p90_ms, limit=limit_ms, unit="ms",
        passed=True,
    )  # fmt: skip
    return replace(file, latency=latency), gate


def data_of(one):
    """The bytes of one file of a draft."""
    return one.content if isinstance(one.content, bytes) else one.content.read_bytes()


def files_of(draft):
    """All of them by name."""
    return {one.name: data_of(one) for one in draft.files}
