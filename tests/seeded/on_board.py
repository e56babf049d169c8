"""What a simulated board does in place of running the runner as it is.

`python on_board.py SETTINGS.json RUNNER.pyz JOB.json`; runs in the job's folder.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

MS = 1_000_000
SAMPLES = 120


class _Wrapped:
    """A session whose output is changed."""

    def __init__(self, session: Any, change: Any) -> None:
        self._session, self._change = session, change

    def run(self, tensor: Any) -> Any:
        return self._change(tensor, self._session.run(tensor))

    def close(self) -> None:
        self._session.close()


def _at_open(change: Any) -> None:
    """Have `change(real open, what to open)` open every file."""
    from toolkit.runner import session

    real = session.runtime

    def runtime(name: str) -> Any:
        used = real(name)
        if not hasattr(used, "seeded"):
            used.seeded = used.open
            used.open = lambda opening: change(used.seeded, opening)
        return used

    session.runtime = runtime


def _every_session(change: Any) -> None:
    """Change the output of every session that the runner opens."""
    _at_open(lambda real, opening: _Wrapped(real(opening), change))


def _levels(output: Any) -> Any:
    """(values of one grey level, lowest, highest) of an output tensor."""
    import numpy as np

    if output.dtype == np.float32:
        white = 255.0 if float(np.abs(output).max()) > 8 else 1.0
        return white / 255, 0.0, white
    limits = np.iinfo(output.dtype)
    return 1, limits.min, limits.max


def noise(program: ModuleType, settings: dict[str, Any]) -> None:
    """Each value one level up, one down, or as it is."""
    import numpy as np

    rng = np.random.default_rng(0)

    def change(_given: Any, output: Any) -> Any:
        level, low, high = _levels(output)
        moved = output.astype(np.float64) + level * rng.integers(-1, 2, output.shape)
        return np.clip(moved, low, high).astype(output.dtype)

    _every_session(change)


def video_range(program: ModuleType, settings: dict[str, Any]) -> None:
    """Pictures end at 16 and 235, as a display pipeline would have them; golden vectors do not."""
    import numpy as np

    if not json.loads(Path(settings["job"]).read_text())["batch"]:
        return

    def change(_given: Any, output: Any) -> Any:
        level, low, _ = _levels(output)
        ends = low + 16 * level, low + 235 * level
        return np.clip(output.astype(np.float64), *ends).astype(output.dtype)

    _every_session(change)


def other_layer(program: ModuleType, settings: dict[str, Any]) -> None:
    """One layer is computed wrongly: a file that differs in it is opened after the digest check."""

    def open_other(real: Any, opening: Any) -> Any:
        for file in Path(settings["other"]).iterdir():
            beside = opening.path.with_name(file.name)
            if file.stem == opening.path.stem and beside.is_file():
                _replace(file, beside)
        return real(opening)

    _at_open(open_other)


def stale_file(program: ModuleType, settings: dict[str, Any]) -> None:
    """The board's own copy of a file is one of last week."""
    for file in Path(settings["other"]).iterdir():
        if Path(file.name).is_file():
            _replace(file, Path(file.name))


def other_network(program: ModuleType, settings: dict[str, Any]) -> None:
    """The program on the board times a file of its own, whatever it was asked to."""
    path = Path(settings["job"])
    job = json.loads(path.read_text())
    if not job["time"]:
        return
    file = Path(settings["other"]) / job["file"]
    _replace(file, Path(job["file"]))
    job |= {"sha256": _sha256(Path(job["file"])), "golden": []}
    path.unlink()
    path.write_text(json.dumps(job))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _replace(source: Path, target: Path) -> None:
    """In the job's folder alone: its files are hard links."""
    target.unlink()
    shutil.copyfile(source, target)


def _scripted(program: ModuleType, settings: dict[str, Any], edit: Any) -> None:
    """Times and conditions are written down, none is taken."""
    framed = program.framed

    def scripted(document: dict[str, Any]) -> bytes:
        document = dict(document)
        if document["samples_ns"]:
            document = {**document, "samples_ns": _samples(1.0), "conditions": _calm()}
            edit(document)
        return framed(document)

    program.framed = scripted
    path = Path(settings["job"])
    job = json.loads(path.read_text())
    if job["time"]:  # a sample or two, which the script replaces
        job["time"] |= {"warm_up_s": 0.0, "min_runs": 2, "min_s": 0.0, "sustained_s": 0.0}
        path.unlink()
        path.write_text(json.dumps(job))


def _samples(slower: float) -> list[int]:
    """A ramp from 5 ms to `slower` times as much in the last half, with half a percent of noise."""
    drawn = random.Random(0)
    return [
        round(5 * MS * drawn.gauss(1, 0.005) * (1 + (slower - 1) * max(0, 2 * i / SAMPLES - 1)))
        for i in range(SAMPLES)
    ]


def _moment(at_s: float, mhz: float, celsius: float, counts: int) -> dict[str, Any]:
    return {
        "at_s": at_s,
        "frequencies_mhz": [mhz, mhz],
        "frequencies_max_mhz": [2400.0, 2400.0],
        "governors": ["performance", "performance"],
        "temperatures_c": {"cpu-thermal": celsius},
        "throttles": counts,
        "load_1min": 1.0,
        "free_memory_mb": 2000.0,
    }


def _calm() -> dict[str, Any]:
    moments = [_moment(at, 2400.0, 52.0, 0) for at in (0.0, 1.0, 2.0, 3.0)]
    return {
        "before": moments[0],
        "during": moments,
        "after": moments[-1],
        "other_cpu_share": 0.005,
        "steal_share": 0.0,
        "tuned": None,
    }


def calm(program: ModuleType, settings: dict[str, Any]) -> None:
    """A quiet board whose clock does not move."""
    _scripted(program, settings, lambda document: None)


def throttled(program: ModuleType, settings: dict[str, Any]) -> None:
    """A chip that gets hot and takes its clock back, and does not say so in its counters."""

    def edit(document: dict[str, Any]) -> None:
        document["samples_ns"] = _samples(1.5)
        during = [_moment(at, 2400.0 - 267 * at, 55.0 + 9 * at, 0) for at in (0, 1, 2, 3)]
        document["conditions"] |= {"during": during, "after": during[-1]}

    _scripted(program, settings, edit)


def fallback(program: ModuleType, settings: dict[str, Any]) -> None:
    """Half of the operators run somewhere else than promised, without a word."""
    framed = program.framed

    def scripted(document: dict[str, Any]) -> bytes:
        document = dict(document)
        for unit in document["units"][:1]:
            half = dict(unit, operators_share=0.5, operators=max(1, unit["operators"] // 2))
            document["units"] = [half, dict(half, unit="reference kernels")]
        return framed(document)

    program.framed = scripted


def main(settings_path: str, runner: str, job: str) -> int:
    """Put the fault in, run the job."""
    sys.path.insert(0, str(Path(runner).resolve()))
    from toolkit.runner import program

    settings = {**json.loads(Path(settings_path).read_text()), "job": job}
    for fault in settings["faults"]:
        globals()[fault](program, settings)
    return program.main([job])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
