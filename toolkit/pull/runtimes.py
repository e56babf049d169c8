"""Whether this camera has what runs a release."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata

from toolkit.pull.settings import Settings
from toolkit.release import Release

# Distributions that hold a runtime, the usual one first.
DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "openvino": ("openvino",),
    # tflite-runtime and tensorflow hold an interpreter too, but count their versions otherwise
    "litert": ("ai-edge-litert",),
}


def reason_against_runtime(release: Release, settings: Settings) -> str:
    """Why the runtime here does not do; "" where it does or nobody can tell.

    A version that was stated counts. Else the installed one, where our self-test is to use it: a
    firmware with a test of its own may have another runtime that Python does not know of.
    """
    name, least = release.runtime, release.runtime_least
    if settings.runtimes:
        found = settings.runtimes.get(name)
        told = f"{name} {found}" if found else f"no {name}"
    elif settings.testing.wanted and settings.testing.program is None:
        found = installed(name)
        told = f"{name} {found}" if found else f"no {name} in this Python"
    else:
        return ""
    if found is not None and not is_older(found, least):
        return ""
    return f"it needs {name} {least} or newer, this camera has {told}"


def installed(runtime: str) -> str | None:
    """The version of a runtime in this Python; it is not imported. None where there is none."""
    for name in DISTRIBUTIONS.get(runtime, ()):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def is_older(version: str, least: str) -> bool:
    """Compare the numbers at the start of two versions, `1.9` before `1.20`."""
    return _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    start = re.match(r"[0-9]{1,9}(?:\.[0-9]{1,9})*", version)
    numbers = [int(part) for part in start[0].split(".")] if start else []
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 1.20 and 1.20.0 are one
    return tuple(numbers)
