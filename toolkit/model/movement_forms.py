"""The one form the spine uses for each movement of pixels that `movement` recognises."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from toolkit.model.graph import Array, arrays, attributes, copy_of, pruned
from toolkit.model.movement import Channels, Finding, Nearest, Shuffle, Unshuffle, runs
from toolkit.model.rewrite import NEW


def replaced(model: onnx.ModelProto, finding: Finding) -> onnx.ModelProto:
    """A copy in which the end of the chain is made by the known form."""
    copy = copy_of(model)
    result, meaning = finding.chain.result, finding.meaning
    if isinstance(meaning, Unshuffle):
        meaning = _folded(copy, result, meaning, finding.channels)
    tensors: list[TensorProto] = []
    match meaning:
        case Channels():
            nodes = _channels(finding.chain.source, result, meaning, finding.channels, tensors)
        case Shuffle():
            nodes = [_shuffle(finding.chain.source, result, meaning)]
        case Nearest():
            nodes = [_nearest(finding.chain.source, result, meaning, tensors)]
        case Unshuffle():
            nodes = _unshuffle(finding.chain.source, result, meaning, finding.channels, tensors)
    _put(copy, result, nodes)
    copy.graph.initializer.extend(tensors)
    return pruned(copy)


def _put(model: onnx.ModelProto, result: str, nodes: list[NodeProto]) -> None:
    """Insert `nodes` behind the node that made `result` so far, which now makes nothing."""
    before: list[NodeProto] = []
    for node in model.graph.node:
        before.append(node)
        if result in node.output:
            node.output[list(node.output).index(result)] = f"{NEW}{result}/old"
            before.extend(nodes)
    del model.graph.node[:]
    model.graph.node.extend(before)


def _shuffle(source: str, result: str, meaning: Shuffle) -> NodeProto:
    return helper.make_node(
        "DepthToSpace", [source], [result], result, blocksize=meaning.block, mode=meaning.mode
    )


def _nearest(source: str, result: str, meaning: Nearest, tensors: list[TensorProto]) -> NodeProto:
    name = f"{NEW}{result}/scales"
    scales = np.array([1, 1, meaning.factor, meaning.factor], np.float32)
    tensors.append(numpy_helper.from_array(scales, name))
    return helper.make_node(
        "Resize",
        [source, "", name],
        [result],
        result,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _channels(
    source: str, result: str, meaning: Channels, channels: int, tensors: list[TensorProto]
) -> list[NodeProto]:
    """Slices of the source, each made once, side by side: operators that every device has."""
    spans = runs(meaning.order)
    nodes: list[NodeProto] = []
    names = {(0, channels): source}
    for span in spans:
        if span not in names:
            names[span] = f"{NEW}{result}/{span[0]}-{span[1]}"
            nodes.append(_slice(source, names[span], span, tensors))
    if len(spans) > 1:
        parts = [names[span] for span in spans]
        return [*nodes, helper.make_node("Concat", parts, [result], result, axis=1)]
    if not nodes:
        return [helper.make_node("Identity", [source], [result], result)]
    nodes[0].output[0] = result
    return nodes


def _slice(
    source: str, result: str, span: tuple[int, int], tensors: list[TensorProto]
) -> NodeProto:
    values = {"starts": [span[0]], "ends": [span[1]], "axes": [1]}
    names = [f"{NEW}{result}/{part}" for part in values]
    for name, numbers in zip(names, values.values(), strict=True):
        tensors.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
    return helper.make_node("Slice", [source, *names], [result], f"{result}/slice")


def _unshuffle(
    source: str, result: str, meaning: Unshuffle, channels: int, tensors: list[TensorProto]
) -> list[NodeProto]:
    total = channels * meaning.block**2
    sorted_already = meaning.order == tuple(range(total))
    deep = result if sorted_already else f"{NEW}{result}/deep"
    node = helper.make_node("SpaceToDepth", [source], [deep], f"{deep}", blocksize=meaning.block)
    if sorted_already:
        return [node]
    return [node, *_channels(deep, result, Channels(order=meaning.order), total, tensors)]


def _folded(model: onnx.ModelProto, result: str, meaning: Unshuffle, channels: int) -> Unshuffle:
    """Put the channel order into the convolutions that read the result, where only such do."""
    stored = arrays(model.graph)
    readers = [node for node in model.graph.node if result in node.input]
    uses = [name for node in model.graph.node for name in node.input]
    total = channels * meaning.block**2
    foldable = readers and all(
        node.op_type == "Conv"
        and attributes(node).get("group", 1) == 1
        and node.input[1] in stored
        and uses.count(node.input[1]) == 1
        for node in readers
    )
    if not foldable or result in {output.name for output in model.graph.output}:
        return meaning
    for node in readers:
        _write(model, node.input[1], _reordered(stored[node.input[1]], meaning.order, total))
    return Unshuffle(block=meaning.block, order=tuple(range(total)))


def _reordered(weight: Array, order: tuple[int, ...], total: int) -> Array:
    """Weights (outputs, len(order), k, k) for input channels in SpaceToDepth's own order."""
    wide = np.zeros((weight.shape[0], total, *weight.shape[2:]), weight.dtype)
    for place, channel in enumerate(order):
        wide[:, channel] += weight[:, place]
    return wide


def _write(model: onnx.ModelProto, name: str, values: Array) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(values, name))
