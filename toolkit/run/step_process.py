"""One step in processes of its own: `torchrun ... -m toolkit.run.step_process REQUEST OUT`.

REQUEST is a JSON file with the step's name and its `StepInput`. Every process of the group runs
the step; the step itself knows that only the first one writes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.contracts import Progress, StepInput
from toolkit.errors import UserError
from toolkit.images.sets import ImageFile, ImageSet
from toolkit.model.network import read_network

FACTS = "facts.json"
LOG_TAIL_CHARS = 2000


def run_in_processes(name: str, given: StepInput, out: Path, processes: int) -> dict[str, Any]:
    """Run a step under `torchrun` with that many processes on this machine; return its facts."""
    given.work.mkdir(parents=True, exist_ok=True)
    request = given.work / "request.json"
    request.write_text(json.dumps(_request(name, given)))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *(f"--nproc-per-node={processes}", "-m", "toolkit.run.step_process"),
        *(str(request), str(out)),
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("{"):
            given.show(Progress(**json.loads(line)))
    _, talk = child.communicate()
    if child.returncode != 0:
        raise UserError(
            f"`{name}` failed in {processes} processes",
            where=_reason(talk),
            hint="run it with `processes: 1` to see the first error alone",
        )
    facts_file = out / FACTS
    facts: dict[str, Any] = json.loads(facts_file.read_text())
    facts_file.unlink()
    return facts


def _reason(talk: str) -> str:
    """The last error that one of the processes told, or the end of what they all said."""
    told = [line for line in talk.splitlines() if "Error: " in line and "elastic" not in line]
    return re.sub(r"^\[.*?\]:", "", told[-1]) if told else talk.strip()[-LOG_TAIL_CHARS:]


def _request(name: str, given: StepInput) -> dict[str, Any]:
    files = [{**asdict(file), "path": str(file.path)} for file in given.calibration.files]
    return {
        "step": name,
        "network": str(given.network.path),
        "params": dict(given.params),
        "calibration": {"name": given.calibration.name, "files": files},
        "work": str(given.work),
        "networks": {key: str(network.path) for key, network in given.networks.items()},
        "channel_multiple": given.channel_multiple,
    }


def _given(request: dict[str, Any]) -> StepInput:
    listed = request["calibration"]
    files = tuple(ImageFile(**{**f, "path": Path(f["path"])}) for f in listed["files"])
    return StepInput(
        network=read_network(Path(request["network"])),
        params=request["params"],
        calibration=ImageSet(name=listed["name"], files=files),
        work=Path(request["work"]),
        show=lambda progress: print(json.dumps(vars(progress)), flush=True),  # noqa: T201
        networks={key: read_network(Path(path)) for key, path in request["networks"].items()},
        channel_multiple=request["channel_multiple"],
    )


def main(request_file: str, out: str) -> None:
    """The body of every process of the group."""
    request = json.loads(Path(request_file).read_text())
    facts = plugins.load("steps", request["step"]).run(_given(request), Path(out))
    if os.environ.get("RANK", "0") == "0":
        (Path(out) / FACTS).write_text(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
