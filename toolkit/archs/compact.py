"""SRVGGNetCompact: plain convolutions at low resolution over a nearest-upsampled skip.

The network that Real-ESRGAN ships for video (X. Wang et al., "Real-ESRGAN", ICCVW 2021, and its
`realesr-animevideov3` and `realesr-general-x4v3` files), written from its description.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.model.state_names import Shapes, fits, square_root

LEAKY_SLOPE = 0.1


def rename(_names: Collection[str]) -> Mapping[str, str]:
    """Nothing: every published file uses `body.N`."""
    return {}


def _activation(kind: str, features: int) -> nn.Module:
    if kind == "prelu":
        return nn.PReLU(features)
    return nn.ReLU() if kind == "relu" else nn.LeakyReLU(LEAKY_SLOPE)


class Compact(nn.Module):
    """Input (N, C, H, W) in [0, 1]; output (N, C, H * scale, W * scale), not clipped."""

    def __init__(
        self, *, scale: int, channels: int, features: int, layers: int, activation: str
    ) -> None:
        super().__init__()
        self.scale = scale
        body: list[nn.Module] = []
        for inputs in [channels] + [features] * layers:
            body += [nn.Conv2d(inputs, features, 3, padding=1), _activation(activation, features)]
        body.append(nn.Conv2d(features, channels * scale**2, 3, padding=1))
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H * scale, W * scale)."""
        nearest = F.interpolate(x, scale_factor=float(self.scale), mode="nearest")
        return F.pixel_shuffle(self.body(x), self.scale) + nearest


def build(
    *,
    scale: int,
    channels: int = 3,
    features: int = 64,
    layers: int = 16,
    activation: str = "prelu",
) -> nn.Module:
    """`layers` counts the convolutions between the first and the last, as `num_conv` does."""
    return Compact(
        scale=scale, channels=channels, features=features, layers=layers, activation=activation
    )


def guess(shapes: Shapes) -> dict[str, Any] | None:
    """The nearest hyper-parameters for these shapes, which may not fit all."""
    numbers = [int(m[1]) for m in (re.fullmatch(r"body\.(\d+)\.weight", n) for n in shapes) if m]
    first = shapes.get("body.0.weight", ())
    last = shapes.get(f"body.{max(numbers, default=0)}.weight", ())
    if len(first) != 4 or len(last) != 4 or first[1] == 0:
        return None
    scale = square_root(last[0] // first[1])
    if scale is None:
        return None
    return {
        "scale": scale,
        "channels": first[1],
        "features": first[0],
        "layers": max(0, max(numbers) // 2 - 1),
        "activation": "prelu" if "body.1.weight" in shapes else "leaky_relu",
    }


def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Hyper-parameters where these are exactly the tensors of this network, else None.

    Without PReLU slopes the shapes do not tell `leaky_relu` (taken) from `relu`.
    """
    return fits(build, guess(shapes), shapes)


def collapse(module: nn.Module) -> nn.Module:
    """The module itself: nothing collapses."""
    return module
