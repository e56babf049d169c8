"""The vendors' own measuring programs, where they are on the device; one file per program.

They are taken where the runner cannot run (no Python on a phone) or when they are asked for.
Their answers have the shape of the runner's, so that a benchmark treats both alike; what a program
does not state is absent, never computed from something else.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit.benchmark import TimingProtocol
from toolkit.bundle.manifest import Golden
from toolkit.contracts import Artefact
from toolkit.errors import EnvironmentFailure
from toolkit.measure.vendor.task import Program, Task, task_of

if TYPE_CHECKING:
    from toolkit.measure.board import Board

__all__ = ["Program", "Task", "available", "program_of", "time_file"]


def available(board: Board, artefact: Artefact) -> str:
    """Name of the vendor's program on this device that runs such a file, or ""."""
    return program_of(board, artefact.backend)


def program_of(board: Board, backend: str) -> str:
    """Name of the program on this device that runs a backend's files, or ""."""
    for name, module in _programs().items():
        if backend in module.BACKENDS and name in board.probe.tools:
            return name
    return ""


def time_file(
    board: Board,
    artefact: Artefact,
    protocol: TimingProtocol,
    *,
    timeout_s: float,
    golden: Sequence[Golden] = (),
    operators: bool = True,
) -> dict[str, Any]:
    """One round by the vendor's program, in the shape of the runner's answer.

    Two keys more: `tool`, and `stated_ms`, what the program itself states of its runs: `runs`,
    and in ms `average`, `min`, `max`, `p50`, `p90` and so on, each only where it states it.
    `samples_ns` is empty where the program gives none; `golden` is None where it cannot check.
    Raises EnvironmentFailure where there is no such program, it fails, or says something that is
    not understood; LinkLost of the board.
    """
    name = available(board, artefact)
    if not name:
        wanted = [n for n, module in _programs().items() if artefact.backend in module.BACKENDS]
        raise EnvironmentFailure(
            f"the device has no vendor's program for `{artefact.path.name}`",
            where=board.url,
            hint=f"install {' or '.join(wanted)} on the device and put it on its PATH"
            if wanted
            else "this runtime has none; the runner measures it, with Python on the device",
        )
    task = task_of(artefact, protocol, golden, timeout_s=timeout_s, operators=operators)
    program: Program = _programs()[name]
    return {"tool": name, **program.measured(board, board.probe.tools[name], task)}


def _programs() -> dict[str, Any]:
    names = ("trtexec", "benchmark_model", "benchmark_app")
    return {name: importlib.import_module(f"toolkit.measure.vendor.{name}") for name in names}
