"""What training minimises: one weighted sum of distances to the HR image and to the teacher."""

from __future__ import annotations

import torch
from torch import Tensor

CHARBONNIER_EPSILON = 1e-3  # Lai et al., LapSRN, CVPR 2017; images in [0, 1]


def l1(output: Tensor, goal: Tensor) -> Tensor:
    """Mean absolute error of two (N, C, H, W) tensors."""
    return (output - goal).abs().mean()


def charbonnier(output: Tensor, goal: Tensor) -> Tensor:
    """Mean of sqrt(d**2 + epsilon**2): L1 that is smooth at zero."""
    return torch.sqrt((output - goal) ** 2 + CHARBONNIER_EPSILON**2).mean()


def l2(output: Tensor, goal: Tensor) -> Tensor:
    """Mean squared error: maximises PSNR directly, slower to start."""
    return ((output - goal) ** 2).mean()


PIXEL_LOSSES = {"l1": l1, "charbonnier": charbonnier, "l2": l2}


def attention_map_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """L1 of the two networks' spatial energy maps, for features of any channel count.

    student, teacher: (N, C1, H, W) and (N, C2, H, W). Each is squared, averaged over channels and
    divided by its own L2 norm (Zagoruyko & Komodakis, "Paying More Attention to Attention",
    ICLR 2017), so no layer is needed to match the channel counts.
    """

    def energy(features: Tensor) -> Tensor:
        flat = features.float().pow(2).mean(1).flatten(1)
        return flat / (flat.norm(dim=1, keepdim=True) + 1e-8)

    return (energy(student) - energy(teacher)).abs().mean()
