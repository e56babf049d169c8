"""What a vendor's program is asked, and how its words are read: strictly and with limits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from toolkit.benchmark import TimingProtocol
from toolkit.bundle.manifest import Golden
from toolkit.contracts import Artefact, Finished
from toolkit.errors import EnvironmentFailure
from toolkit.measure.words import plain
from toolkit.model.contract import input_size
from toolkit.runner.answer import EMPTY

if TYPE_CHECKING:
    from toolkit.measure.board import Board

RESULT_MOST_BYTES = 64 << 20  # of one JSON file that a program wrote
LONGEST_ROUND_S = 120.0  # networks of seconds per frame end their round before `min_runs`
LARGEST_MS = 1e8  # more than a day: no time of an inference


@dataclass(frozen=True, kw_only=True)
class Task:
    """One round for one file."""

    artefact: Artefact
    height_px: int
    width_px: int
    threads: int
    warm_up_s: float
    min_runs: int
    min_s: float
    max_s: float
    timeout_s: float  # for all that the program does
    golden: tuple[Golden, ...]  # of this file
    operators: bool  # whether it shall also say what ran where

    @property
    def name(self) -> str:
        """The file's name."""
        return self.artefact.path.name

    @property
    def free_shape(self) -> tuple[int, ...] | None:
        """Shape of the input where the file leaves sizes free, in the file's layout; else None."""
        spec, image = self.artefact.contract.input, self.artefact.contract.image
        if None not in spec.shape:
            return None
        size = (self.height_px, self.width_px)
        channels_first = spec.layout == "nchw"
        return (1, image.channels, *size) if channels_first else (1, *size, image.channels)


class Program(Protocol):
    """vendor/NAME.py: one program."""

    BACKENDS: Sequence[str]  # whose files it runs

    def measured(self, board: Board, program: str, task: Task) -> dict[str, Any]:
        """Run `program`, a path on the device; returns an answer as `answer` makes them."""


def task_of(
    artefact: Artefact,
    protocol: TimingProtocol,
    golden: Sequence[Golden],
    *,
    timeout_s: float,
    operators: bool,
) -> Task:
    """One round's share of a protocol for one file."""
    image = artefact.contract.image
    height, width = input_size(artefact.contract.input, protocol.input_px, image.multiple_of)
    min_s = protocol.min_s / protocol.rounds
    return Task(
        artefact=artefact,
        height_px=height,
        width_px=width,
        threads=protocol.threads,
        warm_up_s=protocol.warm_up_s,
        min_runs=-(-protocol.min_runs // protocol.rounds),
        min_s=min_s,
        max_s=max(min_s, LONGEST_ROUND_S),
        timeout_s=timeout_s,
        golden=tuple(vector for vector in golden if vector.file == artefact.path.name),
        operators=operators,
    )


def answer(**facts: Any) -> dict[str, Any]:
    """The runner's answer with these facts and nothing else known."""
    return {**EMPTY, "stated_ms": {}, **facts}


def spoken(done: Finished, program: str, url: str) -> str:
    """All that a program printed. Raises EnvironmentFailure quoting it where it failed."""
    text = done.stdout.decode("utf-8", "replace") + "\n" + done.stderr
    if done.code != 0:
        lines = [line for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower() or "[E]" in line]
        raise EnvironmentFailure(
            f"`{program}` failed on the device (exit {done.code}): "
            f"{plain(' '.join((errors or lines)[-3:]))}",
            where=url,
            hint="run it on the device by hand to see all that it says",
        )
    return text


def not_understood(program: str, line: str, url: str) -> EnvironmentFailure:
    """A program that says something else than its documentation."""
    return EnvironmentFailure(
        f"what `{program}` says cannot be understood: `{plain(line, 160)}`",
        where=url,
        hint="its version may be newer than this toolkit knows; nothing was taken from it",
    )


def read_json(path: Path, program: str, url: str) -> Any:
    """A JSON file that a program wrote. Raises EnvironmentFailure where it is none or too large."""
    with path.open("rb") as file:
        data = file.read(RESULT_MOST_BYTES + 1)
    if len(data) > RESULT_MOST_BYTES:
        raise not_understood(program, f"{path.name} has more than {RESULT_MOST_BYTES} bytes", url)
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        start = data[:40].decode("utf-8", "replace")
        raise not_understood(program, f"{path.name}: {str(error)[:60]}: {start}", url) from error


def _no_constant(word: str) -> float:
    raise ValueError(f"`{word}` is no number")


def amount(value: Any, what: str, program: str, url: str) -> float:
    """A finite number of at least 0, of a JSON number or of text; raises where it is none."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < LARGEST_MS:
        raise not_understood(program, f"{what}: {value!a}", url)
    return number


def stated(values: Mapping[str, float | None]) -> dict[str, float]:
    """Only what is known."""
    return {name: value for name, value in values.items() if value is not None}
