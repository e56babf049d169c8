"""Peak signal-to-noise ratio in dB."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

PEAK = 255.0


def psnr_db(reference: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]) -> float:
    """PSNR of two float64 arrays of one shape, values 0 to 255; infinity where they are equal.

    Raises ValueError where the shapes differ or nothing is left to compare.
    """
    if reference.shape != measured.shape or reference.size == 0:
        raise ValueError(f"cannot compare {reference.shape} with {measured.shape}")
    mean_square = float(np.mean(np.square(reference - measured)))
    return math.inf if mean_square == 0 else 10 * math.log10(PEAK**2 / mean_square)
