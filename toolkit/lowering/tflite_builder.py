"""Writing a float TFLite graph: constants, layouts that are changed only when asked for, fusing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from toolkit.errors import UserError
from toolkit.lowering.tflite_flat import Array, FlatGraph, FlatOp, FlatTensor
from toolkit.lowering.tflite_source import Node, Source

Layout = Literal["nhwc", "onnx"]
TO_NHWC = (0, 2, 3, 1)
TO_ONNX = (0, 3, 1, 2)
FUSED = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
_FUSES_INTO = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL"}


class Builder:
    """Collects tensors and operators; knows in which layouts each ONNX tensor is at hand.

    Rank-4 picture tensors are made and read as NHWC ("nhwc"); all others keep ONNX's axis order
    ("onnx"). A tensor is transposed when an operator first asks for the other layout, once.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tensors: dict[str, FlatTensor] = {}
        self.ops: list[FlatOp] = []
        self.node = ""  # the ONNX node being lowered
        self.readers = source.consumers()
        self._made_by: dict[str, int] = {}
        self._at_hand: dict[str, dict[Layout, str]] = {}
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], str] = {}

    def tensor(self, wanted: str, shape: Sequence[int], spine: str, data: Array | None) -> str:
        """Add a tensor under `wanted` or the next free name; returns the name."""
        name, count = wanted, 1
        while not name or name in self.tensors:
            name, count = f"{wanted}_{count}", count + 1
        dtype = "float32" if data is None else str(data.dtype)
        self.tensors[name] = FlatTensor(
            name=name, shape=tuple(shape), dtype=dtype, data=data, spine=spine
        )
        return name

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """A constant operand; equal ones are stored once."""
        data = np.ascontiguousarray(value, dtype)
        key = (data.tobytes(), dtype, data.shape)
        if key not in self._constants:
            name = f"{self.node}/const"
            self._constants[key] = self.tensor(name, data.shape, "", data)
        return self._constants[key]

    def integers(self, value: Any) -> str:
        """An int32 constant: axes, sizes, paddings, permutations."""
        return self.constant(value, "int32")

    def op(
        self,
        kind: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        options: Mapping[str, Any] | None = None,
        spine: str = "",
    ) -> str:
        """Add an operator with one output; returns the output's name."""
        name = self.tensor(spine or f"{self.node}/{kind.lower()}", shape, spine, None)
        self._made_by[name] = len(self.ops)
        self.ops.append(
            FlatOp(
                kind=kind,
                inputs=tuple(inputs),
                outputs=(name,),
                options=dict(options or {}),
                nodes=(self.node,),
            )
        )
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor of the TFLite graph."""
        return self.tensors[name].shape

    def put(self, spine: str, name: str, layout: Layout) -> None:
        """Say that the ONNX tensor `spine` is at hand as `name`."""
        self._at_hand.setdefault(spine, {})[layout] = name

    def layout(self, spine: str) -> Layout:
        """The layout in which an ONNX tensor was made."""
        return next(iter(self._at_hand[spine]), "onnx")

    def is_constant(self, spine: str) -> bool:
        """True for weights and other constants of the ONNX graph."""
        return spine in self.source.constants

    def get(self, spine: str, layout: Layout) -> str:
        """The ONNX tensor in a layout; constants and transposes are added on first use."""
        at_hand = self._at_hand.setdefault(spine, {})
        if layout in at_hand:
            return at_hand[layout]
        if self.is_constant(spine):
            value = np.asarray(self.source.constants[spine])
            value = value.transpose(TO_NHWC) if layout == "nhwc" else value
            at_hand[layout] = self.constant(value)
        else:
            other = next(iter(at_hand.values()))
            perm = TO_NHWC if layout == "nhwc" else TO_ONNX
            at_hand[layout] = self.transpose(other, perm, spine)
        return at_hand[layout]

    def transpose(self, name: str, perm: Sequence[int], spine: str = "") -> str:
        """Permute axes; two in a row become one, and none is made where nothing moves."""
        made_by = self.ops[self._made_by[name]] if name in self._made_by else None
        if made_by is not None and made_by.kind == "TRANSPOSE":
            before = self.tensors[made_by.inputs[1]].data
            assert before is not None
            return self.transpose(made_by.inputs[0], [int(before[p]) for p in perm], spine)
        shape = self.shape(name)
        moved = [shape[p] for p in perm]
        if list(perm) == list(range(len(perm))):
            return name
        if [p for p in perm if shape[p] > 1] == [i for i, size in enumerate(shape) if size > 1]:
            return self.reshape(name, moved, spine)
        return self.op("TRANSPOSE", [name, self.integers(perm)], moved, spine=spine)

    def reshape(self, name: str, shape: Sequence[int], spine: str = "") -> str:
        """The same numbers under another shape; nothing is made where it is the same."""
        if tuple(shape) == self.shape(name):
            return name
        options = {"newShape": list(shape)}
        return self.op("RESHAPE", [name, self.integers(list(shape))], shape, options, spine)

    def slice(self, name: str, begin: Sequence[int], size: Sequence[int], spine: str = "") -> str:
        """A box of a tensor."""
        if tuple(size) == self.shape(name):
            return name
        inputs = [name, self.integers(list(begin)), self.integers(list(size))]
        return self.op("SLICE", inputs, size, spine=spine)

    def pad(self, name: str, pads: Sequence[Sequence[int]], spine: str = "") -> str:
        """Zeros around a tensor; `pads` holds (before, after) for each axis."""
        if not np.any(pads):
            return name
        shape = [n + sum(p) for n, p in zip(self.shape(name), pads, strict=True)]
        return self.op("PAD", [name, self.integers(pads)], shape, spine=spine)

    def binary(self, kind: str, left: str, right: str, spine: str = "") -> str:
        """An element-wise operator on two tensors that broadcast."""
        shape = np.broadcast_shapes(self.shape(left), self.shape(right))
        return self.op(kind, [left, right], shape, spine=spine)

    def unary(self, kind: str, name: str, spine: str = "", **options: Any) -> str:
        """An element-wise operator on one tensor."""
        return self.op(kind, [name], self.shape(name), options, spine)

    def fuse(self, name: str, activation: str, spine: str) -> bool:
        """Give the operator that makes `name` an activation; False where it cannot take one."""
        index = self._made_by.get(name)
        if index is None or self.ops[index].kind not in _FUSES_INTO:
            return False
        made_by = self.ops[index]
        if made_by.options.get("fusedActivationFunction", 0):
            return False
        self.ops[index] = FlatOp(
            kind=made_by.kind,
            inputs=made_by.inputs,
            outputs=(self.tensor(spine, self.shape(name), spine, None),),
            options={**made_by.options, "fusedActivationFunction": FUSED[activation]},
            nodes=(*made_by.nodes, self.node),
        )
        self._made_by[self.ops[index].outputs[0]] = index
        return True

    def refuse(self, node: Node, problem: str, hint: str) -> UserError:
        """The error for an operator that has no TFLite form."""
        return UserError(
            f"{node.kind}: {problem}",
            where=f"node `{node.name}`, lowering to TFLite",
            hint=hint,
        )

    def graph(self) -> FlatGraph:
        """What was built, ending in the ONNX graph's output as NHWC."""
        output = self.get(self.source.output, "nhwc")
        return FlatGraph(
            tensors=dict(self.tensors), ops=tuple(self.ops), input=self.source.input, output=output
        )


Lowering = Callable[[Builder, Node], None]
