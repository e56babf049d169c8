"""Which target is measured where, and whether that can be reached: asked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.contracts import LinkOptions
from toolkit.errors import ToolkitError
from toolkit.spec.recipe import Recipe
from toolkit.spec.target import Target

if TYPE_CHECKING:
    from toolkit.measure.board import Board

HERE = "local:"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Which target is measured on which device, and how those are reached."""

    urls: Mapping[str, str] = field(default_factory=dict)  # target -> URL
    options: LinkOptions = field(default_factory=LinkOptions)
    wait_s: float = 0.0

    def url_of(self, recipe: Recipe, target: Target) -> str:
        """The device of a target; "" where this host's clock will do.

        Which unit ran an operator only a device tells, and this host can be one.
        """
        named = self.urls.get(target.name, "")
        return named or (HERE if recipe.gates.coverage is not None else "")


EVERYWHERE_HERE = Reach()


def unreachable(recipe: Recipe, targets: Sequence[Target], reach: Reach) -> list[ToolkitError]:
    """Why a named device cannot measure its target: asked before any work is done."""
    from toolkit.measure.board import open_board

    problems: list[ToolkitError] = []
    for target in targets:
        url = reach.url_of(recipe, target)
        if not url:
            continue
        try:
            with open_board(url, options=reach.options, wait_s=reach.wait_s) as board:
                if runtimes := _runtimes(board, target):
                    board.require(*runtimes)
        except ToolkitError as problem:
            problems.append(problem)
    return problems


def _runtimes(board: Board, target: Target) -> list[str]:
    """What the runner needs there: nothing for a backend whose vendor's program can measure it."""
    from toolkit.measure.board import STAND_IN
    from toolkit.measure.vendor import program_of

    return [
        STAND_IN.get(build.backend, build.backend)
        for build in target.builds
        if not program_of(board, build.backend)
    ]
