"""INT8 weights that a float spine file carries in its metadata, for every backend to take up."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from toolkit.quant.view import Array, copied, set_constant

ROUNDED_KEY = "edgesr.int8_weights"


@dataclass(frozen=True, kw_only=True)
class RoundedWeights:
    """int8 weights in the float weight's shape, a float32 step per output channel, and the bias
    (float32, per output channel) that takes up the mean error."""

    stored: Array
    steps: Array
    bias: Array


def keep_rounded(model: onnx.ModelProto, rounded: Mapping[str, RoundedWeights]) -> onnx.ModelProto:
    """A copy of the float model that carries `rounded` in its metadata; its numbers stay."""
    arrays = {
        f"{name}|{part}": getattr(weights, part)
        for name, weights in sorted(rounded.items())
        for part in ("stored", "steps", "bias")
    }
    packed = b"".join(array.tobytes() for array in arrays.values())
    index = [[key, str(array.dtype), list(array.shape)] for key, array in arrays.items()]
    value = json.dumps({"index": index, "data": base64.b85encode(zlib.compress(packed)).decode()})
    carrying = without_rounded(model)
    carrying.metadata_props.add(key=ROUNDED_KEY, value=value)
    return carrying


def without_rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the metadata of `keep_rounded`: what a float artefact stores."""
    clean = copied(model)
    kept = [entry for entry in clean.metadata_props if entry.key != ROUNDED_KEY]
    del clean.metadata_props[:]
    clean.metadata_props.extend(kept)
    return clean


def kept_rounded(model: onnx.ModelProto) -> dict[str, RoundedWeights]:
    """What `keep_rounded` stored, by node name; empty where nothing was."""
    for entry in model.metadata_props:
        if entry.key != ROUNDED_KEY:
            continue
        value = json.loads(entry.value)
        packed, offset = zlib.decompress(base64.b85decode(value["data"])), 0
        parts: dict[str, dict[str, Array]] = {}
        for key, dtype, shape in value["index"]:
            count = int(np.prod(shape, dtype=np.int64))
            array = np.frombuffer(packed, dtype, count, offset).reshape(shape)
            offset += array.nbytes
            name, part = key.rsplit("|", 1)
            parts.setdefault(name, {})[part] = array
        return {name: RoundedWeights(**arrays) for name, arrays in parts.items()}
    return {}


def snapped(model: onnx.ModelProto, *, skip: Collection[str] = ()) -> onnx.ModelProto:
    """The model an INT8 file is made from: each carried weight lies on its row's int8 grid.

    Step = largest weight of the row / 127 gives the carried integers back, so a backend that
    rounds so needs to know no more. Nodes named in `skip` keep their float weights; models that
    carry nothing come back as they are. Nodes must be named (`view.with_names`).
    """
    rounded = kept_rounded(model)
    changed = without_rounded(model)
    for node in changed.graph.node:
        weights = rounded.get(node.name)
        if weights is None or node.name in skip:
            continue
        steps = weights.steps if node.op_type == "MatMul" else weights.steps.reshape(-1, 1, 1, 1)
        set_constant(changed, node.input[1], weights.stored.astype(np.float32) * steps)
        if node.op_type == "Conv":
            set_bias(changed, node, weights.bias)
    return changed


def set_bias(model: onnx.ModelProto, node: onnx.NodeProto, bias: Array) -> None:
    """Give a convolution of `model` this bias, replacing the one it has."""
    name = f"{node.name}.corrected_bias"
    set_constant(model, name, bias)
    if len(node.input) > 2:
        node.input[2] = name
    else:
        node.input.append(name)
