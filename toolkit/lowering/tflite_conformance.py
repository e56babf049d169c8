"""Static rules of an integer TFLite file, checked on the bytes that were written.

ai.google.dev/edge/litert/models/quantization_spec for int8, and for 16-bit activations
tensorflow.org/lite/performance/post_training_integer_quant_16x8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.lowering.tflite_flat import Array
from toolkit.model.breach import Breach

WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}
MOVES = {
    "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "PAD", "MIRROR_PAD", "TILE", "SQUEEZE",
    "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "BROADCAST_TO", "GATHER", "MAX_POOL_2D", "CONCATENATION",
    "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "MAXIMUM", "MINIMUM",
}  # fmt: skip
FIXED = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("TANH", "int8"): (1 / 128, 0),
    **{(kind, "int16"): (1 / 32768, 0) for kind in ("LOGISTIC", "SOFTMAX", "TANH")},
}
EQUAL = 1e-5  # of a step: products of float32 numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: npt.NDArray[np.float64]
    zeros: npt.NDArray[np.int64]
    axis: int
    data: Array | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Op:
    kind: str
    inputs: tuple[_Tensor | None, ...]
    output: _Tensor
    is_last: bool  # it makes the file's output, at most moved or converted after it


def tflite_breaches(
    content: bytes, *, per_channel: bool = True, strict: bool = True
) -> list[Breach]:
    """Everything that breaks the specification; empty for a file that keeps to it.

    Float operators and what lies between them are nobody's business here. Without `strict` the
    sigmoid or tanh that makes the picture may be on the picture's own grid, as LiteRT's kernels
    allow.
    """
    found: list[Breach] = []
    for op in _read(content):
        if op.kind in ("QUANTIZE", "DEQUANTIZE"):
            continue
        if op.kind in WEIGHTED:
            found += _weighted(op, per_channel)
        if op.output.dtype in ("int8", "int16", "uint8"):
            found += _activations(op)
            if strict or not op.is_last:
                found += _fixed(op)
            if op.kind in MOVES:
                found += _moved(op)
    return found


def _breach(rule: str, op: _Op, problem: str) -> Breach:
    return Breach(rule=rule, node=op.output.name, problem=f"{op.kind} {problem}")


def _weighted(op: _Op, per_channel: bool) -> Iterator[Breach]:
    x, w, b = (2, 1, 3) if op.kind == "TRANSPOSE_CONV" else (0, 1, 2)
    given, weight = op.inputs[x], op.inputs[w]
    bias = op.inputs[b] if len(op.inputs) > b else None
    assert given is not None
    assert weight is not None
    if given.dtype == "float32" and weight.dtype == "float32":
        return
    if weight.dtype != "int8" or weight.data is None:
        yield _breach("weight type", op, f"has {weight.dtype} weights")
        return
    if np.any(weight.zeros != 0):
        yield _breach("weight zero point", op, "has weights that are not around zero")
    if weight.data.min() < -127:
        yield _breach("weight range", op, "has a weight of -128")
    yield from _weight_axis(op, weight, per_channel)
    if bias is not None and weight.scales.size:
        yield from _bias(op, given, weight, bias)


def _weight_axis(op: _Op, weight: _Tensor, per_channel: bool) -> Iterator[Breach]:
    count, axis = weight.scales.size, WEIGHTED[op.kind]
    if not count or np.any(weight.scales <= 0):
        yield _breach("steps", op, "has weights without a positive step")
    elif count > 1 and not per_channel:
        yield _breach("weight steps", op, f"has {count} steps where one per tensor is allowed")
    elif count > 1 and (weight.axis != axis or count != weight.shape[axis]):
        problem = f"has {count} steps along axis {weight.axis} of {list(weight.shape)}, not {axis}"
        yield _breach("weight axis", op, problem)


def _bias(op: _Op, given: _Tensor, weight: _Tensor, bias: _Tensor) -> Iterator[Breach]:
    wanted_type = "int64" if given.dtype == "int16" else "int32"
    if bias.dtype != wanted_type:
        yield _breach("bias type", op, f"has a bias of {bias.dtype}, not {wanted_type}")
    if np.any(bias.zeros != 0):
        yield _breach("bias zero point", op, "has a bias that is not around zero")
    wanted = given.scales * weight.scales
    if bias.scales.size != wanted.size or not np.allclose(bias.scales, wanted, rtol=EQUAL, atol=0):
        yield _breach("bias step", op, "has a bias whose step is not input times weight")


def _activations(op: _Op) -> Iterator[Breach]:
    for tensor in (op.output, *op.inputs):
        if tensor is None or tensor.dtype not in ("int8", "int16") or tensor.data is not None:
            continue
        if tensor.scales.size != 1 or tensor.scales[0] <= 0:
            yield _breach("activation steps", op, f"touches `{tensor.name}` without one step")
        elif tensor.dtype == "int16" and np.any(tensor.zeros != 0):
            yield _breach("16-bit zero point", op, f"touches `{tensor.name}` beside zero")
        elif np.any(np.abs(tensor.zeros) > 128):
            yield _breach("activation zero point", op, f"touches `{tensor.name}` beside int8")


def _fixed(op: _Op) -> Iterator[Breach]:
    wanted = FIXED.get((op.kind, op.output.dtype))
    if wanted is None or not op.output.scales.size:
        return
    scale, zero = float(op.output.scales[0]), int(op.output.zeros[0])
    if abs(scale - wanted[0]) > EQUAL * wanted[0] or zero != wanted[1]:
        problem = f"writes steps of {scale:.6g} around {zero}, not {wanted[0]:.6g} and {wanted[1]}"
        yield _breach("fixed grid", op, problem)


def _moved(op: _Op) -> Iterator[Breach]:
    for tensor in op.inputs:
        if tensor is None or tensor.dtype not in ("int8", "int16", "uint8"):
            continue
        same = np.array_equal(tensor.scales, op.output.scales)
        if not same or not np.array_equal(tensor.zeros, op.output.zeros):
            problem = f"moves `{tensor.name}` to another grid"
            yield _breach("moves", op, problem)


def _read(content: bytes) -> list[_Op]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    kinds = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    types = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
    codes = [kinds[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    tensors = [_tensor(tensor, model, types) for tensor in graph.tensors]
    last = _last(graph, codes)
    return [
        _Op(
            kind=codes[op.opcodeIndex],
            inputs=tuple(tensors[i] if i >= 0 else None for i in op.inputs),
            output=tensors[op.outputs[0]],
            is_last=int(op.outputs[0]) in last,
        )
        for op in graph.operators
    ]


def _last(graph: Any, codes: Sequence[str]) -> set[int]:
    """Tensors that become the output by movements and conversions alone."""
    last = {int(i) for i in graph.outputs}
    for op in reversed(graph.operators):
        moves = codes[op.opcodeIndex] in MOVES | {"QUANTIZE", "DEQUANTIZE"}
        if moves and int(op.outputs[0]) in last:
            last.add(int(op.inputs[0]))
    return last


def _tensor(tensor: Any, model: Any, types: dict[int, str]) -> _Tensor:
    dtype, shape = types[tensor.type], tuple(int(n) for n in tensor.shape)
    quant = tensor.quantization
    known = quant is not None and quant.scale is not None
    raw = model.buffers[tensor.buffer].data if tensor.buffer else None
    data = None
    if raw is not None and len(raw):
        data = np.frombuffer(np.asarray(raw, np.uint8).tobytes(), dtype).reshape(shape)
    return _Tensor(
        name=tensor.name.decode(),
        dtype=dtype,
        shape=shape,
        scales=np.asarray(quant.scale if known else [], np.float64),
        zeros=np.asarray(quant.zeroPoint if known else [], np.int64),
        axis=int(quant.quantizedDimension) if known else 0,
        data=data,
    )
