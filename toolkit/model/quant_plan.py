"""The quantization plan: calibrated once, lowered to every runtime's own scheme."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TensorRange:
    """The real values a float tensor takes, lowest and highest, over the calibration patches."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class QuantPlan:
    """For each activation tensor of the spine file its range, for each node its precision.

    Names are tensor and node names of the network with digest `network`. Tensors without a range
    and nodes in `float_nodes` stay float. The output's range is always [0, white]: one grey level
    per step, because any other grid rounds the picture twice. `channel_ranges` is for runtimes that
    store a tensor before a curve in 8 bits and may give groups of channels a grid each.
    """

    network: str
    calibration: str  # digest of the image set and of how patches were cut
    ranges: Mapping[str, TensorRange]
    float_nodes: tuple[str, ...] = ()
    channel_ranges: Mapping[str, tuple[TensorRange, ...]] = field(default_factory=dict)


def with_copies(plan: QuantPlan, copies: Mapping[str, str]) -> QuantPlan:
    """The plan in which each new tensor has the range of the old one, `copies` maps new to old."""
    ranges = {new: plan.ranges[old] for new, old in copies.items() if old in plan.ranges}
    return replace(plan, ranges={**plan.ranges, **ranges})


def write_plan(plan: QuantPlan, path: Path) -> None:
    """Store a plan as JSON with sorted keys."""
    path.write_text(json.dumps(asdict(plan), indent=1, sort_keys=True) + "\n")


def read_plan(path: Path) -> QuantPlan:
    """Read what `write_plan` wrote."""
    value = json.loads(path.read_text())
    ranges = {name: TensorRange(**span) for name, span in value["ranges"].items()}
    channels = {
        name: tuple(TensorRange(**span) for span in spans)
        for name, spans in value.get("channel_ranges", {}).items()
    }
    return QuantPlan(
        network=value["network"],
        calibration=value["calibration"],
        ranges=ranges,
        float_nodes=tuple(value["float_nodes"]),
        channel_ranges=channels,
    )
