"""Step `quantize`: calibrate once. Float network in; equalised float network and plan out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from toolkit.contracts import Progress, StepInput
from toolkit.digest import sha256_json
from toolkit.model.contract import ImageContract
from toolkit.model.network import write_network
from toolkit.model.quant_plan import QuantPlan, TensorRange, write_plan
from toolkit.quant.calibration import (
    Batch,
    Function,
    Span,
    gather_histograms,
    gather_spans,
    mse_range,
)
from toolkit.quant.carried import keep_rounded, without_rounded
from toolkit.quant.equalise import apply_scales, channel_scales, scaled_spans, tied_channels
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.patches import chart_patches, cut_patches, patch_px
from toolkit.quant.rounding import round_weights
from toolkit.quant.view import GraphView, view, with_names

VERSION = 1
TOOLS = ("numpy", "onnx", "onnxruntime")
EQUAL_TO_WHITE = 1e-4  # a fortieth of a grey level: float rounding, not another network


def _patches(given: StepInput, contract: ImageContract) -> list[Batch]:
    params = given.params
    size_px = patch_px(int(params["patch_px"]), contract)
    seed = int(params.get("seed", 0))
    crops = cut_patches(
        given.calibration, contract, count=int(params["patches"]), size_px=size_px, seed=seed
    )
    drawn = chart_patches(contract, size_px=size_px) if params["charts"] else iter(())
    return [*crops, *drawn]


def _reported(patches: list[Batch], given: StepInput, note: str) -> Iterator[Batch]:
    for index, patch in enumerate(patches):
        yield patch
        given.show(Progress(done=index + 1, total=len(patches), note=note))


def largest_difference(a: onnx.ModelProto, b: onnx.ModelProto, patches: list[Batch]) -> float:
    """Largest difference of the two networks' float outputs over the patches."""
    one, other = quiet_session(a), quiet_session(b)
    name = a.graph.input[0].name
    return max(
        float(np.abs(one.run(None, {name: p})[0] - other.run(None, {name: p})[0]).max())
        for p in patches
    )


@dataclass(frozen=True, kw_only=True)
class Saturating:
    """A function that is flat (to less than half an 8-bit step of its result) beyond `flat`."""

    function: Function
    flat: float


SHUFFLES = ("DepthToSpace", "SpaceToDepth", "Reshape", "Transpose")
SATURATE: Mapping[str, Saturating] = {
    "Tanh": Saturating(function=np.tanh, flat=3.2),
    "Sigmoid": Saturating(function=lambda x: 1 / (1 + np.exp(-x)), flat=6.3),
}


def _limited(
    graph: GraphView, name: str, span: tuple[float, float]
) -> tuple[tuple[float, float], Function | None]:
    """The part of a range in which its only reader still changes, and that reader's function."""
    reader = graph.only_consumer(name)
    while reader is not None and reader.op_type in SHUFFLES:
        reader = graph.only_consumer(reader.output[0])
    saturating = SATURATE.get(reader.op_type) if reader is not None else None
    if saturating is None:
        return span, None
    return (max(span[0], -saturating.flat), min(span[1], saturating.flat)), saturating.function


def _ranges(
    graph: GraphView, spans: Mapping[str, Span], patches: list[Batch], given: StepInput
) -> dict[str, TensorRange]:
    limits, functions = {}, {}
    for name, span in spans.items():
        limits[name], functions[name] = _limited(graph, name, span.whole)
    ranges = {name: TensorRange(low=low, high=high) for name, (low, high) in limits.items()}
    everything = given.params["range"] == "mse"
    studied = {n: s for n, s in limits.items() if (everything or functions[n]) and n != graph.input}
    if studied:
        counts = gather_histograms(graph, _reported(patches, given, "histograms"), studied)
        for name, histogram in counts.items():
            low, high = mse_range(histogram, *limits[name], functions[name])
            ranges[name] = TensorRange(low=low, high=high)
    white = given.network.contract.white
    ranges[graph.input] = TensorRange(low=0.0, high=white)
    ranges[graph.output] = TensorRange(low=0.0, high=white)
    return ranges


def _equalised(
    graph: GraphView, spans: dict[str, Span], white: float, patches: list[Batch]
) -> tuple[GraphView, dict[str, Span], float]:
    """The scaled network with its spans, and how far it is from the original, white = 1."""
    scales = channel_scales(graph, spans, tied_channels(graph, spans), white=white)
    scaled = view(apply_scales(graph, scales))
    difference = largest_difference(graph.model, scaled.model, patches) / white
    return scaled, scaled_spans(spans, scales), difference


def run(given: StepInput, out: Path) -> dict[str, Any]:
    """Write `network.onnx` (equal in float) and `plan.json`; see `Step.run`.

    Raises UserError where no patch can be cut or a tensor is not finite.
    """
    contract, params = given.network.contract, given.params
    patches = _patches(given, contract)
    graph = view(with_names(without_rounded(onnx.load(given.network.path))))
    spans = gather_spans(graph, _reported(patches, given, "ranges"))
    facts: dict[str, Any] = {"patches": len(patches), "equalised": False, "rounded_layers": 0}
    if params["equalise"]:
        scaled, after, difference = _equalised(graph, spans, contract.white, patches[:8])
        facts |= {"equalise_difference": difference, "equalised": difference <= EQUAL_TO_WHITE}
        if facts["equalised"]:
            graph, spans = scaled, after
    model = graph.model
    if params["bias_correction"]:
        rounded = round_weights(graph, _reported(patches, given, "weights"), count=len(patches))
        facts["rounded_layers"] = len(rounded)
        model = keep_rounded(model, rounded)
    network = write_network(model, contract, out / "network.onnx")
    plan = QuantPlan(
        network=network.digest,
        calibration=sha256_json([given.calibration.digest, dict(params)]),
        ranges=_ranges(graph, spans, patches, given),
        float_nodes=tuple(params["float_nodes"]),
    )
    write_plan(plan, out / "plan.json")
    return facts
