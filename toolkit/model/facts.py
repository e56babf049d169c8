"""Facts about a network that need no run: its work, its operators, how far it looks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from toolkit.errors import UserError
from toolkit.model.graph import (
    Array,
    arrays,
    attributes,
    dims,
    shapes_of,
    specialise,
    tile_of,
)
from toolkit.model.reach import Reach, reach_of
from toolkit.model.steps_of import WholePicture

# Multiples that published networks ask of their input; tried where the asked size does not run.
MULTIPLES = (1, 2, 4, 8, 16, 3, 6, 12, 24, 5, 10, 7, 14, 9, 32, 48, 64)
NOT_WEIGHTS = ("Resize", "Clip", "Pad")  # their constants are settings


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """What a network is and costs, at one input size.

    A tile with `halo_px` more pixels on each side (fewer at the picture's borders) gives inside
    exactly what the whole picture gives, if the tile starts and ends at multiples of `period_px`;
    the halo is one itself. Where it is None, `whole_picture` names the node that forbids tiles.
    """

    input_px: tuple[int, int]  # height and width that the counts are for
    parameters: int
    macs: int
    macs_by_node: Mapping[str, int]
    operators: Mapping[str, int]
    receptive_field_px: int | None  # low-resolution pixels in a row; None: all of them
    halo_px: int | None
    period_px: int
    whole_picture: str = ""


def network_facts(model: onnx.ModelProto, height: int = 360, width: int = 640) -> NetworkFacts:
    """Facts of a spine network; sizes it does not take are rounded up, a fixed tile is used.

    Raises UserError where the network takes no size near the one asked for.
    """
    tile = tile_of(model)
    static = _near(model, height, width) if tile is None else specialise(model, *tile)
    reach, why = _reach(static)
    if reach is not None and tile is None:
        static, reach = _aligned(model, static, reach)
    macs = macs_by_node(static)
    shape = dims(static.graph.input[0])
    assert shape is not None and shape[2] is not None and shape[3] is not None
    return NetworkFacts(
        input_px=(shape[2], shape[3]),
        parameters=_parameters(model),
        macs=sum(macs.values()),
        macs_by_node=macs,
        operators=dict(sorted(Counter(n.op_type for n in model.graph.node).items())),
        receptive_field_px=None if reach is None else reach.widest_px,
        halo_px=None if reach is None else _halo(reach),
        period_px=1 if reach is None else reach.period_px,
        whole_picture=why,
    )


def _near(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    problem: UserError | None = None
    for multiple in MULTIPLES:
        size = (_up(height, multiple), _up(width, multiple))
        if multiple > 1 and size == (height, width):
            continue
        try:
            return specialise(model, *size)
        except UserError as failure:
            problem = problem or failure
    assert problem is not None
    raise problem


def _up(size: int, multiple: int) -> int:
    return math.ceil(size / multiple) * multiple


def _reach(static: onnx.ModelProto) -> tuple[Reach | None, str]:
    """The wider of both axes, or why there is none."""
    try:
        rows, columns = reach_of(static)
    except WholePicture as found:
        return None, str(found)
    return (
        Reach(
            before_px=max(rows.before_px, columns.before_px),
            after_px=max(rows.after_px, columns.after_px),
            widest_px=max(rows.widest_px, columns.widest_px),
            period_px=math.lcm(rows.period_px, columns.period_px),
        ),
        "",
    )


def _aligned(
    model: onnx.ModelProto, static: onnx.ModelProto, reach: Reach
) -> tuple[onnx.ModelProto, Reach | None]:
    """Repeat at a multiple of the period: elsewhere the last period is cut off by the border."""
    shape = dims(static.graph.input[0])
    assert shape is not None and shape[2] is not None and shape[3] is not None
    size = (_up(shape[2], reach.period_px), _up(shape[3], reach.period_px))
    if size == shape[2:]:
        return static, reach
    again = specialise(model, *size)
    return again, _reach(again)[0]


def _halo(reach: Reach) -> int:
    return _up(max(0, reach.before_px, reach.after_px), reach.period_px)


def _parameters(model: onnx.ModelProto) -> int:
    settings = {n for node in model.graph.node if node.op_type in NOT_WEIGHTS for n in node.input}
    stored = arrays(model.graph)
    return sum(v.size for n, v in stored.items() if v.dtype.kind == "f" and n not in settings)


def macs_by_node(static: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates of Conv, ConvTranspose, MatMul and Gemm by node name, static shapes."""
    shapes = {name: tuple(s or 0 for s in shape) for name, shape in shapes_of(static).items()}
    stored = arrays(static.graph)
    found = {}
    for node in static.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
            found[node.name] = _macs(node, shapes, stored)
    return found


def _macs(
    node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], stored: Mapping[str, Array]
) -> int:
    first, second = shapes[node.input[0]], shapes[node.input[1]]
    result = math.prod(shapes[node.output[0]])
    match node.op_type:
        case "Conv":  # weights (outputs, inputs / group, k, k)
            return result * math.prod(second[1:])
        case "ConvTranspose":  # weights (inputs, outputs / group, k, k)
            return math.prod(first) * math.prod(second[1:])
        case "MatMul":
            return result * first[-1]
        case _:
            return result * first[0 if attributes(node).get("transA", 0) else 1]
