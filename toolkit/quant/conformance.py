"""Static rules of a Q/DQ file, scheme by scheme, checked on the file that was written.

TensorRT: docs.nvidia.com, "Explicit quantization". ONNX Runtime: onnxruntime.ai, "Quantize ONNX
models". OpenVINO: docs.openvino.ai, "Low precision transformations".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx

from toolkit.model.breach import Breach
from toolkit.quant.schemes import QdqScheme
from toolkit.quant.view import Array, attribute, view

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = (*CONVOLUTIONS, "MatMul", "Gemm")
# A resize in TensorRT reads float: the pair in front of the next convolution serves both.
FLOAT_IN_TENSORRT = ("Resize", "Upsample")
EQUAL = 1e-5  # of a step: two float32 products in another order


@dataclass(frozen=True, kw_only=True)
class _File:
    model: onnx.ModelProto
    constants: Mapping[str, Array]
    maker: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, tuple[onnx.NodeProto, ...]]

    @cached_property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.model.graph.node)

    def of(self, *kinds: str) -> list[onnx.NodeProto]:
        """Nodes of these operators."""
        return [node for node in self.nodes if node.op_type in kinds]

    def restored(self, tensor: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that makes a tensor, if one does."""
        node = self.maker.get(tensor)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def grid(self, node: onnx.NodeProto) -> tuple[Array, Array]:
        """Step and zero point of a Q or DQ; ONNX's default zero point is uint8 0."""
        zero = self.constants[node.input[2]] if len(node.input) > 2 else np.array(0, np.uint8)
        return self.constants[node.input[1]], zero


def breaches(
    model: onnx.ModelProto, scheme: QdqScheme, *, per_channel: bool = True
) -> list[Breach]:
    """Everything in a Q/DQ file that its scheme forbids; empty for a file that keeps to it."""
    graph = view(model)
    file = _File(
        model=model, constants=graph.constants, maker=graph.producer, readers=graph.consumers
    )
    found = [*_pairs(file, scheme), *_activations(file, scheme), *_weights(file, per_channel)]
    found += [*_products(file), *_undone(file, scheme)]
    if scheme.int32_bias:
        found += _biases(file)
    if scheme.quantized_adds:
        found += _adds(file)
    if scheme.writes_int8:
        found += _moves(file, scheme)
    else:
        found += _float_operators(file)
    return found


def _pairs(file: _File, scheme: QdqScheme) -> Iterator[Breach]:
    """Every Q is read by DQs alone, on its own grid or as part of a tanh of bytes."""
    for node in file.of("QuantizeLinear"):
        readers = file.readers.get(node.output[0], ())
        allowed = {"DequantizeLinear", "Max"} if scheme.prelu_bytes else {"DequantizeLinear"}
        if not any(r.op_type in allowed for r in readers) or {r.op_type for r in readers} - allowed:
            yield Breach(rule="pairs", node=node.name, problem="not read by DequantizeLinear alone")
            continue
        step, zero = file.grid(node)
        for reader in (r for r in readers if r.op_type == "DequantizeLinear"):
            other_step, other_zero = file.grid(reader)
            same = np.all(other_step == step) and np.all(other_zero == zero)
            if not same and not (scheme.tanh_tables and _is_of_a_tanh(file, node, reader)):
                problem = "quantized on one grid and restored on another"
                yield Breach(rule="pairs", node=reader.name, problem=problem)


def _is_of_a_tanh(file: _File, quantize: onnx.NodeProto, restore: onnx.NodeProto) -> bool:
    """Bytes read with twice their step, before or behind a sigmoid (see `tanh_tables`)."""
    maker = file.maker.get(quantize.input[0])
    readers = file.readers.get(restore.output[0], ())
    before = bool(readers) and all(r.op_type == "Sigmoid" for r in readers)
    behind = maker is not None and maker.op_type == "Sigmoid"
    ratio = file.grid(restore)[0] / file.grid(quantize)[0]
    return (before or behind) and np.allclose(ratio, 2, rtol=EQUAL)


def _activations(file: _File, scheme: QdqScheme) -> Iterator[Breach]:
    for node in file.of("QuantizeLinear"):
        step, zero = file.grid(node)
        if str(zero.dtype) != scheme.activations:
            problem = f"{zero.dtype} instead of {scheme.activations}"
            yield Breach(rule="activation type", node=node.name, problem=problem)
        if scheme.symmetric and np.any(zero != 0):
            problem = f"zero point {zero.reshape(-1)[0]} instead of 0"
            yield Breach(rule="activation zero point", node=node.name, problem=problem)
        if step.size != 1:
            problem = f"{step.size} steps, one for the tensor is allowed"
            yield Breach(rule="activation steps", node=node.name, problem=problem)
        if not np.all(np.isfinite(step) & (step > 0)):
            yield Breach(rule="steps", node=node.name, problem="a step is not positive")


def _weights(file: _File, per_channel: bool) -> Iterator[Breach]:
    """int8 around zero, within 127 steps, one step for each output channel."""
    for node in file.of(*PRODUCTS):
        restored = file.restored(node.input[1])
        if restored is None or restored.input[0] not in file.constants:
            continue
        stored = file.constants[restored.input[0]]
        step, zero = file.grid(restored)
        if stored.dtype != np.int8:
            yield Breach(rule="weight type", node=node.name, problem=f"{stored.dtype}, not int8")
            continue
        if np.any(zero != 0):
            yield Breach(rule="weight zero point", node=node.name, problem="is not 0")
        if stored.min() < -127:
            yield Breach(rule="weight range", node=node.name, problem="reaches -128")
        if not np.all(np.isfinite(step) & (step > 0)):
            yield Breach(rule="steps", node=node.name, problem="a step is not positive")
        yield from _weight_axis(node, restored, stored, step, per_channel)


def _weight_axis(
    node: onnx.NodeProto, restored: onnx.NodeProto, stored: Array, step: Array, per_channel: bool
) -> Iterator[Breach]:
    if step.size == 1:
        channels = stored.shape[0] if node.op_type == "Conv" else 0
        if per_channel and channels > 1:
            problem = f"one step for {channels} output channels"
            yield Breach(rule="weight steps", node=node.name, problem=problem)
        return
    if not per_channel:
        problem = f"{step.size} steps where one per tensor is allowed"
        yield Breach(rule="weight steps", node=node.name, problem=problem)
    axis = int(attribute(restored, "axis", 1)) % stored.ndim
    wanted = {"Conv": 0, "ConvTranspose": 1, "MatMul": stored.ndim - 1}.get(node.op_type, axis)
    if axis != wanted or step.size != stored.shape[axis]:
        problem = f"{step.size} steps along axis {axis} of {list(stored.shape)}, wanted {wanted}"
        yield Breach(rule="weight axis", node=node.name, problem=problem)


def _products(file: _File) -> Iterator[Breach]:
    """A product has both operands in 8 bits or none: half of it runs in float all the same."""
    for node in file.of(*PRODUCTS):
        data, weight = (file.restored(name) for name in node.input[:2])
        # a step per channel keeps ONNX Runtime from quantizing a convolution that is to stay float
        whole = data is not None and file.grid(data)[0].size == 1
        if weight is not None and data is None:
            yield Breach(rule="products", node=node.name, problem="8-bit weights, float input")
        if weight is None and whole and node.input[1] in file.constants:
            yield Breach(rule="products", node=node.name, problem="8-bit input, float weights")


def _biases(file: _File) -> Iterator[Breach]:
    """int32 with zero point 0 and the step of input times weight."""
    for node in file.of(*CONVOLUTIONS):
        data, weight = (file.restored(name) for name in node.input[:2])
        if data is None or weight is None or len(node.input) < 3 or not node.input[2]:
            continue
        bias = file.restored(node.input[2])
        if bias is None or file.constants[bias.input[0]].dtype != np.int32:
            yield Breach(rule="bias type", node=node.name, problem="is not int32 behind a DQ")
            continue
        step, zero = file.grid(bias)
        wanted = file.grid(data)[0] * file.grid(weight)[0]
        if np.any(zero != 0):
            yield Breach(rule="bias zero point", node=node.name, problem="is not 0")
        if step.size != wanted.size or not np.allclose(step, wanted, rtol=EQUAL, atol=0):
            problem = "is not the step of the input times that of the weights"
            yield Breach(rule="bias step", node=node.name, problem=problem)


def _adds(file: _File) -> Iterator[Breach]:
    """A residual add has pairs on both inputs, or is left in float."""
    for node in file.of("Add"):
        dynamic = [name for name in node.input if name not in file.constants]
        if len(dynamic) == 2 and len({file.restored(name) is None for name in dynamic}) == 2:
            yield Breach(
                rule="residual adds", node=node.name, problem="one of two inputs in 8 bits"
            )


def _moves(file: _File, scheme: QdqScheme) -> Iterator[Breach]:
    """What only moves values has the same grid before and behind."""
    for node in file.of(*scheme.moves):
        before = [file.restored(name) for name in node.input if name not in file.constants]
        behind = [r for out in node.output for r in file.readers.get(out, ())]
        after = [r for r in behind if r.op_type == "QuantizeLinear"]
        for given in (b for b in before if b is not None and file.grid(b)[0].size == 1):
            for made in after:
                same = all(np.array_equal(a, b) for a, b in zip(
                    file.grid(given), file.grid(made), strict=True))  # fmt: skip
                if not same:
                    problem = "another grid behind it than before it"
                    yield Breach(rule="moves", node=node.name, problem=problem)


def _float_operators(file: _File) -> Iterator[Breach]:
    """Where kernels write float, no pair stands in front of a resize alone."""
    for node in file.of(*FLOAT_IN_TENSORRT):
        given = file.restored(node.input[0])
        if given is not None and len(file.readers.get(given.output[0], ())) == 1:
            yield Breach(rule="resize", node=node.name, problem="a Q/DQ pair stands before it")


def _undone(file: _File, scheme: QdqScheme) -> Iterator[Breach]:
    """Nothing is rounded that only float operators read: the runtime would have to undo it.

    An integer kernel that writes 8 bits rounds its own output, whoever reads it.
    """
    integer = {*scheme.kernels, *scheme.light, *scheme.moves, *scheme.fused, *PRODUCTS, "Add"}
    integer |= {"QuantizeLinear", "Pad", "Shape", "Resize", "Identity"}
    outputs = {out.name for out in file.model.graph.output}
    for node in file.of("DequantizeLinear"):
        readers = file.readers.get(node.output[0], ())
        used = outputs & set(node.output) or any(r.op_type in integer for r in readers)
        if node.input[0] in file.constants or used:
            continue
        source = file.maker.get(file.maker[node.input[0]].input[0])
        if not (scheme.writes_int8 and source is not None and source.op_type in integer):
            kinds = ", ".join(sorted({r.op_type for r in readers})) or "nothing"
            problem = f"restored for {kinds}, which runs in float"
            yield Breach(rule="undone", node=node.name, problem=problem)
