"""Clips that a network writes with activations alone, for frameworks or chips without one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from toolkit.model.graph import Array, arrays, attributes, copy_of, pruned
from toolkit.model.rewrite import NEW

SAME_CEILING = 1e-6  # relative; ceilings of all channels must agree, a Clip has one


def mirrored_relus_to_clip(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """relu(b - a * relu(x)) becomes clip(b - a x, 0, b); the product is an unmixed 1x1 convolution.

    The factor and the ceiling go into the convolution that makes x, so a convolution at the
    largest tensor and one rounding of the picture are saved. Source of the form: the `conv_clip`
    layer of ETDS (Chao et al., CVPR 2023). None where there is nothing to do.
    """
    copy = copy_of(model)
    stored = arrays(copy.graph)
    maker = {out: node for node in copy.graph.node for out in node.output}
    readers = Counter(name for node in copy.graph.node for name in node.input)
    readers.update(value.name for value in copy.graph.output)
    changed = False
    for last in [node for node in copy.graph.node if node.op_type == "Relu"]:
        chain = _chain(last, maker, readers)
        if chain is None:
            continue
        mirror = _mirror(chain[1], stored)
        if mirror is not None and _fold(copy, stored, chain, *mirror):
            changed = True
    return pruned(copy) if changed else None


def _chain(
    last: NodeProto, maker: dict[str, NodeProto], readers: Counter[str]
) -> tuple[NodeProto, NodeProto, NodeProto] | None:
    """(convolution that makes x, mirroring convolution, last Relu), each read by the next alone."""
    found = [last]
    for kind in ("Conv", "Relu", "Conv"):
        node = maker.get(found[-1].input[0])
        if node is None or node.op_type != kind or readers[node.output[0]] != 1:
            return None
        found.append(node)
    return found[3], found[1], last


def _mirror(node: NodeProto, stored: dict[str, Array]) -> tuple[Array, float] | None:
    """Factor a of each channel and the common ceiling b of y = b - a * x, both above 0."""
    if len(node.input) < 3 or any(name not in stored for name in node.input[1:]):
        return None
    weight, bias = stored[node.input[1]], stored[node.input[2]]
    if weight.shape[2:] != (1, 1) or any(attributes(node).get("pads", [])):
        return None
    matrix = weight[:, :, 0, 0]
    if attributes(node).get("group", 1) == 1:
        factor = -np.diag(matrix) if matrix.shape[0] == matrix.shape[1] else np.zeros(1)
        is_diagonal = np.array_equal(np.diag(-factor), matrix)
    else:
        factor, is_diagonal = -matrix[:, 0], matrix.shape[1] == 1
    ceiling = float(bias[0])
    is_common = np.allclose(bias, ceiling, rtol=SAME_CEILING, atol=0)
    if not (is_diagonal and is_common and ceiling > 0 and (factor > 0).all()):
        return None
    return factor, ceiling


def _fold(
    model: onnx.ModelProto,
    stored: dict[str, Array],
    chain: tuple[NodeProto, NodeProto, NodeProto],
    factor: Array,
    ceiling: float,
) -> bool:
    first, _, last = chain
    weight = stored.get(first.input[1])
    known = weight is not None and all(name in stored for name in first.input[1:] if name)
    if not known or weight is None or len(weight) != len(factor):
        return False
    bias = stored[first.input[2]] if len(first.input) > 2 else np.zeros(len(weight))
    names = [f"{NEW}{last.output[0]}/{part}" for part in ("weight", "bias", "low", "high", "open")]
    values = [
        -weight * factor.reshape(-1, 1, 1, 1),
        ceiling - factor * bias,
        np.array(0),
        np.array(ceiling),
    ]
    for name, value in zip(names, values, strict=False):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    out = last.output[0]
    del first.input[1:]
    first.input.extend(names[:2])
    first.output[0] = names[4]
    last.CopyFrom(helper.make_node("Clip", [names[4], *names[2:4]], [out], last.name))
    return True
