"""Quantization-aware training: minutes in, integers and ranges out, and never worse than before."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from toolkit.contracts import Progress
from toolkit.images.charts import charts
from toolkit.images.luma import rgb_to_ycbcr
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
LEARNING_RATE = 0.01  # in int8 steps: Adam moves a weight by at most about so much in one step
FINAL_LEARNING_RATE = 0.0005
MOST_STEPS = 6000
FEWEST_STEPS = 50
WARMUP_SHARE = 0.05
AVERAGING = 0.995
ERROR_WEIGHT = 1e4  # squared errors of a fraction of a grey level vanish beside Adam's epsilon
TRIAL_STEPS = 6
MOVING, SETTLING = "training", "settling"
SETTLING_SHARE = 0.25
VALIDATIONS = 24
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
    before_db = watch.agreement_db(student)
    steps = _steps(job, student, teacher)
    for phase, settings in _phases(job, steps):
        if phase == SETTLING:
            hold_weights(network)
        train(
            student,
            _with_charts(job),
            settings,
            scale=job.contract.scale,
            checkpoint=job.work / f"{phase}.ckpt",
            teacher=teacher,
            validate=watch.agreement_db,
            show=_shown(phase, show),
        )
    after_db = watch.agreement_db(student)
    facts = {"qat_steps": steps, "agreement_before_db": before_db, "agreement_after_db": after_db}
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


def _phases(job: Job, steps: int) -> list[tuple[str, TrainSettings]]:
    """First everything moves; then the integers are held, and biases and ranges settle on them."""
    whole = TrainSettings(
        steps=steps - int(steps * SETTLING_SHARE),
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
        validate_every=max(1, steps // VALIDATIONS),
        patience=VALIDATIONS // 3,
        checkpoint_every_s=CHECKPOINT_EVERY_S,
    )
    rest = replace(whole, steps=int(steps * SETTLING_SHARE), warmup_steps=0, seed=job.seed + 1)
    return [(MOVING, whole), (SETTLING, rest)]


def _with_charts(job: Job) -> list[Pair]:
    """The photographs and the charts: flat areas and hard edges must not be traded away."""
    drawn = []
    for _, chart in charts(CHART_PX, CHART_PX):
        planes = rgb_to_ycbcr(chart)[..., :1] if job.contract.color == "luma" else chart
        larger = planes.repeat(job.contract.scale, 0).repeat(job.contract.scale, 1)
        drawn.append(Pair(lr=planes, hr=larger))  # its HR is not looked at: the teacher's is
    return [*job.pairs, *drawn]


def _steps(job: Job, student: nn.Module, teacher: nn.Module) -> int:
    """How many steps the minutes allow; kept beside the checkpoint, for a resumed run."""
    kept = job.work / LENGTH
    if kept.exists():
        return int(json.loads(kept.read_text())["steps"])
    lr, _ = sample_batch(
        job.pairs,
        scale=job.contract.scale,
        batch=BATCH,
        lr_px=LR_PX,
        rng=np.random.default_rng(job.seed),
    )
    picture = torch.from_numpy(lr)
    seconds = []
    for _ in range(TRIAL_STEPS):
        started = time.monotonic()
        with torch.no_grad():
            goal = teacher(picture)
        ((student(picture) - goal) ** 2).mean().backward()
        student.zero_grad()
        seconds.append(time.monotonic() - started)
    allowed = int(job.minutes * 60 / (float(np.median(seconds)) * 1.1))
    steps = min(MOST_STEPS, max(FEWEST_STEPS, allowed))
    job.work.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"steps": steps}))
    return steps


class _Holdout:
    """How near a network's pictures are to the float network's, on patches it never learns from."""

    def __init__(self, teacher: nn.Module, job: Job) -> None:
        rng = np.random.default_rng(job.seed + 1)
        self.batches = []
        for _ in range(HOLDOUT_BATCHES):
            lr, _ = sample_batch(
                job.holdout, scale=job.contract.scale, batch=2, lr_px=LR_PX, rng=rng
            )
            picture = torch.from_numpy(lr)
            with torch.no_grad():
                self.batches.append((picture, teacher(picture).clamp(0, 1)))

    def agreement_db(self, module: nn.Module) -> float:
        """PSNR in dB of the module's pictures against the teacher's, both cut to [0, 1]."""
        module.eval()
        with torch.no_grad():
            errors = [((module(x).clamp(0, 1) - y) ** 2).mean() for x, y in self.batches]
        return float(-10 * torch.log10(torch.stack(errors).mean()))
