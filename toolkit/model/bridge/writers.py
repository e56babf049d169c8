"""Torch layers as ONNX operators of opset 17."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from toolkit.model.bridge.layers import CroppedConvTranspose2d, PaddedConv2d, Pool2d
from toolkit.model.bridge.opset import Array


@dataclass(frozen=True)
class Call:
    """One operator on the tensor before it; `operands` are its further inputs by name.

    `Call.INPUT` as an operand stands for the layer's own input.
    """

    INPUT: ClassVar[str] = "input"
    kind: str
    operands: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


Write = Callable[[Any], Sequence[Call]]


def _array(value: Tensor | None) -> Array:
    assert value is not None
    return value.detach().cpu().numpy()


def _named(module: nn.Module, *names: str) -> dict[str, Array]:
    values = {name: getattr(module, name) for name in names}
    return {name: _array(value) for name, value in values.items() if value is not None}


def _number(value: float) -> Array:
    return np.asarray(value, dtype=np.float32)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _convolution(module: nn.Conv2d | nn.ConvTranspose2d, kind: str, **extra: Any) -> Sequence[Call]:
    attributes = {
        "kernel_shape": module.kernel_size,
        "strides": module.stride,
        "dilations": module.dilation,
        "group": module.groups,
        **extra,
    }
    return [Call(kind, _named(module, "weight", "bias"), attributes)]


def _conv(module: nn.Conv2d) -> Sequence[Call]:
    if isinstance(module, PaddedConv2d) and module.pads is None:
        return _convolution(module, "Conv", auto_pad=module.auto_pad)
    if isinstance(module, PaddedConv2d):
        return _convolution(module, "Conv", pads=module.pads)
    return _convolution(module, "Conv", pads=_both_sides(module.padding))


def _both_sides(padding: Any) -> tuple[int, ...]:
    return _pair(padding) * 2


def _conv_transpose(module: nn.ConvTranspose2d) -> Sequence[Call]:
    crop = module.crop if isinstance(module, CroppedConvTranspose2d) else (0, 0)
    top, left = _pair(module.padding)  # type: ignore[arg-type]
    pads = (top, left, top + crop[0], left + crop[1])
    extra = _pair(module.output_padding)
    return _convolution(module, "ConvTranspose", pads=pads, output_padding=extra)


def _linear(module: nn.Linear) -> Sequence[Call]:
    product = Call("MatMul", {"weight": np.ascontiguousarray(_array(module.weight).T)})
    if module.bias is None:
        return [product]
    return [product, Call("Add", _named(module, "bias"))]


def _batch_norm(module: nn.BatchNorm2d) -> Sequence[Call]:
    names = ("weight", "bias", "running_mean", "running_var")
    return [Call("BatchNormalization", _named(module, *names), {"epsilon": module.eps})]


def _instance_norm(module: nn.InstanceNorm2d) -> Sequence[Call]:
    operands = _named(module, "weight", "bias")
    return [Call("InstanceNormalization", operands, {"epsilon": module.eps})]


def _layer_norm(module: nn.LayerNorm) -> Sequence[Call]:
    attributes = {"epsilon": module.eps, "axis": -len(module.normalized_shape)}
    return [Call("LayerNormalization", _named(module, "weight", "bias"), attributes)]


def _prelu(module: nn.PReLU) -> Sequence[Call]:
    return [Call("PRelu", {"weight": _array(module.weight).reshape(-1, 1, 1)})]


def _gelu(module: nn.GELU) -> Sequence[Call]:
    """0.5 x (1 + erf(x / sqrt 2)), or with tanh (Hendrycks and Gimpel, arXiv 1606.08415)."""
    ends = [
        Call("Add", {"one": _number(1.0)}),
        Call("Mul", {"x": Call.INPUT}),
        Call("Mul", {"half": _number(0.5)}),
    ]
    if module.approximate == "none":
        return [Call("Div", {"root": _number(math.sqrt(2))}), Call("Erf"), *ends]
    return [
        Call("Mul", {"x": Call.INPUT}),
        Call("Mul", {"cubic": _number(0.044715)}),
        Call("Add", {"one": _number(1.0)}),
        Call("Mul", {"x": Call.INPUT}),
        Call("Mul", {"root": _number(math.sqrt(2 / math.pi))}),
        Call("Tanh"),
        *ends,
    ]


def _mish(module: nn.Mish) -> Sequence[Call]:
    return [Call("Softplus"), Call("Tanh"), Call("Mul", {"x": Call.INPUT})]


def _max_pool(module: nn.MaxPool2d) -> Sequence[Call]:
    attributes = {
        "kernel_shape": _pair(module.kernel_size),
        "strides": _pair(module.stride),
        "dilations": _pair(module.dilation),
        "pads": _both_sides(module.padding),
        "ceil_mode": int(module.ceil_mode),
    }
    return [Call("MaxPool", {}, attributes)]


def _average_pool(module: nn.AvgPool2d) -> Sequence[Call]:
    attributes = {
        "kernel_shape": _pair(module.kernel_size),
        "strides": _pair(module.stride),
        "pads": _both_sides(module.padding),
        "ceil_mode": int(module.ceil_mode),
        "count_include_pad": int(module.count_include_pad),
    }
    return [Call("AveragePool", {}, attributes)]


def _pool(module: Pool2d) -> Sequence[Call]:
    attributes: dict[str, Any] = {
        "kernel_shape": module.kernel,
        "strides": module.stride,
        "ceil_mode": int(module.ceil),
    }
    if module.pads is None:
        attributes["auto_pad"] = module.auto_pad
    else:
        attributes["pads"] = module.pads
    if module.kind == "MaxPool":
        attributes["dilations"] = module.dilation
    else:
        attributes["count_include_pad"] = int(module.count_padding)
    return [Call(module.kind, {}, attributes)]


def _plain(kind: str) -> Write:
    return lambda module: [Call(kind)]


WRITERS: dict[type[nn.Module], Write] = {
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _plain("GlobalAveragePool"),
    nn.BatchNorm2d: _batch_norm,
    nn.Conv2d: _conv,
    nn.ConvTranspose2d: _conv_transpose,
    CroppedConvTranspose2d: _conv_transpose,
    nn.ELU: lambda module: [Call("Elu", {}, {"alpha": module.alpha})],
    nn.GELU: _gelu,
    nn.Hardsigmoid: lambda module: [Call("HardSigmoid", {}, {"alpha": 1 / 6, "beta": 0.5})],
    nn.Hardswish: _plain("HardSwish"),
    nn.InstanceNorm2d: _instance_norm,
    nn.LayerNorm: _layer_norm,
    nn.LeakyReLU: lambda module: [Call("LeakyRelu", {}, {"alpha": module.negative_slope})],
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.Mish: _mish,
    nn.PReLU: _prelu,
    PaddedConv2d: _conv,
    nn.PixelShuffle: lambda module: [
        Call("DepthToSpace", {}, {"blocksize": module.upscale_factor, "mode": "CRD"})
    ],
    Pool2d: _pool,
    nn.ReLU: _plain("Relu"),
    nn.SELU: _plain("Selu"),
    nn.Sigmoid: _plain("Sigmoid"),
    nn.Softmax: lambda module: [Call("Softmax", {}, {"axis": module.dim})],
    nn.Tanh: _plain("Tanh"),
}


def writer_of(module: nn.Module) -> Write | None:
    """How to write a layer; None for a type that the importer does not make."""
    return WRITERS.get(type(module))
