"""A training state on disk: written whole or not at all, read without running code from it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything a run needs to continue as if it had never stopped."""

    step: int
    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    # Empty where the last weights are kept, not the best ones; states of version 0.1 have none.
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_db: float = -math.inf
    waited: int = 0  # validations since the best one


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write beside `path`, flush to disk, then rename: a kill leaves the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(vars(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load(path: Path) -> Checkpoint | None:
    """The stored state, or None where there is none; tensors only, pickled code is refused."""
    if not path.exists():
        return None
    return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
