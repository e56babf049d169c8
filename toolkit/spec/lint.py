"""What a target cannot run, or only slowly, named before anything is calibrated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from toolkit.errors import UserError
from toolkit.spec.target import LimitFact, Target

CONVOLUTIONS = ("Conv", "ConvTranspose")
CONDITION = re.compile(r"(\w+)\[(\w+)=(\w+)\]")


@dataclass(frozen=True, kw_only=True)
class NodeFact:
    """One node of the graph, as far as limits of devices speak of it."""

    name: str
    op: str  # ONNX operator
    rank: int  # most axes among its inputs and outputs
    kernel: tuple[int, ...] | None = None  # edges of a convolution's kernel
    block: int | None = None  # of DepthToSpace and SpaceToDepth
    channels_in: int | None = None
    channels_out: int | None = None
    wide_axes: int = 0  # most axes longer than 1 among its inputs and outputs
    strides: tuple[int, ...] | None = None  # of convolutions
    joined: tuple[int, ...] = ()  # channels that a concatenation of pictures joins
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One breach of a limit."""

    level: Literal["refused", "slow"]
    node: str
    problem: str
    fix: str
    source: str


def lint(nodes: Sequence[NodeFact], target: Target) -> list[Finding]:
    """Every breach of the target's limits by these nodes (in graph order), refusals first."""
    found = [finding for node in nodes for finding in _of_node(node, target)]
    found += _of_widths(nodes, target)
    return sorted(found, key=lambda finding: finding.level != "refused")


def refusals(findings: Sequence[Finding], target: Target) -> list[UserError]:
    """An error for each finding that stops a build."""
    return [
        UserError(
            f"{finding.problem} ({finding.source})",
            where=f"node `{finding.node}`, target {target.name}",
            hint=finding.fix,
        )
        for finding in findings
        if finding.level == "refused"
    ]


def _finding(fact: LimitFact, node: str, problem: str) -> Finding:
    return Finding(
        level=fact.level, node=node, problem=problem, fix=fact.instead, source=fact.source
    )


def _of_node(node: NodeFact, target: Target) -> Iterator[Finding]:
    verb = {"refused": "cannot run", "slow": "does not run well on this device:"}
    for pattern, fact in target.limit_facts.items():
        if problem := _operator_problem(pattern, node):
            yield _finding(fact, node.name, f"{target.name} {verb[fact.level]} {problem}")
    limits, facts = target.limits, target.limit_facts
    if limits.max_rank is not None and node.rank > limits.max_rank:
        problem = f"a tensor of `{node.op}` has {node.rank} axes, at most {limits.max_rank}"
        yield _finding(facts["max_rank"], node.name, problem)
    blocks, kernels = limits.depth_to_space_blocks, limits.kernel_sizes
    rewritten = all(build.upsampler != "depth_to_space" for build in target.builds)
    shuffles = node.op == "DepthToSpace" and not rewritten
    if shuffles and blocks is not None and node.block not in blocks:
        allowed = ", ".join(map(str, blocks)) or "none"
        problem = f"DepthToSpace has block size {node.block}, allowed: {allowed}"
        yield _finding(facts["depth_to_space_blocks"], node.name, problem)
    yield from _of_shapes(node, target)
    if node.op in CONVOLUTIONS and kernels is not None and set(node.kernel or ()) - set(kernels):
        size = "x".join(map(str, node.kernel or ()))
        problem = f"the kernel is {size}, allowed edges: {', '.join(map(str, kernels))}"
        yield _finding(facts["kernel_sizes"], node.name, problem)


def _of_shapes(node: NodeFact, target: Target) -> Iterator[Finding]:
    limits, facts = target.limits, target.limit_facts
    if limits.max_wide_axes is not None and node.wide_axes > limits.max_wide_axes:
        problem = (
            f"a tensor of `{node.op}` has {node.wide_axes} axes longer than 1, "
            f"at most {limits.max_wide_axes}"
        )
        yield _finding(facts["max_wide_axes"], node.name, problem)
    if limits.strides is not None and set(node.strides or ()) - set(limits.strides):
        size = "x".join(map(str, node.strides or ()))
        problem = f"the stride is {size}, allowed: {', '.join(map(str, limits.strides))}"
        yield _finding(facts["strides"], node.name, problem)
    odd = [channels for channels in node.joined if channels % limits.concat_multiple]
    if odd:
        problem = (
            f"a concatenation joins {', '.join(map(str, odd))} channels, no multiple of "
            f"{limits.concat_multiple}"
        )
        yield _finding(facts["concat_multiple"], node.name, problem)


def _operator_problem(pattern: str, node: NodeFact) -> str:
    """The operator in words where `pattern`, such as `Resize[mode=cubic]`, names this node."""
    if pattern == node.op:
        return f"`{node.op}`"
    condition = CONDITION.fullmatch(pattern)
    if condition is None or condition[1] != node.op:
        return ""
    _, attribute, value = condition.groups()
    matches = str(node.attributes.get(attribute)) == value
    return f"`{node.op}` with {attribute} `{value}`" if matches else ""


def _of_widths(nodes: Sequence[NodeFact], target: Target) -> list[Finding]:
    """One finding for all widths; the picture's own channels at both ends are nobody's choice."""
    multiple = target.limits.channel_multiple
    layers = [node for node in nodes if node.op in CONVOLUTIONS]
    inner = [(node, node.channels_out) for node in layers[:-1] if node.channels_out is not None]
    odd = [(node, width) for node, width in inner if width % multiple]
    if not odd:
        return []
    widths = ", ".join(map(str, sorted({width for _, width in odd})))
    problem = (
        f"{len(odd)} of {len(inner)} inner convolutions have channel counts that are no multiple "
        f"of {multiple}: {widths}"
    )
    return [_finding(target.limit_facts["channel_multiple"], odd[0][0].name, problem)]
