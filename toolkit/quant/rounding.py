"""Round weights so that a layer's output stays, not each weight: second-order rounding.

For a layer with inputs X the loss of rounded weights Q is (Q - W) C (Q - W)^T, C the covariance of
X; a shift of the mean goes into the bias. Columns are rounded one after another, the rest takes
up each error (Frantar et al., "GPTQ", ICLR 2023, arXiv 2210.17323), then single weights are moved
while that lowers the loss. Written from the paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx

from toolkit.quant.calibration import Batch, probe
from toolkit.quant.carried import RoundedWeights
from toolkit.quant.view import Array, GraphView, attribute

Matrix = npt.NDArray[np.float64]
SAMPLES = 24_000  # input vectors per layer over all patches: 40 for each entry of a 3x3x64 kernel
LARGEST_INPUT = 2304  # columns: a 3 x 3 kernel over 256 channels; beyond it plain rounding is kept
WIDE_INPUT = 576  # beyond it fewer samples, so that a layer's products stay within seconds
BLOCK_VALUES = 1 << 21
BLOCK_COLUMNS = 64
DAMPING = 0.003  # of the mean variance, so that flat directions are not overfitted
STEP_FACTORS = (1.0, 0.92, 0.84)
SWEEPS = 8  # at most; most layers settle in two or three


@dataclass
class Moments:
    """Running sum and sum of products of one layer's input vectors, per group.

    Kept about `centre`, a first guess of the mean, so that float32 products are exact enough.
    """

    total: Matrix  # (groups, columns)
    product: Matrix  # (groups, columns, columns)
    count: int = 0
    centre: Array | None = None  # (groups, 1, columns)
    waiting: list[Array] = field(default_factory=list)

    def add(self, vectors: Array) -> None:
        """vectors: (groups, samples, columns). They are multiplied in large blocks: each call of
        a threaded BLAS costs a wait for the other threads, long on a busy machine."""
        self.waiting.append(vectors)
        if sum(block.size for block in self.waiting) >= BLOCK_VALUES:
            self.settle()

    def settle(self) -> None:
        """Add up what waits."""
        if not self.waiting:
            return
        vectors = np.concatenate(self.waiting, axis=1)
        self.waiting.clear()
        if self.centre is None:
            self.centre = vectors.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        vectors -= self.centre
        self.count += vectors.shape[1]
        self.total += vectors.sum(axis=1, dtype=np.float64)
        for group, rows in enumerate(vectors):
            self.product[group] += np.ascontiguousarray(rows.T) @ rows

    @property
    def mean(self) -> Matrix:
        """(groups, columns), of what is settled."""
        assert self.centre is not None
        return self.total / self.count + self.centre[:, 0]

    def covariance(self) -> Matrix:
        """(groups, columns, columns) of what is settled, damped to be positive definite."""
        apart = self.total / self.count
        covariance: Matrix = self.product / self.count - apart[:, :, None] * apart[:, None, :]
        diagonal = np.arange(covariance.shape[1])
        spread = covariance[:, diagonal, diagonal].mean(axis=1)
        size = spread + np.square(self.mean).mean(axis=1)
        # the second term covers inputs that hardly vary, where rounding is larger than variance
        damping = DAMPING * spread + 1e-7 * size + 1e-12
        covariance[:, diagonal, diagonal] += damping[:, None]
        return covariance


def _groups_columns(graph: GraphView, node: onnx.NodeProto) -> tuple[int, int]:
    weight = graph.constants[node.input[1]]
    if node.op_type == "MatMul":
        return 1, weight.shape[0]
    return attribute(node, "group", 1), int(np.prod(weight.shape[1:]))


def roundable(graph: GraphView) -> list[onnx.NodeProto]:
    """Convolutions and products by a constant matrix whose input is small enough to study."""
    found = []
    for node in graph.nodes:
        constant = node.op_type in ("Conv", "MatMul") and node.input[1] in graph.constants
        constant = constant and len(graph.consumers[node.input[1]]) == 1
        if not constant or node.input[0] not in graph.ranks:
            continue
        rank = graph.constants[node.input[1]].ndim
        has_shape = rank == (4 if node.op_type == "Conv" else 2)
        if has_shape and _groups_columns(graph, node)[1] <= LARGEST_INPUT:
            found.append(node)
    return found


def _conv_vectors(
    node: onnx.NodeProto, weight: Array, value: Array, samples: int, rng: np.random.Generator
) -> Array:
    """`samples` random input windows of a convolution, (groups, samples, columns)."""
    kernel = weight.shape[2:]
    top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
    strides, dilations = attribute(node, "strides", [1, 1]), attribute(node, "dilations", [1, 1])
    padded = np.pad(value[0], ((0, 0), (top, bottom), (left, right)))
    index = []
    for axis in range(2):
        places = (padded.shape[axis + 1] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[
            axis
        ] + 1
        starts = rng.integers(0, places, samples) * strides[axis]
        index.append(starts[:, None] + np.arange(kernel[axis]) * dilations[axis])
    windows = padded[:, index[0][:, :, None], index[1][:, None, :]]  # (C, samples, kh, kw)
    groups = attribute(node, "group", 1)
    split = windows.reshape(groups, -1, *windows.shape[1:]).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(split.reshape(groups, samples, -1))


def _vectors(
    graph: GraphView, node: onnx.NodeProto, value: Array, samples: int, rng: np.random.Generator
) -> Array:
    weight = graph.constants[node.input[1]]
    if node.op_type == "Conv":
        return _conv_vectors(node, weight, value, samples, rng)
    rows = value.reshape(-1, value.shape[-1])
    return np.ascontiguousarray(rows[rng.integers(0, len(rows), samples)][None])


def gather_moments(
    graph: GraphView, nodes: list[onnx.NodeProto], patches: Iterable[Batch], per_patch: int
) -> dict[str, Moments]:
    """Moments of each node's input, by node name; places are drawn from a fixed seed."""
    rng = np.random.default_rng(0)
    moments: dict[str, Moments] = {}
    for node in nodes:
        groups, columns = _groups_columns(graph, node)
        zeros = np.zeros((groups, columns, columns))
        moments[node.name] = Moments(total=np.zeros((groups, columns)), product=zeros)
    source = None
    for patch in patches:
        source = source or probe(graph, dict.fromkeys(n.input[0] for n in nodes), patch)
        for name, value in ((graph.input, patch), *source.fetch(patch)):
            for node in nodes:
                if node.input[0] == name:
                    part = min(1.0, WIDE_INPUT / _groups_columns(graph, node)[1])
                    samples = max(64, int(per_patch * part))
                    moments[node.name].add(_vectors(graph, node, value, samples, rng))
    for found in moments.values():
        found.settle()
    return moments


def _losses(error: Matrix, covariance: Matrix) -> Matrix:
    """Loss of each row of `error`, (rows,)."""
    losses: Matrix = np.einsum("rc,rc->r", error @ covariance, error)
    return losses


def _carry_rounding(
    weight: Matrix, steps: Matrix, factor: Matrix, order: npt.NDArray[np.intp]
) -> Matrix:
    """Integers for `weight` (rows, columns), columns in `order`, errors carried by `factor`."""
    rest = weight[:, order].copy()
    whole = np.zeros_like(rest)
    for start in range(0, rest.shape[1], BLOCK_COLUMNS):
        end = min(start + BLOCK_COLUMNS, rest.shape[1])
        errors = np.empty((len(rest), end - start))
        for i in range(start, end):
            whole[:, i] = np.clip(np.round(rest[:, i] / steps), -127, 127)
            error = (rest[:, i] - whole[:, i] * steps) / factor[i, i]
            rest[:, i + 1 : end] -= error[:, None] * factor[i, i + 1 : end]
            errors[:, i - start] = error
        rest[:, end:] -= errors @ factor[start:end, end:]  # what lies outside the block, at once
    result = np.empty_like(whole)
    result[:, order] = whole
    return result


def _descend(weight: Matrix, whole: Matrix, steps: Matrix, covariance: Matrix) -> Matrix:
    """Move one integer at a time to its best value while the others stay."""
    slope = (weight - whole * steps[:, None]) @ covariance
    for _ in range(SWEEPS):
        before = whole.copy()
        for i in range(weight.shape[1]):
            moved = np.clip(
                whole[:, i] + np.round(slope[:, i] / covariance[i, i] / steps), -127, 127
            )
            change = (moved - whole[:, i]) * steps
            rows = np.flatnonzero(change)
            if len(rows):
                slope[rows] -= change[rows, None] * covariance[i]
                whole[rows, i] = moved[rows]
        if np.array_equal(whole, before):
            break
    return whole


def round_rows(weight: Matrix, covariance: Matrix) -> tuple[Matrix, Matrix]:
    """Integers (rows, columns) within +-127 and the step of each row.

    Several steps per row are tried, from the one that keeps the largest weight down to 0.84 of it.
    Each row holds one integer of 127, so that its step can be read back from its largest weight.
    """
    order = np.argsort(-np.diag(covariance), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
    full: Matrix = np.maximum(np.abs(weight).max(axis=1) / 127, 1e-12)
    tries = len(STEP_FACTORS)
    rows = np.tile(weight, (tries, 1))
    steps = np.outer(STEP_FACTORS, full).ravel().astype(np.float32).astype(np.float64)
    whole = _descend(rows, _carry_rounding(rows, steps, factor, order), steps, covariance)
    plain = np.clip(np.round(weight / full[:, None]), -127, 127)
    whole, rows = np.concatenate([whole, plain]), np.concatenate([rows, weight])
    steps = np.concatenate([steps, full.astype(np.float32)])
    loss = _losses(rows - whole * steps[:, None], covariance)
    loss[np.abs(whole).max(axis=1) < 127] = np.inf
    loss[-len(weight) :] = np.minimum(loss[-len(weight) :], np.finfo(np.float64).max)
    best = loss.reshape(tries + 1, -1).argmin(axis=0) * len(weight) + np.arange(len(weight))
    return whole[best], steps[best]


def _rounded(weight: Array, bias: Array | None, moments: Moments, kind: str) -> RoundedWeights:
    flat = weight.T if kind == "MatMul" else weight.reshape(len(weight), -1)
    groups = len(moments.total)
    covariance, mean = moments.covariance(), moments.mean
    parts = np.split(flat.astype(np.float64), groups)
    rounded = [round_rows(part, covariance[g]) for g, part in enumerate(parts)]
    whole = np.concatenate([w for w, _ in rounded])
    steps = np.concatenate([s for _, s in rounded])
    shift = np.concatenate(
        [(w * s[:, None] - parts[g]) @ mean[g] for g, (w, s) in enumerate(rounded)]
    )
    stored = (whole.T if kind == "MatMul" else whole.reshape(weight.shape)).astype(np.int8)
    start = np.zeros(len(flat)) if bias is None else bias
    return RoundedWeights(
        stored=stored, steps=steps.astype(np.float32), bias=(start - shift).astype(np.float32)
    )


def round_weights(
    graph: GraphView, patches: Iterable[Batch], *, count: int
) -> dict[str, RoundedWeights]:
    """Rounded weights of every layer that can be studied, by node name; `count` patches come."""
    nodes = roundable(graph)
    moments = gather_moments(graph, nodes, patches, max(64, SAMPLES // count))
    result = {}
    for node in nodes:
        bias = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        weight = graph.constants[node.input[1]]
        result[node.name] = _rounded(weight, bias, moments[node.name], node.op_type)
    return result
