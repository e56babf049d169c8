"""Every parameter of every step: type, range, default and help, in one table."""

from __future__ import annotations

from typing import Any

from toolkit.spec.containers import ListOf, Nullable
from toolkit.spec.fields import Field, Table
from toolkit.spec.kinds import Boolean, Number, PathTo, Text
from toolkit.spec.network_source import NETWORK
from toolkit.spec.rules import AtMost, Needs, NotAllZero, NotBoth, OneOf

# How `quantize` may go about it, cheapest first; each does what the one before it does, and more.
RUNGS = ("ranges", "equalise", "rounding", "mixed", "qat")
TEACHER_WEIGHT = 0.5  # half the weight of the true image, when a teacher is given and none stated

_EXCLUDE = Field(
    name="exclude",
    kind=ListOf(item=Text(), unique=True),
    help="File names in `images` to leave out, such as charts.",
    default=(),
)
_HOLDOUT_EVERY = Field(
    name="holdout_every",
    kind=Number(whole=True, low=2, high=10_000),
    help="Every so many images one is kept for validation and never trained on.",
    default=20,
)
_SEED = Field(
    name="seed",
    kind=Number(whole=True, low=0, high=2**32 - 1),
    help="Seed of this step; the recipe's when not stated.",
    default=None,
)
_THREADS = Field(
    name="threads",
    kind=Number(whole=True, low=1, high=256),
    help="CPU threads for training.",
    default=2,
)
_BATCH = Field(
    name="batch",
    kind=Number(whole=True, low=1, high=4096),
    help="Patches in a batch, over all processes together.",
    default=16,
)
_LR_PX = Field(
    name="lr_px",
    kind=Number(whole=True, low=8, high=1024),
    help="Edge of a low-resolution training patch in pixels.",
    default=32,
)


def _rate(name: str, help_text: str, default: float) -> Field:
    return Field(name=name, kind=Number(above=0, high=1), help=help_text, default=default)


def _weight(name: str, help_text: str, default: float | None) -> Field:
    return Field(name=name, kind=Number(low=0, high=1000), help=help_text, default=default)


def _distilling(**values: Any) -> dict[str, Any]:
    if values["weight_teacher"] is None:
        values["weight_teacher"] = TEACHER_WEIGHT if values["teacher"] else 0.0
    return values


DISTILL = Table(
    fields=(
        Field(
            name="teacher",
            kind=Nullable(kind=NETWORK),
            help="Network to learn from; null is plain training.",
            default=None,
        ),
        Field(
            name="images",
            kind=PathTo(what="folder"),
            help="Folder of high-resolution training images.",
        ),
        _EXCLUDE,
        _HOLDOUT_EVERY,
        Field(
            name="steps",
            kind=Number(whole=True, low=1, high=10_000_000),
            help="Optimiser steps.",
            default=20_000,
        ),
        _BATCH,
        _LR_PX,
        _rate("learning_rate", "Highest learning rate, after the warm-up.", 5.0e-4),
        _rate("final_learning_rate", "Where the cosine ends, at the last step.", 1.0e-6),
        Field(
            name="warmup_steps",
            kind=Number(whole=True, low=0, high=1_000_000),
            help="First steps, in which the rate rises from 0.",
            default=200,
        ),
        Field(
            name="loss",
            kind=Text(choices=("l1", "charbonnier", "l2")),
            help="Distance to the true image and to the teacher's.",
            default="l1",
        ),
        _weight("weight_hr", "Weight of the distance to the true image.", 1.0),
        _weight(
            "weight_teacher",
            "Weight of the distance to the teacher's image; 0.5 with a teacher, else 0.0.",
            None,
        ),
        _weight("weight_features", "Weight of the distance between feature maps.", 0.0),
        Field(
            name="ema",
            kind=Number(low=0, below=1),
            help="Decay of the moving average of weights that is kept; 0.0 keeps the last ones.",
            default=0.999,
        ),
        Field(
            name="bfloat16_share",
            kind=Number(low=0, high=1),
            help="First part of the steps that runs in bfloat16.",
            default=0.0,
        ),
        _THREADS,
        Field(
            name="processes",
            kind=Number(whole=True, low=1, high=64),
            help="Processes that train together on this machine, each with its share of a batch.",
            default=1,
        ),
        _SEED,
    ),
    rules=(
        Needs(
            key="weight_teacher",
            other="teacher",
            when="above 0",
            why="add a teacher such as `{reference: teacher}`",
        ),
        Needs(
            key="weight_features",
            other="teacher",
            when="above 0",
            why="add a teacher such as `{reference: teacher}`",
        ),
        Needs(
            key="weight_hr",
            other="teacher",
            when="0",
            why="without a teacher only the true image is left to learn from",
        ),
        NotAllZero(names=("weight_hr", "weight_teacher"), why="nothing would be learnt"),
        AtMost(
            low="final_learning_rate",
            high="learning_rate",
            low_default=1.0e-6,
            high_default=5.0e-4,
        ),
    ),
    build=_distilling,
)

_FINE_TUNING = ("images", "exclude", "holdout_every", "learning_rate", "batch", "lr_px")

PRUNE = Table(
    fields=(
        Field(
            name="ratio",
            kind=Number(above=0, high=0.9),
            help="Share of the channels to remove.",
            default=None,
        ),
        Field(
            name="macs_share",
            kind=Number(low=0.1, below=1),
            help="Share of the multiply-accumulates that may stay, at most.",
            default=None,
        ),
        Field(
            name="channel_multiple",
            kind=Number(whole=True, low=1, high=256),
            help="Channel counts are kept at multiples of it; the targets' largest by default.",
            default=None,
        ),
        Field(
            name="finetune_steps",
            kind=Number(whole=True, low=0, high=10_000_000),
            help="Optimiser steps against the unpruned network, afterwards.",
            default=0,
        ),
        Field(
            name="images",
            kind=PathTo(what="folder"),
            help="Folder of high-resolution images to fine-tune on.",
            default=None,
        ),
        _EXCLUDE,
        _HOLDOUT_EVERY,
        _rate("learning_rate", "Highest learning rate of the fine-tune.", 2.0e-4),
        _BATCH,
        _LR_PX,
        _THREADS,
        _SEED,
    ),
    rules=(
        OneOf(names=("ratio", "macs_share"), exclusive=True),
        Needs(
            key="finetune_steps",
            other="images",
            when="above 0",
            why="add `images:`, a folder of high-resolution images to fine-tune on",
        ),
        *(
            Needs(key=key, other="finetune_steps", why="without fine-tuning it has no effect")
            for key in _FINE_TUNING
        ),
    ),
)

QUANTIZE = Table(
    fields=(
        Field(
            name="patches",
            kind=Number(whole=True, low=1, high=4096),
            help="Low-resolution patches to calibrate on, cut from the calibration images.",
            default=64,
        ),
        Field(
            name="patch_px",
            kind=Number(whole=True, low=16, high=1024),
            help="Edge of such a patch in pixels.",
            default=96,
        ),
        Field(
            name="charts",
            kind=Boolean(),
            help="Calibrate on generated charts too: white, black, bars, gradients, one pixel.",
            default=True,
        ),
        Field(
            name="rung",
            kind=Text(choices=("auto", *RUNGS)),
            help="How much is done for the picture; `auto` climbs until the gates hold.",
            default="auto",
        ),
        Field(
            name="float_nodes",
            kind=ListOf(item=Text(), unique=True),
            help="Names of nodes to keep out of 8 bits; `edgesr inspect` lists names.",
            default=(),
        ),
        Field(
            name="train_minutes",
            kind=Number(low=0, high=10_000),
            help="Most minutes that rung `qat` may train; 0 never trains.",
            default=20.0,
        ),
        Field(
            name="images",
            kind=PathTo(what="folder"),
            help="Folder of images for rung `qat`; the calibration images by default.",
            default=None,
        ),
        Field(
            name="mixed_macs_share",
            kind=Number(low=0, high=1),
            help="Most of the multiply-accumulates that rung `mixed` may take out of 8 bits.",
            default=0.3,
        ),
        _SEED,
    ),
    rules=(
        NotBoth(
            key="rung",
            value="qat",
            other="train_minutes",
            other_value=0,
            why="give it minutes, such as `train_minutes: 20`, or choose another rung",
        ),
    ),
)

STEP_TABLES = {"distill": DISTILL, "prune": PRUNE, "quantize": QUANTIZE}
NETWORK_PARAMS = ("teacher",)
FOLDER_PARAMS = ("images",)
