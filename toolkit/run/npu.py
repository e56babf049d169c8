"""Files for an NPU are compiled, one kept step for each, though no NPU is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from toolkit.report import npu_use
from toolkit.run.key import Ingredients, declared, tool_versions
from toolkit.run.score import Scored
from toolkit.run.walk import Walk
from toolkit.spec.target import Npu, Target


def with_npu(walk: Walk, slot: str, target: Target, files: Sequence[Scored]) -> tuple[Scored, ...]:
    """The files, and beside each INT8 TFLite file of an NPU build what its compiler says."""
    builds = [build.npu for build in target.builds if build.backend == "litert"]
    integer = [
        f for f in files if f.artefact.backend == "litert" and f.artefact.precision == "int8"
    ]
    npus = {f.digest: npu for f, npu in zip(integer, builds, strict=False) if npu is not None}
    return tuple(_compiled(walk, slot, f, npus[f.digest]) if f.digest in npus else f for f in files)


def _compiled(walk: Walk, slot: str, scored: Scored, npu: Npu) -> Scored:
    file = scored.artefact.path
    version, tools = declared("lowering", "vela")
    ingredients = Ingredients(
        step="npu",
        version=version,
        params={**asdict(npu), "file": file.name},
        inputs={"file": scored.digest},
        tools=tool_versions(tools),
    )
    entry = walk.step(
        f"{slot}.{file.name}.npu",
        f"compile {file.name} for {npu.accelerator}",
        ingredients,
        lambda out, _work: _compile(file, npu, out),
    )
    assert entry is not None
    use = npu_use(entry.facts)
    return replace(scored, npu=use, npu_file=entry.paths[use.file])


def _compile(file: Path, npu: Npu, out: Path) -> dict[str, Any]:
    from toolkit.lowering.vela import compile_for_npu

    return asdict(compile_for_npu(file, npu, out))
