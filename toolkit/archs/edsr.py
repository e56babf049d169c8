"""EDSR: residual blocks without normalisation, then sub-pixel stages; small ones are good teachers.

Source of the architecture: Lim et al., "Enhanced Deep Residual Networks for Single Image
Super-Resolution", CVPRW 2017 (arXiv 1707.02921).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from toolkit.errors import UserError
from toolkit.model.state_names import Shapes, accept_names, by_pattern, fits, renamed

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # of the training images, RGB in [0, 1]
PUBLISHED_RANGE = 255.0  # the published weights compute on 0 to 255

_ORIGINAL_NAMES = by_pattern(
    (r"head\.0\.(weight|bias)", r"conv_first.\1"),
    (r"body\.(\d+)\.body\.0\.(weight|bias)", r"body.\1.conv1.\2"),
    (r"body\.(\d+)\.body\.2\.(weight|bias)", r"body.\1.conv2.\2"),
    (r"body\.\d+\.(weight|bias)", r"conv_after_body.\1"),
    (r"tail\.0\.(\d+)\.(weight|bias)", r"upsample.\1.\2"),
    (r"tail\.1\.(weight|bias)", r"conv_last.\1"),
)


def rename(names: Collection[str]) -> Mapping[str, str]:
    """Names of the authors' files (`head.0`, `body.N.body.0`, `tail.0.N`) to ours."""
    return _ORIGINAL_NAMES(names)


class Block(nn.Module):
    """Two convolutions whose result, scaled, is added to the input; (N, F, H, W) both ways."""

    def __init__(self, features: int, residual_scale: float) -> None:
        super().__init__()
        self.residual_scale = residual_scale
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) to (N, F, H, W)."""
        added = self.conv2(torch.relu(self.conv1(x)))
        return x + (added if self.residual_scale == 1 else added * self.residual_scale)


def _stages(scale: int) -> list[int]:
    """The factors of the sub-pixel stages: twos for a power of two, else the scale itself."""
    power = scale.bit_length() - 1
    return [2] * power if scale == 2**power else [scale]


class Edsr(nn.Module):
    """Input (N, C, H, W) in [0, 1]; output (N, C, H * scale, W * scale), not clipped.

    Inside it computes on (input - mean) * value_range, because published weights do.
    """

    def __init__(
        self,
        *,
        scale: int,
        channels: int,
        features: int,
        blocks: int,
        residual_scale: float,
        value_range: float,
        mean: Sequence[float],
    ) -> None:
        super().__init__()
        self.value_range = value_range
        levels = torch.tensor(mean, dtype=torch.float32)[None, :, None, None]
        self.mean_in: Tensor
        self.mean_out: Tensor | None
        self.register_buffer("mean_in", levels, persistent=False)
        self.register_buffer("mean_out", levels.clone(), persistent=False)
        self.conv_first = nn.Conv2d(channels, features, 3, padding=1)
        self.body = nn.Sequential(*(Block(features, residual_scale) for _ in range(blocks)))
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        upsample: list[nn.Module] = []
        for factor in _stages(scale):
            conv = nn.Conv2d(features, features * factor**2, 3, padding=1)
            upsample += [conv, nn.PixelShuffle(factor)]
        self.upsample = nn.Sequential(*upsample)
        self.conv_last = nn.Conv2d(features, channels, 3, padding=1)
        accept_names(self, rename)
        self.register_load_state_dict_pre_hook(_take_mean_shift)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H * scale, W * scale)."""
        x = x - self.mean_in
        x = self.conv_first(x if self.value_range == 1 else x * self.value_range)
        y = self.conv_last(self.upsample(self.conv_after_body(self.body(x)) + x))
        y = y if self.value_range == 1 else y / self.value_range
        return y if self.mean_out is None else y + self.mean_out


def _take_mean_shift(
    module: nn.Module, tensors: dict[str, Tensor], prefix: str, *_rest: Any
) -> None:
    """Read mean and range from the mean shift convolutions of the authors' files.

    They hold an identity weight and a bias of minus mean * range. Raises UserError where the
    weight is not the identity.
    """
    weight = tensors.pop(prefix + "sub_mean.weight", None)
    bias = tensors.pop(prefix + "sub_mean.bias", None)
    tensors.pop(prefix + "add_mean.weight", None)
    tensors.pop(prefix + "add_mean.bias", None)
    if weight is None or bias is None:
        return
    network = cast(Edsr, module)
    if not torch.allclose(weight[:, :, 0, 0], torch.eye(len(weight)), atol=1e-4):
        raise UserError("`sub_mean.weight` is not the identity: inputs divided by a deviation")
    network.value_range = PUBLISHED_RANGE if float(bias.abs().max()) > 1 else 1.0
    network.mean_in = (-bias / network.value_range)[None, :, None, None]
    network.mean_out = network.mean_in.clone()


def build(
    *,
    scale: int,
    channels: int = 3,
    features: int = 64,
    blocks: int = 16,
    residual_scale: float = 1.0,
    value_range: float = PUBLISHED_RANGE,
    mean: Sequence[float] | None = None,
) -> nn.Module:
    """The baseline network by default; the large one has 256 features, 32 blocks, scale 0.1.

    `mean` is subtracted from the input; by default DIV2K's for RGB and 0 for luma.
    """
    if mean is None:
        mean = DIV2K_MEAN if channels == len(DIV2K_MEAN) else (0.0,) * channels
    return Edsr(
        scale=scale,
        channels=channels,
        features=features,
        blocks=blocks,
        residual_scale=residual_scale,
        value_range=value_range,
        mean=mean,
    )


def guess(shapes: Shapes) -> dict[str, Any] | None:
    """The nearest hyper-parameters for these shapes under our names, which may not fit all."""
    first = shapes.get("conv_first.weight", ())
    stages = [s for n, s in shapes.items() if re.fullmatch(r"upsample\.\d+\.weight", n)]
    if len(first) != 4 or not stages or any(len(stage) != 4 for stage in stages):
        return None
    features = first[0]
    scale = 1
    for outputs, inputs, *_kernel in stages:
        scale *= round((outputs / max(1, inputs)) ** 0.5)
    blocks = {m[1] for m in (re.match(r"body\.(\d+)\.conv1\.", name) for name in shapes) if m}
    return {
        "scale": max(2, scale),
        "channels": first[1],
        "features": features,
        "blocks": len(blocks),
        # The published files with 256 features were trained with scaled residuals.
        "residual_scale": 0.1 if features >= 256 else 1.0,
    }


def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Hyper-parameters where these are exactly the tensors of an EDSR, else None.

    Shapes tell neither `residual_scale` (taken from the width, as published) nor `value_range`.
    """
    ours = renamed(shapes, rename)
    channels = ours.get("conv_first.weight", (0, 0))[1]
    for name in ("sub_mean", "add_mean"):
        weight, bias = ours.pop(f"{name}.weight", None), ours.pop(f"{name}.bias", None)
        if weight not in (None, (channels, channels, 1, 1)) or bias not in (None, (channels,)):
            return None
    return fits(build, guess(ours), ours)


def collapse(module: nn.Module) -> nn.Module:
    """The same network with range and scales folded into weights; the input mean stays.

    Zero padding is in the shifted domain, so folding the mean would change the picture's border.
    """
    network = copy.deepcopy(cast(Edsr, module))
    with torch.no_grad():
        network.conv_first.weight *= network.value_range
        network.conv_last.weight /= network.value_range
        bias = cast(Tensor, network.conv_last.bias)
        bias /= network.value_range
        if network.mean_out is not None:
            bias += network.mean_out.flatten()
        for block in cast(Sequence[Block], network.body):
            block.conv2.weight *= block.residual_scale
            cast(Tensor, block.conv2.bias).mul_(block.residual_scale)
            block.residual_scale = 1.0
    network.value_range = 1.0
    network.mean_out = None
    return network
