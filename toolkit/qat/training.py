"""Quantization-aware training: minutes in, integers and ranges out, and never worse than before."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from toolkit.contracts import Progress
from toolkit.images.charts import charts
from toolkit.images.luma import rgb_to_ycbcr
from toolkit.images.resize import round_half_up_u8
from toolkit.model.contract import ImageContract
from toolkit.model.quant_plan import QuantPlan, TensorRange
from toolkit.model.torch_bridge import to_module
from toolkit.qat.network import (
    RoundingNetwork,
    grid_range,
    hold_weights,
    rounded_weights,
    rounding_network,
)
from toolkit.quant.carried import RoundedWeights, without_rounded
from toolkit.quant.schemes import QdqScheme
from toolkit.train import loop
from toolkit.train.loop import TrainSettings, train
from toolkit.train.pairs import UnitRgb
from toolkit.train.patches import Pair, sample_batch

BATCH = 8
LR_PX = 48
LEARNING_RATE = 0.005  # in int8 steps: Adam moves a weight by at most about so much in one step
FINAL_LEARNING_RATE = 0.0005
MOST_STEPS = 6000
FEWEST_STEPS = 50
WARMUP_SHARE = 0.05
AVERAGING = 0.995
ERROR_WEIGHT = 1e4  # squared errors of a fraction of a grey level vanish beside Adam's epsilon
TRIAL_STEPS = 6
MOVING, SETTLING = "training", "settling"
SETTLING_SHARE = 0.25
MOST_VALIDATIONS = 24
VALIDATION_SHARE = 0.15  # of the time, at most
SPARE_SHARE = 0.1  # of the time: start, charts, the last look
STEP_OVERHEAD = 1.15  # a step beside the two networks: batch, optimiser, averaging
CHART_PX = 96
LENGTH = "qat.json"
HOLDOUT_BATCHES = 24
CHECKPOINT_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training leaves: carried integers, the grids' ranges, facts for the report."""

    rounded: dict[str, RoundedWeights]
    ranges: dict[str, TensorRange]
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """The network, how it is rounded, what it learns from and for how long."""

    model: onnx.ModelProto  # carries the integers to start from
    plan: QuantPlan
    scheme: QdqScheme
    contract: ImageContract
    pairs: Sequence[Pair]
    holdout: Sequence[Pair]
    minutes: float
    seed: int
    work: Path  # checkpoints


def train_quantized(job: Job, show: Callable[[Progress], None]) -> Trained | None:
    """Train until the minutes are used or nothing is gained; None where nothing was gained at all.

    The float network is the teacher: the loss is the squared distance to its picture. A killed run
    is continued from its checkpoint, with the length that was chosen at its start.
    """
    torch.manual_seed(job.seed)
    white = job.contract.white
    network = rounding_network(job.model, job.plan, job.scheme, white=white)
    student = UnitRgb(network.module, job.contract)
    teacher = UnitRgb(to_module(without_rounded(job.model)), job.contract)
    watch = _Holdout(teacher, job)
    started = time.monotonic()
    before_db = watch.agreement_db(student)
    length = _length(job, student, teacher, time.monotonic() - started)
    pairs = _with_charts(job, teacher)
    for phase, settings in _phases(job, length):
        if phase == SETTLING:
            hold_weights(network)
        train(
            student,
            pairs,
            settings,
            scale=job.contract.scale,
            checkpoint=job.work / f"{phase}.ckpt",
            teacher=teacher,
            validate=watch.agreement_db,
            show=_shown(phase, show),
        )
    after_db = watch.agreement_db(student)
    facts = {
        "qat_steps": length.steps,
        "agreement_before_db": before_db,
        "agreement_after_db": after_db,
    }
    if after_db <= before_db:
        return None
    return Trained(rounded=rounded_weights(network), ranges=_ranges(network), facts=facts)


def _shown(phase: str, show: Callable[[Progress], None]) -> Callable[[loop.Progress], None]:
    def tell(now: loop.Progress) -> None:
        note = f"{phase}, {now.psnr_db:.2f} dB to float"
        show(Progress(done=now.step, total=now.steps, note=note))

    return tell


def _ranges(network: RoundingNetwork) -> dict[str, TensorRange]:
    return {tensor: grid_range(grid) for tensor, grid in network.grids.items()}


def _phases(job: Job, length: Length) -> list[tuple[str, TrainSettings]]:
    """First everything moves; then the integers are held, and biases and ranges settle on them."""
    steps, settling = length.steps, int(length.steps * SETTLING_SHARE)
    whole = TrainSettings(
        steps=steps - settling,
        batch=BATCH,
        lr_px=LR_PX,
        learning_rate=LEARNING_RATE,
        final_learning_rate=FINAL_LEARNING_RATE,
        warmup_steps=int(steps * WARMUP_SHARE),
        loss="l2",
        weight_hr=0.0,
        weight_teacher=ERROR_WEIGHT,
        ema=AVERAGING,
        seed=job.seed,
        validate_every=max(1, steps // length.validations),
        patience=max(2, length.validations // 2),
        checkpoint_every_s=CHECKPOINT_EVERY_S,
        time_limit_s=job.minutes * 60 * (1 - SETTLING_SHARE),
    )
    rest = replace(
        whole,
        steps=settling,
        warmup_steps=0,
        seed=job.seed + 1,
        time_limit_s=job.minutes * 60 * SETTLING_SHARE,
    )
    return [(MOVING, whole), (SETTLING, rest)]


def _with_charts(job: Job, teacher: nn.Module) -> list[Pair]:
    """The photographs and the charts: flat areas and hard edges must not be traded away.

    Nobody looks at the HR of a pair here; a chart's is the float network's, for its size.
    """
    drawn = []
    for _, chart in charts(CHART_PX, CHART_PX):
        planes = rgb_to_ycbcr(chart)[..., :1] if job.contract.color == "luma" else chart
        picture = torch.from_numpy(planes.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        with torch.no_grad():
            levels = teacher(picture)[0].permute(1, 2, 0).numpy().astype(np.float64) * 255
        drawn.append(Pair(lr=planes, hr=round_half_up_u8(levels)))
    return [*job.pairs, *drawn]


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long to train: optimiser steps, and how often to look at the holdout on the way."""

    steps: int
    validations: int


def _length(job: Job, student: nn.Module, teacher: nn.Module, validation_s: float) -> Length:
    """What the minutes allow; kept beside the checkpoints, for a resumed run."""
    kept = job.work / LENGTH
    if kept.exists():
        return Length(**json.loads(kept.read_text()))
    budget_s = job.minutes * 60 * (1 - SPARE_SHARE)
    validations = int(min(MOST_VALIDATIONS, max(2, budget_s * VALIDATION_SHARE / validation_s)))
    left_s = budget_s - validations * validation_s
    allowed = int(left_s / _step_s(job, student, teacher))
    length = Length(steps=min(MOST_STEPS, max(FEWEST_STEPS, allowed)), validations=validations)
    job.work.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(asdict(length)))
    return length


def _step_s(job: Job, student: nn.Module, teacher: nn.Module) -> float:
    """Median seconds of one training step on this machine now."""
    rng, scale = np.random.default_rng(job.seed), job.contract.scale
    lr, _ = sample_batch(job.pairs, scale=scale, batch=BATCH, lr_px=LR_PX, rng=rng)
    picture = torch.from_numpy(lr)
    seconds = []
    for _ in range(TRIAL_STEPS):
        started = time.monotonic()
        with torch.no_grad():
            goal = teacher(picture)
        ((student(picture) - goal) ** 2).mean().backward()
        student.zero_grad()
        seconds.append(time.monotonic() - started)
    return float(np.median(seconds)) * STEP_OVERHEAD


class _Holdout:
    """How near a network's pictures are to the float network's, on patches it does not learn."""

    def __init__(self, teacher: nn.Module, job: Job) -> None:
        rng, scale = np.random.default_rng(job.seed + 1), job.contract.scale
        self.batches = []
        for _ in range(HOLDOUT_BATCHES):
            lr, _ = sample_batch(job.holdout, scale=scale, batch=2, lr_px=LR_PX, rng=rng)
            picture = torch.from_numpy(lr)
            with torch.no_grad():
                self.batches.append((picture, teacher(picture).clamp(0, 1)))

    def agreement_db(self, module: nn.Module) -> float:
        """PSNR in dB of the module's pictures against the teacher's, both cut to [0, 1]."""
        module.eval()
        with torch.no_grad():
            errors = [((module(x).clamp(0, 1) - y) ** 2).mean() for x, y in self.batches]
        return float(-10 * torch.log10(torch.stack(errors).mean()))
