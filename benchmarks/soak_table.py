"""The soak's figures as Markdown; nothing is decided here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from int8_table import machine, table
from soak_server import BLOB_SHARE

HEADING = "## Soak: cameras on a bad link"
CLIENTS = ("c", "python")
NAMES = {"c": "C", "python": "Python"}


@dataclass(kw_only=True)
class Tally:
    """What happened, counted while it does; `lock` of the campaign guards it."""

    pulls: Counter[str] = field(default_factory=Counter)  # by client
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by client and outcome
    kinds: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # client, kind, code
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)  # client, how it was chosen
    damages: Counter[tuple[str, str]] = field(default_factory=Counter)  # client, place
    restarts: int = 0
    events: list[tuple[float, str]] = field(default_factory=list)  # minute, what was published
    polls_to_converge: dict[str, list[int]] = field(default_factory=dict)  # by client
    seconds_to_converge: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run was, and what is not counted by the tally."""

    command: str
    date: str
    cameras: Mapping[str, int]  # by client
    minutes: float
    fault_share: float
    answers: Counter[str]  # of the server, by fault; "well" among them
    observations: int
    violations: Sequence[str]
    not_converged: Sequence[str]
    processes: int
    real_tests: int  # Python cameras that run the golden vectors


def section(tally: Tally, told: Told) -> str:
    """The part of RESULTS.md."""
    cameras = sum(told.cameras.values())
    faults = sum(n for fault, n in told.answers.items() if fault != "well")
    verdict = str(len(told.violations)) if told.violations else "none"
    parts = [
        HEADING,
        f"`{told.command}`, {told.date}, {machine()}: {cameras} cameras, "
        f"{told.cameras['c']} with the C client and {told.cameras['python']} with the Python "
        f"client ({told.real_tests} of those run the golden vectors in ONNX Runtime, all others a "
        f"stand-in), up to {told.processes} pulls at once on loopback, for {told.minutes:g} "
        f"minutes. Of the server's {sum(told.answers.values()):,} answers {faults:,} were broken "
        f"({told.fault_share:.0%} of metadata and {BLOB_SHARE * told.fault_share:.0%} of blobs "
        f"meant), and it was killed and started again {tally.restarts} times.",
        f"**Violations: {verdict}** in {told.observations:,} observations: at each one `current` "
        "named a release that had been published, was whole by its SHA-256, passes its self-test, "
        "and was not older than the one before. A camera whose present model the soak itself had "
        "destroyed counts again from its next pull on.",
        table(("", "", *(NAMES[one] for one in CLIENTS)), _rows(tally)),
        "Published meanwhile: "
        + "; ".join(f"{what} (minute {minute:.1f})" for minute, what in tally.events)
        + ".",
        "Answers of the server: "
        + ", ".join(f"{fault} {n:,}" for fault, n in told.answers.most_common())
        + ".",
        _converged(tally, told),
    ]
    if told.violations:
        parts.append("\n".join(f"- {one}" for one in told.violations[:50]))
    return "\n\n".join(parts) + "\n"


def _rows(tally: Tally) -> list[Sequence[str]]:
    """One row for each thing that was counted."""
    rows: list[Sequence[str]] = [("pulls", "", *(f"{tally.pulls[c]:,}" for c in CLIENTS))]
    rows += _counted("killed by SIGKILL", tally.kills)
    rows += _counted("damage between two pulls", tally.damages)
    rows += _counted("outcome", tally.outcomes)
    kinds = Counter({(c, f"`{kind}` ({code})"): n for (c, kind, code), n in tally.kinds.items()})
    rows += _counted("reason told (exit code)", kinds)
    return rows


def _counted(title: str, counts: Mapping[tuple[str, str], int]) -> list[Sequence[str]]:
    names = sorted({name for _, name in counts})
    return [
        (title if at == 0 else "", name, *(f"{counts.get((c, name), 0):,}" for c in CLIENTS))
        for at, name in enumerate(names)
    ]


def _converged(tally: Tally, told: Told) -> str:
    if told.not_converged:
        return f"**Not converged: {', '.join(told.not_converged)}.**"
    texts = []
    for client in CLIENTS:
        polls = sorted(tally.polls_to_converge[client])
        seconds = sorted(tally.seconds_to_converge[client])
        at = math.ceil(len(polls) / 2) - 1
        texts.append(
            f"{NAMES[client]} median {polls[at]}, most {polls[-1]} polls "
            f"(median {seconds[at]:.1f} s, most {seconds[-1]:.1f} s)"
        )
    return (
        "With the link well again and one more release every camera came to it: "
        + "; ".join(texts)
        + "."
    )
