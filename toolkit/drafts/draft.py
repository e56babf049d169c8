"""What a bundle offers a channel, before it has a family and a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.release import GoldenPair, Role


@dataclass(frozen=True, kw_only=True)
class DraftFile:
    """One file to publish: its name on the camera, and its bytes or where they lie."""

    name: str
    role: Role
    content: bytes | Path


@dataclass(frozen=True, kw_only=True)
class Draft:
    """Everything of a `toolkit.release.Release` that the bundle decides."""

    compatible: str
    min_firmware: int
    recipe: str
    backend: str
    precision: str
    scale: int
    licence: str
    toolkit: str
    runtime: str
    runtime_least: str
    golden: tuple[GoldenPair, ...]
    latency_limit_us: int | None
    figures: Mapping[str, int]
    files: tuple[DraftFile, ...]
