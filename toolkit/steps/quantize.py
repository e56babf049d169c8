"""Step `quantize`: calibrate once. Float network in; equalised float network and plan out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    Span,
    gather_histograms,
    gather_spans,
    mse_range,
)
from toolkit.quant.equalise import equalised
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.patches import chart_patches, cut_patches, patch_px
from toolkit.quant.rounding import keep_rounded, round_weights
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


def _ranges(
    graph: GraphView, spans: Mapping[str, Span], patches: list[Batch], given: StepInput
) -> dict[str, TensorRange]:
    ranges = {name: TensorRange(low=span.whole[0], high=span.whole[1]) for name, span in spans.items()}
    if given.params["range"] == "mse":
        counts = gather_histograms(graph, _reported(patches, given, "histograms"), spans, spans)
        for name, histogram in counts.items():
            low, high = mse_range(histogram, *spans[name].whole)
            ranges[name] = TensorRange(low=low, high=high)
    white = given.network.contract.white
    ranges[graph.input] = TensorRange(low=0.0, high=white)
    ranges[graph.output] = TensorRange(low=0.0, high=white)
    return ranges


def run(given: StepInput, out: Path) -> dict[str, Any]:
    """Write `network.onnx` (equal in float) and `plan.json`; see `Step.run`.

    Raises UserError where no patch can be cut or a tensor is not finite.
    """
    contract = given.network.contract
    patches = _patches(given, contract)
    graph = view(with_names(onnx.load(given.network.path)))
    spans = gather_spans(graph, _reported(patches, given, "ranges"))
    facts: dict[str, Any] = {"patches": len(patches), "equalised": False}
    if given.params["equalise"]:
        scaled = equalised(graph, spans, white=contract.white)
        difference = largest_difference(graph.model, scaled.model, patches[:8]) / contract.white
        facts["equalise_difference"] = difference
        if difference <= EQUAL_TO_WHITE:
            facts["equalised"] = True
            graph = scaled
            spans = gather_spans(graph, _reported(patches, given, "ranges, equalised"))
    model = graph.model
    if given.params["bias_correction"]:
        rounded = round_weights(graph, patches)
        facts["rounded_layers"] = len(rounded)
        model = keep_rounded(model, rounded)
    network = write_network(model, contract, out / "network.onnx")
    plan = QuantPlan(
        network=network.digest,
        calibration=sha256_json([given.calibration.digest, dict(given.params)]),
        ranges=_ranges(graph, spans, patches, given),
        float_nodes=tuple(given.params["float_nodes"]),
    )
    write_plan(plan, out / "plan.json")
    return facts
