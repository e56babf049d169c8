"""Which operators of a TFLite graph run in 8 bits, and on which grid each of their tensors lies.

A grid is a scale and a zero point. The rules are those of TFLite's int8 specification
(ai.google.dev/edge/litert/models/quantization_spec): movements keep their input's grid, tanh,
sigmoid and softmax have fixed ones. Operators may run with 16-bit activations instead: symmetric,
zero point 0 ("16x8", tensorflow.org/lite/performance/post_training_integer_quant_16x8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolkit.lowering.tflite_flat import FlatGraph, FlatOp, Quant
from toolkit.model.quant_plan import TensorRange

WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}
MOVES = {
    "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "PAD", "PADV2", "MIRROR_PAD", "TILE",
    "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "BROADCAST_TO", "GATHER", "MAX_POOL_2D",
    "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REDUCE_MAX", "REDUCE_MIN",
}  # fmt: skip
JOINS = {"CONCATENATION", "MAXIMUM", "MINIMUM"}
COMPUTES = {
    *WEIGHTED, "BATCH_MATMUL", "ADD", "SUB", "MUL", "MEAN", "LEAKY_RELU", "PRELU", "HARD_SWISH",
    "GELU", "ELU",
}  # fmt: skip
_LOGISTIC = Quant(scales=(1 / 256,), zero_point=-128)
_FIXED_16 = Quant(scales=(1 / 32768,), bits=16)
FIXED = {
    8: {"LOGISTIC": _LOGISTIC, "SOFTMAX": _LOGISTIC, "TANH": Quant(scales=(1 / 128,))},
    16: dict.fromkeys(("LOGISTIC", "SOFTMAX", "TANH"), _FIXED_16),
}
# Beyond these inputs the function is flat to less than half a step of its 8-bit output.
_FLAT = {"TANH": (-4.0, 4.0), "LOGISTIC": (-8.0, 8.0), "HARD_SWISH": (-3.0, np.inf)}
_WHOLE = {"TANH": (-8.0, 8.0), "LOGISTIC": (-16.0, 16.0)}  # flat to 16 bits beyond
SMALLEST_SPAN = 1e-6
ZERO_SPAN = 1.0  # of a tensor that is always 0: XNNPACK refuses scales that differ too much
Widening = Literal["none", "nodes", "all"]
ALL_KINDS = frozenset({*MOVES, *JOINS, *COMPUTES, *FIXED[8], "CLIP"})
# LiteRT 2.3 has 16-bit kernels for these; DEPTH_TO_SPACE is written as reshape and transpose.
WIDE_KINDS = ALL_KINDS - {
    "PRELU", "HARD_SWISH", "ELU", "SPACE_TO_DEPTH", "MIRROR_PAD", "TILE", "BATCH_MATMUL",
}  # fmt: skip
# What is left when a runtime aborts on the full set: its best-tested 8-bit kernels.
SAFE_KINDS = frozenset({*MOVES, *WEIGHTED, "ADD", "CONCATENATION", "CLIP"})


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """What is decided before a single number is quantized."""

    integer: Mapping[int, int]  # places in `FlatGraph.ops` to the bits of their activations
    grids: Mapping[int, Mapping[str, Quant]]  # for 8 and 16 bits, of every tensor these touch

    def grid(self, place: int, name: str) -> Quant:
        """The grid on which the operator at a place reads or writes a tensor."""
        return self.grids[self.integer[place]][name]


def grid_of(low: float, high: float, bits: int = 8) -> Quant:
    """The grid on which zero is exact and [low, high] fits: asymmetric int8, symmetric int16."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < SMALLEST_SPAN:
        low, high = 0.0, ZERO_SPAN
    if bits == 16:
        largest = max(-low, high)
        return Quant(scales=(float(np.float32(largest / 32767)),), bits=16)
    scale = float(np.float32((high - low) / 255))
    return Quant(scales=(scale,), zero_point=int(np.clip(round(-128 - low / scale), -128, 127)))


def image_grid(white: float, bits: int = 8) -> Quant:
    """One grey level per step: black is -128, white is 127. In 16 bits 128 steps per level."""
    if bits == 16:
        return Quant(scales=(float(np.float32(white / 255) / 128),), bits=16)
    return Quant(scales=(float(np.float32(white / 255)),), zero_point=-128)


def data_inputs(graph: FlatGraph, op: FlatOp) -> list[str]:
    """Operands that depend on the picture."""
    tensors = (graph.tensors[name] for name in op.inputs if name)
    return [t.name for t in tensors if t.data is None and t.dtype == "float32"]


def scheme(
    graph: FlatGraph,
    ranges: Mapping[str, TensorRange],
    float_nodes: Collection[str],
    white: float,
    kinds: Collection[str] = ALL_KINDS,
    widening: Widening = "none",
    strict: bool = False,
) -> Scheme:
    """Decide precision and grids for a float graph that `finish` has not seen yet.

    `kinds` are the operators that may run in integers. With `widening` of "nodes" those in
    `float_nodes` run with 16-bit activations where a kernel is there, with "all" every operator.
    `strict` keeps a sigmoid that makes the picture to the specification's grid of 1/256; LiteRT's
    own kernels write any grid, which spares the picture a second rounding.
    """
    known = {name: (span.low, span.high) for name, span in ranges.items()}
    known[graph.tensors[graph.input].spine] = (0.0, white)
    moving = (t for t in graph.tensors.values() if t.data is None)
    spans = {t.name: known[t.spine] for t in moving if t.spine in known}
    _inherit(graph, spans)
    spans[graph.output] = (0.0, white)
    wanted = _bits_wanted(graph, float_nodes, widening)
    integer = _integer(graph, spans, wanted, kinds, alone=widening != "none")
    grids = {}
    for bits in (8, 16):
        places = [place for place, of in integer.items() if of == bits]
        pinned = _pinned(graph, places, spans, white, bits, strict or bits == 16)
        grids[bits] = _spread(graph, places, spans, pinned, bits)
    return Scheme(integer=integer, grids=grids)


def _bits_wanted(graph: FlatGraph, float_nodes: Collection[str], widening: Widening) -> list[int]:
    """For each operator the bits of its activations; 32 for float."""
    named = frozenset(float_nodes)
    widest = {"none": (8, 32), "nodes": (8, 16), "all": (16, 32)}[widening]
    return [widest[not named.isdisjoint(op.nodes)] for op in graph.ops]


_Span = tuple[float, float]
PERMUTES = {"RESHAPE", "TRANSPOSE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"}


def _inherit(graph: FlatGraph, spans: dict[str, _Span]) -> None:
    """Tensors that a simplifier renamed take the range of what they are reshaped from or into."""
    for op in graph.ops:
        if op.kind in PERMUTES and op.inputs[0] in spans:
            spans.setdefault(op.outputs[0], spans[op.inputs[0]])
    for op in reversed(graph.ops):
        if op.kind in PERMUTES and op.outputs[0] in spans:
            spans.setdefault(op.inputs[0], spans[op.outputs[0]])


def _integer(
    graph: FlatGraph,
    spans: Mapping[str, _Span],
    wanted: Sequence[int],
    kinds: Collection[str],
    *,
    alone: bool,
) -> dict[int, int]:
    """Operators that can run in integers, with the bits; a movement goes with what it moves.

    What has no weights follows an integer operator, unless it may run so `alone`: between float
    ones it would round its inputs and its output for nothing. An NPU wants it even so.
    """
    chosen: dict[int, int] = {}
    stored = {graph.input: min(wanted, default=8)}  # tensors that an integer operator makes
    known = set(spans)
    for place, op in enumerate(graph.ops):
        data = data_inputs(graph, op)
        out, bits = op.outputs[0], wanted[place]
        if op.kind in MOVES | JOINS | {"CLIP"} and bits < 32:
            bits = max((stored[name] for name in data if name in stored), default=bits)
        if bits == 32 or op.kind not in (kinds if bits == 8 else WIDE_KINDS & set(kinds)):
            continue
        if not data or not known.issuperset(data):
            continue
        is_square = op.kind == "MUL" and op.inputs[0] == op.inputs[1]
        if op.kind in MOVES:
            fits = data[0] in stored
        elif op.kind in JOINS:
            fits = not stored.keys().isdisjoint(data)
        elif op.kind == "CLIP":
            fits = data[0] in stored and op.options["low"] <= 0 <= op.options["high"]
        else:
            fits = op.kind in FIXED[8] or (op.kind in COMPUTES and out in known and not is_square)
            if op.kind not in WEIGHTED and not alone:
                fits = fits and not stored.keys().isdisjoint(data)
        if fits and (out in known or op.kind in MOVES | JOINS | set(FIXED[8])):
            chosen[place] = stored[out] = bits
            known.add(out)
    return chosen


def _pinned(
    graph: FlatGraph,
    integer: Collection[int],
    spans: Mapping[str, _Span],
    white: float,
    bits: int,
    strict: bool,
) -> dict[str, Quant]:
    """Grids that come from behind: the picture's, through all that only moves or clips it.

    A producer whose only reader moves, joins or clips writes straight onto the reader's grid;
    its rounding saturates, so the clip itself disappears.
    """
    image = image_grid(white, bits)
    pinned = {graph.input: image, graph.output: image}
    uses = Counter(name for op in graph.ops for name in op.inputs)
    uses[graph.output] += 1
    makers = {graph.ops[i].outputs[0]: graph.ops[i] for i in integer}
    for place in sorted(integer, reverse=True):
        op = graph.ops[place]
        out, data = op.outputs[0], data_inputs(graph, op)
        if op.kind in FIXED[bits] and (out not in pinned or strict):
            pinned[out] = FIXED[bits][op.kind]
        if op.kind not in MOVES | JOINS | {"CLIP"}:
            continue
        if op.kind == "CLIP" and out not in pinned:
            pinned[out] = grid_of(*_clipped(spans[out], op), bits)
        if op.kind in JOINS and out not in pinned and len(set(data)) > 1:
            kinds = {makers[name].kind if name in makers else "" for name in data}
            fixed = FIXED[bits].get(kinds.pop()) if len(kinds) == 1 else None
            pinned[out] = fixed or grid_of(*_union(op, spans, data), bits)
        if out not in pinned or (op.kind == "CLIP" and not _within(pinned[out], op)):
            continue
        for name in data:
            made_by = makers.get(name)
            if uses[name] == 1 and name not in pinned and made_by and made_by.kind not in FIXED[8]:
                pinned[name] = pinned[out]
    return pinned


def _union(op: FlatOp, spans: Mapping[str, _Span], data: Collection[str]) -> _Span:
    known = [spans[n] for n in data if n in spans] or [spans.get(op.outputs[0], (0.0, 1.0))]
    known += [spans[op.outputs[0]]] if op.outputs[0] in spans else []
    return min(low for low, _ in known), max(high for _, high in known)


def _clipped(span: _Span, op: FlatOp) -> _Span:
    return max(span[0], op.options["low"]), min(span[1], op.options["high"])


def _within(grid: Quant, op: FlatOp) -> bool:
    """True where the grid's ends lie inside the clip's limits, up to half a step."""
    step, half = grid.scales[0], 1 << (grid.bits - 1)
    low, high = (-half - grid.zero_point) * step, (half - 1 - grid.zero_point) * step
    return bool(low >= op.options["low"] - step / 2 and high <= op.options["high"] + step / 2)


def _spread(
    graph: FlatGraph,
    integer: Collection[int],
    spans: Mapping[str, _Span],
    pinned: Mapping[str, Quant],
    bits: int,
) -> dict[str, Quant]:
    """A grid for every other tensor, from its range or from the tensor that it was moved from."""
    readers: dict[str, list[str]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op.kind)
    grids = dict(pinned)
    for place, op in enumerate(graph.ops):
        if place not in integer:
            continue
        for name in (*data_inputs(graph, op), op.outputs[0]):
            if name in grids:
                continue
            if name == op.outputs[0] and op.kind in MOVES | JOINS:
                grids[name] = grids[data_inputs(graph, op)[0]]
            else:
                kinds = _ends(graph, name) if bits == 16 else readers.get(name, [])
                grids[name] = grid_of(*_useful(spans[name], kinds, bits), bits)
    return grids


def _ends(graph: FlatGraph, name: str) -> list[str]:
    """Kinds of the operators that read a tensor, past shuffles and reshapes."""
    found = []
    for op in graph.ops:
        if name in op.inputs:
            found += _ends(graph, op.outputs[0]) if op.kind in PERMUTES else [op.kind]
    return found


def _useful(span: _Span, readers: Collection[str], bits: int) -> _Span:
    """A range without the part that its only reader maps to a constant.

    Ranges that were cut for 8 bits are opened again for 16, which have steps to spare.
    """
    if bits == 16 and len(readers) == 1 and set(readers) <= _WHOLE.keys():
        return _WHOLE[next(iter(readers))]
    low, high = span
    for kind in readers if len(readers) == 1 else ():
        floor, ceiling = _FLAT.get(kind, (-np.inf, np.inf))
        low, high = max(low, floor), min(high, ceiling)
    return low, high
