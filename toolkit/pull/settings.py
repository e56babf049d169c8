"""What a pull is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Testing:
    """How a fetched model proves itself on this camera before it is served."""

    wanted: bool = True
    program: Path | None = None  # run instead of the golden vectors: PROGRAM RELEASE_FOLDER
    limit_s: float = 60.0  # of wall time and of processor time per core
    memory_mb: int = 2048  # of address space, not of memory in use: runtimes reserve much
    max_latency_us: int | None = None  # p90; None: the limit that the release states, if any
    threads: int | None = None  # None: as it was proved, else 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything of `edgesr pull` that one poll needs."""

    channel: str  # URL of the folder that holds metadata/ and targets/, without a slash at its end
    device_id: str
    root: Path  # the root.json that came with the firmware
    store: Path
    family: str | None = None  # None: the only one of the channel
    compatible: str | None = None  # None: the family's name
    firmware: int = 0
    runtimes: Mapping[str, str] = field(default_factory=dict)  # stated versions by name
    testing: Testing = Testing()
    time_floor: datetime | None = None  # now is never before it; the client's own is older
    ca: Path | None = None
    wait_s: float = 60.0
    stall_s: float = 30.0
    tries: int = 5
    retry_s: float = 1.0
