"""Which function computes which ONNX operator on feature tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.model.bridge.operators import (
    cast,
    clip,
    concat,
    depth_to_space,
    einsum,
    expand,
    flatten,
    gather,
    gemm,
    global_max_pool,
    hard_sigmoid,
    highest,
    layer_norm,
    log_softmax,
    lowest,
    mod,
    pad,
    prelu,
    reshape,
    scatter_nd,
    slice_,
    softmax,
    space_to_depth,
    split,
    squeeze,
    tile,
    total,
    transpose,
    unsqueeze,
)
from toolkit.model.bridge.resize import resize
from toolkit.model.bridge.sizes import whole


def _reduction(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    def reduced(
        x: Tensor, input_axes: Any = None, *, axes: Any = None, keepdims: int = 1
    ) -> Tensor:
        chosen = axes if input_axes is None else input_axes
        dims = tuple(range(x.dim())) if chosen is None else whole(chosen)
        return function(x, dim=dims, keepdim=bool(keepdims))

    reduced.__name__ = reduced.__qualname__ = name
    return reduced


def _sum_of_squares(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    return torch.sum(x * x, dim=dim, keepdim=keepdim)


def _sum_of_magnitudes(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    return torch.sum(x.abs(), dim=dim, keepdim=keepdim)


@dataclass(frozen=True)
class Operator:
    """A function, and which of its inputs are sizes or plain numbers instead of features."""

    function: Callable[..., Any]
    sizes: frozenset[int] = frozenset()


def _with_sizes(function: Callable[..., Any], *positions: int) -> Operator:
    return Operator(function, frozenset(positions))


OPERATORS: dict[str, Operator] = {
    "Abs": Operator(torch.abs),
    "Add": Operator(operator.add),
    "And": Operator(torch.logical_and),
    "Cast": Operator(cast),
    "Ceil": Operator(torch.ceil),
    "Clip": _with_sizes(clip, 1, 2),
    "Concat": Operator(concat),
    "Cos": Operator(torch.cos),
    "DepthToSpace": Operator(depth_to_space),
    "Div": Operator(operator.truediv),
    "Einsum": Operator(einsum),
    "Equal": Operator(operator.eq),
    "Erf": Operator(torch.erf),
    "Exp": Operator(torch.exp),
    "Expand": _with_sizes(expand, 1),
    "Flatten": Operator(flatten),
    "Floor": Operator(torch.floor),
    "Gather": _with_sizes(gather, 1),
    "Gemm": Operator(gemm),
    "GlobalMaxPool": Operator(global_max_pool),
    "Greater": Operator(operator.gt),
    "GreaterOrEqual": Operator(operator.ge),
    "HardSigmoid": Operator(hard_sigmoid),
    "LayerNormalization": Operator(layer_norm),
    "Less": Operator(operator.lt),
    "LessOrEqual": Operator(operator.le),
    "Log": Operator(torch.log),
    "LogSoftmax": Operator(log_softmax),
    "MatMul": Operator(torch.matmul),
    "Max": Operator(highest),
    "Min": Operator(lowest),
    "Mod": Operator(mod),
    "Mul": Operator(operator.mul),
    "Neg": Operator(torch.neg),
    "Not": Operator(torch.logical_not),
    "Or": Operator(torch.logical_or),
    "PRelu": Operator(prelu),
    "Pad": _with_sizes(pad, 1, 2),
    "Pow": Operator(torch.pow),
    "Reciprocal": Operator(torch.reciprocal),
    "ReduceL1": Operator(_reduction(_sum_of_magnitudes, "reduce_l1")),
    "ReduceL2": Operator(_reduction(torch.linalg.vector_norm, "reduce_l2")),
    "ReduceMax": Operator(_reduction(torch.amax, "reduce_max")),
    "ReduceMean": Operator(_reduction(torch.mean, "reduce_mean")),
    "ReduceMin": Operator(_reduction(torch.amin, "reduce_min")),
    "ReduceSum": _with_sizes(_reduction(torch.sum, "reduce_sum"), 1),
    "ReduceSumSquare": Operator(_reduction(_sum_of_squares, "reduce_sum_square")),
    "Reshape": _with_sizes(reshape, 1),
    "Resize": _with_sizes(resize, 1, 2, 3),
    "Round": Operator(torch.round),
    "ScatterND": _with_sizes(scatter_nd, 1),
    "Sign": Operator(torch.sign),
    "Sin": Operator(torch.sin),
    "Slice": _with_sizes(slice_, 1, 2, 3, 4),
    "Softmax": Operator(softmax),
    "Softplus": Operator(F.softplus),
    "SpaceToDepth": Operator(space_to_depth),
    "Split": _with_sizes(split, 1),
    "Sqrt": Operator(torch.sqrt),
    "Squeeze": _with_sizes(squeeze, 1),
    "Sub": Operator(operator.sub),
    "Sum": Operator(total),
    "Tile": _with_sizes(tile, 1),
    "Transpose": Operator(transpose),
    "Unsqueeze": _with_sizes(unsqueeze, 1),
    "Where": Operator(torch.where),
}
