"""`edgesr doctor`: every runtime loads and runs a tiny network, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from toolkit import plugins
from toolkit.errors import EnvironmentFailure
from toolkit.run.key import declared, tool_versions

TIMEOUT_S = 120.0
PROGRAM = "from toolkit.run.selftest import main; main({name!r})"


def run(arguments: argparse.Namespace) -> int:
    """Print one line per backend; 0 where all work, else 3."""
    found = [_examine(name) for name in plugins.names("backends")]
    if arguments.json:
        print(json.dumps(found, indent=1))  # noqa: T201
    else:
        for one in found:
            print(f"{one['state']:<7} {one['backend']:<12} {one['detail']}")  # noqa: T201
    return 0 if all(one["state"] == "ok" for one in found) else EnvironmentFailure.exit_code


def _examine(name: str) -> dict[str, str]:
    try:
        versions = tool_versions(declared("backends", name)[1])
    except EnvironmentFailure as missing:
        return {"backend": name, "state": "missing", "detail": f"{missing.problem}; {missing.hint}"}
    program = [sys.executable, "-c", PROGRAM.format(name=name)]
    try:
        child = subprocess.run(
            program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"backend": name, "state": "hangs", "detail": f"no answer within {TIMEOUT_S:g} s"}
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        return {"backend": name, "state": "broken", "detail": f"exit {child.returncode}: {last}"}
    listed = ", ".join(f"{tool} {version}" for tool, version in versions.items())
    return {"backend": name, "state": "ok", "detail": f"{child.stdout.strip()}  ({listed})"}
