"""Everything a reviewer needs to know of a run, without running anything again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """One validation image through one file."""

    name: str
    psnr_db: float
    ssim: float


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Wall time of one inference on this host, first runs left out."""

    p50_ms: float
    p90_ms: float
    runs: int
    threads: int
    precision: str  # what the runtime really computed in
    height_px: int
    width_px: int
    peak_memory_mb: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One file (or the float reference) measured: picture, time, size, share of INT8."""

    label: str  # e.g. "litert int8"; "float network" for the reference
    file: str  # name in the bundle; "" for the reference
    backend: str
    precision: str
    digest: str
    size_kb: float
    images: tuple[ImageScore, ...]
    latency: Latency | None
    int8_operators_share: float
    int8_macs_share: float

    @property
    def psnr_db(self) -> float:
        """Mean of the per-image PSNR in dB."""
        return sum(i.psnr_db for i in self.images) / len(self.images)

    @property
    def ssim(self) -> float:
        """Mean of the per-image SSIM."""
        return sum(i.ssim for i in self.images) / len(self.images)


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Reference minus file, same images, same protocol; positive is a loss."""

    mean_db: float
    worst_db: float
    worst_image: str


def psnr_drop(reference: Measured, measured: Measured) -> Drop:
    """The drop in PSNR, image by image. Raises ValueError where the image sets differ."""
    names = [i.name for i in reference.images]
    if names != [i.name for i in measured.images]:
        raise ValueError("drops compare the same images in the same order")
    drops = [a.psnr_db - b.psnr_db for a, b in zip(reference.images, measured.images, strict=True)]
    worst = max(range(len(drops)), key=drops.__getitem__)
    return Drop(mean_db=sum(drops) / len(drops), worst_db=drops[worst], worst_image=names[worst])


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One gate held against one measurement. NaN never passes."""

    gate: str  # e.g. "psnr_drop_db.mean"
    file: str
    value: float
    limit: float
    unit: str
    passed: bool
    note: str = ""  # e.g. the worst image


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step of the run."""

    name: str
    state: str  # "ran" or "kept"
    seconds: float
    key: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Report:
    """One target of one recipe."""

    recipe: str
    target: str
    target_title: str
    passed: bool
    verdicts: tuple[Verdict, ...]
    reference: Measured
    files: tuple[Measured, ...]
    drops: Mapping[str, Mapping[str, Any]]  # file -> total, conversion, quantization as dicts
    steps: tuple[StepRecord, ...]
    network: Mapping[str, Any]  # parameters, macs, receptive field, contract
    images: Mapping[str, Any]  # calibration and validation: name, count, digest
    host: Mapping[str, Any]
    versions: Mapping[str, str]
    warnings: tuple[str, ...]
    protocol: str

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return asdict(self)
