"""Every key of a target file: type, range, default and help, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from toolkit.spec.containers import ListOf, Words
from toolkit.spec.fields import Field, Table
from toolkit.spec.gate_table import GATES
from toolkit.spec.kinds import NAME, Boolean, Exactly, Kind, Number, Plug, Text
from toolkit.spec.target import Build, LimitFact, Npu, Rule, Scheme

FORMAT_VERSION = 1
OPERATOR = r"[A-Z][A-Za-z0-9]*(?:\[[a-z_]+=[A-Za-z0-9_]+\])?"

_SOURCE = Field(name="source", kind=Text(), help="Where this was read: a page, issue or change.")


def _limit(kind: Kind, help_text: str) -> Table:
    return Table(
        fields=(
            Field(name="value", kind=kind, help=help_text),
            Field(
                name="level",
                kind=Text(choices=("refused", "slow")),
                help="Whether the device cannot run it at all, or only slowly or elsewhere.",
                default="slow",
            ),
            Field(name="instead", kind=Text(), help="What to change in the network."),
            _SOURCE,
        ),
    )


OPERATOR_FACT = Table(
    fields=(
        Field(
            name="level",
            kind=Text(choices=("refused", "slow")),
            help="Whether the device cannot run it at all, or only slowly or elsewhere.",
            default="slow",
        ),
        Field(name="instead", kind=Text(), help="What to change in the network."),
        _SOURCE,
    ),
    build=LimitFact,
)

LIMIT_KINDS: Mapping[str, tuple[Kind, str]] = {
    "max_rank": (Number(whole=True, low=1, high=16), "Most axes a tensor may have."),
    "depth_to_space_blocks": (
        ListOf(item=Number(whole=True, low=2, high=16), unique=True),
        "Block sizes of DepthToSpace that run well; `[]` for none.",
    ),
    "kernel_sizes": (
        ListOf(item=Number(whole=True, low=1, high=64), at_least=1, unique=True),
        "Kernel edges of convolutions that run well.",
    ),
    "max_wide_axes": (
        Number(whole=True, low=1, high=16),
        "Most axes of a tensor that may be longer than 1.",
    ),
    "strides": (
        ListOf(item=Number(whole=True, low=1, high=64), at_least=1, unique=True),
        "Strides of convolutions that run well.",
    ),
    "concat_multiple": (
        Number(whole=True, low=1, high=256),
        "What the channel counts that a concatenation joins must be multiples of.",
    ),
    "channel_multiple": (
        Number(whole=True, low=1, high=256),
        "Channel counts that are multiples of it are fast; `prune` rounds to it.",
    ),
}

LIMITS = Table(
    fields=(
        Field(
            name="operators",
            kind=Words(
                item=OPERATOR_FACT,
                pattern=OPERATOR,
                wanted="an ONNX operator, such as `Resize` or `Resize[mode=cubic]`",
            ),
            help="ONNX operators that do not run, or not well.",
            default={},
        ),
        *(
            Field(name=name, kind=_limit(kind, text), help=text, default=None)
            for name, (kind, text) in LIMIT_KINDS.items()
        ),
    ),
)

ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)

NPU = Table(
    fields=(
        Field(
            name="accelerator",
            kind=Text(choices=ACCELERATORS),
            help="The NPU with its multiply-accumulates per cycle.",
        ),
        Field(
            name="system_config",
            kind=Text(),
            help="Clock and memory speeds, a `System_Config` of Vela: `Ethos_U65_High_End`.",
        ),
        Field(
            name="memory_mode",
            kind=Text(),
            help="Which memory holds what, a `Memory_Mode` of Vela, such as `Shared_Sram`.",
        ),
    ),
    build=Npu,
)

BUILD = Table(
    fields=(
        Field(name="backend", kind=Plug(room="backends"), help="Runtime that writes the file."),
        Field(
            name="scheme",
            kind=Text(choices=get_args(Scheme)),
            help="Rules for scales and zero points.",
        ),
        Field(
            name="io_dtype",
            kind=Text(choices=("float32", "uint8", "int8")),
            help="Type of the input and output tensor.",
            default="float32",
        ),
        Field(
            name="layout",
            kind=Text(choices=("nchw", "nhwc")),
            help="Order of the axes of the input and output tensor.",
            default="nchw",
        ),
        Field(
            name="tile",
            kind=ListOf(item=Number(whole=True, low=8, high=8192), at_least=2, at_most=2),
            help="Fixed height and width of the input; free when not stated.",
            default=None,
        ),
        Field(
            name="per_channel",
            kind=Boolean(),
            help="One weight scale for each output channel.",
            default=True,
        ),
        Field(
            name="upsampler",
            kind=Text(choices=("depth_to_space", "reshape", "transpose_conv")),
            help="Form in which the pixel shuffle is written.",
            default="depth_to_space",
        ),
        Field(
            name="float16",
            kind=Boolean(),
            help="Also write a float16-typed file as a rival of INT8.",
            default=False,
        ),
        Field(
            name="mixed",
            kind=Text(choices=("float32", "int16")),
            help="Activations of the nodes that 8 bits do not serve; int16 is TFLite's 16x8.",
            default="float32",
        ),
        Field(
            name="npu",
            kind=NPU,
            help="Arm Ethos-U that the INT8 TFLite file is compiled for, by Vela.",
            default=None,
        ),
    ),
    build=Build,
)


RULE = Table(
    fields=(Field(name="text", kind=Text(), help="The fact, in a sentence."), _SOURCE), build=Rule
)

TARGET = Table(
    fields=(
        Field(
            name="version",
            kind=Exactly(value=FORMAT_VERSION),
            help=f"Version of this format, {FORMAT_VERSION}.",
        ),
        Field(name="name", kind=NAME, help="The file's name without its ending."),
        Field(name="title", kind=Text(), help="Device and runtime in words."),
        Field(
            name="machine",
            kind=Text(choices=("x86_64", "aarch64", "armv7l")),
            help="Instruction set of the device, as `uname -m` says it; times of another are not "
            "the target's.",
            default=None,
        ),
        Field(
            name="builds",
            kind=ListOf(item=BUILD, at_least=1),
            help="Files that the device gets, each with a backend and a scheme.",
        ),
        Field(name="limits", kind=LIMITS, help="What the device cannot run well.", default=None),
        Field(
            name="rules",
            kind=ListOf(
                item=Table(
                    fields=(Field(name="text", kind=Text(), help="The fact."), _SOURCE), build=Rule
                )
            ),
            help="Other facts about the device, each with its source.",
            default=(),
        ),
        Field(
            name="units",
            kind=Words(
                item=Text(choices=("CPU", "XNNPACK", "GPU", "NPU", "DLA")),
                pattern=r"[a-z]+",
                wanted="a backend, such as `litert`",
            ),
            help="Compute unit that must do a backend's work, for the gate `coverage`.",
            default={},
        ),
        Field(
            name="gates",
            kind=GATES,
            help="Limits for recipes that state none.",
            default=None,
        ),
    ),
)
