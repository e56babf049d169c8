"""An INT8 TFLite file compiled for an Arm Ethos-U by Arm's Vela, and what Vela says about it.

Cycles are Vela's own estimate for the NPU; what stays on the CPU is not in them. The compiler runs
as a child process: `python -m toolkit.lowering.vela` with Vela's own arguments.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.child import die_with_parent
from toolkit.errors import EnvironmentFailure, ToolkitError, UserError
from toolkit.report import NpuOperator, NpuUse
from toolkit.spec.target import Npu

VERSION = 1
TOOLS = ("ethos-u-vela", "ai-edge-litert", "flatbuffers")
TIMEOUT_S = 300.0
TAIL_CHARS = 400
CONFIG = "Arm/vela.ini"  # ships with Vela
NPU_OPERATOR = b"ethos-u"  # the custom operator that holds a command stream
KIB, KB = 1024, 1000
REFUSAL = re.compile(r"operator: \w+, ofm: '(?P<made>.*)'\n\s*Reason: (?P<reason>.*)")
NO_REASON = "Vela gives no reason"


def compile_for_npu(file: Path, npu: Npu, out: Path) -> NpuUse:
    """Write `out`/STEM_vela.tflite; return Vela's estimate and where each operator runs.

    Raises UserError where Vela refuses the file or its settings or takes longer than TIMEOUT_S,
    EnvironmentFailure where Vela is not installed.
    """
    said = _run(file, npu, out)
    compiled = out / f"{file.stem}_vela.tflite"
    tables = sorted(out.glob(f"{file.stem}_summary_*.csv"))
    if not compiled.exists() or len(tables) != 1:
        raise ToolkitError(
            f"Vela wrote {sorted(p.name for p in out.iterdir())}, not one file and one summary",
            where=file.name,
            hint="this Vela is not the one the toolkit was written for: pip install its version",
        )
    with tables[0].open(newline="") as stream:
        summary = next(csv.DictReader(stream))
    for extra in out.glob("*.csv"):
        extra.unlink()
    reasons = {found["made"]: found["reason"].strip() for found in REFUSAL.finditer(said)}
    return _use(npu, summary, _operators(file), _operators(compiled), reasons, compiled.name)


def _run(file: Path, npu: Npu, out: Path) -> str:
    """What Vela printed."""
    settings = {
        "accelerator-config": npu.accelerator,
        "config": CONFIG,
        "system-config": npu.system_config,
        "memory-mode": npu.memory_mode,
        "output-dir": str(out),
    }
    arguments = [f"--{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", __name__, str(file), *arguments, "--show-cpu-operations"]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise _refused(file, npu, f"no answer within {TIMEOUT_S:.0f} s") from None
    said = child.stdout + child.stderr
    if child.returncode != 0 and "No module named 'ethosu'" in said:
        raise EnvironmentFailure("Vela is not installed", hint="pip install ethos-u-vela")
    if child.returncode != 0:
        last = said.strip().splitlines()[-1] if said.strip() else ""
        raise _refused(file, npu, f"exit {child.returncode}: {last[-TAIL_CHARS:]}")
    return said


def _refused(file: Path, npu: Npu, problem: str) -> UserError:
    return UserError(
        f"Vela cannot compile `{file.name}` for {npu.accelerator}: {problem}",
        where=f"system config {npu.system_config}, memory mode {npu.memory_mode}",
        hint="`vela --list-configs Arm/vela.ini` lists both; a smaller tile needs less memory",
    )


def _operators(file: Path) -> dict[str, str]:
    """Name of its first result to kind, for every operator the CPU runs; NPU parts are left out."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    kinds = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    found = {}
    for graph in model.subgraphs:
        for op in graph.operators:
            code = model.operatorCodes[op.opcodeIndex]
            if code.customCode != NPU_OPERATOR:
                kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
                found[graph.tensors[op.outputs[0]].name.decode()] = kind
    return found


def _use(
    npu: Npu,
    summary: Mapping[str, str],
    given: Mapping[str, str],
    left: Mapping[str, str],
    reasons: Mapping[str, str],
    file: str,
) -> NpuUse:
    def kb(*columns: str, unit: int = 1) -> float:
        return round(sum(float(summary[column]) for column in columns) * unit / KB, 1)

    off = [
        NpuOperator(name=name, kind=kind, reason=reasons.get(name, NO_REASON))
        for name, kind in left.items()
    ]
    on = [NpuOperator(name=n, kind=kind) for n, kind in given.items() if n not in left]
    return NpuUse(
        accelerator=npu.accelerator,
        system_config=npu.system_config,
        memory_mode=npu.memory_mode,
        file=file,
        clock_mhz=float(summary["core_clock"]) / 1e6,
        cycles=int(float(summary["cycles_total"])),
        inference_ms=round(float(summary["inference_time"]) * 1e3, 3),
        sram_kb=kb("sram_memory_used", unit=KIB),
        dram_kb=kb("dram_memory_used", unit=KIB),
        flash_kb=kb("on_chip_flash_memory_used", "off_chip_flash_memory_used", unit=KIB),
        sram_traffic_kb=kb("sram_total_bytes"),
        dram_traffic_kb=kb("dram_total_bytes"),
        flash_traffic_kb=kb("on_chip_flash_total_bytes", "off_chip_flash_total_bytes"),
        on=tuple(on),
        off=tuple(off),
    )


def main(arguments: list[str]) -> Any:
    """Vela's own command line."""
    from ethosu.vela.vela import main as vela

    return vela(arguments)


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(sys.argv[1:]))
