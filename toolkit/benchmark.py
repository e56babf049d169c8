"""What a device took for each file of a bundle, raw samples and conditions included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from toolkit.json_value import typed

SCHEMA = 1  # of the JSON value; a reader refuses a newer one
LONGEST_NS = 10**14  # more than a day: no inference


@dataclass(frozen=True, kw_only=True)
class Device:
    """One machine that files were run on."""

    url: str  # as it was named: `local:`, `ssh://pi@camera`, `adb:SERIAL`, `emulated:aarch64`
    name: str  # in the maker's words, e.g. "Raspberry Pi 5 Model B Rev 1.0"
    identity: str  # digest of what stays the same between two visits; equal: the same device
    machine: str  # instruction set, e.g. "aarch64"
    cpu: str
    cores: int
    memory_mb: float
    system: str  # kernel and its release
    is_emulated: bool = False  # its numbers count, its times do not


@dataclass(frozen=True, kw_only=True)
class TimingProtocol:
    """How times were taken: single stream, the next run starts when the last one ends."""

    threads: int = 2
    rounds: int = 3  # processes per file, files in turn: drift and a lucky process show
    min_runs: int = 100  # over all rounds
    min_s: float = 10.0  # over all rounds
    warm_up_s: float = 1.0  # untimed, in each process, at least two runs
    sustained_min: float = 0.0  # minutes of load before the first timed run
    input_px: tuple[int, int] = (360, 640)  # height, width; files with a fixed tile use the tile
    tuned: bool = False  # the governor was set to `performance` for the time of the run


@dataclass(frozen=True, kw_only=True)
class GoldenCheck:
    """A file's golden vectors on the device: numbers before speed."""

    vectors: int
    worst: float  # largest absolute difference, in stored output values
    tolerance: float
    within_share: float  # of output values, 0 to 1
    least_share: float
    equal_share: float  # of output values that are the very same
    passed: bool


@dataclass(frozen=True, kw_only=True)
class UnitUse:
    """What one compute unit did of a file: where it really ran."""

    unit: str  # "CPU", "XNNPACK", "GPU", "NPU", "DLA"
    operators: int
    operators_share: float  # 0 to 1
    time_ms: float | None  # in one inference; None where the runtime does not tell
    precisions: Mapping[str, int] = field(default_factory=dict)  # operators by precision


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Whether the samples can be trusted; every reason is a sentence without a full stop."""

    is_stable: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileTiming:
    """One file on one device. Times are None where only numbers were checked (emulation)."""

    file: str
    digest: str  # SHA-256 of the bytes that were run, taken on the device
    backend: str
    precision: str
    tool: str  # "runner", or the vendor's program: "trtexec", "benchmark_model", "benchmark_app"
    runtime: str  # name and version on the device
    height_px: int
    width_px: int
    golden: GoldenCheck | None  # None: the vendor's program cannot check them
    samples_ns: tuple[tuple[int, ...], ...]  # one tuple per round, outliers kept
    load_ms: tuple[float, ...]  # one per round
    first_ms: tuple[float, ...]  # first inference of each round
    peak_memory_mb: tuple[float, ...]  # growth of the process, one per round
    energy_j_per_frame: float | None  # from a real counter only
    stability: Stability
    units: tuple[UnitUse, ...]
    conditions: tuple[Mapping[str, Any], ...]  # before, during, after; one per round
    # What a vendor's program states of its runs where it gives no samples, one per round: `runs`,
    # and in ms `average`, `min`, `max`, `p50`, `p90`, each only where it is stated.
    stated_ms: tuple[Mapping[str, float], ...] = ()
    problem: str = ""  # why it was not timed, a sentence without a full stop; "" where it was


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Every file of one bundle on one device."""

    bundle: str  # name of the recipe and target, or of the file
    target: str
    device: Device
    protocol: TimingProtocol
    files: tuple[FileTiming, ...]
    toolkit: str
    taken_at: str  # ISO 8601, UTC, of the host
    schema: int = SCHEMA

    def as_json(self) -> dict[str, Any]:
        """A JSON value that `benchmark` reads back."""
        return asdict(self)


def benchmark(value: Any) -> Benchmark:
    """Read what `Benchmark.as_json` wrote. Raises TypeError, KeyError or ValueError."""
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise ValueError(f"it does not state schema {SCHEMA}, which this toolkit reads")
    found = typed(Benchmark, value, "benchmark")
    for timing in found.files:
        if not all(0 < sample < LONGEST_NS for taken in timing.samples_ns for sample in taken):
            raise ValueError(f"`samples_ns` must be positive and below {LONGEST_NS}")
    return found
