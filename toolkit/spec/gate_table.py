"""Gates as recipes and targets write them, and which of the two holds."""

from __future__ import annotations

import dataclasses
from typing import Any

from toolkit.spec.fields import Field, Table
from toolkit.spec.kinds import Number
from toolkit.spec.recipe import Gates
from toolkit.spec.rules import AtMost
from toolkit.spec.target import Target


def _gates(**values: Any) -> Gates:
    drop = values.pop("psnr_drop_db") or {"mean": None, "worst": None}
    return Gates(psnr_drop_db_mean=drop["mean"], psnr_drop_db_worst=drop["worst"], **values)


_DROP = Table(
    fields=(
        Field(
            name="mean",
            kind=Number(low=0, high=100),
            help="Mean over the validation images, at most.",
            default=None,
        ),
        Field(
            name="worst",
            kind=Number(low=0, high=100),
            help="On the worst image, at most.",
            default=None,
        ),
    ),
    rules=(AtMost(low="mean", high="worst"),),
)

GATES = Table(
    fields=(
        Field(
            name="psnr_drop_db",
            kind=_DROP,
            help="How many dB of PSNR the file may lose against the float network.",
            default=None,
        ),
        Field(
            name="latency_p90_ms",
            kind=Number(above=0, high=1_000_000),
            help="90th percentile of the time of one inference, on the device if one is named.",
            default=None,
        ),
        Field(
            name="size_kb",
            kind=Number(above=0, high=1_000_000_000),
            help="Size of the file in kB, at most.",
            default=None,
        ),
        Field(
            name="int8_macs_share",
            kind=Number(low=0, high=1),
            help="Share of the multiply-accumulates that run in INT8, at least; 0.5 if not stated.",
            default=None,
        ),
        Field(
            name="int8_speedup",
            kind=Number(above=0, high=1000),
            help="How many times faster than the runtime's fastest float mode INT8 is, at least.",
            default=None,
        ),
        Field(
            name="coverage",
            kind=Number(low=0, high=1),
            help="Share of operators that ran on the unit the target names, at least.",
            default=None,
        ),
        Field(
            name="npu_operators_off",
            kind=Number(whole=True, low=0, high=10_000),
            help="Operators that the NPU's compiler leaves to the CPU, at most.",
            default=None,
        ),
        Field(
            name="npu_sram_kb",
            kind=Number(above=0, high=1_000_000_000),
            help="SRAM in kB of 1000 bytes that the NPU needs at its peak, at most.",
            default=None,
        ),
        Field(
            name="npu_cycles",
            kind=Number(whole=True, low=1, high=1_000_000_000_000),
            help="Cycles that the NPU's compiler estimates for one tile, at most.",
            default=None,
        ),
    ),
    build=_gates,
)


def stated_gates(gates: Gates) -> dict[str, Any]:
    """The limits that are there, by the names of `Gates`."""
    return {name: limit for name, limit in dataclasses.asdict(gates).items() if limit is not None}


def gates_for(gates: Gates, target: Target) -> Gates:
    """A recipe's gates, and the target's where the recipe states none."""
    return Gates(**{**target.gates, **stated_gates(gates)})
