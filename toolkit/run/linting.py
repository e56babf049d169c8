"""A spine file as the light facts that the lint of a target reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from toolkit.errors import ToolkitError
from toolkit.spec.lint import NodeFact, lint, refusals
from toolkit.spec.target import Target

CONVOLUTIONS = ("Conv", "ConvTranspose")
SINGLE = (onnx.AttributeProto.INT, onnx.AttributeProto.STRING, onnx.AttributeProto.FLOAT)


def node_facts(model: onnx.ModelProto) -> list[NodeFact]:
    """One fact per node, in graph order; ranks come from the inferred shapes."""
    shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    for info in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        shapes[info.name] = tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
    return [_fact(node, shapes) for node in model.graph.node]


def _fact(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> NodeFact:
    attributes = {
        a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.type in SINGLE
    }
    plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    weight = shapes.get(node.input[1]) if node.op_type in CONVOLUTIONS else None
    channels_in, channels_out = _widths(node.op_type, weight, int(attributes.get("group", 1)))
    return NodeFact(
        name=node.name or node.output[0],
        op=node.op_type,
        rank=max((len(shapes.get(t, ())) for t in (*node.input, *node.output)), default=0),
        kernel=weight[2:] if weight else None,
        block=int(attributes["blocksize"]) if "blocksize" in attributes else None,
        channels_in=channels_in,
        channels_out=channels_out,
        attributes=plain,
    )


def _widths(
    op: str, weight: tuple[int, ...] | None, groups: int
) -> tuple[int, int] | tuple[None, None]:
    """Channels in and out of a convolution; ONNX keeps both kinds of weight per group."""
    if weight is None:
        return None, None
    if op == "ConvTranspose":
        return weight[0], weight[1] * groups
    return weight[1] * groups, weight[0]


def lint_network(path: Path, target: Target) -> tuple[list[ToolkitError], list[str]]:
    """What stops a build on this target, and what is only slow, as sentences."""
    findings = lint(node_facts(onnx.load(path)), target)
    slow = [
        f"{finding.problem}: {finding.fix} (node `{finding.node}`; {finding.source})"
        for finding in findings
        if finding.level == "slow"
    ]
    return list(refusals(findings, target)), slow
