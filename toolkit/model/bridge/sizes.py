"""ONNX operators on sizes: what follows from `Shape`, computed in numpy while the network runs.

Every function takes and gives numpy arrays (int64, float32 or bool) in the way the ONNX operator of
opset 17 does; its keyword arguments are the operator's attributes. Sizes are plain numbers, so they
cost nothing on the device and torch.export sees constants where the picture's size is fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from toolkit.errors import UserError

Array = npt.NDArray[Any]
NUMPY_TYPES: dict[int, type[np.generic]] = {1: np.float32, 7: np.int64, 9: np.bool_}


def whole(value: Any) -> tuple[int, ...]:
    """A literal or an array of sizes as a flat tuple of int."""
    return tuple(int(number) for number in np.ravel(value))


def shape(x: Tensor | Array, *, start: int = 0, end: int | None = None) -> Array:
    """The sizes of `x`, (rank,) int64."""
    if torch._C._get_tracing_state() is not None:
        raise UserError(
            "a tracer would freeze the sizes that this network computes",
            hint="give the module that the bridge made to `to_onnx` itself, not wrapped in another",
        )
    return np.array(tuple(x.shape)[start:end], dtype=np.int64)


def size(x: Tensor | Array) -> Array:
    """The number of elements of `x`, () int64."""
    return np.asarray(np.prod(shape(x)))


def as_operand(value: Any, like: Tensor) -> Tensor | float:
    """Sizes for arithmetic with features: a number where there is one, else a tensor."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)  # float64 would widen the features
    return array.item() if array.ndim == 0 else torch.as_tensor(array, device=like.device)


def _divide(a: Any, b: Any) -> Array:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return np.asarray(np.trunc(a / b).astype(np.int64))
    return np.asarray(a / b)


def _mod(a: Any, b: Any, *, fmod: int = 0) -> Array:
    return np.asarray(np.fmod(a, b) if fmod else np.mod(a, b))


def _power(a: Any, b: Any) -> Array:
    a = np.asarray(a)
    return np.asarray(np.power(a.astype(np.float64), np.asarray(b))).astype(a.dtype)


def _cast(x: Any, *, to: int) -> Array:
    return np.asarray(x).astype(NUMPY_TYPES[to])


def _gather(x: Any, indices: Any, *, axis: int = 0) -> Array:
    return np.asarray(np.take(np.asarray(x), np.asarray(indices, dtype=np.int64), axis=axis))


def _concat(*parts: Any, axis: int) -> Array:
    return np.concatenate([np.asarray(part) for part in parts], axis=axis)


def _unsqueeze(x: Any, axes: Any) -> Array:
    return np.expand_dims(np.asarray(x), whole(axes))


def _squeeze(x: Any, axes: Any = None) -> Array:
    return np.squeeze(np.asarray(x), None if axes is None else whole(axes))


def _slice(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Array:
    x = np.asarray(x)
    axes = range(x.ndim) if axes is None else whole(axes)
    steps = (1,) * len(whole(starts)) if steps is None else whole(steps)
    picks: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, whole(starts), whole(ends), steps, strict=False):
        past_front = step < 0 and end < -x.shape[axis]  # "-infinity": down to the first element
        picks[axis] = slice(start, None if past_front else end, step)
    return np.asarray(x[tuple(picks)])


def _split(x: Any, sizes: Any = None, *, axis: int = 0, outputs: int) -> tuple[Array, ...]:
    x = np.asarray(x)
    edges: Any = outputs if sizes is None else np.cumsum(whole(sizes))[:-1]
    return tuple(np.asarray(part) for part in np.split(x, edges, axis=axis))


def _reshape(x: Any, target: Any, *, allowzero: int = 0) -> Array:
    x = np.asarray(x)
    return x.reshape(copied_zeros(x.shape, whole(target), allowzero))


def copied_zeros(
    source: tuple[int, ...], target: tuple[int, ...], allowzero: int
) -> tuple[int, ...]:
    """The target of an ONNX Reshape with each 0 replaced by the source's size on that axis."""
    if allowzero:
        return target
    return tuple(source[axis] if edge == 0 else edge for axis, edge in enumerate(target))


def _transpose(x: Any, *, perm: Any = None) -> Array:
    return np.transpose(np.asarray(x), perm)


def _expand(x: Any, target: Any) -> Array:
    x = np.asarray(x)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, whole(target)))


def _tile(x: Any, repeats: Any) -> Array:
    return np.tile(np.asarray(x), whole(repeats))


def _constant_of_shape(target: Any, *, value: Any = 0.0) -> Array:
    filler = np.asarray(value)
    filler = filler.astype(np.int64 if filler.dtype.kind == "i" else np.float32)
    return np.full(whole(target), filler.reshape(-1)[0], dtype=filler.dtype)


def _range(start: Any, limit: Any, delta: Any) -> Array:
    return np.arange(np.asarray(start).item(), np.asarray(limit).item(), np.asarray(delta).item())


def _scatter_nd(x: Any, indices: Any, updates: Any, *, reduction: str = "none") -> Array:
    if reduction != "none":
        raise UserError(f"ScatterND with reduction `{reduction}` on sizes is not understood")
    result = np.array(x)
    result[tuple(np.moveaxis(np.asarray(indices), -1, 0))] = np.asarray(updates)
    return result


def _reduce(function: Callable[..., Any]) -> Callable[..., Array]:
    def reduced(x: Any, axes: Any = None, *, keepdims: int = 1) -> Array:
        where = None if axes is None else whole(axes)
        return np.asarray(function(np.asarray(x), axis=where, keepdims=bool(keepdims)))

    return reduced


def _plain(function: Callable[..., Any]) -> Callable[..., Array]:
    def applied(*values: Any) -> Array:
        return np.asarray(function(*(np.asarray(value) for value in values)))

    return applied


def _folded(function: Callable[..., Any]) -> Callable[..., Array]:
    def applied(first: Any, *rest: Any) -> Array:
        result = np.asarray(first)
        for value in rest:
            result = np.asarray(function(result, np.asarray(value)))
        return result

    return applied


def _identity(x: Any) -> Array:
    return np.asarray(x)


SIZE_OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": _plain(np.abs),
    "Add": _plain(np.add),
    "And": _plain(np.logical_and),
    "Cast": _cast,
    "Ceil": _plain(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Cos": _plain(np.cos),
    "Div": _divide,
    "Equal": _plain(np.equal),
    "Exp": _plain(np.exp),
    "Expand": _expand,
    "Floor": _plain(np.floor),
    "Gather": _gather,
    "Greater": _plain(np.greater),
    "GreaterOrEqual": _plain(np.greater_equal),
    "Identity": _identity,
    "Less": _plain(np.less),
    "LessOrEqual": _plain(np.less_equal),
    "Max": _folded(np.maximum),
    "Min": _folded(np.minimum),
    "Mod": _mod,
    "Mul": _plain(np.multiply),
    "Neg": _plain(np.negative),
    "Not": _plain(np.logical_not),
    "Or": _plain(np.logical_or),
    "Pow": _power,
    "Range": _range,
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "Round": _plain(np.round),
    "ScatterND": _scatter_nd,
    "Shape": shape,
    "Sin": _plain(np.sin),
    "Size": size,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _plain(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(np.subtract),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _plain(np.where),
}


def compute(kind: str, *inputs: Any, **attributes: Any) -> Any:
    """Run the operator `kind` on sizes: literals and arrays in, an array or a tuple of them out."""
    return SIZE_OPERATORS[kind](*inputs, **attributes)
