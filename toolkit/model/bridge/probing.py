"""Runs a module once on small random pictures, to learn what it accepts and gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from toolkit.errors import UserError

EDGES_PX = (24, 32, 64, 96, 128, 256)  # a network may want a least size, or a multiple of 7 or 16


class BatchedNetwork(nn.Module):
    """Runs a graph with a batch of 1 written into it on every picture of a larger batch."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H * scale, W * scale), one picture at a time."""
        if x.shape[0] == 1:
            return self.network(x)
        return torch.cat([self.network(picture) for picture in x.split(1)])


@dataclass(frozen=True, kw_only=True)
class Run:
    """One picture (1, C, H, W) float32 in [0, 1] and what the module made of it."""

    picture: Tensor
    output: Tensor


def first_run(module: nn.Module, shape: tuple[int | None, ...]) -> Run:
    """The smallest run that works. `shape` is (N, C, H, W) with None where it is free.

    Raises UserError where the module runs on none of `EDGES_PX`, or its input is no picture.
    """
    if len(shape) != 4:
        raise UserError(
            f"the network's input has the shape `{shape}`",
            hint="export it with an input (N, C, H, W)",
        )
    failure: RuntimeError | None = None
    for picture in _pictures(module, shape):
        try:
            return Run(picture=picture, output=_quietly(module, picture))
        except RuntimeError as error:
            failure = error
    raise UserError(
        f"the network runs on no picture of {EDGES_PX} pixels: {failure}",
        hint="export it with free height and width",
    ) from failure


def _pictures(module: nn.Module, shape: tuple[int | None, ...]) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    _, channels, height, width = shape
    for edge in EDGES_PX:
        sizes = (1, channels or 3, height or edge, width or edge)
        yield torch.rand(sizes, generator=generator).to(device)


def _quietly(module: nn.Module, picture: Tensor) -> Tensor:
    """`module(picture)`; calling a GraphModule itself would print every failure to stderr."""
    with torch.no_grad():
        return module.forward(picture) if isinstance(module, fx.GraphModule) else module(picture)


def takes_batches(network: fx.GraphModule, run: Run) -> bool:
    """Whether several pictures at once give what each gives alone."""
    other = run.picture.flip(-1)
    try:
        alone = _quietly(network, other)
        together = _quietly(network, torch.cat([run.picture, other]))
    except (RuntimeError, ValueError):
        return False
    wanted = torch.cat([run.output, alone])
    if together.shape != wanted.shape:
        return False
    return bool((together - wanted).abs().max() <= 1e-3 * wanted.abs().max())
