"""The required and aimed-at figures, and how far each measured one is from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from int8_results import (
    RUNTIMES,
    TENSORRT,
    VENDORS,
    NetworkResult,
    Variant,
    geometric_mean,
)

UNTRAINED = ("rounding", "mixed")  # `mixed` may take layers out of 8 bits
PLAIN = "rounding"  # 8-bit weights and activations everywhere
TRAINED = "qat"
TENSORRT_EXTRA_DB = 0.02
HARD = "etds_s_x2"  # an image stream carried through every layer
TAIL = "abpn_m4c28_x3"  # the vendor's LiteRT file spends its time in the upsampler


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One cell: a measured value with the required and the aimed-at limit."""

    text: str
    network: str
    value: float  # NaN: not measured
    required: float
    aim: float
    unit: str
    sense: Literal["at most", "at least"]
    digits: int = 3
    note: str = ""

    def verdict(self, limit: float) -> str:
        """`met`, or by how much it is missed; a NaN is never met."""
        if math.isnan(self.value):
            return f"not measured{': ' + self.note if self.note else ''}"
        over = self.value - limit if self.sense == "at most" else limit - self.value
        # Limits are decimal figures: a value equal to one must not miss it by a rounding error.
        if over <= 1e-9:
            return "met"
        least = 10**-self.digits
        size = f"{over:.{self.digits}f}" if over >= least else f"less than {least:g}"
        return f"MISSED by {size} {self.unit}"


@dataclass(frozen=True, kw_only=True)
class DropLimits:
    """dB that may be lost, worst of three runtimes."""

    required: float
    aim: float


def untrained_limits(network: str) -> DropLimits:
    """Without training, at most 64 crops."""
    return DropLimits(required=0.90, aim=0.50) if network == HARD else _plain_limits()


def _plain_limits() -> DropLimits:
    return DropLimits(required=0.05, aim=0.03)


def trained_limits(network: str) -> DropLimits:
    """With quantization-aware training of at most 20 minutes."""
    return (
        DropLimits(required=0.15, aim=0.05)
        if network == HARD
        else DropLimits(required=0.02, aim=0.00)
    )


def _best(result: NetworkResult) -> Variant | None:
    """The first untrained rung that holds the limit, as the ladder climbs; else what loses least.

    Only plain 8 bits count for the hard network.
    """
    names = (PLAIN,) if result.name == HARD else UNTRAINED
    found = [result.variants[n] for n in names if n in result.variants]
    measured = [v for v in found if not math.isnan(v.worst_db())]
    limit = untrained_limits(result.name).required
    passing = [v for v in measured if v.worst_db() <= limit]
    if passing:
        return passing[0]
    return min(measured, key=Variant.worst_db) if measured else next(iter(found), None)


def shipped_variant(result: NetworkResult) -> str:
    """The untrained variant whose drop is held against the limits; its speed counts too."""
    best = _best(result)
    return best.name if best else PLAIN


def _drop(
    text: str, result: NetworkResult, variant: Variant | None, limits: DropLimits
) -> list[Requirement]:
    worst = variant.worst_db() if variant else math.nan
    stand_in = variant.worst_db([TENSORRT]) if variant else math.nan
    name = f" (`{variant.name}`)" if variant else ""
    note = variant.note if variant else "not run"
    return [
        Requirement(
            text=f"{text}{name}: drop, worst of three runtimes",
            network=result.name,
            value=worst,
            required=limits.required,
            aim=limits.aim,
            unit="dB",
            sense="at most",
            note=note,
        ),
        Requirement(
            text=f"{text}{name}: drop, TensorRT scheme",
            network=result.name,
            value=stand_in,
            required=limits.required + TENSORRT_EXTRA_DB,
            aim=limits.aim,
            unit="dB",
            sense="at most",
            note=note,
        ),
    ]


def drop_requirements(result: NetworkResult) -> list[Requirement]:
    """Drops, minutes, spread and agreement of one network."""
    best, trained = _best(result), result.variants.get(TRAINED)
    found = _drop("no training", result, best, untrained_limits(result.name))
    found += _drop("with QAT", result, trained, trained_limits(result.name))
    for text, variant, limit in (("no training", best, 3.0), ("with QAT", trained, 20.0)):
        if variant is not None and not math.isnan(variant.minutes):
            found.append(
                Requirement(
                    text=f"{text} (`{variant.name}`): minutes on this machine",
                    network=result.name,
                    value=variant.minutes,
                    required=limit,
                    aim=limit,
                    unit="min",
                    sense="at most",
                    digits=1,
                )
            )
    for variant in filter(None, (best, trained)):
        found += _agreement(result.name, variant)
    return found


def _agreement(network: str, variant: Variant) -> list[Requirement]:
    chart = variant.worst_chart()
    measured = not math.isnan(chart.mean)
    return [
        Requirement(
            text=f"`{variant.name}`: spread between runtimes",
            network=network,
            value=variant.spread_db(),
            required=0.03,
            aim=0.01,
            unit="dB",
            sense="at most",
        ),
        Requirement(
            text=f"`{variant.name}`: pixels within 1 level, worst pair of runtimes",
            network=network,
            value=100 * variant.least_within(),
            required=99.5,
            aim=99.99,
            unit="%",
            sense="at least",
        ),
        Requirement(
            text=f"`{variant.name}`: charts, largest difference from float",
            network=network,
            value=chart.largest if measured else math.nan,
            required=1,
            aim=0,
            unit="levels",
            sense="at most",
            digits=0,
        ),
        Requirement(
            text=f"`{variant.name}`: charts, mean difference from float",
            network=network,
            value=abs(chart.mean),
            required=0.25,
            aim=0.0,
            unit="levels",
            sense="at most",
        ),
    ]


def speed_requirements(results: Sequence[NetworkResult]) -> list[Requirement]:
    """INT8 over true float32, each and as geometric means, and against the vendors."""
    found = []
    for result in results:
        shipped = shipped_variant(result)
        ratios = {s: result.speedup(s, shipped) for s in RUNTIMES}
        worst = min(ratios, key=lambda s: (not math.isnan(ratios[s]), ratios[s]))
        found.append(
            Requirement(
                text=f"slowest runtime ({worst}): INT8 speed over float32",
                network=result.name,
                value=ratios[worst],
                required=2.0,
                aim=2.0,
                unit="x",
                sense="at least",
                digits=2,
            )
        )
    every = [r.speedup(s, shipped_variant(r)) for r in results for s in RUNTIMES]
    openvino = [r.speedup("openvino", shipped_variant(r)) for r in results]
    found.append(_mean_speed("all runtimes", geometric_mean(every), 2.6, 2.8))
    found.append(_mean_speed("OpenVINO", geometric_mean(openvino), 2.6, 3.3))
    return found


def _mean_speed(text: str, value: float, required: float, aim: float) -> Requirement:
    return Requirement(
        text=f"geometric mean of INT8 speed over float32, {text}",
        network="all",
        value=value,
        required=required,
        aim=aim,
        unit="x",
        sense="at least",
        digits=2,
    )


def vendor_requirements(result: NetworkResult) -> list[Requirement]:
    """Against each vendor's default in the same run: quality, and speed on the three runtimes."""
    ours, theirs = _best(result), result.variants.get(VENDORS)
    if ours is None or theirs is None:
        return []
    found = []
    for scheme in (*RUNTIMES, TENSORRT):
        # A vendor that gives no file at all cannot be lost against.
        if scheme not in theirs.drops or scheme not in ours.drops:
            continue
        found.append(
            Requirement(
                text=f"{scheme}: drop over the vendor's default",
                network=result.name,
                value=ours.drops[scheme].mean_db - theirs.drops[scheme].mean_db,
                required=0.0,
                aim=0.0,
                unit="dB",
                sense="at most",
            )
        )
    for scheme in RUNTIMES:
        ratio = result.ratio((scheme, VENDORS), (scheme, shipped_variant(result)))
        if not math.isnan(ratio):
            least = 2.2 if (result.name, scheme) == (TAIL, "litert") else 1 / 1.05
            found.append(
                Requirement(
                    text=f"{scheme}: speed over the vendor's default",
                    network=result.name,
                    value=ratio,
                    required=least,
                    aim=max(1.0, least),
                    unit="x",
                    sense="at least",
                    digits=2,
                )
            )
    return found


def requirements(results: Sequence[NetworkResult]) -> list[Requirement]:
    """Every cell, network by network."""
    found = [r for result in results for r in drop_requirements(result)]
    found += speed_requirements(results)
    return found + [r for result in results for r in vendor_requirements(result)]
