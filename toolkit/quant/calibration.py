"""Run the float network on patches and keep what each tensor did: range per channel, histogram."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from toolkit.errors import UserError
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.view import Array, GraphView, copied

Batch = npt.NDArray[np.float32]
Function = Callable[[Array], Array]
PROBE_BYTES = 256 << 20  # of tensors fetched in one run; more means another run on the same patch
BINS = 2048
MOST_COUNTED = 40_009  # values of a patch in a histogram; prime, so that no channel is left out


@dataclass(frozen=True, kw_only=True)
class Span:
    """Lowest, highest and mean value of each channel (axis 1) of a tensor, (C,) float64 each."""

    low: Array
    high: Array
    mean: Array
    count: int = 0  # values seen of each channel

    @property
    def whole(self) -> tuple[float, float]:
        """Lowest and highest value of the tensor."""
        return float(self.low.min()), float(self.high.max())


def _with_outputs(graph: GraphView, tensors: Iterable[str]) -> onnx.ModelProto:
    probed = copied(graph.model)
    del probed.graph.output[:]
    for name in tensors:
        probed.graph.output.add().CopyFrom(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    return probed


def _channels_first(value: Array) -> Array:
    """(C, everything else); a tensor without a channel axis counts as one channel."""
    if value.ndim != 4:
        return value.reshape(1, -1)
    return np.moveaxis(value, 1, 0).reshape(value.shape[1], -1)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Sessions that together fetch every named tensor, each within PROBE_BYTES a patch."""

    graph: GraphView
    groups: tuple[tuple[tuple[str, ...], ort.InferenceSession], ...]

    def fetch(self, patch: Batch) -> Iterable[tuple[str, Array]]:
        """Each tensor's value on one patch, (1, C, H, W) float32 in."""
        for names, session in self.groups:
            yield from zip(names, session.run(list(names), {self.graph.input: patch}), strict=True)


def probe(graph: GraphView, tensors: Iterable[str], sample: Batch) -> Probe:
    """Split `tensors` into groups by the memory they take on `sample`."""
    wanted = [name for name in tensors if name != graph.input]
    bytes_each = max(sample.nbytes, sample.size * 4 * 64 // max(sample.shape[1], 1))
    group = max(1, PROBE_BYTES // bytes_each)
    parts = [tuple(wanted[i : i + group]) for i in range(0, len(wanted), group)]
    groups = tuple((part, quiet_session(_with_outputs(graph, part))) for part in parts)
    return Probe(graph=graph, groups=groups)


def gather_spans(graph: GraphView, patches: Iterable[Batch]) -> dict[str, Span]:
    """Ranges of every float tensor that depends on the picture, the input included.

    Raises UserError where a tensor is not finite, naming the node that made it.
    """
    found: dict[str, Span] = {}
    seen: dict[str, int] = {}
    source: Probe | None = None
    for patch in patches:
        source = source or probe(graph, graph.ranks, patch)
        for name, value in ((graph.input, patch), *source.fetch(patch)):
            if value.size == 0:
                continue
            rows = _channels_first(value)
            now = Span(
                low=rows.min(1),
                high=rows.max(1),
                mean=rows.mean(1, dtype=np.float64),
                count=rows.shape[1],
            )
            _require_finite(graph, name, now)
            count = seen.get(name, 0)
            found[name] = _merged(found[name], now, count) if count else now
            seen[name] = count + 1
    if not found:
        raise UserError(
            "no calibration patch is left",
            where="step `quantize`",
            hint="photographs must be at least the network's smallest input times its scale",
        )
    return found


def _merged(a: Span, b: Span, count: int) -> Span:
    if len(a.low) != len(b.low):  # an axis that follows the picture's size
        low, high = min(a.low.min(), b.low.min()), max(a.high.max(), b.high.max())
        return Span(low=np.array([low]), high=np.array([high]), mean=np.zeros(1), count=a.count)
    return Span(
        low=np.minimum(a.low, b.low),
        high=np.maximum(a.high, b.high),
        mean=(a.mean * count + b.mean) / (count + 1),
        count=a.count + b.count,
    )


def _require_finite(graph: GraphView, name: str, span: Span) -> None:
    if np.isfinite(span.low).all() and np.isfinite(span.high).all():
        return
    node = graph.producer.get(name)
    maker = f"node `{node.name}` ({node.op_type})" if node else "the input"
    raise UserError(
        f"{maker} gives values that are not finite on calibration patches",
        where=f"tensor `{name}`",
        hint="a weight may be NaN or infinite: check the network file",
    )


def gather_histograms(
    graph: GraphView, patches: Iterable[Batch], limits: Mapping[str, tuple[float, float]]
) -> dict[str, Array]:
    """Counts of BINS equal bins between each tensor's limits; values beyond count at the end.

    Of a large tensor, about MOST_COUNTED evenly spread values a patch are counted.
    """
    counts = {name: np.zeros(BINS, np.int64) for name in limits}
    source: Probe | None = None
    for patch in patches:
        source = source or probe(graph, counts, patch)
        for name, value in source.fetch(patch):
            low, high = limits[name][0], max(limits[name][1], limits[name][0] + 1e-12)
            some = value.ravel()[:: max(1, value.size // MOST_COUNTED)]
            place = ((some - low) * (BINS / (high - low))).clip(0, BINS - 1).astype(np.int64)
            counts[name] += np.bincount(place, minlength=BINS)
    return counts


def mse_range(
    counts: Array, low: float, high: float, function: Function | None = None, *, levels: int = 255
) -> tuple[float, float]:
    """The range within [low, high] whose `levels` steps give the least squared error.

    Both ends are drawn towards zero by the same factor, from 1 down to 0.2. With `function` (a
    tanh, a sigmoid) the error counts after it: where it is flat, values may be cut.
    """
    centres = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    after = function or (lambda values: values)
    slope = np.gradient(after(centres), centres) if high > low else np.ones(len(counts))
    best, best_error = (low, high), np.inf
    for factor in np.linspace(1.0, 0.2, 81):
        bottom, top = min(0.0, low * factor), max(0.0, high * factor)
        step = max(top - bottom, 1e-12) / levels
        kept = np.clip(centres, bottom, top)
        # rounding error of a uniform quantizer inside the range, clipping error outside
        inside = (kept == centres) * slope**2 * step**2 / 12
        error = float((counts * ((after(centres) - after(kept)) ** 2 + inside)).sum())
        if error < best_error:
            best, best_error = (bottom, top), error
    return best
