"""Everything a reviewer needs to know of a run, without running anything again."""

from __future__ import annotations

import math
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
    """Wall time of one inference, first runs left out."""

    p50_ms: float
    p90_ms: float
    runs: int
    threads: int
    precision: str  # what the runtime really computed in
    height_px: int
    width_px: int
    peak_memory_mb: float
    device: str = ""  # the URL of the device; "": this host
    tool: str = ""  # what took the time: "runner", or a program of the vendor's; "": this process
    unstable: tuple[str, ...] = ()  # why the time cannot be trusted; empty: it can


@dataclass(frozen=True, kw_only=True)
class NpuOperator:
    """One operator of a compiled file."""

    name: str  # of the tensor it makes
    kind: str  # e.g. "CONV_2D"
    reason: str = ""  # why it is not on the NPU


@dataclass(frozen=True, kw_only=True)
class NpuUse:
    """What an NPU's compiler says of one file: an estimate for one tile, nothing was run.

    kB are 1000 bytes. Time covers the NPU alone: operators that stay on the CPU come on top.
    """

    accelerator: str
    system_config: str  # in the compiler's words: clock and bandwidths
    memory_mode: str
    file: str  # the compiled file's name in the bundle
    clock_mhz: float
    cycles: int
    inference_ms: float  # at that clock
    sram_kb: float  # needed, at the peak
    dram_kb: float
    flash_kb: float
    sram_traffic_kb: float  # read and written in one inference
    dram_traffic_kb: float
    flash_traffic_kb: float
    on: tuple[NpuOperator, ...]
    off: tuple[NpuOperator, ...]


def npu_use(value: Mapping[str, Any]) -> NpuUse:
    """An `NpuUse` from its JSON value."""
    sides = {side: tuple(NpuOperator(**o) for o in value[side]) for side in ("on", "off")}
    return NpuUse(**{**value, **sides})


# TensorRT is on its boards alone: on this host ONNX Runtime computes its files.
STOOD_IN_FOR = "tensorrt"
OWN_TOOL = "trtexec"  # on a board this is what takes its files' times


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
    npu: NpuUse | None = None  # of files that are compiled for one
    # share of operators on the compute unit that the target names, 0 to 1; None: nobody looked
    coverage: float | None = None

    @property
    def is_stood_in(self) -> bool:
        """Whether another runtime's clock stands in for the file's own, so that no gate on time
        can be held."""
        return self.backend == STOOD_IN_FOR and (
            self.latency is None or self.latency.tool != OWN_TOOL
        )

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
class RungFile:
    """One INT8 file as one rung made it."""

    file: str
    mean_db: float  # drop against the float reference, mean over the validation images
    worst_db: float  # on the image that loses most
    p50_ms: float | None = None  # None: was not timed
    float_p50_ms: float | None = None  # the runtime's fastest float mode, timed in turn with it


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rung of quantization that was tried on a target's real files."""

    name: str  # "ranges", "equalise", "rounding", "mixed", "qat"
    # "passed"; "failed"; "best": none passed, it lost least; "refused": it could not be built
    state: str
    minutes: float  # of its `quantize` step, which other targets share
    why: str  # the first gate that failed, as a sentence; what refused it; "" where all held
    key: str  # digest of what was timed and how, so that a later run may take the times over
    files: tuple[RungFile, ...]

    @property
    def is_taken(self) -> bool:
        """Whether the files of the report are this rung's."""
        return self.state in ("passed", "best")

    @property
    def mean_db(self) -> float:
        """The drop of the file that loses most on average; infinite where no file came of it."""
        return max((file.mean_db for file in self.files), default=math.inf)


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What to ship for one runtime, and the numbers that decide it."""

    backend: str
    ship: str  # "int8", "float" or "either": only the board can tell
    why: str  # a sentence without a full stop
    int8_file: str
    float_file: str
    float_precision: str  # the fastest float mode of the runtime on this host
    int8_p50_ms: float
    float_p50_ms: float
    int8_drop_db: float
    float_drop_db: float  # of that float mode: bfloat16 rounds too

    @property
    def speed_up(self) -> float:
        """How many times faster INT8 is than the fastest float mode."""
        return self.float_p50_ms / self.int8_p50_ms


@dataclass(frozen=True, kw_only=True)
class LayerLoss:
    """What one layer costs: dB lost on calibration crops with only that layer quantized."""

    node: str
    kind: str  # ONNX operator
    drop_db: float
    macs_share: float  # of the network's multiply-accumulates, 0 to 1
    widened: bool  # it has more than 8 bits in the files of this report


@dataclass(frozen=True, kw_only=True)
class RecipeEdit:
    """One change of the recipe that would help."""

    line: str  # as it is written in the recipe
    effect: str  # what it does, without a full stop


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where the drop comes from, and which edits of the recipe would help."""

    layers: tuple[LayerLoss, ...]  # largest drop first; empty where it was not looked into
    edits: tuple[RecipeEdit, ...]


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
    ladder: tuple[Rung, ...] = ()  # in the order in which they were tried
    recommendations: tuple[Recommendation, ...] = ()  # one per runtime that has an INT8 file
    explanation: Explanation | None = None

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return asdict(self)
