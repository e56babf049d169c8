"""A runner's answer read strictly: what is cut, polluted or damaged is no result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from toolkit.contracts import Finished
from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.measure.words import plain, refuse_garbage
from toolkit.runner.answer import MARK, SCHEMA

HEAD_MOST_BYTES = 128
DISCARDED = "the run is discarded; run the same command again"
# What an exit code without an answer means: problem and hint.
CODES: Mapping[int, tuple[str, str]] = {
    124: ("the runner did not finish in time and was stopped on the device", ""),
    126: ("the device may not execute its Python", "look at the mount options of its folder"),
    127: ("the device has no Python any more, or its `timeout` is missing", ""),
    132: (
        "the runtime uses an instruction that the device's CPU lacks",
        "install a build of the runtime for this CPU",
    ),
    134: ("the runtime stopped itself on the device (abort)", ""),
    135: ("the runtime crashed on the device (bus error)", ""),
    136: ("the runtime crashed on the device (arithmetic error)", ""),
    137: (
        "the runner was killed on the device, usually for want of memory",
        "free memory on the device, take a smaller picture or tile, or fewer threads",
    ),
    139: ("the runtime crashed on the device (segmentation fault)", ""),
    143: ("the runner did not finish in time and was stopped on the device", ""),
}


def answer_of(done: Finished, url: str) -> dict[str, Any]:
    """The document of a runner that ended by itself.

    Raises EnvironmentFailure for garbage before the frame, a cut or damaged answer, an exit code
    that says what happened, and for what the runner itself could not do; SecurityError where a
    file on the device is not the one that was sent.
    """
    if done.code in CODES:
        raise _overdue(done, url) or _ended(done, url)
    refuse_garbage(done, MARK.encode(), url)
    if not done.stdout:
        raise _ended(done, url)
    document = _document(done, url)
    error = document.get("error")
    if error is not None:
        raise _failure(error, url)
    return document


def _document(done: Finished, url: str) -> dict[str, Any]:
    head, _, rest = done.stdout.partition(b"\n")
    words = head[:HEAD_MOST_BYTES].decode("ascii", "replace").split(" ")
    if len(words) != 4 or not words[2].isdigit() or len(words[2]) > 12:
        raise _discarded(f"the first line of the answer is damaged: `{plain(head, 80)}`", url)
    size = int(words[2])
    if len(rest) < size:
        raise _discarded(f"the answer was cut: {len(rest)} of {size} bytes arrived", url)
    if rest[size:] not in (b"", b"\n"):
        found = plain(rest[size : size + 200], 80)
        raise _discarded(f"the device printed something after the answer: `{found}`", url)
    if sha256_bytes(rest[:size]) != words[3]:
        raise _discarded("the answer was changed on its way: its SHA-256 differs", url)
    try:
        document = json.loads(rest[:size], parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _discarded(f"the answer is no JSON: {plain(str(error))}", url) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise _discarded("the answer has another schema than this toolkit reads", url)
    return document


def _no_constant(word: str) -> float:
    raise ValueError(f"`{word}` is no JSON")


def _discarded(problem: str, url: str) -> EnvironmentFailure:
    return EnvironmentFailure(problem, where=url, hint=DISCARDED)


def _ended(done: Finished, url: str) -> EnvironmentFailure:
    problem, hint = CODES.get(done.code, ("the runner ended without an answer", ""))
    said = plain(done.stderr)
    return EnvironmentFailure(
        f"{problem} (exit {done.code})" + (f"; it said: {said}" if done.stderr.strip() else ""),
        where=url,
        hint=hint or DISCARDED,
    )


def _overdue(done: Finished, url: str) -> EnvironmentFailure | SecurityError | None:
    """What the guard of a runner says that it had to kill: the exit code looks like want of
    memory."""
    try:
        error = _document(done, url).get("error")
    except EnvironmentFailure:
        return None
    is_late = isinstance(error, dict) and error.get("kind") == "time"
    return _failure(error, url) if is_late else None


def _failure(error: Any, url: str) -> EnvironmentFailure | SecurityError:
    kind = error.get("kind") if isinstance(error, dict) else None
    text = plain(str(error.get("text", "")) if isinstance(error, dict) else "", 600)
    if kind == "digest":
        return SecurityError(
            f"a file on the device is not the one that was sent: {text}",
            where=url,
            hint=f"`edgesr devices {url} --clean`, then run again",
        )
    said = {
        "load": "the runtime on the device does not take the file",
        "memory": "the device has too little memory for the file",
        "missing": "the device lacks something",
        "golden": "the golden vectors could not be checked",
        "time": "the runner did not finish in time on the device",
    }
    return EnvironmentFailure(
        f"{said.get(str(kind), 'the run failed on the device')}: {text}", where=url
    )
