"""Every key of a recipe: type, range, default and help, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import UserError
from toolkit.spec.containers import ListOf, OneKeyOf, Words
from toolkit.spec.fields import Field, Table
from toolkit.spec.gate_table import GATES
from toolkit.spec.kinds import NAME, SAFE_NAME, DeviceUrl, Exactly, Number, PathTo, Text
from toolkit.spec.network_source import NETWORK
from toolkit.spec.read_target import read_target
from toolkit.spec.recipe import Measuring, StepSpec
from toolkit.spec.step_params import FOLDER_PARAMS, NETWORK_PARAMS, STEP_TABLES
from toolkit.spec.target import Target
from toolkit.spec.yaml_source import Place, Value

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TargetKind:
    """A target: the name of a shipped one, or the path of a YAML file of one's own."""

    def read(self, value: Value, name: str, folder: Path) -> tuple[str, Target]:
        """The word that `read_target` takes, and the target itself."""
        text = Text(wanted="the name of a target").read(value, name, folder)
        word = str(folder / text) if text.endswith((".yaml", ".yml")) else text
        try:
            return word, read_target(word)
        except UserError as problem:
            if problem.where:  # inside of the target's own file
                raise
            raise UserError(problem.problem, where=str(value.place), hint=problem.hint) from problem

    def schema(self) -> dict[str, Any]:
        """Text: anybody may add a target file."""
        return {"type": "string", "minLength": 1}


def _step(name: str, values: dict[str, Any], place: Place) -> StepSpec:
    networks = {key: values[key] for key in NETWORK_PARAMS if values.get(key) is not None}
    folders = {key: values[key] for key in FOLDER_PARAMS if values.get(key) is not None}
    apart = (*NETWORK_PARAMS, *FOLDER_PARAMS)
    params = {key: value for key, value in values.items() if key not in apart}
    return StepSpec(name=name, params=params, where=str(place), networks=networks, folders=folders)


STEP_LIST = ListOf(
    item=OneKeyOf(
        tables=STEP_TABLES,
        noun="step",
        build=_step,
        hints={"convert": "converting needs no step: it follows the last one by itself"},
    )
)


@dataclass(frozen=True, kw_only=True)
class StepsKind:
    """The list of steps; `quantize`, at most once, is the last."""

    def read(self, value: Value, name: str, folder: Path) -> tuple[StepSpec, ...]:
        """The steps in order."""
        steps: tuple[StepSpec, ...] = STEP_LIST.read(value, name, folder)
        for step in steps[:-1]:
            if step.name == "quantize":
                raise UserError(
                    "`quantize` must be the last step",
                    where=step.where,
                    hint="what trains or prunes comes before it",
                )
        return steps

    def schema(self) -> dict[str, Any]:
        """The list; its order is beyond a schema."""
        return STEP_LIST.schema()


MEASURE = Table(
    fields=(
        Field(
            name="threads",
            kind=Number(whole=True, low=1, high=256),
            help="Threads of each runtime.",
            default=2,
        ),
        Field(
            name="min_runs",
            kind=Number(whole=True, low=1, high=100_000),
            help="Inferences to time, at least.",
            default=100,
        ),
        Field(
            name="min_s",
            kind=Number(low=0, high=3600),
            help="Seconds to time, at least.",
            default=3.0,
        ),
        Field(
            name="input_px",
            kind=ListOf(item=Number(whole=True, low=8, high=16_384), at_least=2, at_most=2),
            help="Height and width of the timed input; files with a fixed tile use the tile.",
            default=(360, 640),
        ),
    ),
    build=Measuring,
)

DATA = Table(
    fields=(
        Field(
            name="calibration",
            kind=PathTo(what="folder"),
            help="Folder of images to calibrate on; the shipped photographs by default.",
            default=None,
        ),
        Field(
            name="validation",
            kind=PathTo(what="folder"),
            help="Folder of other images to validate on; the shipped photographs by default.",
            default=None,
        ),
    ),
)

RECIPE = Table(
    fields=(
        Field(
            name="version",
            kind=Exactly(value=FORMAT_VERSION),
            help=f"Version of this format, {FORMAT_VERSION}.",
        ),
        Field(
            name="name",
            kind=NAME,
            help="Folder of the results; the file's name without its ending by default.",
            default=None,
        ),
        Field(
            name="network",
            kind=NETWORK,
            help="Such as `{reference: student}`, or `{file: my.onnx, scale: 2}`.",
        ),
        Field(
            name="targets",
            kind=ListOf(item=TargetKind(), at_least=1, unique=True),
            help="Devices to build for: names such as `generic-cpu`, or YAML files of your own.",
        ),
        Field(
            name="seed",
            kind=Number(whole=True, low=0, high=2**32 - 1),
            help="Seed of every random choice.",
            default=0,
        ),
        Field(name="data", kind=DATA, help="Images to use instead of the shipped.", default=None),
        Field(
            name="steps",
            kind=StepsKind(),
            help="What is done to the network, in order; `quantize` comes last.",
            default=(),
        ),
        Field(
            name="gates",
            kind=GATES,
            help="Limits that every file must keep; the target's own where not stated.",
            default=None,
        ),
        Field(name="measure", kind=MEASURE, help="How latency is taken.", default=None),
        Field(
            name="devices",
            kind=Words(item=DeviceUrl(), pattern=SAFE_NAME, wanted="a target of this recipe"),
            help="Where each target is measured, `TARGET: ssh://user@host`; else this host.",
            default={},
        ),
    ),
)
