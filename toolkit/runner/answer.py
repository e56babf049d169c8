"""The one document that a runner prints, framed so that a cut or polluted one is recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from toolkit.runner.failure import Failure

SCHEMA = 1
MARK = "edgesr-answer 1"  # the line `MARK BYTES SHA256` comes before the document

EMPTY: Mapping[str, Any] = {
    "schema": SCHEMA,
    "error": None,
    "runtime": None,
    "python": None,
    "numpy": None,
    "sha256": None,
    "golden": None,
    "load_ms": None,
    "first_ms": None,
    "warm_up_runs": 0,
    "samples_ns": [],
    "peak_memory_mb": None,
    "energy_j_per_frame": None,
    "energy_counter": None,
    "tuned": False,
    "conditions": None,
    "units": [],
    "operators": [],
    "batch": None,
    "remarks": [],  # sentences without a full stop: what was asked for and could not be done
}


def with_failure(document: Mapping[str, Any], failure: Failure) -> dict[str, Any]:
    """A document that says why it is not complete."""
    return {**document, "error": {"kind": failure.kind, "text": failure.text}}


def framed(document: Mapping[str, Any]) -> bytes:
    """The line with length and SHA-256, the JSON document, a line break."""
    content = json.dumps(document, sort_keys=True, allow_nan=False).encode("ascii")
    head = f"{MARK} {len(content)} {hashlib.sha256(content).hexdigest()}\n"
    return head.encode("ascii") + content + b"\n"
