"""Rounding to integer grids inside a torch network, with gradients that go through it.

Gradients are straight through the rounding; those of a grid's step are as in Esser et al.,
"Learned Step Size Quantization", ICLR 2020 (arXiv 1902.08153). Everything is trained in units of
steps, so that one learning rate suits layers of any size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

STEP_RATE = 0.05  # logarithm of a grid's step moves by so much for a unit of its parameter
SMALLEST = 1e-12


class _OnGrid(torch.autograd.Function):
    """x to the nearest point of {step * k}, k from low to high."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        # torch's kernel counts from a zero point: k = 0 lies at -low, and codes begin at 0
        y = torch.fake_quantize_per_tensor_affine(x, float(step), -low, 0, high - low)
        ctx.save_for_backward(x, y, step)
        ctx.ends = (low, high)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (grad,) = grads
        x, y, step = ctx.saved_tensors
        low, high = ctx.ends
        inside = (x >= step * (low - 0.5)) & (x <= step * (high + 0.5))
        through = grad * inside
        # d(step * k)/d(step): k - x/step inside, k outside
        to_step = ((grad * y).sum() - (through * x).sum()) / step
        return through, to_step, None, None


class ActivationGrid(nn.Module):
    """Rounds a tensor to `high - low + 1` points, one of them zero; the step is trained."""

    def __init__(self, *, step: float, low: int, high: int) -> None:
        super().__init__()
        self.first_step = step
        self.low, self.high = low, high
        self.growth = nn.Parameter(torch.zeros(()))

    @property
    def step(self) -> Tensor:
        """What the grid's points are apart now."""
        return self.first_step * torch.exp(STEP_RATE * self.growth)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, any range; what lies beyond the ends is cut."""
        return _OnGrid.apply(x, self.step, self.low, self.high)


def row_steps(weight: Tensor, axis: int) -> Tensor:
    """The int8 step of each row along `axis`: its largest weight becomes 127."""
    others = [i for i in range(weight.ndim) if i != axis]
    return weight.detach().abs().amax(others).clamp_min(SMALLEST) / 127


class WeightGrid(nn.Module):
    """A parametrization: weight = grid(start + step * parameter), int8 per row along `axis`."""

    def __init__(self, start: Tensor, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("start", start.detach().clone())
        shape = [-1 if i == axis else 1 for i in range(start.ndim)]
        self.register_buffer("unit", row_steps(start, axis).reshape(shape))

    def exact(self, moved: Tensor) -> Tensor:
        """The weight before rounding."""
        return self.start + self.unit * moved  # type: ignore[operator]

    def forward(self, moved: Tensor) -> Tensor:
        """moved: in int8 steps away from the start, in the weight's shape."""
        exact = self.exact(moved)
        steps = row_steps(exact, self.axis)
        zeros = torch.zeros(len(steps), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(exact, steps, zeros, self.axis, -127, 127)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The parameter at which the weight is `start`."""
        return torch.zeros_like(weight)


class BiasShift(nn.Module):
    """A parametrization: bias = start + unit * parameter; stored in 32 bits, so never rounded."""

    def __init__(self, start: Tensor, unit: Tensor) -> None:
        super().__init__()
        self.register_buffer("start", start.detach().clone())
        self.register_buffer("unit", unit.detach().clone())

    def forward(self, moved: Tensor) -> Tensor:
        """moved: (channels,), in units."""
        return self.start + self.unit * moved  # type: ignore[operator]

    def right_inverse(self, bias: Tensor) -> Tensor:
        """The parameter at which the bias is `start`."""
        return torch.zeros_like(bias)
