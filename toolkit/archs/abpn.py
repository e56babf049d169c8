"""ABPN: plain convolutions that add to an anchor, the input repeated for every sub-pixel.

Source of the architecture: Du et al., "Anchor-based Plain Net for Mobile Image Super-Resolution",
CVPRW 2021 (arXiv 2105.09750).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.model.state_names import Shapes, accept_names, fits, renamed, square_root


def rename(names: Collection[str]) -> Mapping[str, str]:
    """Published names to ours, `body.N` with the convolutions counted in their order.

    A chain has no branches, so whatever holds the convolutions (`cnn.0`, `backbone.2.0`) their
    order in the file is their order in the network.
    """
    if any(not re.fullmatch(r"(cnn|backbone)(\.\d+)+\.(weight|bias)", name) for name in names):
        return {}
    paths = sorted(
        {name.rpartition(".")[0] for name in names},
        key=lambda path: [int(part) for part in path.split(".")[1:]],
    )
    order = {path: 2 * index for index, path in enumerate(paths)}
    return {n: f"body.{order[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}" for n in names}


class Abpn(nn.Module):
    """Input (N, C, H, W) in [0, 1]; output (N, C, H * scale, W * scale), clipped by `clip` only."""

    def __init__(
        self, *, scale: int, channels: int, features: int, layers: int, clip: bool
    ) -> None:
        super().__init__()
        self.scale, self.channels, self.clip = scale, channels, clip
        outputs = channels * scale**2
        body: list[nn.Module] = []
        for inputs in [channels] + [features] * layers:
            body += [nn.Conv2d(inputs, features, 3, padding=1), nn.ReLU()]
        body += [nn.Conv2d(features, outputs, 3, padding=1), nn.ReLU()]
        body.append(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.body = nn.Sequential(*body)
        accept_names(self, rename)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H * scale, W * scale)."""
        planes = [x[:, c : c + 1] for c in range(self.channels) for _ in range(self.scale**2)]
        y = self.body(x) + torch.cat(planes, 1)
        # Clipping commutes with the shuffle and is cheaper before it.
        return F.pixel_shuffle(y.clamp(0, 1) if self.clip else y, self.scale)


def build(
    *, scale: int, channels: int = 3, features: int = 28, layers: int = 4, clip: bool = False
) -> nn.Module:
    """The paper's 28 features and 4 inner layers by default."""
    return Abpn(scale=scale, channels=channels, features=features, layers=layers, clip=clip)


def guess(shapes: Shapes) -> dict[str, Any] | None:
    """The nearest hyper-parameters for these shapes under our names, which may not fit all."""
    numbers = [int(m[1]) for m in (re.fullmatch(r"body\.(\d+)\.weight", n) for n in shapes) if m]
    first = shapes.get("body.0.weight", ())
    last = shapes.get(f"body.{max(numbers, default=0)}.weight", ())
    if len(first) != 4 or len(last) != 4 or first[1] == 0:
        return None
    scale = square_root(last[0] // first[1])
    if scale is None:
        return None
    layers = max(0, len(numbers) - 3)
    return {"scale": scale, "channels": first[1], "features": first[0], "layers": layers}


def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Hyper-parameters where these are exactly the tensors of an ABPN, else None."""
    ours = renamed(shapes, rename)
    return fits(build, guess(ours), ours)


def collapse(module: nn.Module) -> nn.Module:
    """The module itself: nothing collapses."""
    return module
