"""FSRCNN: shrink, map and expand at low resolution, then one large transposed convolution.

Source of the architecture: Dong et al., "Accelerating the Super-Resolution Convolutional Neural
Network", ECCV 2016 (arXiv 1608.00367).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from toolkit.model.state_names import Shapes, accept_names, by_pattern, fits, renamed

DECONV_KERNEL = 9  # the paper's

_LONG_NAMES = by_pattern(
    (r"feature_extraction\.(\d+)\.(weight|bias)", r"first_part.\1.\2"),
    (r"shrink\.(\d+)\.(weight|bias)", r"mid_part.\1.\2"),
    (r"deconv\.(weight|bias)", r"last_part.\1"),
)


def rename(names: Collection[str]) -> Mapping[str, str]:
    """Published names (`feature_extraction`, `shrink`, `map`, `expand`, `deconv`) to ours."""
    found = dict(_LONG_NAMES(names))
    mapped = [int(m[1]) for m in (re.match(r"map\.(\d+)\.", name) for name in names) if m]
    for name in names:
        if match := re.fullmatch(r"(map|expand)\.(\d+)\.(weight|bias)", name):
            before = 2 if match[1] == "map" else 3 + max(mapped, default=-1)
            found[name] = f"mid_part.{before + int(match[2])}.{match[3]}"
    return found


class Fsrcnn(nn.Module):
    """Input (N, C, H, W) in [0, 1]; output (N, C, H * scale, W * scale), not clipped."""

    def __init__(
        self,
        *,
        scale: int,
        channels: int,
        features: int,
        shrunk: int,
        layers: int,
        shared_slope: bool,
    ) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
            return [conv, nn.PReLU(1 if shared_slope else outputs)]

        middle = block(features, shrunk, 1)
        for _ in range(layers):
            middle += block(shrunk, shrunk, 3)
        self.first_part = nn.Sequential(*block(channels, features, 5))
        self.mid_part = nn.Sequential(*middle, *block(shrunk, features, 1))
        self.last_part = nn.ConvTranspose2d(
            features,
            channels,
            DECONV_KERNEL,
            stride=scale,
            padding=DECONV_KERNEL // 2,
            output_padding=scale - 1,
        )
        accept_names(self, rename)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H * scale, W * scale)."""
        upscaled: Tensor = self.last_part(self.mid_part(self.first_part(x)))
        return upscaled


def build(
    *,
    scale: int,
    channels: int = 1,
    features: int = 56,
    shrunk: int = 12,
    layers: int = 4,
    shared_slope: bool = False,
) -> nn.Module:
    """FSRCNN(56, 12, 4) by default; `shared_slope` has one PReLU slope per layer."""
    return Fsrcnn(
        scale=scale,
        channels=channels,
        features=features,
        shrunk=shrunk,
        layers=layers,
        shared_slope=shared_slope,
    )


def guess(shapes: Shapes) -> dict[str, Any] | None:
    """The nearest hyper-parameters for these shapes under our names, which may not fit all."""
    first, shrink = shapes.get("first_part.0.weight"), shapes.get("mid_part.0.weight")
    if first is None or shrink is None or len(first) != 4 or len(shrink) != 4:
        return None
    middle = sum(1 for n, s in shapes.items() if n.startswith("mid_part.") and len(s) == 4)
    return {
        "channels": first[1],
        "features": first[0],
        "shrunk": shrink[0],
        "layers": max(0, middle - 2),
        "shared_slope": shapes.get("first_part.1.weight") == (1,),
    }


def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Hyper-parameters where these are exactly the tensors of an FSRCNN, else None.

    There is no `scale` among them: the stride of the transposed convolution is in no shape.
    """
    ours = renamed(shapes, rename)
    return fits(build, guess(ours), ours)


def collapse(module: nn.Module) -> nn.Module:
    """The module itself: nothing collapses."""
    return module
