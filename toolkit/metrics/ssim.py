"""Structural similarity, as super-resolution papers report it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float64]

# Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
WINDOW_PX = 11
SIGMA_PX = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2


def _gaussian() -> Plane:
    distance = np.arange(WINDOW_PX) - WINDOW_PX // 2
    weights: Plane = np.exp(-(distance**2) / (2 * SIGMA_PX**2))
    return weights / weights.sum()


def _local_mean(plane: Plane) -> Plane:
    """Gaussian mean around each pixel whose window lies inside; each side loses 10 pixels."""
    weights = _gaussian()
    height, width = plane.shape[0] - WINDOW_PX + 1, plane.shape[1] - WINDOW_PX + 1
    down = sum(w * plane[i : i + height] for i, w in enumerate(weights))
    across: Plane = sum(w * down[:, i : i + width] for i, w in enumerate(weights))
    return across


def ssim(a: Plane, b: Plane) -> float:
    """Mean SSIM of two planes (H, W), float64, 0 to 255; 1.0 where they are equal.

    Raises ValueError where the shapes differ or a side is below the window of 11 pixels.
    """
    if a.shape != b.shape or min(a.shape) < WINDOW_PX:
        raise ValueError(f"cannot compare {a.shape} with {b.shape} in windows of {WINDOW_PX}")
    mean_a, mean_b = _local_mean(a), _local_mean(b)
    variance_a = _local_mean(a * a) - mean_a**2
    variance_b = _local_mean(b * b) - mean_b**2
    covariance = _local_mean(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    denominator = (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    return float(np.mean(numerator / denominator))
