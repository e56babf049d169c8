"""Residuals that are added to the picture itself, on the picture's own grid: one rounding, not two.

An anchor (the input repeated, moved or shuffled, but not mixed) holds whole grey levels. Where what
the network adds to it lies on steps of one grey level too, their sum is exact in integers, and the
picture is rounded once, as the float network's picture is.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.model.quant_plan import TensorRange
from toolkit.quant.placement import tail_tensors
from toolkit.quant.schemes import SCHEMES
from toolkit.quant.view import GraphView

LEVELS = 255
# A residual that spans more than white is cut a little at both ends; beyond this it is left alone.
MOST_SPAN = 1.5


def picture_copies(graph: GraphView, moves: frozenset[str]) -> set[str]:
    """Tensors that hold values of the picture only, in any order, repeated or left out."""
    copies = {graph.input}
    for node in graph.nodes:
        dynamic = graph.dynamic_inputs(node)
        if dynamic and node.op_type in moves and set(dynamic) <= copies:
            copies.update(node.output)
    return copies


def residuals(graph: GraphView) -> list[list[str]]:
    """For each anchor of the output, the tensors between the last computation and the addition."""
    scheme = SCHEMES["onnxruntime"]
    tail, copies = tail_tensors(graph, scheme), picture_copies(graph, scheme.moves)
    found = []
    for node in graph.nodes:
        dynamic = graph.dynamic_inputs(node)
        others = [name for name in dynamic if name not in copies]
        if node.op_type != "Add" or node.output[0] not in tail or len(dynamic) != 2:
            continue
        if len(others) == 1 and len(node.input) == 2:
            found.append(moved_chain(graph, others[0], scheme.moves))
    return found


def moved_chain(graph: GraphView, tensor: str, moves: frozenset[str]) -> list[str]:
    """The tensor and those before it that become it by moving values, each read once."""
    chain = [tensor]
    while graph.only_consumer(chain[-1]) is not None:
        maker = graph.producer.get(chain[-1])
        inputs = graph.dynamic_inputs(maker) if maker is not None else []
        if maker is None or maker.op_type not in moves or len(inputs) != 1:
            break
        chain.append(inputs[0])
    return [name for name in chain if graph.only_consumer(name) is not None]


def on_grey_levels(
    graph: GraphView, ranges: Mapping[str, TensorRange], *, white: float
) -> dict[str, TensorRange]:
    """Ranges of one grey level per step for every residual that nearly fits into them."""
    pinned: dict[str, TensorRange] = {}
    for chain in residuals(graph):
        spans = [ranges[name] for name in chain if name in ranges]
        if not spans:
            continue
        low, high = min(s.low for s in spans), max(s.high for s in spans)
        if high - low <= MOST_SPAN * white:
            pinned |= dict.fromkeys(chain, _window(min(low, 0.0), max(high, 0.0), white))
    return pinned


def _window(low: float, high: float, white: float) -> TensorRange:
    """As wide as white, around the middle of [low, high], its ends on whole levels, 0 inside."""
    room = (white - (high - low)) / 2
    below = min(max(round((room - low) / white * LEVELS), 0), LEVELS)
    return TensorRange(low=-below * white / LEVELS, high=(LEVELS - below) * white / LEVELS)
