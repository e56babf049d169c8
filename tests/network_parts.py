"""The building blocks of the test zoo in networks.py, written from the papers' descriptions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Apply(nn.Module):
    """A function as a module, to stand in an nn.Sequential."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Residual(nn.Module):
    """x + weight * body(x)."""

    def __init__(self, *body: nn.Module, weight: float = 1.0):
        super().__init__()
        self.body = nn.Sequential(*body)
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + (y if self.weight == 1.0 else y * self.weight)


class Gated(nn.Module):
    """x * gate(x)."""

    def __init__(self, *gate: nn.Module):
        super().__init__()
        self.gate = nn.Sequential(*gate)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Sum(nn.Module):
    """The sum of what two branches make of the same input."""

    def __init__(self, left: nn.Module, right: nn.Module):
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


def conv(inputs: int, outputs: int, kernel: int = 3, **options) -> nn.Conv2d:
    padding = options.pop("padding", kernel // 2 * options.get("dilation", 1))
    return nn.Conv2d(inputs, outputs, kernel, padding=padding, **options)


def shuffle_tail(features: int, scale: int, channels: int = 3) -> list[nn.Module]:
    return [conv(features, channels * scale**2), nn.PixelShuffle(scale)]


def interpolated(scale: int, mode: str) -> nn.Module:
    corners = None if mode == "nearest" else False
    return Apply(lambda x: F.interpolate(x, scale_factor=scale, mode=mode, align_corners=corners))


class MeanShift(nn.Conv2d):
    """A frozen 1 x 1 convolution that takes DIV2K's mean colour off, or puts it back."""

    def __init__(self, sign: int):
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = sign * 255.0 * torch.tensor([0.4488, 0.4371, 0.4040])
        self.requires_grad_(False)


class SubtractMean(nn.Module):
    """Mean colour and range as arithmetic on a buffer, the way of MSRResNet-like code."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor([0.45, 0.44, 0.40]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) * 2.0) / 2.0 + self.mean


def _mean_and_std(x: Tensor) -> Tensor:
    mean = x.sum(3, keepdim=True).sum(2, keepdim=True) / (x.size(2) * x.size(3))
    square = (x - mean).pow(2).sum(3, keepdim=True).sum(2, keepdim=True)
    return (square / (x.size(2) * x.size(3))).pow(0.5) + F.adaptive_avg_pool2d(x, 1)


class Distillation(nn.Module):
    """IMDN's block: split, refine the rest, concatenate, contrast channel attention."""

    def __init__(self, features: int):
        super().__init__()
        self.kept = features // 4
        rest = features - self.kept
        self.first = conv(features, features)
        self.second = conv(rest, features)
        self.third = conv(rest, self.kept)
        gate = [
            Apply(_mean_and_std),
            conv(3 * self.kept, 4, 1),
            nn.ReLU(),
            conv(4, 3 * self.kept, 1),
        ]
        self.attention = Gated(*gate, nn.Sigmoid())
        self.fuse = conv(3 * self.kept, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        sizes = (self.kept, self.second.in_channels)
        one, rest = torch.split(F.leaky_relu(self.first(x), 0.05), sizes, dim=1)
        two, rest = torch.split(F.leaky_relu(self.second(rest), 0.05), sizes, dim=1)
        joined = torch.cat([one, two, self.third(rest)], dim=1)
        return self.fuse(self.attention(joined)) + x


class SpatialAttention(nn.Module):
    """RFDN's enhanced spatial attention."""

    def __init__(self, features: int):
        super().__init__()
        self.reduce, self.skip, self.expand = (
            conv(features, 4, 1),
            conv(4, 4, 1),
            conv(4, features, 1),
        )
        self.stride = nn.Conv2d(4, 4, 3, stride=2)
        self.body = nn.Sequential(conv(4, 4), nn.ReLU(), conv(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        small = self.reduce(x)
        pooled = self.body(F.max_pool2d(self.stride(small), kernel_size=7, stride=3))
        size = (x.size(2), x.size(3))
        large = F.interpolate(pooled, size, mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.expand(large + self.skip(small)))


class Cascade(nn.Module):
    """CARN's cascade: group convolutions, every step fused with all before it."""

    def __init__(self, features: int):
        super().__init__()
        self.group = Residual(
            conv(features, features, groups=4), nn.ReLU(), conv(features, features, 1)
        )
        self.fuse = nn.ModuleList(conv(features * n, features, 1) for n in (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        joined = y = x
        for fuse in self.fuse:
            joined = torch.cat([joined, F.relu(self.group(y))], dim=1)
            y = fuse(joined)
        return y


class Pyramid(nn.Module):
    """LapSRN: a deconvolution per octave for the features, another for the picture."""

    def __init__(self):
        super().__init__()
        self.head = conv(3, 8)
        self.features = nn.ModuleList(self._octave() for _ in range(2))
        self.residuals = nn.ModuleList(conv(8, 3) for _ in range(2))
        self.pictures = nn.ModuleList(nn.ConvTranspose2d(3, 3, 4, 2, 1) for _ in range(2))

    @staticmethod
    def _octave() -> nn.Module:
        return nn.Sequential(
            conv(8, 8), nn.LeakyReLU(0.2), nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.LeakyReLU(0.2)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        for features, residual, picture in zip(
            self.features, self.residuals, self.pictures, strict=True
        ):
            y = features(y)
            x = picture(x) + residual(y)
        return x


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class UNet(nn.Module):
    """Two strided steps down, two shuffles up, skips joined by concatenation."""

    def __init__(self):
        super().__init__()
        self.head, self.down1 = conv(3, 8), conv(8, 12, stride=2)
        self.down2, self.up1 = conv(12, 16, stride=2), conv(16, 48)
        self.up2, self.tail = conv(24, 32), conv(16, 12)

    def forward(self, x: Tensor) -> Tensor:
        one = F.leaky_relu(self.head(x), 0.2)
        two = F.leaky_relu(self.down1(one), 0.2)
        three = F.leaky_relu(self.down2(two), 0.2)
        two = torch.cat([two, F.pixel_shuffle(self.up1(three), 2)], 1)
        one = torch.cat([one, F.pixel_shuffle(self.up2(F.leaky_relu(two, 0.2)), 2)], 1)
        return F.pixel_shuffle(self.tail(one), 2)


class PooledFeatures(nn.Module):
    """SAFMN's modulation: channel groups pooled to ever smaller maps and enlarged again."""

    def __init__(self, features: int):
        super().__init__()
        quarter = features // 4
        self.levels = nn.ModuleList(conv(quarter, quarter, groups=quarter) for _ in range(4))
        self.fuse = conv(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.size()[-2:]
        parts = []
        for level, (part, depth) in enumerate(zip(x.chunk(4, dim=1), self.levels, strict=True)):
            pooled = F.max_pool2d(part, 2**level) if level else part
            parts.append(F.interpolate(depth(pooled), size=size, mode="nearest"))
        return F.gelu(self.fuse(torch.cat(parts, dim=1))) * x


class TransposedAttention(nn.Module):
    """Restormer's attention: channels attend to channels, so cost is linear in pixels."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), 1.3))
        self.qkv, self.depth = conv(features, 3 * features, 1), conv(3 * features, 3 * features)
        self.project = conv(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        parts = self.depth(self.qkv(x)).chunk(3, dim=1)
        query, key, value = (
            part.reshape(batch, self.heads, channels // self.heads, height * width)
            for part in parts
        )
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        weights = (query @ key.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        return x + self.project((weights @ value).reshape(batch, channels, height, width))


class WindowAttention(nn.Module):
    """Swin's attention in windows of 4 x 4, with shifted windows and a linear qkv layer."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.heads, self.edge = heads, 4
        self.norm, self.qkv = nn.LayerNorm(features), nn.Linear(features, 3 * features)
        self.project = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        edge, rows, columns = self.edge, height // self.edge, width // self.edge
        y = torch.roll(self.norm(x.permute(0, 2, 3, 1)), (-2, -2), (1, 2))
        y = y.view(batch, rows, edge, columns, edge, channels).permute(0, 1, 3, 2, 4, 5)
        y = y.reshape(-1, edge * edge, channels)
        qkv = self.qkv(y).reshape(y.shape[0], edge * edge, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query * (channels // self.heads) ** -0.5 @ key.transpose(-2, -1)).softmax(-1)
        y = self.project((weights @ value).transpose(1, 2).reshape(y.shape))
        y = y.view(batch, rows, columns, edge, edge, channels).permute(0, 1, 3, 2, 4, 5)
        y = torch.roll(y.reshape(batch, height, width, channels), (2, 2), (1, 2))
        return x + y.permute(0, 3, 1, 2)


class PadToMultiple(nn.Module):
    """Reflects the input up to a multiple of 4, runs the body, crops what was added."""

    def __init__(self, body: nn.Module, scale: int):
        super().__init__()
        self.body, self.scale = body, scale

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, (4 - width % 4) % 4, 0, (4 - height % 4) % 4), "reflect")
        return self.body(x)[:, :, : height * self.scale, : width * self.scale]
