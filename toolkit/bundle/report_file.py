"""report.json: a Report as the bytes that are packed and digested, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from toolkit.report import (
    Explanation,
    ImageScore,
    Latency,
    LayerLoss,
    Measured,
    RecipeEdit,
    Recommendation,
    Report,
    Rung,
    RungFile,
    StepRecord,
    Verdict,
    npu_use,
)


def json_bytes(value: Any) -> bytes:
    """Sorted, indented ASCII JSON with a last newline: one text for one value. Refuses NaN."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def report_bytes(report: Report) -> bytes:
    """The report as JSON, for people and programs.

    JSON has no NaN and no infinity, and a collapsed network or two equal pictures give them: they
    become the texts `NaN`, `Infinity` and `-Infinity`.
    """
    return json_bytes(plain(report.as_json()))


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
            # reports of version 0.1 have none of these
            "ladder": tuple(_rung(rung) for rung in value.get("ladder", ())),
            "recommendations": tuple(
                Recommendation(**{**r, **_floats(r)}) for r in value.get("recommendations", ())
            ),
            "explanation": _explanation(value.get("explanation")),
        }
    )


def _floats(value: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of dB, which may be written as `NaN`."""
    return {key: float(item) for key, item in value.items() if key.endswith("_db")}


def _rung(value: Mapping[str, Any]) -> Rung:
    files = tuple(RungFile(**{**file, **_floats(file)}) for file in value["files"])
    return Rung(**{**value, "files": files})


def _explanation(value: Mapping[str, Any] | None) -> Explanation | None:
    if value is None:
        return None
    layers = tuple(LayerLoss(**{**layer, **_floats(layer)}) for layer in value["layers"])
    return Explanation(layers=layers, edits=tuple(RecipeEdit(**e) for e in value["edits"]))


def plain(value: Any) -> Any:
    """A value as JSON can say it: NaN and the infinities become texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _measured(value: Mapping[str, Any]) -> Measured:
    images = tuple(
        ImageScore(name=i["name"], psnr_db=float(i["psnr_db"]), ssim=float(i["ssim"]))
        for i in value["images"]
    )
    latency = _latency(value["latency"]) if value["latency"] is not None else None
    npu = npu_use(value["npu"]) if value.get("npu") else None
    return Measured(**{**value, "images": images, "latency": latency, "npu": npu})


def _latency(value: Mapping[str, Any]) -> Latency:
    return Latency(**{**value, "unstable": tuple(value.get("unstable", ()))})


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
