"""How large a network is: multiply-accumulates, parameters, channels of each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx

from toolkit.model.graph import (
    arrays,
    attributes,
    dims,
    inferred,
    shapes_of,
    tile_of,
    with_input_shape,
)

MACS_INPUT_PX = (360, 640)  # height and width at which multiply-accumulates are counted


def layer_positions(model: onnx.ModelProto) -> dict[str, int]:
    """How often each convolution's weights are used on one input of `MACS_INPUT_PX`.

    By node; a file of fixed size counts at that size.
    """
    tile = tile_of(model) or MACS_INPUT_PX
    shape = dims(model.graph.input[0])
    assert shape is not None  # a spine states its channels
    shapes = shapes_of(inferred(with_input_shape(model, (1, shape[1] or 1, *tile))))
    found = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            used = shapes[node.input[0] if node.op_type == "ConvTranspose" else node.output[0]]
            found[node.output[0]] = math.prod(size or 1 for size in used[2:])
    return found


def macs_of(model: onnx.ModelProto, positions: Mapping[str, int]) -> int:
    """Multiply-accumulates of all convolutions, with `layer_positions` of the unpruned network."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.output[0] in positions]
    return sum(positions[n.output[0]] * sizes.get(n.input[1], 0) for n in layers)


def parameters_of(model: onnx.ModelProto) -> int:
    """Numbers stored in float tensors."""
    stored = arrays(model.graph).values()
    return sum(values.size for values in stored if values.dtype == np.float32)


def layer_channels(model: onnx.ModelProto) -> dict[str, int]:
    """Output channels of each convolution, by node name (its first output where it has none)."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in shapes:
            found[node.name or node.output[0]] = shapes[node.input[1]][0]
        elif node.op_type == "ConvTranspose" and node.input[1] in shapes:
            groups = attributes(node).get("group", 1)
            found[node.name or node.output[0]] = shapes[node.input[1]][1] * groups
    return found
