"""What each runtime wants of a Q/DQ file, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from toolkit.quant.channel_padding import FastChannels
from toolkit.spec.target import Scheme

# They only move or pick values: the same scale goes in and comes out.
MOVES = frozenset({
    "Concat", "DepthToSpace", "SpaceToDepth", "Reshape", "Transpose", "Split", "Slice", "Squeeze",
    "Unsqueeze", "Flatten", "Expand", "Tile", "MaxPool", "Identity",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class QdqScheme:
    """How one runtime is told to compute in 8 bits.

    `kernels` have an integer kernel that reads and writes 8 bits; with `writes_int8` False they
    read 8 bits and write float, and what follows is fused by the runtime's compiler.
    `light` ones run in 8 bits only between others that do. `fused` are activations that the
    kernel before them absorbs, so the tensor between is never rounded.
    """

    activations: Literal["uint8", "int8", "uint16"]
    symmetric: bool
    int32_bias: bool
    writes_int8: bool
    kernels: frozenset[str]
    light: frozenset[str] = frozenset()
    fused: frozenset[str] = frozenset()
    moves: frozenset[str] = MOVES
    quantized_adds: bool = False  # both inputs of an Add inside the body, see `wanted_tensors`
    fast_channels: FastChannels | None = None  # convolutions are widened to these
    width_blocks: bool = False  # convolutions with few channels make several pixels at once
    window_products: bool = False  # a first convolution before a tanh is a Gemm with float result
    interleaves: bool = False  # DepthToSpace is written as transpositions
    prelu_bytes: bool = False  # a PReLU is written as the maximum of bytes
    tanh_tables: bool = False  # a tanh of bytes is written as a sigmoid of bytes


SCHEMES: Mapping[Scheme, QdqScheme] = {
    # QLinearConv: uint8 with a zero point, int8 weights around zero, int32 bias. Relu and Clip are
    # absorbed by the output's range.
    "onnxruntime": QdqScheme(
        activations="uint8",
        symmetric=False,
        int32_bias=True,
        writes_int8=True,
        kernels=frozenset({"Conv", "MatMul", "Gemm"}),
        light=frozenset({"Add", "Mul", "LeakyRelu", "Sigmoid", "Tanh", "GlobalAveragePool"}),
        fused=frozenset({"Relu", "Clip"}),
        fast_channels=FastChannels(into_multiple=4, out_multiple=4, out_least=16),
        width_blocks=True,
        window_products=True,
        interleaves=True,
        prelu_bytes=True,
        tanh_tables=True,
    ),
    # Layers whose activations need more than 8 bits, for NPUs behind ONNX Runtime that compute so.
    # On the CPU they run in float between roundings: the numbers are the device's, not the speed.
    "onnxruntime_a16w8": QdqScheme(
        activations="uint16",
        symmetric=False,
        int32_bias=False,
        writes_int8=True,
        kernels=frozenset({"Conv", "ConvTranspose", "MatMul"}),
        light=frozenset({"Add", "Mul", "LeakyRelu", "PRelu", "Sigmoid", "Tanh"}),
        fused=frozenset({"Relu", "Clip"}),
    ),
    # OpenVINO's low-precision passes fuse whole element-wise chains into the convolution, so only
    # what a convolution reads is rounded.
    "openvino": QdqScheme(
        activations="uint8",
        symmetric=False,
        int32_bias=False,
        writes_int8=False,
        kernels=frozenset({"Conv", "ConvTranspose", "MatMul"}),
    ),
    # TensorRT: zero point 0 everywhere, Q/DQ before convolutions and on both inputs of the adds.
    "tensorrt": QdqScheme(
        activations="int8",
        symmetric=True,
        int32_bias=False,
        writes_int8=False,
        kernels=frozenset({"Conv", "MatMul"}),
        quantized_adds=True,
    ),
}
