"""ONNX nodes that are best a torch module: those with weights, activations, pooling, shuffles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.errors import UserError
from toolkit.model.bridge.opset import Array, Node


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
    auto_pad: str,
) -> tuple[int, ...]:  # fmt: skip
    """Begins, then ends, of ONNX's `SAME_UPPER` and `SAME_LOWER` for an input of these sizes."""
    small, large = [], []
    for edge, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((-(-edge // s) - 1) * s + (k - 1) * d + 1 - edge, 0)
        small.append(total // 2)
        large.append(total - total // 2)
    return (*small, *large) if auto_pad == "SAME_UPPER" else (*large, *small)


class PaddedConv2d(nn.Conv2d):
    """A convolution whose zero padding differs from side to side, or follows the input's size.

    `pads` is (top, left, bottom, right); None means `auto_pad`, an ONNX name.
    """

    def __init__(
        self, *sizes: Any, pads: tuple[int, ...] | None, auto_pad: str, **options: Any
    ) -> None:
        super().__init__(*sizes, **options)
        self.pads = pads
        self.auto_pad = auto_pad

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to what the padded convolution gives."""
        pads = self.pads or same_pads(
            x.shape[2:], self.kernel_size, self.stride, self.dilation, self.auto_pad
        )
        top, left, bottom, right = pads
        return super().forward(F.pad(x, (left, right, top, bottom)))


class CroppedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that leaves out rows and columns: `crop` is (bottom, right)."""

    def __init__(self, *sizes: Any, crop: tuple[int, int], **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.crop = crop

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C, H, W) to the cropped output."""
        y = super().forward(x, output_size)
        return y[:, :, : y.shape[2] - self.crop[0], : y.shape[3] - self.crop[1]]


class Pool2d(nn.Module):
    """Max or average pooling whose padding torch's own modules cannot express.

    `pads` is (top, left, bottom, right); None means `auto_pad`. Padding never enters a maximum,
    and enters an average only with `count_padding`.
    """

    def __init__(self, node: Node, pads: tuple[int, ...] | None) -> None:
        super().__init__()
        self.kind = node.kind
        self.kernel = _pair(node, "kernel_shape")
        self.stride = _pair(node, "strides")
        self.dilation = _pair(node, "dilations")
        self.pads = pads
        self.auto_pad = str(node.attributes.get("auto_pad", "NOTSET"))
        self.ceil = bool(node.attributes.get("ceil_mode", 0))
        self.count_padding = bool(node.attributes.get("count_include_pad", 0))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the pooled (N, C, h, w)."""
        top, left, bottom, right = self.pads or same_pads(
            x.shape[2:], self.kernel, self.stride, self.dilation, self.auto_pad
        )
        around = (left, right, top, bottom)
        if self.kind == "MaxPool":
            wide = F.pad(x, around, value=float("-inf"))
            return F.max_pool2d(
                wide, self.kernel, self.stride, 0, self.dilation, ceil_mode=self.ceil
            )
        mean = F.avg_pool2d(F.pad(x, around), self.kernel, self.stride, ceil_mode=self.ceil)
        if self.count_padding:
            return mean
        ones = F.pad(torch.ones_like(x[:1, :1]), around)
        return mean / F.avg_pool2d(ones, self.kernel, self.stride, ceil_mode=self.ceil)


def _pair(node: Node, name: str) -> tuple[int, int]:
    first, second = node.attributes.get(name, (1, 1))
    return int(first), int(second)


def _refuse(node: Node, found: str, hint: str) -> UserError:
    return UserError(f"`{node.kind}` {found}", where=f"node `{node.name}`", hint=hint)


def _weights(node: Node, constants: Mapping[str, Array]) -> tuple[Array, Array | None]:
    """Weight and bias of a convolution over images, which must be constants."""
    names = [name for name in node.inputs[1:] if name]
    if missing := [name for name in names if name not in constants]:
        raise _refuse(
            node,
            f"computes its weights `{'`, `'.join(missing)}` from the picture",
            "only fixed weights can be trained and quantized",
        )
    weight = constants[node.inputs[1]]
    if weight.ndim != 4:
        raise _refuse(
            node,
            f"has weights of shape `{weight.shape}`",
            "only convolutions over two image axes are understood",
        )
    return weight, constants[node.inputs[2]] if node.input(2) else None


def _load(module: nn.Module, **values: Array | None) -> nn.Module:
    for name, value in values.items():
        if value is not None:
            getattr(module, name).data.copy_(torch.from_numpy(np.array(value)))
    return module


def _fixed_pads(node: Node, kernel: Sequence[int]) -> tuple[int, ...] | None:
    """(top, left, bottom, right), or None where they depend on the input's size."""
    auto = node.attributes.get("auto_pad", "NOTSET")
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    if auto == "NOTSET":
        return tuple(int(edge) for edge in node.attributes.get("pads", (0, 0, 0, 0)))
    if auto == "VALID":
        return (0, 0, 0, 0)
    if stride == (1, 1):
        return same_pads((1000, 1000), kernel, stride, dilation, auto)
    return None


def _conv(node: Node, constants: Mapping[str, Array]) -> nn.Module:
    weight, bias = _weights(node, constants)
    groups = int(node.attributes.get("group", 1))
    sizes = (weight.shape[1] * groups, weight.shape[0], weight.shape[2:])
    options: dict[str, Any] = {
        "stride": _pair(node, "strides"),
        "dilation": _pair(node, "dilations"),
        "groups": groups,
        "bias": bias is not None,
    }
    pads = _fixed_pads(node, weight.shape[2:])
    conv: nn.Module
    if pads is not None and pads[:2] == pads[2:]:
        conv = nn.Conv2d(*sizes, padding=(pads[0], pads[1]), **options)
    else:
        auto_pad = str(node.attributes.get("auto_pad", "NOTSET"))
        conv = PaddedConv2d(*sizes, pads=pads, auto_pad=auto_pad, **options)
    return _load(conv, weight=weight, bias=bias)


def _transposed_pads(node: Node, kernel: Sequence[int]) -> tuple[int, ...]:
    auto = node.attributes.get("auto_pad", "NOTSET")
    if "output_shape" in node.attributes:
        raise _refuse(
            node,
            f"fixes its output's shape to `{node.attributes['output_shape']}`",
            "export it with `pads` and `output_padding`, so that the picture's size stays free",
        )
    if auto in ("NOTSET", "VALID"):
        return tuple(int(edge) for edge in node.attributes.get("pads", (0, 0, 0, 0)))
    extra = _pair(node, "output_padding") if "output_padding" in node.attributes else (0, 0)
    small, large = [], []
    for k, s, d, more in zip(
        kernel, _pair(node, "strides"), _pair(node, "dilations"), extra, strict=True
    ):
        total = max((k - 1) * d + 1 - s + more, 0)
        small.append(total // 2)
        large.append(total - total // 2)
    return (*small, *large) if auto == "SAME_UPPER" else (*large, *small)


def _conv_transpose(node: Node, constants: Mapping[str, Array]) -> nn.Module:
    weight, bias = _weights(node, constants)
    groups = int(node.attributes.get("group", 1))
    pads = _transposed_pads(node, weight.shape[2:])
    extra = _pair(node, "output_padding") if "output_padding" in node.attributes else (0, 0)
    # torch pads both sides alike: what ONNX takes off one side more becomes a crop, what it takes
    # off one side less an output padding.
    more = [e + b - n for b, n, e in zip(pads[:2], pads[2:], extra, strict=True)]
    options: dict[str, Any] = {
        "stride": _pair(node, "strides"),
        "padding": pads[:2],
        "output_padding": tuple(max(edge, 0) for edge in more),
        "dilation": _pair(node, "dilations"),
        "groups": groups,
        "bias": bias is not None,
    }
    sizes = (weight.shape[0], weight.shape[1] * groups, weight.shape[2:])
    deconv: nn.Module
    if min(more) >= 0:
        deconv = nn.ConvTranspose2d(*sizes, **options)
    else:
        crop = (max(-more[0], 0), max(-more[1], 0))
        deconv = CroppedConvTranspose2d(*sizes, crop=crop, **options)
    return _load(deconv, weight=weight, bias=bias)


def _linear(node: Node, constants: Mapping[str, Array]) -> nn.Module:
    weight = constants[node.inputs[1]]
    bias = constants[node.inputs[2]] if node.input(2) else None
    module = nn.Linear(weight.shape[0], weight.shape[1], bias=bias is not None)
    return _load(module, weight=weight.T, bias=bias)


def _batch_norm(node: Node, constants: Mapping[str, Array]) -> nn.Module | None:
    if any(name not in constants for name in node.inputs[1:]):
        return None
    weight, bias, mean, variance = (constants[name] for name in node.inputs[1:])
    module = nn.BatchNorm2d(len(weight), eps=float(node.attributes.get("epsilon", 1e-5)))
    return _load(module, weight=weight, bias=bias, running_mean=mean, running_var=variance)


def _instance_norm(node: Node, constants: Mapping[str, Array]) -> nn.Module | None:
    if any(name not in constants for name in node.inputs[1:]):
        return None
    weight, bias = (constants[name] for name in node.inputs[1:])
    eps = float(node.attributes.get("epsilon", 1e-5))
    return _load(nn.InstanceNorm2d(len(weight), eps=eps, affine=True), weight=weight, bias=bias)


def _layer_norm(node: Node, constants: Mapping[str, Array]) -> nn.Module | None:
    if any(name and name not in constants for name in node.inputs[1:]):
        return None
    weight = constants[node.inputs[1]]
    bias = constants[node.inputs[2]] if node.input(2) else None
    if int(node.attributes.get("axis", -1)) != -weight.ndim:
        return None
    eps = float(node.attributes.get("epsilon", 1e-5))
    module = nn.LayerNorm(weight.shape, eps=eps, bias=bias is not None)
    return _load(module, weight=weight, bias=bias)


def _prelu(node: Node, constants: Mapping[str, Array]) -> nn.Module | None:
    slope = constants.get(node.inputs[1])
    if slope is None or slope.size not in (1, *slope.shape[-3:-2]):
        return None  # a slope per pixel, or one computed from the picture
    return _load(nn.PReLU(slope.size), weight=slope.reshape(-1))


def _pool_options(node: Node) -> dict[str, Any] | None:
    pads = _fixed_pads(node, _pair(node, "kernel_shape"))
    if pads is None or pads[:2] != pads[2:]:
        return None
    kernel = _pair(node, "kernel_shape")
    if any(2 * edge > k for edge, k in zip(pads[:2], kernel, strict=True)):
        return None
    return {
        "kernel_size": kernel,
        "stride": _pair(node, "strides"),
        "padding": pads[:2],
        "ceil_mode": bool(node.attributes.get("ceil_mode", 0)),
    }


def _max_pool(node: Node, constants: Mapping[str, Array]) -> nn.Module:
    options = _pool_options(node)
    if options is None:
        return Pool2d(node, _fixed_pads(node, _pair(node, "kernel_shape")))
    return nn.MaxPool2d(dilation=_pair(node, "dilations"), **options)


def _average_pool(node: Node, constants: Mapping[str, Array]) -> nn.Module:
    if _pair(node, "dilations") != (1, 1):
        raise _refuse(node, "is dilated", "use a strided or plain average pool")
    options = _pool_options(node)
    if options is None:
        return Pool2d(node, _fixed_pads(node, _pair(node, "kernel_shape")))
    include = bool(node.attributes.get("count_include_pad", 0))
    return nn.AvgPool2d(count_include_pad=include, **options)


def _depth_to_space(node: Node, constants: Mapping[str, Array]) -> nn.Module | None:
    if node.attributes.get("mode", "DCR") != "CRD":
        return None
    return nn.PixelShuffle(int(node.attributes["blocksize"]))


def _hard_sigmoid(node: Node, constants: Mapping[str, Array]) -> nn.Module | None:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    return nn.Hardsigmoid() if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5 else None


def _gelu(node: Node, constants: Mapping[str, Array]) -> nn.Module:
    return nn.GELU(str(node.attributes.get("approximate", "none")))


def _softmax(node: Node, constants: Mapping[str, Array]) -> nn.Module:
    return nn.Softmax(dim=int(node.attributes.get("axis", -1)))


Build = Callable[[Node, Mapping[str, Array]], nn.Module | None]


def _of(build: Callable[[Node], nn.Module]) -> Build:
    return lambda node, constants: build(node)


@dataclass(frozen=True)
class Layer:
    """How to make a module of a node; `build` gives None where only the plain operator will do."""

    build: Build
    weighted: bool = False  # nodes with the same weights share one module


LAYERS: dict[str, Layer] = {
    "AveragePool": Layer(_average_pool),
    "BatchNormalization": Layer(_batch_norm),
    "Conv": Layer(_conv, weighted=True),
    "ConvTranspose": Layer(_conv_transpose, weighted=True),
    "DepthToSpace": Layer(_depth_to_space),
    "Elu": Layer(_of(lambda node: nn.ELU(float(node.attributes.get("alpha", 1.0))))),
    "Gelu": Layer(_gelu),
    "GlobalAveragePool": Layer(_of(lambda node: nn.AdaptiveAvgPool2d(1))),
    "HardSigmoid": Layer(_hard_sigmoid),
    "HardSwish": Layer(_of(lambda node: nn.Hardswish())),
    "InstanceNormalization": Layer(_instance_norm),
    "LayerNormalization": Layer(_layer_norm),
    "LeakyRelu": Layer(_of(lambda node: nn.LeakyReLU(float(node.attributes.get("alpha", 0.01))))),
    "Linear": Layer(_linear, weighted=True),
    "MaxPool": Layer(_max_pool),
    "Mish": Layer(_of(lambda node: nn.Mish())),
    "PRelu": Layer(_prelu),
    "Relu": Layer(_of(lambda node: nn.ReLU())),
    "Selu": Layer(_of(lambda node: nn.SELU())),
    "Sigmoid": Layer(_of(lambda node: nn.Sigmoid())),
    "Softmax": Layer(_softmax),
    "Tanh": Layer(_of(lambda node: nn.Tanh())),
}
