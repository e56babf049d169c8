"""What a runner's answer says, as typed values; every one of them is a stranger's claim."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.benchmark import LONGEST_NS, GoldenCheck, UnitUse
from toolkit.bundle.manifest import Golden
from toolkit.errors import EnvironmentFailure
from toolkit.measure.words import plain
from toolkit.runner.golden import BEYOND

MOST_SAMPLES = 5_000_000  # more than an hour of runs of a millisecond
DEEPEST = 5  # of conditions: when, what, zone
MOST_ENTRIES = 256  # of units, remarks, moments


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one process on the device found out about one file."""

    runtime: str  # name and version
    sha256: str  # of the file as the device read it; "" where it does not say
    golden: GoldenCheck | None
    load_ms: float | None
    first_ms: float | None
    samples_ns: tuple[int, ...]
    stated_ms: Mapping[str, float]  # what a vendor's program states where it gives no samples
    peak_memory_mb: float | None
    energy_j_per_frame: float | None
    units: tuple[UnitUse, ...]
    conditions: Mapping[str, Any]  # with `tuned` and `remarks`


def read_answer(value: Mapping[str, Any], vectors: Sequence[Golden], *, where: str) -> Answer:
    """Check an answer's JSON value. `vectors` are what the golden check was asked with.

    Raises EnvironmentFailure where the answer cannot be understood.
    """
    try:
        return _answer(value, vectors)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as problem:
        raise EnvironmentFailure(
            f"the device's answer cannot be understood: {plain(str(problem))}",
            where=where,
            hint="the run is discarded; run the same command again",
        ) from problem


def _answer(value: Mapping[str, Any], vectors: Sequence[Golden]) -> Answer:
    runtime = value.get("runtime") or {}
    remarks = [plain(str(remark)) for remark in (value.get("remarks") or [])[:MOST_ENTRIES]]
    conditions = _clean(value.get("conditions") or {}, DEEPEST)
    return Answer(
        runtime=f"{_word(runtime.get('name'))} {_word(runtime.get('version'))}".strip(),
        sha256=_word(value.get("sha256")),
        golden=_golden(value.get("golden"), vectors),
        load_ms=_amount(value.get("load_ms")),
        first_ms=_amount(value.get("first_ms")),
        samples_ns=_samples(value.get("samples_ns") or []),
        stated_ms=_stated(value.get("stated_ms") or {}),
        peak_memory_mb=_amount(value.get("peak_memory_mb")),
        energy_j_per_frame=_amount(value.get("energy_j_per_frame")),
        units=tuple(_unit(unit) for unit in (value.get("units") or [])[:MOST_ENTRIES]),
        conditions={**conditions, "tuned": value.get("tuned") is True, "remarks": remarks},
    )


def _golden(value: Any, vectors: Sequence[Golden]) -> GoldenCheck | None:
    """The verdict is drawn here, from the shares; the device's own word for it is not read."""
    if not vectors:
        return None
    names = ("worst", "within_share", "equal_share", "tolerance")
    worst, within, equal, tolerance = (_amount(value[name]) for name in names)
    worst, within = BEYOND if worst is None else worst, within or 0.0
    least = max(vector.least_share for vector in vectors)
    return GoldenCheck(
        vectors=len(vectors),
        worst=worst,
        tolerance=tolerance or 0.0,
        within_share=within,
        least_share=least,
        equal_share=equal or 0.0,
        passed=worst < BEYOND and least <= within <= 1 and value["vectors"] == len(vectors),
    )


def _samples(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) > MOST_SAMPLES:
        raise ValueError(f"`samples_ns` is no list of at most {MOST_SAMPLES} samples")
    for sample in values:
        if type(sample) is not int or not 0 < sample < LONGEST_NS:
            raise ValueError(f"a sample of {sample!a} ns")
    return tuple(values)


def _stated(values: Mapping[str, Any]) -> dict[str, float]:
    known = ((_word(name), _amount(value)) for name, value in values.items())
    return {name: value for name, value in known if value is not None}


def _unit(value: Mapping[str, Any]) -> UnitUse:
    share = _amount(value["operators_share"])
    if share is None or share > 1:
        raise ValueError(f"`operators_share` is {share}")
    counts = (value.get("precisions") or {}).items()
    return UnitUse(
        unit=_word(value["unit"]),
        operators=int(_amount(value["operators"]) or 0),
        operators_share=share,
        time_ms=_amount(value.get("time_ms")),
        precisions={_word(name): int(_amount(count) or 0) for name, count in counts},
    )


def _word(value: Any) -> str:
    return "" if value is None else plain(str(value), 100)


def _amount(value: Any) -> float | None:
    """A finite number that is not negative, or None where the device has none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!a} is no number")
    if not 0 <= value <= sys.float_info.max:  # False for NaN; whole numbers may be larger still
        raise ValueError(f"{plain(str(value), 60)} is out of range")
    return float(value)


def _clean(value: Any, depth: int) -> Any:
    """Conditions with plain text and finite numbers alone."""
    if depth == 0 or (isinstance(value, int | float) and not abs(value) <= sys.float_info.max):
        return None  # NaN and infinity, too
    if isinstance(value, Mapping):
        return {_word(key): _clean(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one, depth - 1) for one in value[:MOST_ENTRIES]]
    return value if isinstance(value, bool | int | float) or value is None else plain(str(value))
