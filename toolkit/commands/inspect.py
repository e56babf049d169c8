"""`edgesr inspect`: what a network is and costs, and what each target's lint says of it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from toolkit.commands.reading import source_of
from toolkit.spec.read_target import read_target, target_names

if TYPE_CHECKING:
    import onnx


def run(arguments: argparse.Namespace) -> int:
    """Print facts, the contract and findings."""
    from toolkit.model.facts import network_facts
    from toolkit.run.sources import import_source

    imported = import_source(source_of(arguments.model, arguments.scale, arguments.arch))
    facts = network_facts(imported.model)
    findings = {name: _findings(imported.model, name) for name in target_names()}
    if arguments.json:
        value = {
            "contract": asdict(imported.contract),
            "facts": {**asdict(facts), "macs_by_node": dict(facts.macs_by_node)},
            "warnings": list(imported.warnings),
            "targets": findings,
        }
        print(json.dumps(value, indent=1))  # noqa: T201
        return 0
    for line in _lines(arguments, imported, facts, findings):
        print(line)  # noqa: T201
    return 0


def _findings(model: onnx.ModelProto, name: str) -> list[dict[str, str]]:
    from toolkit.run.linting import node_facts
    from toolkit.spec.lint import lint

    return [asdict(finding) for finding in lint(node_facts(model), read_target(name))]


def _lines(
    arguments: argparse.Namespace, imported: Any, facts: Any, findings: dict[str, Any]
) -> list[str]:
    contract, (height, width) = imported.contract, facts.input_px
    tensors = {"input": imported.model.graph.input[0], "output": imported.model.graph.output[0]}
    sizes = {
        kind: "x".join(d.dim_param or str(d.dim_value) for d in t.type.tensor_type.shape.dim)
        for kind, t in tensors.items()
    }
    halo = f"{facts.halo_px} px" if facts.halo_px is not None else f"none: {facts.whole_picture}"
    lines = [
        str(arguments.model),
        f"  pictures    x{contract.scale}, {contract.color}, 0 to {contract.white:g}, "
        f"at least {contract.minimum_px} px, multiples of {contract.multiple_of}",
        f"  input       {tensors['input'].name}  {sizes['input']}",
        f"  output      {tensors['output'].name}  {sizes['output']}",
        f"  parameters  {facts.parameters:,}",
        f"  MACs        {facts.macs / 1e9:.2f} G at {height} x {width}",
        f"  sees        {facts.receptive_field_px or 'the whole picture'} px; tile halo {halo}",
        "  operators   " + ", ".join(f"{op} {n}" for op, n in sorted(facts.operators.items())),
    ]
    lines += [f"  warning     {warning}" for warning in imported.warnings]
    for name, found in findings.items():
        lines.append(f"  {name}: {'nothing to change' if not found else ''}".rstrip())
        lines += [f"    {f['level']:<8} {f['problem']}; {f['fix']} ({f['source']})" for f in found]
    return lines
