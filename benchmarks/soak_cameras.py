"""The cameras of the soak: how one polls, dies, and has its flash damaged."""

from __future__ import annotations

import json
import random
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak_observer import POINTER, incomplete

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from camera.running import PYTHON_WORDS, start

STATES = (
    "lock", "clock", "root", "timestamp", "snapshot", "targets", "family", "index",
    "manifest", "space", "fetch", "verify", "test", "activate", "collect",
)  # fmt: skip
PHASES = ("before", "in", "after")
LATE = STATES[STATES.index("manifest") :]  # reached by updates alone, so chosen more often
HANGS_S = 120.0  # no pull of the soak may take so long
LATEST_KILL_S = {"c": 0.05, "python": 0.5}  # about what a healthy pull takes
OPTIONS = {"stall-s": 1, "tries": 3, "retry-s": 0.05, "self-test-s": 60}
# Stands for firmware that tries a model: right about the bad release, and quick.
SELF_TEST = '#!/bin/sh\n! grep -q \'"recipe":"bad"\' "$1/release.json"\n'
BUG_CODES = (1, 2)  # a traceback, or words that a client does not know


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One camera."""

    name: str
    client: str  # "python" or "c"
    words: tuple[str, ...]
    store: Path


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """How one pull ended."""

    how: str  # "updated", "current", ..., "killed"
    kind: str  # of its error
    exit_code: int
    said: str  # the end of stderr


def cameras(
    place: Path, count: int, url: str, root: Path, program: Path, real: int
) -> list[Camera]:
    """Half C, half Python; of the Python ones each `real`-th runs the golden vectors."""
    test = place / "self-test"
    test.write_text(SELF_TEST)
    test.chmod(0o755)
    made = []
    for number in range(count):
        client = ("c", "python")[number % 2]
        store = place / "stores" / f"{number:03}"
        words = [str(program)] if client == "c" else [*PYTHON_WORDS, "pull"]
        words += ["--json", "--channel", url, "--root", str(root), "--store", str(store)]
        words += ["--device-id", f"soak-{number:03}"]
        for name, value in OPTIONS.items():
            words += [f"--{name}", str(value)]
        if client == "c" or number // 2 % real:
            words += ["--self-test", str(test)]
        made.append(
            Camera(name=f"{number:03} ({client})", client=client, words=tuple(words), store=store)
        )
    return made


def pulled(camera: Camera, chance: random.Random, kill: str) -> Pulled:
    """One poll, killed by `kill`: "" not, "state" at a random state, "time" at a random moment."""
    environment = {}
    if kill == "state":
        state = chance.choice(chance.choice((STATES, LATE)))
        environment["EDGESR_KILL"] = f"{state}:{chance.choice(PHASES)}"
    running = start(camera.words, environment)
    if kill == "time":
        alarm = threading.Timer(chance.uniform(0, LATEST_KILL_S[camera.client]), running.kill)
        alarm.start()
        ended = running.wait(HANGS_S)
        alarm.cancel()
    else:
        ended = running.wait(HANGS_S)
    if ended.code < 0:
        how = "killed" if kill else f"ended by signal {-ended.code}"
        return Pulled(how=how, kind="", exit_code=ended.code, said=_tail(ended.stderr))
    result = _json(ended.stdout)
    error = result.get("error") or {}
    return Pulled(
        how=str(result.get("outcome", "no answer")),
        kind=str(error.get("kind", "")),
        exit_code=ended.code,
        said=_tail(ended.stderr),
    )


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _tail(stderr: bytes) -> str:
    return stderr[-2000:].decode("utf-8", "replace")


# -- damage ----------------------------------------------------------------------------------------


def _zeros(file: Path, chance: random.Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def _emptied(file: Path, chance: random.Random) -> None:
    file.write_bytes(b"")


def _halved(file: Path, chance: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flipped(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes() or b"\0")
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(bytes(data))


def _removed(file: Path, chance: random.Random) -> None:
    file.unlink()


def _grown(file: Path, chance: random.Random) -> None:
    file.write_bytes(file.read_bytes() + bytes(chance.randrange(1, 9000)))


WAYS: dict[str, Callable[[Path, random.Random], None]] = {
    "zeros": _zeros,
    "empty": _emptied,
    "half": _halved,
    "bit flipped": _flipped,
    "removed": _removed,
    "longer": _grown,
}
PLACES = ("metadata", "all metadata", "part", "part", "trial", "previous")
SERVED = ("current", "model")  # what a camera serves is gone until the next pull


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What the soak did to one store."""

    place: str
    file: Path | None  # None: a whole folder
    hits_served: bool


def damage(store: Path, chance: random.Random) -> Damage | None:
    """Damage one thing; None where there was no such thing.

    The present model and its pointer are hit only where a complete previous release is there.
    """
    places = (*PLACES, *SERVED) if has_previous(store) else PLACES
    place = chance.choice(places)
    if place == "all metadata":
        shutil.rmtree(store / "metadata", ignore_errors=True)
        return Damage(place=place, file=None, hits_served=False)
    files = sorted(_files(store, place))
    if not files:
        return None
    file = chance.choice(files)
    WAYS[chance.choice(sorted(WAYS))](file, chance)
    return Damage(place=place, file=file, hits_served=place in SERVED)


def _files(store: Path, place: str) -> Sequence[Path]:
    if place == "metadata":
        return [file for file in (store / "metadata").rglob("*") if file.is_file()]
    if place == "part":
        return [file for file in store.rglob("*.part") if file.is_file()]
    if place == "model":
        found = POINTER.fullmatch((store / "current").read_text())
        return [store / "releases" / found[2] / "model.onnx"] if found else []
    return [store / place] if (store / place).is_file() else []


def has_previous(store: Path) -> bool:
    """Whether both pointers name complete releases, not the same one."""
    try:
        found = [POINTER.fullmatch((store / name).read_text()) for name in ("current", "previous")]
    except (OSError, UnicodeDecodeError):
        return False
    ids = {match[2] for match in found if match is not None}
    return len(ids) == 2 and not any(incomplete(store / "releases" / one) for one in ids)
