"""report.json: a Report as the bytes that are packed and digested, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from toolkit.report import ImageScore, Latency, Measured, Report, StepRecord, Verdict


def json_bytes(value: Any) -> bytes:
    """Sorted, indented ASCII JSON with a last newline: one text for one value. Refuses NaN."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def report_bytes(report: Report) -> bytes:
    """The report as JSON, for people and programs.

    JSON has no NaN and no infinity, and a collapsed network or two equal pictures give them: they
    become the texts `NaN`, `Infinity` and `-Infinity`.
    """
    return json_bytes(_plain(report.as_json()))


def parse_report(data: bytes) -> Report:
    """The report that `report_bytes` wrote. Raises KeyError, TypeError or ValueError."""
    value = json.loads(data)
    return Report(
        **{
            **value,
            "verdicts": tuple(
                Verdict(**{**v, "value": float(v["value"]), "limit": float(v["limit"])})
                for v in value["verdicts"]
            ),
            "reference": _measured(value["reference"]),
            "files": tuple(_measured(file) for file in value["files"]),
            "drops": {file: _drop(split) for file, split in value["drops"].items()},
            "steps": tuple(StepRecord(**step) for step in value["steps"]),
            "warnings": tuple(value["warnings"]),
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _measured(value: Mapping[str, Any]) -> Measured:
    images = tuple(
        ImageScore(name=i["name"], psnr_db=float(i["psnr_db"]), ssim=float(i["ssim"]))
        for i in value["images"]
    )
    latency = Latency(**value["latency"]) if value["latency"] is not None else None
    return Measured(**{**value, "images": images, "latency": latency})


def _drop(split: Mapping[str, Any]) -> dict[str, Any]:
    """One file's drops with every number of dB as a float again, at any depth."""
    return {
        key: _drop(item)
        if isinstance(item, Mapping)
        else float(item)
        if key.endswith("_db")
        else item
        for key, item in split.items()
    }
