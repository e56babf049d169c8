"""Prune: remove the channels that matter least, then fine-tune against the unpruned network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from toolkit.contracts import Progress, StepInput
from toolkit.errors import UserError
from toolkit.model.channels import Channels, channels_of
from toolkit.model.layer_sizes import layer_channels, layer_positions, macs_of, parameters_of
from toolkit.model.network import write_network
from toolkit.model.pruning import (
    ChannelStatistics,
    check_prunable,
    pruned_to_macs,
    pruned_to_ratio,
    read_tensors_of,
    separated,
)
from toolkit.quant.calibration import probe
from toolkit.quant.patches import Batch, cut_patches, patch_px
from toolkit.quant.view import view, with_names

if TYPE_CHECKING:
    from torch import nn

    from toolkit.train.loop import TrainSettings

VERSION = 1
TOOLS = ("torch", "onnx", "onnxruntime", "numpy", "pillow")
CHECKPOINT = "finetune.ckpt"
STATISTICS_PATCHES = 32
STATISTICS_PX = 48  # LR edge of a patch
WEIGHT_HR = 0.5  # against 1.0 for the unpruned network's output


def run(given: StepInput, out: Path) -> dict[str, Any]:
    """Write the smaller network as `network.onnx`; a fine-tune resumes from `given.work`.

    Takes `ratio` (of the channels, removed) or `macs_share` (at most so much stays). Which
    channels matter is measured on calibration images. Raises UserError where none can go.
    """
    params, contract = given.params, given.network.contract
    whole = with_names(separated(onnx.load(given.network.path)))
    channels = channels_of(whole)
    multiple = int(params.get("channel_multiple") or given.channel_multiple)
    check_prunable(channels, multiple)
    statistics = channel_statistics(whole, channels, _patches(given))
    if params.get("macs_share") is not None:
        share = float(params["macs_share"])
        smaller = pruned_to_macs(whole, channels, statistics, share=share, multiple=multiple)
    else:
        ratio = float(params["ratio"])
        smaller = pruned_to_ratio(whole, channels, statistics, ratio=ratio, multiple=multiple)
    facts = _size_facts(whole, smaller) | {"channel_multiple": multiple}
    if params.get("finetune_steps"):
        smaller, tuned = _finetuned(given, whole, smaller)
        facts |= tuned
    if os.environ.get("RANK", "0") == "0":  # of several processes the first one writes
        write_network(smaller, contract, out / "network.onnx")
    return facts


def _patches(given: StepInput) -> Iterable[Batch]:
    contract = given.network.contract
    return cut_patches(
        given.calibration,
        contract,
        count=STATISTICS_PATCHES,
        size_px=patch_px(STATISTICS_PX, contract),
        seed=int(given.params.get("seed") or 0),
    )


def channel_statistics(
    model: onnx.ModelProto, channels: Channels, patches: Iterable[Batch]
) -> dict[str, ChannelStatistics]:
    """Mean and variance of what each convolution reads, over all pixels of all patches.

    patches: float32 (1, C, h, w) as the network takes them. Raises UserError without any.
    """
    graph = view(model)
    tensors = read_tensors_of(model, channels)
    sums: dict[str, list[np.ndarray]] = {}
    source = None
    for patch in patches:
        source = source or probe(graph, sorted(set(tensors.values())), patch)
        for name, value in ((graph.input, patch), *source.fetch(patch)):
            rows = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1).astype(np.float64)
            now = [rows.sum(1), (rows**2).sum(1), np.array(rows.shape[1])]
            sums[name] = (
                [a + b for a, b in zip(sums[name], now, strict=True)] if name in sums else now
            )
    if not sums:
        raise UserError(
            "no calibration image is large enough to see which channels matter",
            where="step `prune`",
            hint="give photographs at least as large as the smallest input times the scale",
        )
    return {node: _statistics(*sums[name]) for node, name in tensors.items()}


def _statistics(total: np.ndarray, squares: np.ndarray, count: np.ndarray) -> ChannelStatistics:
    mean = total / count
    return ChannelStatistics(mean=mean, variance=np.maximum(squares / count - mean**2, 0))


def _size_facts(whole: onnx.ModelProto, smaller: onnx.ModelProto) -> dict[str, Any]:
    positions = layer_positions(whole)
    before, after = layer_channels(whole), layer_channels(smaller)
    return {
        "parameters": [parameters_of(whole), parameters_of(smaller)],
        "macs_360x640": [macs_of(whole, positions), macs_of(smaller, positions)],
        "channels": {name: [before[name], after[name]] for name in before},
    }


def _finetuned(
    given: StepInput, whole: onnx.ModelProto, smaller: onnx.ModelProto
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The smaller network trained to answer as the whole one, where that helped."""
    import torch

    from toolkit.model.torch_bridge import to_module, to_onnx
    from toolkit.train.loop import train
    from toolkit.train.pairs import UnitRgb, holdout_psnr_db, read_pairs

    params, contract = given.params, given.network.contract
    torch.manual_seed(int(params.get("seed") or 0))
    torch.set_num_threads(int(params["threads"]))
    lr_px = patch_px(int(params["lr_px"]), contract)
    pairs, holdout = read_pairs(
        Path(params["images"]),
        scale=contract.scale,
        luma_only=contract.color == "luma",
        exclude=params["exclude"],
        holdout_every=int(params["holdout_every"]),
        minimum_lr_px=lr_px,
        multiple_of=contract.multiple_of,
    )
    student, teacher = (UnitRgb(to_module(model), contract) for model in (smaller, whole))

    def score(module: nn.Module) -> float:
        return holdout_psnr_db(module, holdout, contract.scale)

    psnr_db = {"unpruned": score(teacher), "pruned": score(student)}
    trained = train(
        student,
        pairs,
        _settings(params, lr_px),
        scale=contract.scale,
        checkpoint=given.work / CHECKPOINT,
        teacher=teacher,
        validate=score,
        show=lambda p: given.show(
            Progress(done=p.step, total=p.steps, note=f"holdout {p.psnr_db:.2f} dB")
        ),
    )
    psnr_db["finetuned"] = score(trained)
    facts = {
        "training_images": len(pairs),
        "holdout_images": len(holdout),
        "holdout_psnr_db": psnr_db,
    }
    if psnr_db["finetuned"] < psnr_db["pruned"]:  # a rate too high can do harm
        return smaller, facts
    tuned = to_onnx(student.network.cpu(), channels=contract.channels, scale=contract.scale)
    return tuned, facts


def _settings(params: Mapping[str, Any], lr_px: int) -> TrainSettings:
    from toolkit.train.loop import TrainSettings

    steps = int(params["finetune_steps"])
    return TrainSettings(
        steps=steps,
        batch=int(params["batch"]),
        lr_px=lr_px,
        learning_rate=float(params["learning_rate"]),
        warmup_steps=min(200, steps // 10),
        weight_hr=WEIGHT_HR,
        weight_teacher=1.0,
        seed=int(params.get("seed") or 0),
        validate_every=max(1, steps // 4),
    )
