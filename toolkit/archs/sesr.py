"""SESR: a chain of linear blocks, wide in training, that collapse to plain convolutions.

Source of the architecture: Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super
Resolution", MLSys 2022 (arXiv 2103.09404). Written from the paper.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.model.state_names import Shapes, fits, square_root


def rename(_names: Collection[str]) -> Mapping[str, str]:
    """Nothing: no set of names but ours."""
    return {}


class LinearBlock(nn.Module):
    """A k x k convolution to `wide` channels and a 1 x 1 one back, with no activation between.

    The product is one k x k kernel, so `forward` runs that kernel: training costs hardly more
    than the collapsed network. With `residual` the identity is added to the kernel's centre.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, wide: int, residual: bool
    ) -> None:
        super().__init__()
        expand = nn.Conv2d(inputs, wide, kernel, bias=False)
        project = nn.Conv2d(wide, outputs, 1)
        self.expand = nn.Parameter(expand.weight.detach().clone())
        self.project = nn.Parameter(project.weight.detach()[:, :, 0, 0].clone())
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.residual = residual
        nn.init.kaiming_normal_(self.expand, nonlinearity="linear")
        nn.init.kaiming_normal_(self.project, nonlinearity="linear")

    def kernel(self) -> Tensor:
        """The collapsed kernel, (outputs, inputs, k, k), always computed in float32."""
        with torch.autocast(self.expand.device.type, enabled=False):
            weight = torch.einsum("op,pikl->oikl", self.project, self.expand)
            if self.residual:
                outputs, inputs, size, _ = weight.shape
                identity = torch.eye(outputs, inputs, device=weight.device)
                weight = weight + F.pad(identity[:, :, None, None], [size // 2] * 4)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        return F.conv2d(x, self.kernel(), self.bias, padding=self.expand.shape[-1] // 2)

    def collapse(self) -> nn.Conv2d:
        """One convolution with the same output, up to float rounding."""
        weight = self.kernel().detach()
        outputs, inputs, size, _ = weight.shape
        conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)
        conv.weight.data.copy_(weight)
        conv.bias.data.copy_(self.bias.detach())  # type: ignore[union-attr]
        return conv


class Sesr(nn.Module):
    """Input (N, C, H, W) in [0, 1]; output (N, C, H * scale, W * scale), not clipped."""

    def __init__(
        self, *, scale: int, channels: int, features: int, blocks: int, wide: int = 256
    ) -> None:
        super().__init__()
        self.scale = scale
        self.channels = channels
        self.head: nn.Module = LinearBlock(channels, features, 5, wide=wide, residual=False)
        self.body = nn.ModuleList(
            LinearBlock(features, features, 3, wide=wide, residual=True) for _ in range(blocks)
        )
        self.tail: nn.Module = LinearBlock(
            features, channels * scale**2, 5, wide=wide, residual=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H * scale, W * scale)."""
        first = F.relu(self.head(x))
        y = first
        for block in self.body:
            y = F.relu(block(y))
        y = self.tail(y + first)
        # The input repeated for every phase is its nearest upsampling: the network only adds
        # what that lacks.
        planes = [x[:, c : c + 1] for c in range(self.channels) for _ in range(self.scale**2)]
        return F.pixel_shuffle(y + torch.cat(planes, 1), self.scale)


def build(
    *,
    scale: int,
    channels: int = 1,
    features: int = 16,
    blocks: int = 5,
    wide: int = 256,
    collapsed: bool = False,
) -> nn.Module:
    """SESR-M5 by default; `blocks` 3, 5, 7 and 11 are the paper's M3 to M11.

    `collapsed` gives what `collapse` makes of it: one convolution per block.
    """
    if not collapsed:
        return Sesr(scale=scale, channels=channels, features=features, blocks=blocks, wide=wide)
    outputs = channels * scale**2
    return _plain(
        scale,
        channels,
        nn.Conv2d(channels, features, 5, padding=2),
        [nn.Conv2d(features, features, 3, padding=1) for _ in range(blocks)],
        nn.Conv2d(features, outputs, 5, padding=2),
    )


def _plain(
    scale: int, channels: int, head: nn.Conv2d, body: Sequence[nn.Conv2d], tail: nn.Conv2d
) -> nn.Module:
    """A SESR of ordinary convolutions."""
    network = Sesr(scale=scale, channels=channels, features=1, blocks=0, wide=1)
    network.head, network.body, network.tail = head, nn.ModuleList(body), tail
    return network


def guess(shapes: Shapes) -> dict[str, Any] | None:
    """The nearest hyper-parameters for these shapes, which may not fit all."""
    collapsed = "head.weight" in shapes
    first = shapes.get("head.weight" if collapsed else "head.expand", ())
    outputs = shapes.get("tail.bias", ())
    features = shapes.get("head.bias", ())
    if len(first) != 4 or len(outputs) != 1 or len(features) != 1 or first[1] == 0:
        return None
    scale = square_root(outputs[0] // first[1])
    if scale is None:
        return None
    blocks = {m[1] for m in (re.match(r"body\.(\d+)\.", name) for name in shapes) if m}
    found = {
        "scale": scale,
        "channels": first[1],
        "features": features[0],
        "blocks": len(blocks),
        "collapsed": collapsed,
    }
    return found if collapsed else {**found, "wide": first[0]}


def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Hyper-parameters where these are exactly the tensors of a SESR, wide or collapsed."""
    return fits(build, guess(shapes), shapes)


def collapse(module: nn.Module) -> nn.Module:
    """The same network with every linear block as one convolution."""
    network = cast(Sesr, module)
    if isinstance(network.head, nn.Conv2d):
        return network
    return _plain(
        network.scale,
        network.channels,
        cast(LinearBlock, network.head).collapse(),
        [cast(LinearBlock, block).collapse() for block in network.body],
        cast(LinearBlock, network.tail).collapse(),
    )
