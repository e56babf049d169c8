"""What a recipe may say about a network: a reference, a file, or a fresh architecture."""

from __future__ import annotations

from typing import Any

from toolkit.spec.containers import FirstOf, Words
from toolkit.spec.fields import Field, Table
from toolkit.spec.kinds import Boolean, Number, PathTo, Plug, Text
from toolkit.spec.recipe import NetworkSource
from toolkit.spec.rules import Excludes, Needs, OneOf

REFERENCE_SCALE = 2  # of both reference networks in toolkit/weights
REFERENCES = ("student", "teacher")

_HYPER_VALUE = FirstOf(
    kinds=(Number(whole=True), Number(), Boolean(), Text()),
    wanted="a number, a truth value or text",
)


def _build(**values: Any) -> NetworkSource:
    scale = REFERENCE_SCALE if values["reference"] else values.pop("scale")
    return NetworkSource(**{**values, "scale": scale})


NETWORK = Table(
    fields=(
        Field(
            name="reference",
            kind=Text(choices=REFERENCES),
            help="A network that ships with the toolkit, scale 2.",
            default=None,
        ),
        Field(
            name="file",
            kind=PathTo(what="file", suffixes=(".onnx", ".safetensors", ".pth", ".pt")),
            help="Your network: ONNX, or weights of one of the architectures. Never written to.",
            default=None,
        ),
        Field(
            name="arch",
            kind=Plug(room="archs"),
            help="Architecture of the weights in `file`; alone, a fresh untrained network.",
            default=None,
        ),
        Field(
            name="scale",
            kind=Number(whole=True, low=2, high=8),
            help="How many times larger the output is, such as 2, 3 or 4.",
            default=None,
        ),
        Field(
            name="hyper",
            kind=Words(
                item=_HYPER_VALUE, pattern="[a-z][a-z0-9_]*", wanted="a word of small letters"
            ),
            help="Hyper-parameters of the architecture, such as `{features: 16}`.",
            default={},
        ),
        Field(
            name="color",
            kind=Text(choices=("rgb", "bgr", "luma")),
            help="Channel order, or luma alone (BT.601, 16 to 235). Probed when not stated.",
            default=None,
        ),
        Field(
            name="white",
            kind=Number(choices=(1.0, 255.0)),
            help="Tensor value of a white pixel. Probed when not stated.",
            default=None,
        ),
        Field(
            name="minimum_px",
            kind=Number(whole=True, low=1, high=4096),
            help="Smallest height and width it runs on. Probed when not stated.",
            default=None,
        ),
        Field(
            name="multiple_of",
            kind=Number(whole=True, low=1, high=256),
            help="Height and width must be multiples of it. Probed when not stated.",
            default=None,
        ),
    ),
    rules=(
        OneOf(names=("reference", "file", "arch")),
        Excludes(
            key="reference",
            others=(
                "file",
                "arch",
                "scale",
                "hyper",
                "color",
                "white",
                "minimum_px",
                "multiple_of",
            ),
            why="everything about a reference network is known",
        ),
        Excludes(key="file", others=("hyper",), why="they are read from the file's tensors"),
        Needs(key="file", other="scale", why="add the scale the network was trained for"),
        Needs(key="arch", other="scale", why="add the scale to build it for"),
        Needs(key="hyper", other="arch", why="hyper-parameters belong to an architecture"),
    ),
    build=_build,
)
