"""A spine file as the light facts that the lint of a target reads."""

from __future__ import annotations

from collections.abc import Container, Mapping
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
    constants = {i.name for i in model.graph.initializer}
    return [_fact(node, shapes, constants) for node in model.graph.node]


def _fact(
    node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], constants: Container[str]
) -> NodeFact:
    attributes = {
        a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.type in SINGLE
    }
    plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    weight = shapes.get(node.input[1]) if node.op_type in CONVOLUTIONS else None
    channels_in, channels_out = _widths(node.op_type, weight, int(attributes.get("group", 1)))
    moving = [t for t in (*node.input, *node.output) if t not in constants]
    touched = [shapes.get(t, ()) for t in moving]
    given = [shapes.get(t, ()) for t in node.input]
    # one tensor joined to itself becomes a selection of its channels
    joins = (
        node.op_type == "Concat" and attributes.get("axis") in (1, -3) and len(set(node.input)) > 1
    )
    joined = tuple(s[1] for s in given if len(s) == 4 and s[1]) if joins else ()
    strides = _values(node, "strides") if node.op_type in CONVOLUTIONS else None
    return NodeFact(
        name=node.name or node.output[0],
        op=node.op_type,
        rank=max((len(shapes.get(t, ())) for t in (*node.input, *node.output)), default=0),
        kernel=weight[2:] if weight else None,
        block=int(attributes["blocksize"]) if "blocksize" in attributes else None,
        channels_in=channels_in,
        channels_out=channels_out,
        wide_axes=max((sum(size != 1 for size in shape) for shape in touched), default=0),
        strides=strides,
        joined=joined,
        attributes=plain,
    )


def _values(node: onnx.NodeProto, name: str) -> tuple[int, ...] | None:
    found = [tuple(a.ints) for a in node.attribute if a.name == name]
    return found[0] if found else None


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
