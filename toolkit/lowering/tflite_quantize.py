"""A float TFLite graph and its scheme to an int8 graph: weights, biases and the seams to float."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from toolkit.lowering.tflite_flat import Array, FlatGraph, FlatOp, FlatTensor, Quant
from toolkit.lowering.tflite_grids import (
    ALL_KINDS,
    JOINS,
    MOVES,
    PERMUTES,
    WEIGHTED,
    Scheme,
    Widening,
    data_inputs,
    image_grid,
    scheme,
)
from toolkit.model.quant_plan import TensorRange

IoType = Literal["uint8", "int8", "float32"]
# Arm's Vela takes int64 biases below 2^40.
_LARGEST_BIAS = {8: 1 << 30, 16: 1 << 39}


def quantised(
    graph: FlatGraph,
    ranges: Mapping[str, TensorRange],
    float_nodes: Collection[str],
    *,
    white: float,
    per_channel: bool,
    io_dtype: IoType,
    kinds: Collection[str] = ALL_KINDS,
    widening: Widening = "none",
    strict: bool = False,
) -> FlatGraph:
    """The integer graph of a float graph that `finish` has not seen yet.

    Activations are asymmetric int8 on the ranges given (by spine tensor name), weights symmetric,
    biases int32; what has no range or is named in `float_nodes` stays float behind DEQUANTIZE.
    Input and output lie on one grey level per step, whatever their range. `kinds` are the
    operators that may run in integers. `widening` gives those in `float_nodes` ("nodes") or all
    ("all") symmetric int16 activations and int64 biases beside int8 weights, where LiteRT can.
    `strict` is as in `scheme`.
    """
    decided = scheme(graph, ranges, float_nodes, white, kinds, widening, strict)
    return _Writer(graph, decided, per_channel, io_dtype).written(image_grid(white))


class _Writer:
    """Copies a graph operator by operator; each tensor is made once in each form it is read in."""

    def __init__(
        self, graph: FlatGraph, scheme: Scheme, per_channel: bool, io_dtype: IoType
    ) -> None:
        self.graph = graph
        self.scheme = scheme
        self.per_channel = per_channel
        self.io_dtype = io_dtype
        self.tensors: dict[str, FlatTensor] = {}
        self.ops: list[FlatOp] = []
        self._forms: dict[tuple[str, Quant | None], str] = {}

    def written(self, image: Quant) -> FlatGraph:
        """The whole graph with its input and output as `io_dtype`, under their own names."""
        self._tail = tail_tensors(self.graph)
        given = self._input(image)
        for place, op in enumerate(self.graph.ops):
            if place in self.scheme.integer:
                self._integer(place, op)
            else:
                self._float(op)
        made = self._output(image)
        return FlatGraph(tensors=self.tensors, ops=tuple(self.ops), input=given, output=made)

    def _add(self, name: str, like: FlatTensor, dtype: str, quant: Quant | None) -> str:
        while name in self.tensors:
            name += "_"
        self.tensors[name] = replace(like, name=name, dtype=dtype, data=None, quant=quant)
        return name

    def _constant(self, tensor: FlatTensor, suffix: str, data: Array, quant: Quant) -> str:
        name = f"{tensor.name}/{suffix}"
        while name in self.tensors:
            name += "_"
        self.tensors[name] = replace(
            tensor, name=name, dtype=str(data.dtype), data=data, quant=quant
        )
        return name

    def _emit(self, kind: str, given: str, made: str, op: FlatOp | None = None) -> str:
        nodes = op.nodes if op else ()
        self.ops.append(FlatOp(kind=kind, inputs=(given,), outputs=(made,), nodes=nodes))
        return made

    def _input(self, image: Quant) -> str:
        name = self.graph.input
        tensor = self.graph.tensors[name]
        if self.io_dtype == "int8":
            self._forms[name, image] = self._add(name, tensor, "int8", image)
            return name
        self._add(name, tensor, self.io_dtype, self._outer(image))
        inner = self._add(f"{name}/int8", tensor, "int8", image)
        self._forms[name, image] = self._emit("QUANTIZE", name, inner)
        if self.io_dtype == "float32":
            self._forms[name, None] = name
        return name

    def _outer(self, image: Quant) -> Quant | None:
        return replace(image, zero_point=0) if self.io_dtype == "uint8" else None

    def _output(self, image: Quant) -> str:
        name = self.graph.output
        stored = self._as_int(name, image)
        if self.io_dtype == "int8":
            return stored
        made = self._add(name, self.graph.tensors[name], self.io_dtype, self._outer(image))
        return self._emit("QUANTIZE" if self.io_dtype == "uint8" else "DEQUANTIZE", stored, made)

    def _made(self, tensor: FlatTensor, dtype: str, quant: Quant | None) -> str:
        """Add what an operator makes; the plain name of the graph's output is kept for the last."""
        is_inner = tensor.name == self.graph.output and self.io_dtype != "int8"
        name = f"{tensor.name}/{dtype}" if is_inner else tensor.name
        return self._add(name, tensor, dtype, quant)

    def _as_float(self, name: str) -> str:
        """A tensor as float32."""
        tensor = self.graph.tensors[name]
        if tensor.data is not None:
            self.tensors[name] = tensor
            return name
        if (name, None) not in self._forms:
            stored = next(form for (of, _), form in self._forms.items() if of == name)
            made = self._add(f"{name}/float32", tensor, "float32", None)
            self._forms[name, None] = self._emit("DEQUANTIZE", stored, made)
        return self._forms[name, None]

    def _as_int(self, name: str, grid: Quant) -> str:
        """A tensor as int8 or int16 on a grid."""
        tensor, dtype = self.graph.tensors[name], f"int{grid.bits}"
        if tensor.data is not None:
            return self._constant(tensor, dtype, _on_grid(tensor.data, grid), grid)
        if (name, grid) not in self._forms:
            stored = next(form for (of, _), form in self._forms.items() if of == name)
            made = self._add(f"{name}/{dtype}", tensor, dtype, grid)
            self._forms[name, grid] = self._emit("QUANTIZE", stored, made)
        return self._forms[name, grid]

    def _float(self, op: FlatOp) -> None:
        moving = data_inputs(self.graph, op)
        inputs = [
            self._as_float(name) if name in moving else self._plain(name) for name in op.inputs
        ]
        out = self.graph.tensors[op.outputs[0]]
        made = self._made(out, out.dtype, None)
        self._forms[out.name, None] = made
        self.ops.append(replace(op, inputs=tuple(inputs), outputs=(made,)))

    def _plain(self, name: str) -> str:
        self.tensors[name] = self.graph.tensors[name]
        return name

    def _integer(self, place: int, op: FlatOp) -> None:
        out = self.graph.tensors[op.outputs[0]]
        grid = self.scheme.grid(place, out.name)
        if op.kind == "CLIP":
            given = self._as_int(op.inputs[0], grid)
            saturates = grid.bits == 8 or out.name in self._tail
            self._forms[out.name, grid] = given if saturates else self._limited(op, given, grid)
            return
        if op.kind in WEIGHTED:
            inputs = self._weighted_inputs(place, op)
        else:
            inputs = [self._operand(place, op, name, grid) for name in op.inputs]
        made = self._made(out, f"int{grid.bits}", grid)
        self._forms[out.name, grid] = made
        general = {"potScaleInt16": False} if grid.bits == 16 and op.kind in ("ADD", "SUB") else {}
        options = {**op.options, **general}
        self.ops.append(replace(op, inputs=tuple(inputs), outputs=(made,), options=options))

    def _limited(self, op: FlatOp, given: str, grid: Quant) -> str:
        """A clip in 16 bits, whose symmetric grid reaches beyond the limits."""
        out = self.graph.tensors[op.outputs[0]]
        for kind, limit in (("MAXIMUM", op.options["low"]), ("MINIMUM", op.options["high"])):
            if np.isfinite(limit):
                like = replace(out, name=f"{out.name}/{kind.lower()}", shape=(1,), spine="")
                bound = self._constant(like, "int16", _on_grid(np.array([limit]), grid), grid)
                made = self._made(out, "int16", grid)
                self.ops.append(
                    FlatOp(kind=kind, inputs=(given, bound), outputs=(made,), nodes=op.nodes)
                )
                given = made
        return given

    def _operand(self, place: int, op: FlatOp, name: str, grid: Quant) -> str:
        tensor = self.graph.tensors[name]
        if tensor.dtype != "float32":
            return self._plain(name)
        if op.kind in MOVES | JOINS:
            return self._as_int(name, grid)
        if tensor.data is not None:
            return self._as_int(name, _constant_grid(tensor.data, grid.bits))
        return self._as_int(name, self.scheme.grid(place, name))

    def _weighted_inputs(self, place: int, op: FlatOp) -> list[str]:
        """Picture, int8 weights and bias, in the order of the operator."""
        x, weight, bias = (2, 1, 3) if op.kind == "TRANSPOSE_CONV" else (0, 1, 2)
        grid = self.scheme.grid(place, op.inputs[x])
        tensor, shift = (self.graph.tensors[op.inputs[i]] for i in (weight, bias))
        assert tensor.data is not None
        assert shift.data is not None
        axis = WEIGHTED[op.kind]
        largest = _LARGEST_BIAS[grid.bits]
        scales = weight_scales(
            tensor.data, shift.data, grid.scales[0], axis, self.per_channel, largest
        )
        stored, bias_steps = _weights(tensor.data, shift.data, scales, grid, axis)
        weight_quant = _quant(scales, axis, self.per_channel)
        bias_quant = _quant(scales * np.float32(grid.scales[0]), 0, self.per_channel)
        operands = [
            self._as_int(op.inputs[x], grid),
            self._constant(tensor, "int8", stored, weight_quant),
            self._constant(shift, str(bias_steps.dtype), bias_steps, bias_quant),
        ]
        if op.kind == "TRANSPOSE_CONV":
            return [self._plain(op.inputs[0]), operands[1], operands[0], operands[2]]
        return operands


def _on_grid(value: Array, grid: Quant) -> Array:
    steps = np.round(value.astype(np.float64) / grid.scales[0]) + grid.zero_point
    half = 1 << (grid.bits - 1)
    return np.clip(steps, -half, half - 1).astype(f"int{grid.bits}")


def _constant_grid(value: Array, bits: int) -> Quant:
    """A symmetric grid on which a single number is exact."""
    largest = float(np.abs(value).max()) or 1.0
    return Quant(scales=(float(np.float32(largest / ((1 << (bits - 1)) - 1))),), bits=bits)


def tail_tensors(graph: FlatGraph) -> frozenset[str]:
    """The output and what becomes it by movements alone: its last rounding saturates for them."""
    tail = {graph.output}
    for op in reversed(graph.ops):
        if op.kind in PERMUTES and op.outputs[0] in tail:
            tail.add(op.inputs[0])
    return frozenset(tail)


def weight_scales(
    weight: Array,
    bias: Array,
    input_scale: float,
    axis: int,
    per_channel: bool,
    largest_bias: int = 1 << 30,
) -> Array:
    """float32 scales, one for each output channel (or all the same), all positive.

    A scale is raised where the bias, counted in steps of input scale times weight scale, would
    exceed `largest_bias`, as in channels whose weights are all but zero.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float64)
    largest = np.maximum(largest, max(float(largest.max()), 1e-6) * 1e-6)
    scales = largest / 127
    scales = np.maximum(scales, np.abs(bias) / (input_scale * largest_bias))
    if not per_channel:
        scales = np.full_like(scales, scales.max())
    return scales.astype(np.float32)


def _weights(
    weight: Array, bias: Array, scales: Array, grid: Quant, axis: int
) -> tuple[Array, Array]:
    """int8 weights, and biases as int32, or int64 beside 16-bit activations."""
    along = scales.astype(np.float64).reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    stored = np.clip(np.round(weight / along), -127, 127).astype(np.int8)
    bias_steps = np.round(bias / (scales.astype(np.float64) * grid.scales[0]))
    return stored, bias_steps.astype(np.int32 if grid.bits == 8 else np.int64)


def _quant(scales: Array, axis: int, per_channel: bool) -> Quant:
    kept = scales if per_channel else scales[:1]
    return Quant(scales=tuple(float(s) for s in kept), axis=axis if per_channel else 0)
