"""A file's first run, in a child process: some converted files abort the process that loads them.

`python -m toolkit.run.trial` reads one request as JSON from stdin and prints one answer.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.child import die_with_parent
from toolkit.contracts import Artefact
from toolkit.errors import UserError
from toolkit.model.contract import io_contract

TIMEOUT_S = 300.0
LOG_TAIL_CHARS = 600


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the first run showed."""

    peak_memory_mb: float  # growth of the child's peak from before loading to after one run
    finite: bool
    operators: tuple[Mapping[str, Any], ...]  # `contracts.Operator` as dicts


def artefact_json(artefact: Artefact) -> dict[str, Any]:
    """An artefact as a JSON value, its path as it is."""
    return {
        "path": str(artefact.path),
        "backend": artefact.backend,
        "precision": artefact.precision,
        "contract": artefact.contract.as_json(),
    }


def artefact_from_json(value: Mapping[str, Any], folder: Path | None = None) -> Artefact:
    """Read what `artefact_json` wrote; with `folder`, the path is taken as lying there."""
    path = Path(value["path"])
    return Artefact(
        path=folder / path.name if folder else path,
        backend=value["backend"],
        precision=value["precision"],
        contract=io_contract(value["contract"]),
    )


def try_out(artefact: Artefact, *, threads: int, input_px: tuple[int, int]) -> Trial:
    """Load and run a file once in a child. Raises UserError where the child died or hung."""
    request = {"artefact": artefact_json(artefact), "threads": threads, "input_px": input_px}
    name = artefact.path.name
    try:
        child = subprocess.run(
            [sys.executable, "-m", "toolkit.run.trial"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise UserError(
            f"`{name}` did not answer within {TIMEOUT_S:g} s under {artefact.backend}",
            hint="the network may be too large for this host; try a smaller tile",
        ) from late
    if child.returncode != 0:
        raise UserError(
            f"`{name}` {_how_it_died(child.returncode)} when {artefact.backend} loaded and ran it",
            where=child.stderr.strip()[-LOG_TAIL_CHARS:],
            hint="the other files are unaffected; leave this target out or change the network",
        )
    answer = json.loads(child.stdout.splitlines()[-1])
    return Trial(
        peak_memory_mb=answer["peak_memory_mb"],
        finite=answer["finite"],
        operators=tuple(answer["operators"]),
    )


def _how_it_died(code: int) -> str:
    if code < 0:
        return f"ended the process with {signal.Signals(-code).name}"
    return f"failed (exit {code})"


def _peak_mb() -> float:
    """Largest resident size so far. `ru_maxrss` will not do: exec keeps the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024  # Linux counts in KiB
    return float("nan")


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    import numpy as np

    from toolkit import plugins
    from toolkit.run.measure import artefact_input

    artefact = artefact_from_json(request["artefact"])
    backend = plugins.load("backends", artefact.backend)
    tensor, _, _ = artefact_input(artefact, tuple(request["input_px"]))
    before_mb = _peak_mb()
    session = backend.open(artefact, threads=request["threads"])
    output = session.run(tensor)
    peak_memory_mb = _peak_mb() - before_mb
    session.close()
    return {
        "peak_memory_mb": round(peak_memory_mb, 1),
        "finite": bool(np.isfinite(output).all()),
        "operators": [asdict(operator) for operator in backend.operators(artefact)],
    }


if __name__ == "__main__":
    die_with_parent()
    print(json.dumps(_answer(json.load(sys.stdin))))  # noqa: T201
