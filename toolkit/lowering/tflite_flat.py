"""A TFLite file as plain values, and the bytes that it is stored as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
NO_TENSOR = ""  # an optional operand that is absent

# Where the class of an operator's options is not its name in camel case.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "PADV2": "PadV2Options",
}
# Operator versions that 8-bit kernels, options or ranks ask for: tflite's versioning rules.
_SECOND = {
    "ADD", "SUB", "MUL", "CONCATENATION", "PAD", "PADV2", "TRANSPOSE", "SLICE", "STRIDED_SLICE",
    "LEAKY_RELU", "LOGISTIC", "TANH", "SOFTMAX", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "SUM",
    "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "RELU", "RELU6", "GATHER", "REDUCE_MAX", "REDUCE_MIN",
    "DEQUANTIZE", "QUANTIZE", "MIRROR_PAD", "MAXIMUM", "MINIMUM", "BATCH_MATMUL",
}  # fmt: skip
_THIRD = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "RESIZE_BILINEAR", "BROADCAST_TO",
    "RESIZE_NEAREST_NEIGHBOR",
}  # fmt: skip
_VERSIONS_INT8 = {**dict.fromkeys(_SECOND, 2), **dict.fromkeys(_THIRD, 3), "FULLY_CONNECTED": 4}
_VERSIONS_INT16 = {
    **_VERSIONS_INT8,
    **dict.fromkeys(("TANH", "LOGISTIC", "SOFTMAX", "PAD", "CONCATENATION", "MEAN"), 3),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD", "SUB"), 3),
    **dict.fromkeys(("CONV_2D", "MUL", "TRANSPOSE", "SLICE", "RESIZE_BILINEAR"), 4),
    **dict.fromkeys(("MAXIMUM", "MINIMUM", "STRIDED_SLICE"), 4),
    "DEPTHWISE_CONV_2D": 5,
    "FULLY_CONNECTED": 7,
}
_VERSIONS_FLOAT = {
    "BROADCAST_TO": 2,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "TRANSPOSE_CONV": 3,
}


@dataclass(frozen=True, kw_only=True)
class Quant:
    """Real value = (stored - zero_point) * scale; several scales run along `axis`."""

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0
    bits: int = 8  # of what is stored


@dataclass(frozen=True, kw_only=True)
class FlatTensor:
    """One tensor of the file. `spine` names the ONNX tensor whose values it holds, if any."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # numpy's name: float32, int8, uint8, int32
    data: Array | None = None
    quant: Quant | None = None
    spine: str = ""


@dataclass(frozen=True, kw_only=True)
class FlatOp:
    """One operator. `nodes` names the ONNX nodes that it stands for.

    Beside TFLite's own kinds there is `CLIP` (options `low`, `high`), lowered before storing.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FlatGraph:
    """Operators in running order; image tensors are NHWC."""

    tensors: Mapping[str, FlatTensor]
    ops: tuple[FlatOp, ...]
    input: str
    output: str


def serialise(graph: FlatGraph) -> bytes:
    """The bytes of a .tflite file; they depend on nothing but `graph`."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kept = [t for t in graph.tensors.values() if t.name in _used(graph)]
    index = {tensor.name: i for i, tensor in enumerate(kept)}
    buffers = [schema.BufferT()]
    sub = schema.SubGraphT()
    sub.tensors = [_tensor(schema, tensor, buffers) for tensor in kept]
    codes: dict[tuple[str, int], int] = {}
    sub.operators = [_operator(schema, graph, op, index, codes) for op in graph.ops]
    sub.inputs = [index[graph.input]]
    sub.outputs = [index[graph.output]]
    sub.name = b"main"
    model = schema.ModelT()
    model.version = 3
    model.description = b"edge-sr-toolkit"
    model.operatorCodes = [_code(schema, kind, version) for kind, version in codes]
    model.subgraphs = [sub]
    model.buffers = buffers
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _used(graph: FlatGraph) -> set[str]:
    names = {graph.input, graph.output}
    for op in graph.ops:
        names.update(op.inputs, op.outputs)
    return names


def _tensor(schema: Any, tensor: FlatTensor, buffers: list[Any]) -> Any:
    stored = schema.TensorT()
    stored.name = tensor.name.encode()
    stored.shape = list(tensor.shape)
    stored.type = getattr(schema.TensorType, tensor.dtype.upper())
    stored.buffer = 0
    if tensor.data is not None:
        buffer = schema.BufferT()
        raw = np.ascontiguousarray(tensor.data, tensor.dtype)
        buffer.data = np.frombuffer(raw.tobytes(), np.uint8)
        stored.buffer = len(buffers)
        buffers.append(buffer)
    if tensor.quant is not None:
        stored.quantization = schema.QuantizationParametersT()
        stored.quantization.scale = list(tensor.quant.scales)
        stored.quantization.zeroPoint = [tensor.quant.zero_point] * len(tensor.quant.scales)
        stored.quantization.quantizedDimension = tensor.quant.axis
    return stored


def _operator(
    schema: Any,
    graph: FlatGraph,
    op: FlatOp,
    index: Mapping[str, int],
    codes: dict[tuple[str, int], int],
) -> Any:
    stored = schema.OperatorT()
    dtypes = {graph.tensors[name].dtype for name in (*op.inputs, *op.outputs) if name}
    versions = _VERSIONS_INT16 if "int16" in dtypes else _VERSIONS_INT8
    is_float = graph.tensors[op.inputs[0]].dtype == graph.tensors[op.outputs[0]].dtype == "float32"
    version = (_VERSIONS_FLOAT if is_float else versions).get(op.kind, 1)
    stored.opcodeIndex = codes.setdefault((op.kind, version), len(codes))
    stored.inputs = [index[name] if name != NO_TENSOR else -1 for name in op.inputs]
    stored.outputs = [index[name] for name in op.outputs]
    name = _OPTIONS.get(op.kind) or op.kind.title().replace("_", "") + "Options"
    if hasattr(schema.BuiltinOptions, name):
        options = getattr(schema, f"{name}T")()
        for key, value in op.options.items():
            if not hasattr(options, key):
                raise AttributeError(f"{name} has no `{key}`")
            setattr(options, key, value)
        stored.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        stored.builtinOptions = options
    return stored


def _code(schema: Any, kind: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    number = getattr(schema.BuiltinOperator, kind)
    code.builtinCode = number
    code.deprecatedBuiltinCode = min(
        number, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
    )
    code.version = version
    return code
