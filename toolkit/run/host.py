"""This machine, as far as the numbers of a report depend on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from toolkit.benchmark import Benchmark

FasterFloat = Literal["bfloat16", "float16"]
CPU_FACTS = Path("/proc/cpuinfo")
# Flags that Linux states for instructions on which a runtime computes faster than in float32.
FASTER_FLOATS: Mapping[FasterFloat, frozenset[str]] = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}),
    "float16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
}


def host_facts(taken: Benchmark | None = None) -> dict[str, Any]:
    """What a report says of the machine, and of the device that took the times."""
    nobody = "this host: no device was named, so latency is not the board's"
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "device": asdict(taken.device) if taken else nobody,
    }


def faster_floats(cpu_facts: str | None = None) -> tuple[FasterFloat, ...]:
    """The float modes that this CPU, or the one of the text given, computes faster than float32."""
    text = CPU_FACTS.read_text() if cpu_facts is None else cpu_facts
    lines = (line.split(":", 1)[1] for line in text.splitlines() if _states_flags(line))
    flags = frozenset(next(lines, "").split())
    return tuple(mode for mode, wanted in FASTER_FLOATS.items() if flags & wanted)


def _states_flags(line: str) -> bool:
    return line.startswith(("flags", "Features")) and ":" in line


def _cpu_name() -> str:
    for line in CPU_FACTS.read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
