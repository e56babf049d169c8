"""ESPCN: a few convolutions at low resolution, then the sub-pixel convolution it introduced.

Source of the architecture: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an
Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016 (arXiv 1609.05158).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.model.state_names import Shapes, accept_names, by_pattern, fits, renamed, square_root

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}
FINALS = {"none": None, "sigmoid": torch.sigmoid, "tanh": torch.tanh}

_FLAT_NAMES = by_pattern(
    (r"(?:first_part|feature_maps)\.0\.(weight|bias)", r"conv1.\1"),
    (r"(?:first_part|feature_maps)\.2\.(weight|bias)", r"conv2.\1"),
    (r"(?:last_part|sub_pixel)\.0\.(weight|bias)", r"conv3.\1"),
    (r"conv_(\d+)\.(weight|bias)", r"conv\1.\2"),
)


def rename(names: Collection[str]) -> Mapping[str, str]:
    """Published names (`first_part.0`, `feature_maps.0`, `conv_1`) to ours (`conv1`)."""
    return _FLAT_NAMES(names)


class Espcn(nn.Module):
    """Input (N, C, H, W) in [0, 1]; output (N, C, H * scale, W * scale), not clipped."""

    def __init__(
        self,
        *,
        scale: int,
        channels: int,
        widths: Sequence[int],
        kernels: Sequence[int],
        activation: str,
        final: str,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.activation, self.final = ACTIVATIONS[activation], FINALS[final]
        sizes = [channels, *widths, channels * scale**2]
        self.depth = len(kernels)
        for index, kernel in enumerate(kernels):
            conv = nn.Conv2d(sizes[index], sizes[index + 1], kernel, padding=kernel // 2)
            self.add_module(f"conv{index + 1}", conv)
        accept_names(self, rename)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H * scale, W * scale)."""
        for index in range(1, self.depth):
            x = self.activation(self.get_submodule(f"conv{index}")(x))
        x = F.pixel_shuffle(self.get_submodule(f"conv{self.depth}")(x), self.scale)
        return x if self.final is None else self.final(x)


def build(
    *,
    scale: int,
    channels: int = 1,
    widths: Sequence[int] = (64, 32),
    kernels: Sequence[int] = (5, 3, 3),
    activation: str = "tanh",
    final: str = "none",
) -> nn.Module:
    """The paper's network by default. `final` is applied to the picture; some files need it."""
    return Espcn(
        scale=scale,
        channels=channels,
        widths=widths,
        kernels=kernels,
        activation=activation,
        final=final,
    )


def guess(shapes: Shapes) -> dict[str, Any] | None:
    """The nearest hyper-parameters for these shapes under our names, which may not fit all."""
    depth = sum(1 for name in shapes if name.startswith("conv") and name.endswith(".weight"))
    weights = [shapes.get(f"conv{index + 1}.weight", ()) for index in range(depth)]
    if depth < 2 or any(len(weight) != 4 for weight in weights):
        return None
    channels = weights[0][1]
    scale = square_root(weights[-1][0] // channels) if channels else None
    if scale is None:
        return None
    return {
        "scale": scale,
        "channels": channels,
        "widths": tuple(weight[0] for weight in weights[:-1]),
        "kernels": tuple(weight[2] for weight in weights),
        # Four layers are PyTorch's example of the network, and that uses ReLU.
        "activation": "relu" if depth == 4 else "tanh",
    }


def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Hyper-parameters where these are exactly the tensors of an ESPCN, else None.

    Shapes do not tell the activation nor a final sigmoid; state them where they differ.
    """
    ours = renamed(shapes, rename)
    return fits(build, guess(ours), ours)


def collapse(module: nn.Module) -> nn.Module:
    """The module itself: nothing collapses."""
    return module
