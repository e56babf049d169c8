"""Made-up releases: a few hundred bytes that no runtime could open, with a right manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.release import (
    ALL_BASIS_POINTS,
    File,
    GoldenPair,
    Release,
    Role,
    content_digest,
    file_bytes,
)

FAMILY = "street"
COMPATIBLE = "test-camera"


def pattern(count: int, seed: str) -> bytes:
    """Bytes without a period: a wrong offset always shows."""
    blocks = (hashlib.sha256(f"{seed}{k}".encode()).digest() for k in range(count // 32 + 1))
    return b"".join(blocks)[:count]


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One file of a release."""

    name: str
    role: Role
    data: bytes

    @property
    def file(self) -> File:
        return File(
            name=self.name,
            role=self.role,
            length=len(self.data),
            sha256=hashlib.sha256(self.data).hexdigest(),
        )


def blobs(number: int, *, size: int = 600) -> tuple[Blob, ...]:
    """The files of a made-up model in two parts, as OpenVINO's are, with one golden vector."""
    named: list[tuple[str, Role, int]] = [
        ("model.xml", "model", size),
        ("model.bin", "part", size),
        ("golden-input.npy", "golden", 200),
        ("golden-output.npy", "golden", 200),
        ("contract.json", "contract", 100),
        ("report.json", "report", 100),
    ]
    return tuple(
        Blob(name=name, role=role, data=pattern(count, f"{number} {name} "))
        for name, role, count in named
    )


@dataclass(frozen=True)
class Model:
    """One release to publish."""

    number: int
    files: tuple[Blob, ...] = ()
    compatible: str = COMPATIBLE
    basis_points: int = ALL_BASIS_POINTS
    min_firmware: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)  # of its release.json, as JSON

    @property
    def blobs(self) -> tuple[Blob, ...]:
        return self.files or blobs(self.number)

    @property
    def value(self) -> dict[str, Any]:
        """The JSON value of its release.json."""
        files = tuple(one.file for one in self.blobs)
        release = Release(
            family=FAMILY,
            release=self.number,
            compatible=self.compatible,
            min_firmware=self.min_firmware,
            created="2026-11-21T18:00:00Z",
            content=content_digest(files),
            recipe="tiny",
            backend="openvino",
            precision="int8",
            scale=2,
            licence="Apache-2.0",
            toolkit="0.5.0",
            runtime="onnxruntime",
            runtime_least="1.0.0",
            golden=self.golden,
            latency_limit_us=None,
            figures={"psnr_drop_mean_udb": 1000},
            files=files,
        )
        return {**release.as_json(), **self.changes}

    @property
    def golden(self) -> tuple[GoldenPair, ...]:
        """One golden vector, exact to one level."""
        pair = GoldenPair(
            input="golden-input.npy",
            output="golden-output.npy",
            tolerance_micro=1_000_000,
            least_share_ppm=1_000_000,
        )
        return (pair,)

    @property
    def manifest(self) -> bytes:
        return file_bytes(self.value)

    @property
    def id(self) -> str:
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def content(self) -> str:
        return str(self.value["content"])
