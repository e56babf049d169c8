"""A recipe: one network, the steps to take, the targets to build, the gates to pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.model.contract import Color


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
    """Where a network comes from: exactly one of `reference`, `file`, `arch`.

    With `file` a weight file (.safetensors, .pth), `arch` names its architecture too. `arch` alone
    is a fresh, untrained network built from `hyper`. What is None is probed.
    """

    scale: int
    reference: str | None = None
    file: Path | None = None
    arch: str | None = None
    hyper: Mapping[str, Any] = field(default_factory=dict)
    color: Color | None = None
    white: float | None = None
    minimum_px: int | None = None
    multiple_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One step of the recipe with every parameter present: defaults are filled in."""

    name: str
    params: Mapping[str, Any]
    where: str  # file:line:column
    networks: Mapping[str, NetworkSource] = field(default_factory=dict)  # e.g. "teacher"
    folders: Mapping[str, Path] = field(default_factory=dict)  # e.g. "images"


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Limits; None is not gated. The drop is float reference minus artefact."""

    psnr_drop_db_mean: float | None = None
    psnr_drop_db_worst: float | None = None
    latency_p90_ms: float | None = None
    size_kb: float | None = None
    int8_macs_share: float | None = None  # at least; held against LEAST_INT8_SHARE where None
    int8_speedup: float | None = None  # at least: p50 of the fastest float mode over INT8
    coverage: float | None = None  # at least: operators on the unit that the target names, 0 to 1
    npu_operators_off: int | None = None  # that stay on the CPU beside an NPU
    npu_sram_kb: float | None = None
    npu_cycles: int | None = None


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How latency is taken, on this host or on the device that the recipe names."""

    threads: int = 2
    min_runs: int = 100
    min_s: float = 3.0
    input_px: tuple[int, int] = (360, 640)  # height, width; files with a fixed tile use the tile


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A checked recipe: nothing in it is unknown, missing or of the wrong type."""

    name: str
    path: Path
    network: NetworkSource
    steps: tuple[StepSpec, ...]
    targets: tuple[str, ...]
    gates: Gates
    measuring: Measuring
    devices: Mapping[str, str] = field(default_factory=dict)  # target -> URL; else this host
    calibration: Path | None = None  # a folder; None: the shipped photographs
    validation: Path | None = None
    seed: int = 0
