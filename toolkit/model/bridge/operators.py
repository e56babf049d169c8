"""ONNX operators on feature tensors as functions, with the meaning of opset 17.

Positional arguments are the operator's inputs, keyword arguments its attributes. An input that
holds sizes (a Reshape's target, a Slice's ends) is a tuple of int or a numpy array, never a tensor.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.errors import UserError
from toolkit.model.bridge.sizes import copied_zeros, whole

TORCH_TYPES = {1: torch.float32, 7: torch.int64, 9: torch.bool}


def cast(x: Tensor, *, to: int) -> Tensor:
    """`to` is an ONNX type number, already narrowed to float32, int64 or bool."""
    return x.to(TORCH_TYPES[to])


def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """min(1, max(0, alpha * x + beta))."""
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PRelu whose slope is not simply one number per channel."""
    return torch.where(x < 0, x * slope, x)


def clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """Clip; an omitted bound is None."""
    return x if low is None and high is None else torch.clamp(x, low, high)


def highest(*values: Any) -> Tensor:
    """Element-wise Max of tensors and numbers."""
    return reduce(_bounded(torch.maximum, "min"), values)


def lowest(*values: Any) -> Tensor:
    """Element-wise Min of tensors and numbers."""
    return reduce(_bounded(torch.minimum, "max"), values)


def _bounded(function: Callable[..., Tensor], bound: str) -> Callable[[Any, Any], Any]:
    def combined(a: Any, b: Any) -> Any:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return function(a, b)
        tensor, number = (a, b) if isinstance(a, Tensor) else (b, a)
        return torch.clamp(tensor, **{bound: number})

    return combined


def total(*values: Any) -> Any:
    """Sum of any number of inputs."""
    return reduce(operator.add, values)


def concat(*parts: Tensor, axis: int) -> Tensor:
    """Concat."""
    return torch.cat(parts, dim=axis)


def split(x: Tensor, sizes: Any = None, *, axis: int = 0, outputs: int) -> tuple[Tensor, ...]:
    """Split; `outputs` is the number of parts, which are equal where `sizes` is None."""
    if sizes is None:
        return torch.split(x, x.shape[axis] // outputs, dim=axis)
    return torch.split(x, list(whole(sizes)), dim=axis)


def slice_(x: Tensor, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
    """Slice; negative steps walk backwards."""
    axes = range(x.dim()) if axes is None else whole(axes)
    steps = (1,) * len(whole(starts)) if steps is None else whole(steps)
    for axis, start, end, step in zip(axes, whole(starts), whole(ends), steps, strict=False):
        edge = x.shape[axis]
        picks = range(edge)[slice(start, None if step < 0 and end < -edge else end, step)]
        if step == 1:
            x = x.narrow(axis, picks.start, len(picks))
        elif step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(picks.start, picks.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(picks), device=x.device))
    return x


def pad(x: Tensor, pads: Any, value: float | None = None, *, mode: str = "constant") -> Tensor:
    """Pad by `pads` = all begins, then all ends; a negative number crops."""
    edges = whole(pads)
    begins, ends = edges[: x.dim()], edges[x.dim() :]
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin < 0 or end < 0:
            start, stop = max(-begin, 0), x.shape[axis] - max(-end, 0)
            x = x.narrow(axis, start, stop - start)
    amounts = [(max(b, 0), max(e, 0)) for b, e in zip(begins, ends, strict=True)]
    if not any(sum(pair) for pair in amounts):
        return x
    if mode != "constant":
        return _pad_by_copies(x, amounts, mode)
    flat = [number for pair in reversed(amounts) for number in pair]
    return F.pad(x, flat, value=value or 0.0)


def _pad_by_copies(x: Tensor, amounts: Sequence[tuple[int, int]], mode: str) -> Tensor:
    name = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    if x.dim() != 4 or any(sum(pair) for pair in amounts[:2]):
        raise UserError(
            f"Pad with mode `{mode}` is understood for height and width of a rank-4 tensor, "
            f"found pads `{list(amounts)}`",
            hint="pad the two image axes only",
        )
    return F.pad(x, [*amounts[3], *amounts[2]], mode=name)


def reshape(x: Tensor, target: Any, *, allowzero: int = 0) -> Tensor:
    """Reshape; a 0 in `target` keeps that axis, a -1 takes what remains."""
    return x.reshape(copied_zeros(tuple(x.shape), whole(target), allowzero))


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Flatten to two axes, cut before `axis`."""
    rows = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape(rows, -1)


def squeeze(x: Tensor, axes: Any = None) -> Tensor:
    """Squeeze."""
    return x.squeeze() if axes is None else x.squeeze(whole(axes))


def unsqueeze(x: Tensor, axes: Any) -> Tensor:
    """Unsqueeze; `axes` count in the output."""
    rank = x.dim() + len(whole(axes))
    for axis in sorted(a % rank for a in whole(axes)):
        x = x.unsqueeze(axis)
    return x


def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    """Transpose; without `perm` the axes are reversed."""
    return x.permute(tuple(perm) if perm is not None else tuple(reversed(range(x.dim()))))


def tile(x: Tensor, repeats: Any) -> Tensor:
    """Tile."""
    return x.repeat(whole(repeats))


def expand(x: Tensor, target: Any) -> Tensor:
    """Expand; unlike torch's, a 1 in `target` keeps the axis of `x`."""
    return x.broadcast_to(np.broadcast_shapes(tuple(x.shape), whole(target)))


def gather(x: Tensor, indices: Any, *, axis: int = 0) -> Tensor:
    """Gather of whole slices along one axis, by literal indices or a tensor of them."""
    if isinstance(indices, Tensor):
        picked = x.index_select(axis, indices.reshape(-1))
        shape = tuple(indices.shape)
    else:
        array = np.asarray(indices, dtype=np.int64) % x.shape[axis]
        if array.ndim == 0:
            return x.select(axis, array.item())
        picked = x.index_select(axis, torch.as_tensor(array.reshape(-1), device=x.device))
        shape = array.shape
    axis %= x.dim()
    return picked.reshape(*x.shape[:axis], *shape, *x.shape[axis + 1 :])


def scatter_nd(x: Tensor, indices: Any, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """ScatterND with literal indices (..., k) into the first k axes."""
    if reduction not in ("none", "add"):
        raise UserError(f"ScatterND with reduction `{reduction}` is not understood")
    where = np.moveaxis(np.asarray(indices, dtype=np.int64), -1, 0)
    picks: list[Tensor | None] = [
        torch.as_tensor(np.array(axis), device=x.device) for axis in where
    ]
    return x.index_put(picks, updates, accumulate=reduction == "add")


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """DepthToSpace; DCR takes the block from the outer part of the channels, CRD the inner."""
    batch, depth, height, width = x.shape
    block, kept = blocksize, depth // blocksize**2
    if mode == "CRD":
        return F.pixel_shuffle(x, block)
    y = x.reshape(batch, block, block, kept, height, width).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(batch, kept, height * block, width * block)


def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    """SpaceToDepth; the block becomes the outer part of the channels (torch: the inner)."""
    batch, depth, height, width = x.shape
    block = blocksize
    y = x.reshape(batch, depth, height // block, block, width // block, block)
    y = y.permute(0, 3, 5, 1, 2, 4)
    return y.reshape(batch, depth * block**2, height // block, width // block)


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Softmax."""
    return torch.softmax(x, dim=axis)


def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """LogSoftmax."""
    return torch.log_softmax(x, dim=axis)


def global_max_pool(x: Tensor) -> Tensor:
    """GlobalMaxPool."""
    return torch.amax(x, dim=tuple(range(2, x.dim())), keepdim=True)


def gemm(
    a: Tensor,
    b: Tensor,
    c: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha * a @ b + beta * c."""
    product = alpha * ((a.t() if transA else a) @ (b.t() if transB else b))
    return product if c is None else product + beta * c


def layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    """LayerNormalization over the axes from `axis` on."""
    return F.layer_norm(x, x.shape[axis:], weight, bias, epsilon)


def einsum(*tensors: Tensor, equation: str) -> Tensor:
    """Einsum."""
    return torch.einsum(equation, *tensors)


def mod(a: Tensor, b: Any, *, fmod: int = 0) -> Tensor:
    """Mod; with `fmod` the result has the sign of `a`."""
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)
