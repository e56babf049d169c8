"""The one training loop: distillation, fine-tuning after pruning and plain training all run it.

Under `torchrun` it runs unchanged on several processes: each takes its share of the batch, the
gradients are averaged and process 0 writes. Batches are drawn from (seed, step, rank), so a run
that was killed continues with exactly the patches it would have seen.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.train import checkpoint as checkpoints
from toolkit.train.losses import PIXEL_LOSSES
from toolkit.train.patches import Pair, sample_batch

SHOW_EVERY_STEPS = 20
GRADIENT_NORM_LIMIT = 0.5  # tiny networks with a high learning rate spike without one


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long and how hard to train. `batch` counts patches over all processes together."""

    steps: int
    batch: int = 16
    lr_px: int = 32  # edge of a low-resolution patch
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup_steps: int = 200
    loss: str = "l1"
    weight_hr: float = 1.0
    weight_teacher: float = 0.0
    weight_features: float = 0.0
    ema: float = 0.999
    seed: int = 0
    bfloat16_share: float = 0.0  # first part of the steps run under bfloat16 autocast
    checkpoint_every_s: float = 30.0
    validate_every: int = 1000
    patience: int | None = None  # validations without a gain before it stops and the best is kept
    time_limit_s: float | None = None  # of this process; a resumed run counts anew


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a run tells while it runs. psnr_db is NaN until the first validation."""

    step: int
    steps: int
    loss: float
    psnr_db: float
    steps_per_s: float


Show = Callable[[Progress], None]
Validate = Callable[[nn.Module], float]
FeatureLoss = Callable[[Tensor, Tensor], Tensor]


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """Linear warm-up, then a half cosine down to the final rate at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    span = max(1, settings.steps - settings.warmup_steps)
    share = (step - settings.warmup_steps) / span
    cosine = 0.5 * (1 + np.cos(np.pi * share))
    low, high = settings.final_learning_rate, settings.learning_rate
    return float(low + (high - low) * cosine)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int
    count: int


@contextlib.contextmanager
def process_group() -> Iterator[Processes]:
    """Join the group that `torchrun` announced in the environment, or be alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Processes(0, 1)
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend)
    try:
        rank = torch.distributed.get_rank()
        yield Processes(rank, torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()


def pick_device() -> torch.device:
    """CUDA when present (the local one under `torchrun`), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def _average_gradients(module: nn.Module, count: int) -> None:
    if count == 1:
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= count


def _update_average(average: dict[str, Tensor], module: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of the weights; early steps use a shorter memory."""
    decay = min(decay, (1 + step) / (10 + step))
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.detach(), 1 - decay)
        else:
            average[name].copy_(value)


class _FeatureTap:
    """Keeps the last convolution feature map before the upsampler; a no-op unless asked for."""

    def __init__(self, module: nn.Module) -> None:
        self.features: Tensor | None = None
        convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
        if len(convolutions) >= 2:
            convolutions[-1].register_forward_pre_hook(self._keep)

    def _keep(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.features = inputs[0]


@dataclass(frozen=True)
class _Objective:
    settings: TrainSettings
    student: nn.Module
    teacher: nn.Module | None
    feature_loss: FeatureLoss | None
    taps: tuple[_FeatureTap, _FeatureTap] | None

    def __call__(self, lr: Tensor, hr: Tensor) -> Tensor:
        settings, distance = self.settings, PIXEL_LOSSES[self.settings.loss]
        output = self.student(lr).float()
        total = settings.weight_hr * distance(output, hr)
        if self.teacher is None:
            return total
        with torch.no_grad():
            goal = self.teacher(lr).float()
        total = total + settings.weight_teacher * distance(output, goal)
        if self.taps and self.feature_loss and all(t.features is not None for t in self.taps):
            ours, theirs = self.taps[0].features, self.taps[1].features
            assert ours is not None and theirs is not None
            if ours.shape[-2:] == theirs.shape[-2:]:
                total = total + settings.weight_features * self.feature_loss(ours, theirs)
        return total


def train(
    student: nn.Module,
    pairs: Sequence[Pair],
    settings: TrainSettings,
    *,
    scale: int,
    checkpoint: Path,
    teacher: nn.Module | None = None,
    feature_loss: FeatureLoss | None = None,
    validate: Validate | None = None,
    show: Show | None = None,
) -> nn.Module:
    """Train `student` in place and return it with its averaged weights.

    student, teacher: (N, C, H, W) float32 in [0, 1] to (N, C, H * scale, W * scale).
    `checkpoint` is written every `checkpoint_every_s` seconds and continued from when present.
    `validate` gives the PSNR in dB to show; it sees the averaged weights. With `patience` the
    weights of its best answer are kept, else the last ones; one process only.
    """
    with process_group() as processes:
        device = pick_device()
        _placed(student, device).train()
        objective = _objective(student, teacher, feature_loss, settings, device)
        state = _State(student, settings)
        state.resume(checkpoint)
        job = _Job(objective, state, pairs, scale, processes, device)
        psnr_db, saved, watch = float("nan"), time.monotonic(), _Watch(state.step)
        while state.step < settings.steps and not state.is_exhausted(settings):
            if watch.is_over(settings.time_limit_s):
                break
            loss = _one_step(job)
            if validate and processes.rank == 0 and state.step % settings.validate_every == 0:
                psnr_db = _with_average(student, state.average, validate)
                state.note(psnr_db, settings)
            if processes.rank == 0 and time.monotonic() - saved > settings.checkpoint_every_s:
                state.save(checkpoint)
                saved = time.monotonic()
            if show and processes.rank == 0 and state.step % SHOW_EVERY_STEPS == 0:
                show(watch.progress(state.step, settings.steps, float(loss), psnr_db))
        if processes.rank == 0:
            state.save(checkpoint)
    student.load_state_dict(state.best or state.average)
    return student.eval()


def _placed(module: nn.Module, device: torch.device) -> nn.Module:
    """On the device, with channels last: 1.5 times as fast on a CPU. Torch's types lag behind."""
    return module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _objective(
    student: nn.Module,
    teacher: nn.Module | None,
    feature_loss: FeatureLoss | None,
    settings: TrainSettings,
    device: torch.device,
) -> _Objective:
    taps = None
    if teacher is not None:
        _placed(teacher, device).eval().requires_grad_(False)
        if settings.weight_features > 0:
            taps = (_FeatureTap(student), _FeatureTap(teacher))
    return _Objective(settings, student, teacher, feature_loss, taps)


class _State:
    """What changes while training: the weights, their average, the optimizer, the step."""

    def __init__(self, student: nn.Module, settings: TrainSettings) -> None:
        self.step = 0
        self.student = student
        self.optimizer = torch.optim.Adam(student.parameters(), lr=settings.learning_rate)
        self.average = {name: value.detach().clone() for name, value in _weights(student)}
        self.best: dict[str, Tensor] = {}
        self.best_db = -float("inf")
        self.waited = 0

    def note(self, psnr_db: float, settings: TrainSettings) -> None:
        """Keep the averaged weights where they are the best so far and the best is wanted."""
        if settings.patience is None:
            return
        self.waited += 1
        if psnr_db > self.best_db:
            self.best_db, self.waited = psnr_db, 0
            self.best = {name: value.clone() for name, value in self.average.items()}

    def is_exhausted(self, settings: TrainSettings) -> bool:
        """Whether nothing was gained for too long."""
        return settings.patience is not None and self.waited >= settings.patience

    def resume(self, checkpoint: Path) -> None:
        """Continue from a stored state where there is one."""
        stored = checkpoints.load(checkpoint)
        if stored is None:
            return
        self.step = stored.step
        self.best, self.best_db, self.waited = stored.best, stored.best_db, stored.waited
        self.student.load_state_dict(stored.weights)
        self.optimizer.load_state_dict(stored.optimizer)
        for name, value in stored.average.items():
            self.average[name].copy_(value)

    def save(self, checkpoint: Path) -> None:
        """Store everything that `resume` reads."""
        stored = checkpoints.Checkpoint(
            step=self.step,
            weights=dict(_weights(self.student)),
            average=self.average,
            optimizer=self.optimizer.state_dict(),
            best=self.best,
            best_db=self.best_db,
            waited=self.waited,
        )
        checkpoints.save(stored, checkpoint)


def _weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    return list(module.state_dict().items())


@dataclass(frozen=True)
class _Job:
    """One training run on this process."""

    objective: _Objective
    state: _State
    pairs: Sequence[Pair]
    scale: int
    processes: Processes
    device: torch.device


class _Watch:
    """How fast this process goes, counted from where it started or resumed."""

    def __init__(self, first_step: int) -> None:
        self._first_step = first_step
        self._started = time.monotonic()

    def is_over(self, limit_s: float | None) -> bool:
        """Whether this process has trained for as long as it may."""
        return limit_s is not None and time.monotonic() - self._started > limit_s

    def progress(self, step: int, steps: int, loss: float, psnr_db: float) -> Progress:
        """What to show at this step."""
        rate = (step - self._first_step) / (time.monotonic() - self._started)
        return Progress(step=step, steps=steps, loss=loss, psnr_db=psnr_db, steps_per_s=rate)


def _one_step(job: _Job) -> Tensor:
    settings, state, processes = job.objective.settings, job.state, job.processes
    rng = np.random.default_rng([settings.seed, state.step, processes.rank])
    share = settings.batch // processes.count
    lr_patch, hr_patch = sample_batch(
        job.pairs, scale=job.scale, batch=share, lr_px=settings.lr_px, rng=rng
    )
    lr = torch.from_numpy(lr_patch).to(job.device, memory_format=torch.channels_last)
    hr = torch.from_numpy(hr_patch).to(job.device)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate_at(state.step, settings)
    fast = state.step < settings.bfloat16_share * settings.steps
    with torch.autocast(job.device.type, dtype=torch.bfloat16, enabled=fast):
        loss = job.objective(lr, hr)
    state.optimizer.zero_grad()
    loss.backward()
    _average_gradients(state.student, processes.count)
    nn.utils.clip_grad_norm_(state.student.parameters(), GRADIENT_NORM_LIMIT)
    state.optimizer.step()
    _update_average(state.average, state.student, state.step, settings.ema)
    state.step += 1
    return loss.detach()


def _with_average(student: nn.Module, average: dict[str, Tensor], validate: Validate) -> float:
    own = {name: value.detach().clone() for name, value in student.state_dict().items()}
    student.load_state_dict(average)
    student.eval()
    with torch.no_grad():
        psnr_db = validate(student)
    student.train()
    student.load_state_dict(own)
    return psnr_db
