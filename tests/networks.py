"""A zoo of small super-resolution networks of the kinds met in the wild, for everybody's tests.

Written from the papers' descriptions, with few channels and seeded weights. `build(name)` gives
the torch module, `onnx_of(name)` the file as a user would export it: dynamic axes, an opset of
its time, shape chains left in.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import onnx
import torch
from network_parts import (
    Apply,
    Cascade,
    ChannelNorm,
    Distillation,
    Gated,
    MeanShift,
    PadToMultiple,
    PooledFeatures,
    Pyramid,
    Residual,
    SpatialAttention,
    SubtractMean,
    Sum,
    TransposedAttention,
    UNet,
    WindowAttention,
    conv,
    interpolated,
    shuffle_tail,
)
from torch import Tensor, nn


class Network(NamedTuple):
    """One network of the zoo; unpack the first three or use the names."""

    module: nn.Module
    scale: int
    channels: int
    opset: int = 17
    white: float = 1.0
    multiple_of: int = 1
    minimum_px: int = 8


def plain_x2() -> Network:
    body = [conv(3, 12), nn.ReLU(), conv(12, 12), nn.ReLU()]
    return Network(nn.Sequential(*body, *shuffle_tail(12, 2)), 2, 3, 11)


def espcn_tanh_x3() -> Network:
    body = [conv(3, 16, 5), nn.Tanh(), conv(16, 8), nn.Tanh()]
    return Network(nn.Sequential(*body, *shuffle_tail(8, 3)), 3, 3)


def espcn_sigmoid_x2() -> Network:
    body = [conv(1, 16, 5), nn.Tanh(), conv(16, 8), nn.Tanh()]
    return Network(nn.Sequential(*body, *shuffle_tail(8, 2, 1), nn.Sigmoid()), 2, 1, 11)


def _fsrcnn(scale: int, opset: int) -> Network:
    layers: list[nn.Module] = [conv(1, 16, 5), nn.PReLU(16), conv(16, 8, 1), nn.PReLU(8)]
    for _ in range(2):
        layers += [conv(8, 8), nn.PReLU(8)]
    layers += [conv(8, 16, 1), nn.PReLU(16)]
    layers += [nn.ConvTranspose2d(16, 1, 9, scale, padding=4, output_padding=scale - 1)]
    return Network(nn.Sequential(*layers), scale, 1, opset)


def fsrcnn_x2() -> Network:
    return _fsrcnn(2, 11)


def fsrcnn_x3() -> Network:
    return _fsrcnn(3, 13)


def fsrcnn_x4() -> Network:
    return _fsrcnn(4, 17)


def _edsr_body(features: int, weight: float) -> nn.Module:
    blocks = [
        Residual(conv(features, features), nn.ReLU(), conv(features, features), weight=weight)
        for _ in range(2)
    ]
    return Residual(*blocks, conv(features, features))


def edsr_x2() -> Network:
    return Network(nn.Sequential(conv(3, 12), _edsr_body(12, 0.1), *shuffle_tail(12, 2)), 2, 3, 13)


def edsr_mean_shift_255_x4() -> Network:
    up = [conv(8, 32), nn.PixelShuffle(2), conv(8, 32), nn.PixelShuffle(2), conv(8, 3)]
    layers = [MeanShift(-1), conv(3, 8), _edsr_body(8, 1.0), *up, MeanShift(1)]
    return Network(nn.Sequential(*layers), 4, 3, 11, white=255.0)


def mean_arithmetic_x2() -> Network:
    body = nn.Sequential(conv(3, 12), nn.LeakyReLU(0.1), *shuffle_tail(12, 2))
    return Network(SubtractMean(body), 2, 3)


def compact_x4() -> Network:
    body = [conv(3, 12), nn.PReLU(12), conv(12, 12), nn.PReLU(12), *shuffle_tail(12, 4)]
    return Network(Sum(nn.Sequential(*body), interpolated(4, "nearest")), 4, 3)


def _abpn(anchor: Callable[[Tensor], Tensor], scale: int, opset: int) -> Network:
    body = [conv(3, 12), nn.ReLU(), conv(12, 12), nn.ReLU(), conv(12, 3 * scale**2)]
    tail = [nn.PixelShuffle(scale), Apply(lambda x: torch.clamp(x, 0.0, 1.0))]
    network = nn.Sequential(Sum(nn.Sequential(*body), Apply(anchor)), *tail)
    return Network(network, scale, 3, opset)


def abpn_concat_x3() -> Network:
    return _abpn(
        lambda x: torch.cat([x[:, c : c + 1] for c in range(3) for _ in range(9)], 1), 3, 17
    )


def abpn_repeat_interleave_x2() -> Network:
    return _abpn(lambda x: torch.repeat_interleave(x, 4, dim=1), 2, 13)


def ecbsr_x2() -> Network:
    body = [conv(1, 8), nn.PReLU(8), conv(8, 8), nn.PReLU(8), conv(8, 4)]
    anchored = Sum(nn.Sequential(*body), Apply(lambda x: x.repeat(1, 4, 1, 1)))
    return Network(nn.Sequential(anchored, nn.PixelShuffle(2)), 2, 1)


def imdn_x2() -> Network:
    body = Residual(Distillation(12), Distillation(12), conv(12, 12))
    return Network(nn.Sequential(conv(3, 12), body, *shuffle_tail(12, 2)), 2, 3, 11)


def rfdn_x4() -> Network:
    body = Residual(conv(12, 12), nn.LeakyReLU(0.05), SpatialAttention(12))
    return Network(nn.Sequential(conv(3, 12), body, *shuffle_tail(12, 4)), 4, 3, 17, minimum_px=15)


def pan_x3() -> Network:
    up = [interpolated(3, "nearest"), conv(8, 8), Gated(conv(8, 8, 1), nn.Sigmoid())]
    body = [conv(3, 8), Residual(conv(8, 8), Gated(conv(8, 8, 1), nn.Sigmoid()), nn.LeakyReLU(0.2))]
    network = Sum(nn.Sequential(*body, *up, conv(8, 3)), interpolated(3, "bilinear"))
    return Network(network, 3, 3, 13)


def carn_x2() -> Network:
    return Network(nn.Sequential(conv(3, 12), Cascade(12), *shuffle_tail(12, 2)), 2, 3, 11)


def lapsrn_x4() -> Network:
    return Network(Pyramid(), 4, 3, 11)


def depthwise_batch_norm_x2() -> Network:
    def block() -> list[nn.Module]:
        depth = conv(12, 12, groups=12, bias=False)
        point = conv(12, 12, 1, bias=False)
        return [depth, nn.BatchNorm2d(12), nn.ReLU6(), point, nn.BatchNorm2d(12)]

    return Network(nn.Sequential(conv(3, 12), Residual(*block()), *shuffle_tail(12, 2)), 2, 3, 11)


def _convnext(opset: int) -> Network:
    depth = conv(12, 12, 7, groups=12)
    block = Residual(depth, ChannelNorm(12), conv(12, 24, 1), nn.GELU(), conv(24, 12, 1))
    return Network(nn.Sequential(conv(3, 12), block, *shuffle_tail(12, 2)), 2, 3, opset)


def convnext_gelu_x2() -> Network:
    return _convnext(17)


def convnext_gelu_opset11_x2() -> Network:
    return _convnext(11)


def hardswish_x2() -> Network:
    gate = [nn.AdaptiveAvgPool2d(1), conv(12, 4, 1), nn.ReLU(), conv(4, 12, 1), nn.Hardsigmoid()]
    body = Residual(conv(12, 12, groups=12), nn.Hardswish(), Gated(*gate), conv(12, 12, 1))
    return Network(nn.Sequential(conv(3, 12), nn.Hardswish(), body, *shuffle_tail(12, 2)), 2, 3, 17)


def unet_x2() -> Network:
    return Network(UNet(), 2, 3, 13, multiple_of=4)


def unshuffle_x2() -> Network:
    body = [nn.PixelUnshuffle(2), conv(12, 16), nn.ReLU(), conv(16, 16), nn.ReLU()]
    return Network(nn.Sequential(*body, *shuffle_tail(16, 4)), 2, 3, 17, multiple_of=2)


def safmn_x3() -> Network:
    block = Residual(PooledFeatures(12))
    return Network(nn.Sequential(conv(3, 12), block, *shuffle_tail(12, 3)), 3, 3)


def l2_norm_x2() -> Network:
    body = [
        conv(3, 12),
        Apply(lambda x: nn.functional.normalize(x, dim=1)),
        conv(12, 12),
        nn.GELU("tanh"),
    ]
    return Network(nn.Sequential(*body, *shuffle_tail(12, 2)), 2, 3, 13)


def restormer_x2() -> Network:
    body = [conv(3, 8), TransposedAttention(8, 2)]
    return Network(nn.Sequential(*body, *shuffle_tail(8, 2)), 2, 3, 13)


def window_attention_x2() -> Network:
    body = [conv(3, 8), WindowAttention(8, 2)]
    return Network(nn.Sequential(*body, *shuffle_tail(8, 2)), 2, 3, 17, multiple_of=4)


def bicubic_skip_x2() -> Network:
    body = nn.Sequential(conv(3, 12), nn.ELU(), *shuffle_tail(12, 2))
    return Network(Sum(body, interpolated(2, "bicubic")), 2, 3, 13)


def dilated_x2() -> Network:
    body = [conv(3, 12), nn.ReLU(), conv(12, 12, dilation=2), nn.SiLU(), conv(12, 12, dilation=4)]
    return Network(nn.Sequential(*body, nn.ReLU(), *shuffle_tail(12, 2)), 2, 3, 11)


def instance_norm_x3() -> Network:
    body = Residual(conv(12, 12), nn.InstanceNorm2d(12, affine=True), nn.ReLU(), conv(12, 12))
    return Network(nn.Sequential(conv(3, 12), body, *shuffle_tail(12, 3)), 3, 3, 13)


def padded_borders_x2() -> Network:
    body = [conv(3, 12, padding_mode="reflect"), nn.ReLU(), conv(12, 12, padding_mode="replicate")]
    return Network(nn.Sequential(*body, nn.Softplus(), *shuffle_tail(12, 2)), 2, 3, 17)


def pad_and_crop_x2() -> Network:
    body = [conv(3, 8), nn.PReLU(), WindowAttention(8, 2), *shuffle_tail(8, 2)]
    return Network(PadToMultiple(nn.Sequential(*body), 2), 2, 3, 17)


def rcan_x2() -> Network:
    gate = [nn.AdaptiveAvgPool2d(1), conv(12, 4, 1), nn.ReLU(), conv(4, 12, 1), nn.Sigmoid()]
    block = Residual(conv(12, 12), nn.ReLU(), conv(12, 12), Gated(*gate))
    return Network(nn.Sequential(conv(3, 12), Residual(block), *shuffle_tail(12, 2)), 2, 3, 11)


BUILDERS: dict[str, Callable[[], Network]] = {
    builder.__name__: builder
    for builder in (
        plain_x2, espcn_tanh_x3, espcn_sigmoid_x2, fsrcnn_x2, fsrcnn_x3, fsrcnn_x4, edsr_x2,
        edsr_mean_shift_255_x4, mean_arithmetic_x2, compact_x4, abpn_concat_x3,
        abpn_repeat_interleave_x2, ecbsr_x2, imdn_x2, rfdn_x4, pan_x3, carn_x2, lapsrn_x4,
        depthwise_batch_norm_x2, convnext_gelu_x2, convnext_gelu_opset11_x2, hardswish_x2,
        unet_x2, unshuffle_x2, safmn_x3, l2_norm_x2, restormer_x2, window_attention_x2,
        bicubic_skip_x2, dilated_x2, instance_norm_x3, padded_borders_x2, pad_and_crop_x2, rcan_x2,
    )
}  # fmt: skip


NAMES = tuple(BUILDERS)


def _seed_weights(module: nn.Module) -> None:
    """Weights, statistics and slopes as after training; torch's defaults would hide mistakes."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.weight.requires_grad:
            nn.init.kaiming_normal_(part.weight, a=0.5)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
        if isinstance(part, nn.BatchNorm2d | nn.InstanceNorm2d | nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
        if isinstance(part, nn.PReLU):
            nn.init.uniform_(part.weight, 0.05, 0.4)


def build(name: str) -> Network:
    """A fresh network with the same weights every time, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(math.prod(pair) for pair in enumerate(name.encode(), 1)))
        network = BUILDERS[name]()
        _seed_weights(network.module)
    network.module.eval()
    return network


@functools.cache
def _exported(name: str) -> bytes:
    network = build(name)
    edge = math.lcm(network.multiple_of, 4) * 6
    example = torch.rand(1, network.channels, edge, edge + network.multiple_of * 4)
    buffer = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.module,
            (example,),
            buffer,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={
                "input": {0: "batch", 2: "height", 3: "width"},
                "output": {0: "batch", 2: "out_height", 3: "out_width"},
            },
            opset_version=network.opset,
            dynamo=False,
        )
    return buffer.getvalue()


def onnx_of(name: str) -> onnx.ModelProto:
    """The network as a user exports it; a fresh copy on every call."""
    return onnx.load_from_string(_exported(name))
