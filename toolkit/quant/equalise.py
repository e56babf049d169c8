"""Scale channels to one size, folded into the weights: exact in float, and free at run time.

Source of the idea: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019 (arXiv 1906.04721); here the sizes are measured, and carried through adds,
concatenations, shuffles, norms and gates by tying channels into groups (`quant/ties.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from toolkit.quant.calibration import Span
from toolkit.quant.ties import Ties, absorbs
from toolkit.quant.view import Array, GraphView, attribute, copied, set_constant

SCALE_LIMIT = 1e4  # a channel that is (nearly) dead is not blown up beyond this
# A channel counts as at least this part of the tensor's largest: other pictures may wake it. What
# is pooled to one value a patch is known from few values only.
LEAST_SIZE = 1 / 500
LEAST_POOLED_SIZE = 0.1
FEW_VALUES = 1024
UNSTORED = {"ReduceSum", "ReduceL2", "Pow", "Sqrt"}  # no runtime keeps their results in 8 bits


def channel_scales(
    graph: GraphView, spans: Mapping[str, Span], ties: Ties, *, white: float
) -> dict[str, Array]:
    """The factor for each channel of each tied tensor: all grow or shrink towards size `white`.

    What a Relu alone reads does not count for the size: every runtime fuses it, so it is never
    stored. What a PRelu or LeakyRelu reads is stored by ONNX Runtime and LiteRT, so it counts.
    """
    size: dict[int, float] = {}
    for name in ties.count:
        reader = graph.only_consumer(name)
        if reader is not None and reader.op_type == "Relu":
            continue
        if ties.power[name] != 1 or len(spans[name].low) != ties.count[name]:
            continue  # squares, and tensors with channels last: what they are made of counts
        maker = graph.producer.get(name)
        if maker is not None and maker.op_type in UNSTORED:
            continue
        largest = np.maximum(np.abs(spans[name].low), np.abs(spans[name].high))
        least = LEAST_POOLED_SIZE if spans[name].count < FEW_VALUES else LEAST_SIZE
        largest = np.maximum(largest, least * largest.max())
        for group, value in zip(ties.roots(name), largest, strict=True):
            size[group] = max(size.get(group, 0.0), float(value))
    factor = {
        group: 1.0 if group in ties.pinned or value <= 0 else min(white / value, SCALE_LIMIT)
        for group, value in size.items()
    }
    return {
        name: np.array([factor.get(g, 1.0) for g in ties.roots(name)]) ** ties.power[name]
        for name in ties.count
    }


def _scale_conv(
    model: onnx.ModelProto, graph: GraphView, node: onnx.NodeProto, into: Array, out: Array
) -> None:
    weight = graph.constants[node.input[1]].astype(np.float64)
    groups = attribute(node, "group", 1)
    if node.op_type == "Conv":  # (out, in / groups, k, k)
        rows = np.repeat(into.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        scaled = weight / rows[:, :, None, None] * out[:, None, None, None]
    else:  # ConvTranspose: (in, out / groups, k, k)
        columns = np.repeat(out.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        scaled = weight / into[:, None, None, None] * columns[:, :, None, None]
    set_constant(model, node.input[1], scaled.astype(np.float32))
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constants[node.input[2]].astype(np.float64) * out
        set_constant(model, node.input[2], bias.astype(np.float32))


def _scale_constant(model: onnx.ModelProto, graph: GraphView, name: str, factor: Array) -> None:
    value = graph.constants[name].astype(np.float64)
    wide = factor if value.ndim == 1 and len(value) == len(factor) else factor.reshape(1, -1, 1, 1)
    set_constant(model, name, (value * wide).astype(np.float32))


def _scale_arithmetic(
    model: onnx.ModelProto, graph: GraphView, node: onnx.NodeProto, into: Array, out: Array
) -> None:
    """Sums scale their constant, products and norms take up the change of scale in theirs."""
    fixed = [name for name in node.input if name in graph.constants]
    if node.op_type in ("Add", "Sub") and fixed:
        _scale_constant(model, graph, fixed[0], out)
    elif node.op_type == "LayerNormalization":
        for name in fixed:
            _scale_constant(model, graph, name, out)
    elif (name := absorbs(graph, node, len(out))) is not None:
        _scale_constant(model, graph, name, out / into)


def apply_scales(graph: GraphView, scales: Mapping[str, Array]) -> onnx.ModelProto:
    """The same network with every channel multiplied by its factor, folded into constants."""
    model = copied(graph.model)
    for node in graph.nodes:
        source = next((name for name in graph.dynamic_inputs(node) if name in scales), None)
        if source is None or node.output[0] not in scales:
            continue
        into, out = scales[source], scales[node.output[0]]
        if np.all(into == 1) and np.all(out == 1):
            continue
        if node.op_type in ("Conv", "ConvTranspose"):
            _scale_conv(model, graph, node, into, out)
        else:
            _scale_arithmetic(model, graph, node, into, out)
    return model


def _scaled(span: Span, factor: Array) -> Span:
    if len(span.low) == len(factor) or len(factor) == 1:
        low, high, mean = span.low * factor, span.high * factor, span.mean * factor
        return Span(low=low, high=high, mean=mean, count=span.count)
    low, high = span.low.min() * factor.max(), span.high.max() * factor.max()  # channels last
    return Span(low=np.minimum(low, 0)[None], high=np.maximum(high, 0)[None], mean=np.zeros(1))


def scaled_spans(spans: Mapping[str, Span], scales: Mapping[str, Array]) -> dict[str, Span]:
    """What the scaled network's tensors do, without running it: factors are positive.

    Tensors with channels last get a range that is surely wide enough.
    """
    return {name: _scaled(span, scales.get(name, np.ones(1))) for name, span in spans.items()}
