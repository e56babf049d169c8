"""Chains that only move pixels, recognised by where every output pixel comes from.

An exporter writes one pixel shuffle, channel repeat or space-to-depth in many ways (Reshape,
Transpose, Tile, strided Slice, ScatterND ...). Here the chain is run on an input whose values are
their own positions; the output then says what the chain does, whatever operators it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from toolkit.model.graph import Array, arrays
from toolkit.model.trial import Observed, TrialFailed, Trials

# Which inputs of a moving operator carry pixels; the others are sizes and positions.
MOVING: Mapping[str, Sequence[int] | None] = {
    "Concat": None,  # all of them
    "DepthToSpace": (0,),
    "Expand": (0,),
    "Flatten": (0,),
    "Gather": (0,),
    "Identity": (0,),
    "Reshape": (0,),
    "ScatterND": (0, 2),
    "Slice": (0,),
    "SpaceToDepth": (0,),
    "Split": (0,),
    "Squeeze": (0,),
    "Tile": (0,),
    "Transpose": (0,),
    "Unsqueeze": (0,),
}
EXACT = 1 << 24  # float32 holds all whole numbers up to here
MOST_SLICES = 16  # nor are more slices than this better than one Reshape, Transpose, Reshape
MOST_PARTS = 128  # a Concat of more parts is no better than what it replaces


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A subgraph of moving operators from one tensor to another."""

    source: str
    result: str
    nodes: tuple[NodeProto, ...]  # in graph order


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Output channel k is input channel order[k] at the same place."""

    order: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """A DepthToSpace."""

    block: int
    mode: str  # "CRD" or "DCR"


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Every pixel repeated `factor` times in both directions."""

    factor: int


@dataclass(frozen=True, kw_only=True)
class Unshuffle:
    """ONNX SpaceToDepth, then its channels in this order."""

    block: int
    order: tuple[int, ...]


Meaning = Channels | Shuffle | Nearest | Unshuffle


def meaning_of(index: Array, channels: int, height: int, width: int) -> Meaning | None:
    """What a chain does, from `index` (1, C', H', W'): for each output pixel its flat position in
    the input (1, channels, height, width). None where it is nothing that has an operator."""
    if index.ndim != 4 or index.shape[0] != 1:
        return None
    plane = np.arange(height * width).reshape(height, width)
    rows, columns = index.shape[2], index.shape[3]
    if (rows, columns) == (height, width):
        first = index[0, :, 0, 0] // (height * width)
        same = np.array_equal(index[0], first[:, None, None] * (height * width) + plane)
        return Channels(order=tuple(first.tolist())) if same else None
    if rows > height and rows % height == 0 and columns * height == width * rows:
        return _growing(index[0], channels, plane, rows // height)
    if rows < height and height % rows == 0 and columns * height == width * rows:
        return _shrinking(index[0], channels, plane, height // rows)
    return None


def _growing(index: Array, channels: int, plane: Array, block: int) -> Meaning | None:
    outputs, area = index.shape[0], plane.size
    phases = index.reshape(outputs, plane.shape[0], block, plane.shape[1], block)
    phases = phases.transpose(0, 2, 4, 1, 3)  # output channel, row phase, column phase, y, x
    taken = phases[..., 0, 0] // area
    if not np.array_equal(phases, taken[..., None, None] * area + plane):
        return None
    c, a, b = np.ogrid[:outputs, :block, :block]
    if np.array_equal(taken, np.broadcast_to(c, taken.shape)) and channels == outputs:
        return Nearest(factor=block)
    if channels == outputs * block**2:
        if np.array_equal(taken, c * block**2 + a * block + b):
            return Shuffle(block=block, mode="CRD")
        if np.array_equal(taken, (a * block + b) * outputs + c):
            return Shuffle(block=block, mode="DCR")
    return None


def _shrinking(index: Array, channels: int, plane: Array, block: int) -> Meaning | None:
    area, width = plane.size, plane.shape[1]
    channel, place = np.divmod(index[:, 0, 0], area)
    a, b = np.divmod(place, width)
    if a.max(initial=0) >= block or b.max(initial=0) >= block:
        return None
    expected = np.stack(
        [c * area + plane[i::block, j::block] for c, i, j in zip(channel, a, b, strict=True)]
    )
    if not np.array_equal(index, expected):
        return None
    order = (a * block + b) * channels + channel  # ONNX SpaceToDepth puts the phase first
    return Unshuffle(block=block, order=tuple(order.tolist()))


def chains(model: onnx.ModelProto) -> list[Chain]:
    """The longest chains with one source that are no single known operator, last ones first."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    order = {id(node): index for index, node in enumerate(graph.node)}
    moved = {n for node in graph.node if node.op_type in MOVING for n in _carried(node, stored)}
    ends = {name for node in graph.node if node.op_type not in MOVING for name in node.input}
    ends |= {output.name for output in graph.output}
    found = []
    for node in reversed(graph.node):
        for result in node.output:
            if node.op_type in MOVING and (result in ends or result not in moved):
                chain = _traced(result, makers, stored, order)
                if chain is not None and not _is_plain(chain):
                    found.append(chain)
    return found


def _carried(node: NodeProto, stored: set[str]) -> list[str]:
    places = MOVING[node.op_type]
    names = node.input if places is None else [node.input[i] for i in places]
    return [name for name in names if name not in stored]


def _traced(
    result: str, makers: Mapping[str, NodeProto], stored: set[str], order: Mapping[int, int]
) -> Chain | None:
    sources: set[str] = set()
    nodes: dict[int, NodeProto] = {}
    waiting = [result]
    while waiting:
        name = waiting.pop()
        maker = makers.get(name)
        if maker is None or maker.op_type not in MOVING:
            sources.add(name)
        elif order[id(maker)] not in nodes:
            nodes[order[id(maker)]] = maker
            waiting.extend(_carried(maker, stored))
    if len(sources) != 1:
        return None
    ordered = tuple(nodes[index] for index in sorted(nodes))
    return Chain(source=sources.pop(), result=result, nodes=ordered)


def index_of(chain: Chain, model: onnx.ModelProto, seen: Observed, trials: Trials) -> Array | None:
    """Run the chain on positions; None where it cannot be run on its own."""
    shape = seen.shapes.get(chain.source)
    if shape is None or len(shape) != 4 or shape[0] != 1 or np.prod(shape) > EXACT:
        return None
    given = arrays(model.graph) | dict(seen.integers)
    made = {name for node in chain.nodes for name in node.output} | {chain.source}
    wanted = {name for node in chain.nodes for name in node.input if name and name not in made}
    if not wanted <= given.keys():
        return None
    graph = helper.make_graph(
        chain.nodes,
        "chain",
        [helper.make_tensor_value_info(chain.source, TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name=chain.result)],
        [numpy_helper.from_array(given[name], name) for name in sorted(wanted)],
    )
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    positions = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    try:
        return trials.run(alone, positions).astype(np.int64)
    except TrialFailed:
        return None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A chain, what it does, and how many channels its source has."""

    chain: Chain
    meaning: Meaning
    channels: int


def recognised(model: onnx.ModelProto, seen: Observed, trials: Trials) -> list[Finding]:
    """Chains that a shorter or better known form can replace."""
    found = []
    for chain in chains(model):
        index = index_of(chain, model, seen, trials)
        if index is None:
            continue
        _, channels, height, width = seen.shapes[chain.source]
        meaning = meaning_of(index, channels, height, width)
        if meaning is not None and _is_better(meaning, chain):
            found.append(Finding(chain=chain, meaning=meaning, channels=channels))
    return found


def _is_plain(chain: Chain) -> bool:
    """One operator is not shortened, but a Gather of channels is (few NPUs have one)."""
    return len(chain.nodes) == 1 and chain.nodes[0].op_type not in ("Gather", "Tile", "Expand")


def _is_better(meaning: Meaning, chain: Chain) -> bool:
    kinds = {node.op_type for node in chain.nodes}
    if isinstance(meaning, Channels):
        parts = runs(meaning.order)
        few = len(parts) <= MOST_PARTS and len(set(parts)) <= MOST_SLICES
        return few and not kinds <= {"Slice", "Split", "Concat"}
    if isinstance(meaning, Unshuffle):
        return len(runs(meaning.order)) <= MOST_PARTS
    return True


def runs(order: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive channels as (first, end), or single channels where those are fewer kinds.

    0 1 2 0 1 2 is (0, 3) twice; 0 0 1 1 is (0, 1) and (1, 2) twice each, without a third kind.
    """
    found: list[tuple[int, int]] = []
    for channel in order:
        if found and found[-1][1] == channel:
            found[-1] = (found[-1][0], channel + 1)
        else:
            found.append((channel, channel + 1))
    single = [(channel, channel + 1) for channel in order]
    return single if len(set(single)) < len(set(found)) else found
