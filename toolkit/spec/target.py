"""A target: what a device runs and what it cannot, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Scheme = Literal[
    "tensorrt", "onnxruntime", "onnxruntime_a16w8", "openvino", "litert", "litert_a16w8"
]


# Units as runtimes name them, where a target names none.
USUAL_UNITS: Mapping[str, str] = {"litert": "XNNPACK", "tensorrt": "GPU"}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One fact about a device, with where it was read."""

    text: str  # what the limit is, in a sentence
    source: str


@dataclass(frozen=True, kw_only=True)
class LimitFact:
    """What breaching one limit means, for the lint."""

    level: Literal["refused", "slow"]  # cannot run at all, or only slowly or on another unit
    instead: str  # what to change in the network
    source: str


@dataclass(frozen=True, kw_only=True)
class OperatorLimits:
    """What the device cannot run fast or at all; None means no limit."""

    refused: Mapping[str, str]  # ONNX operator -> what to do instead
    max_rank: int | None = None
    depth_to_space_blocks: tuple[int, ...] | None = None  # () refuses all of them
    kernel_sizes: tuple[int, ...] | None = None
    max_wide_axes: int | None = None  # axes longer than 1, the picture's own height and width too
    strides: tuple[int, ...] | None = None
    concat_multiple: int = 1  # of the channels that a concatenation joins
    channel_multiple: int = 1  # fast multiple: a warning, and what `prune` rounds to


@dataclass(frozen=True, kw_only=True)
class Npu:
    """An Arm Ethos-U and the memory around it, in the words of Arm's compiler Vela."""

    accelerator: str  # e.g. "ethos-u65-512": family and multiply-accumulates per cycle
    system_config: str  # clock and bandwidths, a section of Vela's vela.ini
    memory_mode: str  # which memory holds weights and feature maps, another section


@dataclass(frozen=True, kw_only=True)
class Build:
    """One kind of file a target gets: which backend writes it and under which scheme."""

    backend: str
    scheme: Scheme
    io_dtype: Literal["float32", "uint8", "int8"] = "float32"
    layout: Literal["nchw", "nhwc"] = "nchw"
    tile: tuple[int, int] | None = None  # fixed input height and width; None leaves them free
    per_channel: bool = True
    upsampler: Literal["depth_to_space", "reshape", "transpose_conv"] = "depth_to_space"
    float16: bool = False  # also write a float16-typed rival
    npu: Npu | None = None  # the INT8 file is compiled for it as well
    mixed: Literal["float32", "int16"] = "float32"  # activations of nodes that 8 bits do not serve


@dataclass(frozen=True, kw_only=True)
class Target:
    """One device. `facts` are the values that steps and backends read, for cache keys."""

    name: str
    title: str
    builds: tuple[Build, ...]
    limits: OperatorLimits
    rules: tuple[Rule, ...]
    gates: Mapping[str, float]  # defaults a recipe may override
    path: Path
    facts: Mapping[str, Any]
    # by the name of a limit (`max_rank`) or operator (`Resize`, `Resize[mode=cubic]`)
    limit_facts: Mapping[str, LimitFact] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)  # backend -> unit that does the work
    machine: str | None = None  # instruction set as `uname -m` says it; None: any

    def unit_of(self, backend: str) -> str:
        """The compute unit that must carry a backend's files, as runtimes call it."""
        return self.units.get(backend, USUAL_UNITS.get(backend, "CPU"))
