"""Training always speaks RGB (or luma) from 0 to 1; a network may speak BGR or 0 to 255 inside."""

from __future__ import annotations

from torch import Tensor, nn

from toolkit.model.contract import ImageContract


class Framed(nn.Module):
    """A network behind its contract: (N, C, H, W) RGB or luma in [0, 1] on both sides."""

    def __init__(self, inner: nn.Module, contract: ImageContract) -> None:
        super().__init__()
        self.inner = inner
        self.white = contract.white
        self.swap = contract.color == "bgr"

    def forward(self, x: Tensor) -> Tensor:
        """Upscale in the toolkit's frame."""
        inside = (x.flip(1) if self.swap else x) * self.white
        outside = self.inner(inside) / self.white
        return outside.flip(1) if self.swap else outside


def framed(inner: nn.Module, contract: ImageContract) -> nn.Module:
    """`inner` itself where it already speaks RGB or luma from 0 to 1."""
    if contract.white == 1.0 and contract.color != "bgr":
        return inner
    return Framed(inner, contract)


def unframed(module: nn.Module) -> nn.Module:
    """What `framed` was given."""
    return module.inner if isinstance(module, Framed) else module
