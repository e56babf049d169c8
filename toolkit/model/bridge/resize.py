"""ONNX Resize on torch tensors, in every coordinate mode; by torch's own kernel where it agrees."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.errors import UserError
from toolkit.model.bridge.sizes import whole

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Kernel:
    """How one axis is sampled; the words are those of the ONNX operator."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    exclude_outside: bool


def resize(
    x: Tensor,
    roi: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
) -> Tensor:
    """Resize of opset 13; `scales` or `sizes` has one number per axis, `roi` is not looked at.

    Raises UserError for `tf_crop_and_resize`, which is the only mode that needs `roi`.
    """
    kernel = _Kernel(
        mode=mode,
        coordinates=coordinate_transformation_mode,
        nearest=nearest_mode,
        cubic=cubic_coeff_a,
        exclude_outside=bool(exclude_outside),
    )
    if sizes is not None:
        goal = whole(sizes)
        factors = [out / edge for out, edge in zip(goal, x.shape, strict=True)]
    else:
        factors = [float(number) for number in np.ravel(scales)]
        goal = tuple(math.floor(e * f) for e, f in zip(x.shape, factors, strict=True))
    if tuple(x.shape) == goal and all(factor == 1.0 for factor in factors):
        return x
    options = _torch_options(kernel, factors, x.shape)
    if options is not None:
        whole_factors = all(f * e == g for f, e, g in zip(factors, x.shape, goal, strict=True))
        if whole_factors or sizes is not None:
            return F.interpolate(x, size=goal[2:], **options)
        return F.interpolate(x, scale_factor=tuple(factors[2:]), **options)
    for axis, (out, factor) in enumerate(zip(goal, factors, strict=True)):
        if factor != 1.0 or out != x.shape[axis]:
            x = _resize_axis(x, axis, out, factor, kernel)
    return x


def _torch_options(
    kernel: _Kernel, factors: Sequence[float], shape: Sequence[int]
) -> dict[str, Any] | None:
    """Arguments of F.interpolate that mean the same, or None."""
    if len(shape) != 4 or factors[0] != 1.0 or factors[1] != 1.0 or kernel.exclude_outside:
        return None
    centred = kernel.coordinates == "half_pixel" or (
        kernel.coordinates == "pytorch_half_pixel"
        and all(e * f > 1 for e, f in zip(shape[2:], factors[2:], strict=True))
    )
    if kernel.mode == "nearest":
        repeats = all(f >= 1 and f == round(f) for f in factors)
        floored = kernel.coordinates == "asymmetric" and kernel.nearest == "floor"
        rounded = centred and kernel.nearest.startswith("round")
        return {"mode": "nearest"} if floored or (repeats and rounded) else None
    corners = kernel.coordinates == "align_corners"
    if not (centred or corners) or (kernel.mode == "cubic" and kernel.cubic != -0.75):
        return None
    name = "bilinear" if kernel.mode == "linear" else "bicubic"
    return {"mode": name, "align_corners": corners}


def _source_positions(out: int, edge: int, factor: float, coordinates: str) -> Floats:
    """Where each of `out` samples lies in the source, in source pixels (ONNX Resize, table)."""
    x = np.arange(out, dtype=np.float64)
    if coordinates == "align_corners":
        return np.asarray(x * (edge - 1) / (out - 1) if out > 1 else x * 0.0)
    if coordinates == "asymmetric":
        return np.asarray(x / factor)
    if coordinates == "pytorch_half_pixel" and out <= 1:
        return np.asarray(x * 0.0)
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return np.asarray((x + 0.5) / factor - 0.5)
    if coordinates == "tf_half_pixel_for_nn":
        return np.asarray((x + 0.5) / factor)
    raise UserError(
        f"Resize with coordinate_transformation_mode `{coordinates}` is not understood",
        hint="export the network with `half_pixel`, `align_corners` or `asymmetric`",
    )


def _nearest(positions: Floats, mode: str) -> Floats:
    rounding: dict[str, Callable[[Floats], Floats]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    }
    return np.asarray(rounding[mode](positions))


def _tap_weights(fraction: Floats, kernel: _Kernel) -> tuple[Floats, int]:
    """Weights (out, taps), and the first tap's distance from the pixel at floor(position)."""
    if kernel.mode == "linear":
        return np.stack([1 - fraction, fraction], axis=1), 0
    a = kernel.cubic  # Keys, IEEE TASSP 1981
    distance = np.abs(fraction[:, None] - np.arange(-1, 3))
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far), -1


def _axis_matrix(positions: Floats, edge: int, kernel: _Kernel) -> Floats:
    """The interpolation as a matrix (out, edge)."""
    base = np.floor(positions)
    weights, first = _tap_weights(positions - base, kernel)
    taps = base[:, None].astype(np.int64) + np.arange(first, first + weights.shape[1])
    if kernel.exclude_outside:
        weights = np.where((taps < 0) | (taps >= edge), 0.0, weights)
        weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((len(positions), edge))
    rows = np.broadcast_to(np.arange(len(positions))[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, edge - 1)), weights)
    return matrix


def _resize_axis(x: Tensor, axis: int, out: int, factor: float, kernel: _Kernel) -> Tensor:
    edge = x.shape[axis]
    positions = _source_positions(out, edge, factor, kernel.coordinates)
    if kernel.mode == "nearest":
        picks = np.clip(_nearest(positions, kernel.nearest), 0, edge - 1).astype(np.int64)
        return x.index_select(axis, torch.as_tensor(picks, device=x.device))
    matrix = _axis_matrix(positions, edge, kernel).astype(np.float32)
    turned = torch.as_tensor(matrix, device=x.device).t()
    return (x.movedim(axis, -1) @ turned).movedim(-1, axis)
