"""Step `quantize`: calibrate once. Float network in; equalised float network and plan out.

How much is done for the picture is the rung: `ranges` takes the lowest and highest values alone;
`equalise` scales channels first and ends ranges where a tanh or sigmoid is flat; `rounding` also
rounds weights by what layers read; `mixed` then takes the few layers that need it out of 8 bits;
`qat` trains from where `rounding` ends, with 8 bits in the loop and the float network as teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from toolkit.contracts import Progress, StepInput
from toolkit.digest import sha256_json
from toolkit.errors import UserError
from toolkit.images.decode import read_rgb
from toolkit.images.resize import crop_to_multiple
from toolkit.model.contract import ImageContract
from toolkit.model.network import Network, write_network
from toolkit.model.quant_plan import QuantPlan, TensorRange, write_plan
from toolkit.quant.anchors import on_grey_levels
from toolkit.quant.calibration import (
    Batch,
    Span,
    gather_spans,
)
from toolkit.quant.carried import keep_rounded, without_rounded
from toolkit.quant.channel_groups import channel_ranges
from toolkit.quant.equalise import apply_scales, channel_scales, scaled_spans
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.patches import chart_patches, cut_patches, patch_px
from toolkit.quant.ranges import flat_ends
from toolkit.quant.residual_adds import residual_adds
from toolkit.quant.rounding import round_weights
from toolkit.quant.schemes import SCHEMES
from toolkit.quant.sensitivity import layer_drops, nodes_to_widen
from toolkit.quant.ties import tied_channels
from toolkit.quant.view import GraphView, view, with_names

if TYPE_CHECKING:
    from toolkit.train.patches import Pair

VERSION = 7
TOOLS = ("numpy", "onnx", "onnxruntime")
ROUNDING_RUNGS = ("rounding", "mixed", "qat")
HOLDOUT_EVERY = 6  # of the calibration images one is kept to tell when training gains nothing
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


def _counted(given: StepInput, note: str) -> Callable[[int, int], None]:
    return lambda done, total: given.show(Progress(done=done, total=total, note=note))


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
    limits: dict[str, tuple[float, float]] = {name: span.whole for name, span in spans.items()}
    if given.params["rung"] != "ranges":
        limits |= flat_ends(graph, limits, _reported(patches, given, "histograms"))
    ranges = {name: TensorRange(low=low, high=high) for name, (low, high) in limits.items()}
    white = given.network.contract.white
    ranges[graph.input] = TensorRange(low=0.0, high=white)
    ranges[graph.output] = TensorRange(low=0.0, high=white)
    return ranges | on_grey_levels(graph, ranges, white=white)


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
    contract, rung = given.network.contract, given.params["rung"]
    patches = _patches(given, contract)
    graph = view(with_names(without_rounded(onnx.load(given.network.path))))
    spans = gather_spans(graph, _reported(patches, given, "ranges"))
    facts: dict[str, Any] = {"rung": rung, "patches": len(patches), "equalised": False}
    if rung != "ranges":
        scaled, after, difference = _equalised(graph, spans, contract.white, patches[:8])
        facts |= {"equalise_difference": difference, "equalised": difference <= EQUAL_TO_WHITE}
        if facts["equalised"]:
            graph, spans = scaled, after
    model, ranges = graph.model, _ranges(graph, spans, patches, given)
    if rung in ROUNDING_RUNGS:
        rounded = round_weights(graph, _reported(patches, given, "weights"), count=len(patches))
        facts["rounded_layers"] = len(rounded)
        model = keep_rounded(model, rounded)
    network = write_network(model, contract, out / "network.onnx")
    plan = QuantPlan(
        network=network.digest,
        calibration=sha256_json([given.calibration.digest, dict(given.params)]),
        ranges=ranges,
        float_nodes=tuple(given.params["float_nodes"]),
        channel_ranges=channel_ranges(graph, ranges, patches) if rung != "ranges" else {},
    )
    if rung == "mixed":
        plan = _widened(network, plan, given, facts)
    if rung == "qat":
        plan = _trained(model, plan, given, facts, out / "network.onnx")
    write_plan(plan, out / "plan.json")
    return facts


def _widened(
    network: Network, plan: QuantPlan, given: StepInput, facts: dict[str, Any]
) -> QuantPlan:
    """The plan with the few layers out of 8 bits that gain most; `facts` tells which, and why.

    The sums of features go with them, for runtimes that store these in 8 bits: they cost no
    multiplication, and a wide layer gains little where its output is rounded for a sum.
    """
    show = _counted(given, "layers alone in 8 bits")
    drops = layer_drops(network, plan, given.calibration, seed=given.params["seed"], show=show)
    chosen = nodes_to_widen(drops, macs_share=float(given.params["mixed_macs_share"]))
    facts |= {"layers": [asdict(drop) for drop in drops], "widened": list(chosen)}
    adds = residual_adds(view(with_names(without_rounded(onnx.load(network.path)))))
    wide = dict.fromkeys((*plan.float_nodes, *chosen, *adds))
    return replace(plan, float_nodes=tuple(wide))


def _trained(
    model: onnx.ModelProto, plan: QuantPlan, given: StepInput, facts: dict[str, Any], path: Path
) -> QuantPlan:
    """Write the network with trained integers over `path`; the plan with the trained ranges.

    Where training gains nothing, both stay as they are. `model` carries the integers to start
    from. Checkpoints go to `given.work`.
    """
    from toolkit.qat.training import Job, train_quantized

    pairs, holdout = _training_pairs(given)
    facts |= {"training_images": len(pairs), "holdout_images": len(holdout)}
    job = Job(
        model=model,
        plan=plan,
        scheme=SCHEMES["tensorrt" if given.params.get("symmetric") else "onnxruntime"],
        contract=given.network.contract,
        pairs=pairs,
        holdout=holdout,
        minutes=float(given.params["train_minutes"]),
        seed=int(given.params["seed"]),
        work=given.work,
    )
    trained = train_quantized(job, given.show)
    facts["training_gained"] = trained is not None
    if trained is None:
        return plan
    facts |= trained.facts
    network = write_network(keep_rounded(model, trained.rounded), given.network.contract, path)
    return replace(plan, network=network.digest, ranges={**plan.ranges, **trained.ranges})


def _training_pairs(given: StepInput) -> tuple[list[Pair], list[Pair]]:
    """Pictures to train on and others to hold out: a folder of the user's, or the calibration's."""
    from toolkit.qat.training import LR_PX
    from toolkit.train.pairs import read_pairs
    from toolkit.train.patches import make_pair

    contract = given.network.contract
    luma_only = contract.color == "luma"
    if given.params.get("images"):
        return read_pairs(
            Path(given.params["images"]),
            scale=contract.scale,
            luma_only=luma_only,
            exclude=(),
            holdout_every=HOLDOUT_EVERY,
            minimum_lr_px=max(LR_PX, contract.minimum_px),
            multiple_of=contract.multiple_of,
        )
    multiple = contract.scale * contract.multiple_of
    pictures = (crop_to_multiple(read_rgb(f.path), multiple) for f in given.calibration.files)
    pairs = [make_pair(p, scale=contract.scale, luma_only=luma_only) for p in pictures]
    large = [p for p in pairs if min(p.lr.shape[:2]) >= max(LR_PX, contract.minimum_px)]
    holdout = large[::HOLDOUT_EVERY]
    rest = [pair for index, pair in enumerate(large) if index % HOLDOUT_EVERY]
    if not rest:
        raise UserError(
            f"{len(large)} of {len(pairs)} calibration images are large enough to train on; two "
            "are needed",
            where="step `quantize`, rung `qat`",
            hint="name a folder of photographs, `images:`, or choose `train_minutes: 0`",
        )
    return rest, holdout
