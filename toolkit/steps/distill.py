"""Distill: train the student on photographs, against the picture and, where given, a teacher."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.contracts import Progress, StepInput
from toolkit.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from toolkit.train.loop import TrainSettings

VERSION = 1
TOOLS = ("torch", "onnx", "numpy", "pillow")
CHECKPOINT = "train.ckpt"


def run(given: StepInput, out: Path) -> dict[str, Any]:
    """Write the trained student as `network.onnx`; resume from `given.work` when it was killed.

    A fresh architecture arrives as `given.params["arch"]` (trained wide, collapsed afterwards);
    any other student is the network's own graph.
    """
    import torch

    from toolkit.model.network import write_network
    from toolkit.model.torch_bridge import to_onnx
    from toolkit.train.loop import train
    from toolkit.train.losses import attention_map_distance
    from toolkit.train.pairs import holdout_psnr_db, read_pairs

    params, contract = given.params, given.network.contract
    torch.manual_seed(params["seed"])
    torch.set_num_threads(params["threads"])
    student, collapse = _student(given)
    teacher = _teacher(given)
    pairs, holdout = read_pairs(
        Path(params["images"]),
        scale=contract.scale,
        luma_only=contract.color == "luma",
        exclude=params["exclude"],
        holdout_every=params["holdout_every"],
        minimum_lr_px=max(params["lr_px"], contract.minimum_px),
        multiple_of=contract.multiple_of,
    )
    settings = _settings(params, has_teacher=teacher is not None)
    trained = train(
        student,
        pairs,
        settings,
        scale=contract.scale,
        checkpoint=given.work / CHECKPOINT,
        teacher=teacher,
        feature_loss=attention_map_distance if settings.weight_features else None,
        validate=lambda module: holdout_psnr_db(module, holdout, contract.scale),
        show=lambda p: given.show(
            Progress(done=p.step, total=p.steps, note=f"holdout {p.psnr_db:.2f} dB")
        ),
    )
    if os.environ.get("RANK", "0") != "0":
        return {}  # one of several processes: the first one writes
    psnr_db = holdout_psnr_db(trained, holdout, contract.scale)
    shipped = collapse(trained.cpu())
    model = to_onnx(shipped, channels=contract.channels, scale=contract.scale)
    write_network(model, contract, out / "network.onnx")
    return {
        "steps": settings.steps,
        "training_images": len(pairs),
        "holdout_images": len(holdout),
        "holdout_psnr_db": psnr_db,
        "teacher": "teacher" in given.networks,
    }


def _student(given: StepInput) -> tuple[nn.Module, Callable[[nn.Module], nn.Module]]:
    """The module to train, and how it becomes the network that ships."""
    from toolkit import plugins
    from toolkit.train.pairs import UnitRgb

    fresh = given.params.get("arch")
    if fresh:
        arch = plugins.load("archs", fresh["name"])
        return arch.build(scale=given.network.contract.scale, **fresh["hyper"]), arch.collapse
    student = UnitRgb(_module(given.network.path), given.network.contract)
    return student, lambda module: student.network


def _teacher(given: StepInput) -> nn.Module | None:
    from toolkit.train.pairs import UnitRgb

    teacher = given.networks.get("teacher")
    if teacher is None:
        return None
    ours, theirs = given.network.contract, teacher.contract
    if (ours.scale, ours.channels) != (theirs.scale, theirs.channels):
        raise UserError(
            f"teacher and student must see the same pixels: the student is x{ours.scale} "
            f"{ours.color}, the teacher x{theirs.scale} {theirs.color}",
            hint="choose a teacher of the student's scale, luma for luma or colour for colour",
        )
    return UnitRgb(_module(teacher.path), theirs)


def _module(path: Path) -> nn.Module:
    import onnx

    from toolkit.model.torch_bridge import to_module

    return to_module(onnx.load(path))


def _settings(params: Mapping[str, Any], *, has_teacher: bool) -> TrainSettings:
    from dataclasses import fields

    from toolkit.train.loop import TrainSettings

    known = {field.name for field in fields(TrainSettings)}
    chosen = {name: value for name, value in params.items() if name in known}
    if not has_teacher:
        chosen["weight_teacher"] = 0.0
    return TrainSettings(**chosen)
