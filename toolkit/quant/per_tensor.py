"""Weights for devices that know one step per tensor: rounded so that each layer's output stays.

One step for all output channels leaves the small ones a handful of integers. Chosen one by one
against the covariance of the layer's input, with the mean error in the bias, they keep most of the
picture (`quant.rounding` with one step for all rows). The layers' inputs come from the photographs
that ship with the toolkit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from toolkit.images.sets import shipped
from toolkit.model.contract import ImageContract
from toolkit.quant.carried import set_bias
from toolkit.quant.patches import cut_patches, patch_px
from toolkit.quant.rounding import (
    SAMPLES,
    Moments,
    _carry_rounding,
    _descend,
    gather_moments,
    roundable,
)
from toolkit.quant.view import Array, set_constant, view, with_names

Matrix = npt.NDArray[np.float64]
PATCHES, PATCH_PX, SEED = 32, 96, 0
STEP_FACTORS = (1.0, 0.995, 0.92, 0.84, 0.76, 0.68)  # of the step that keeps the largest weight
LARGEST = 127


def per_tensor_rounded(model: onnx.ModelProto, contract: ImageContract) -> onnx.ModelProto:
    """A copy whose convolution weights are integers times one step per tensor, as floats.

    The largest weight is 127 steps, so a backend that takes largest / 127 finds the integers again.
    """
    changed = with_names(model)
    graph = view(with_names(model))
    size_px = patch_px(PATCH_PX, contract)
    crops = cut_patches(shipped("calibration"), contract, count=PATCHES, size_px=size_px, seed=SEED)
    nodes = [node for node in roundable(graph) if node.op_type == "Conv"]
    moments = gather_moments(graph, nodes, crops, SAMPLES // PATCHES)
    named = {node.name: node for node in changed.graph.node}
    for node in nodes:
        weight = graph.constants[node.input[1]]
        bias = graph.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight))
        rounded, shift = _rounded(weight, moments[node.name])
        set_constant(changed, node.input[1], rounded)
        set_bias(changed, named[node.name], (bias - shift).astype(np.float32))
    return changed


def _rounded(weight: Array, moments: Moments) -> tuple[Array, Array]:
    """The rounded weight, and what it adds to the mean of each output channel."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    parts = np.split(flat, len(moments.total))
    whole, step = round_to_one_step(parts, list(moments.covariance()))
    errors = [w * step - part for w, part in zip(whole, parts, strict=True)]
    shift = np.concatenate([e @ m for e, m in zip(errors, moments.mean, strict=True)])
    stored = np.concatenate(whole) * step
    return stored.reshape(weight.shape).astype(np.float32), shift


def round_to_one_step(
    parts: Sequence[Matrix], covariances: Sequence[Matrix]
) -> tuple[list[Matrix], float]:
    """Integers within +-127 for each group of rows (rows, columns), and the step of them all.

    covariances: (columns, columns) float64 for each group. One integer at least is 127.
    """
    full = max(float(np.abs(part).max()) for part in parts) or 1.0
    plain = float(np.float32(full / LARGEST))
    best = [np.clip(np.round(part / plain), -LARGEST, LARGEST) for part in parts]
    step, least = plain, _loss(parts, best, plain, covariances)
    for factor in STEP_FACTORS:
        tried = float(np.float32(plain * factor))
        whole = _reaching([settled(p, tried, c) for p, c in zip(parts, covariances, strict=True)])
        loss = _loss(parts, whole, tried, covariances)
        if loss < least:
            best, step, least = whole, tried, loss
    return best, step


def _reaching(whole: list[Matrix]) -> list[Matrix]:
    """The same with the largest integer moved to 127, from which the step is read back."""
    part = max(whole, key=lambda w: np.abs(w).max())
    place = np.unravel_index(np.abs(part).argmax(), part.shape)
    part[place] = np.copysign(LARGEST, part[place])
    return whole


def settled(weight: Matrix, step: float, covariance: Matrix) -> Matrix:
    """Columns rounded one after another while the rest takes up each error, then each moved."""
    order = np.argsort(-np.diag(covariance), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
    steps = np.full(len(weight), step)
    whole = _carry_rounding(weight, steps, factor, order)
    return _descend(weight, whole, steps, covariance)


def _loss(
    parts: Sequence[Array], whole: Sequence[Array], step: float, covariances: Sequence[Array]
) -> float:
    errors = [part - w * step for part, w in zip(parts, whole, strict=True)]
    return sum(
        float(np.einsum("rc,rc->", e @ c, e)) for e, c in zip(errors, covariances, strict=True)
    )
