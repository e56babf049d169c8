"""What a written file does that its scheme forbids; found before the file leaves the toolkit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import ToolkitError

SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Breach:
    """One place where a file is not what its scheme promises."""

    rule: str  # short and stable, such as "weight zero point"
    node: str  # node or tensor of the file
    problem: str


def refuse_breaches(breaches: Sequence[Breach], file: str) -> None:
    """Raise ToolkitError naming the first few: no recipe can cause one."""
    if not breaches:
        return
    listed = "; ".join(f"{b.rule}: {b.problem} (`{b.node}`)" for b in breaches[:SHOWN])
    more = f"; and {len(breaches) - SHOWN} more" if len(breaches) > SHOWN else ""
    raise ToolkitError(
        f"the file breaks the rules of its scheme: {listed}{more}",
        where=file,
        hint="this is a mistake of the toolkit: please report it with the network",
    )
