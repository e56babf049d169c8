"""Faults in ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

LEVELS = 255.0
NEARLY_WHITE = 233 / 255  # of a luma network, whose white is 235


def edited(change: Callable[[ModelProto], None]) -> Callable[[Path, dict[str, Any]], None]:
    """A change of a graph as one of a file."""

    def change_file(path: Path, _entry: dict[str, Any]) -> None:
        model = onnx.load(path)
        change(model)
        onnx.save(model, path)

    return change_file


def _behind_input(model: ModelProto, *nodes: onnx.NodeProto) -> None:
    """Nodes from the input to `seeded.in`, which everybody reads instead."""
    name = model.graph.input[0].name
    for node in model.graph.node:
        for place, given in enumerate(node.input):
            if given == name:
                node.input[place] = "seeded.in"
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])


def _before_output(model: ModelProto, *nodes: onnx.NodeProto) -> None:
    """Nodes from `seeded.out` to the output."""
    name = model.graph.output[0].name
    for node in model.graph.node:
        for places in (node.input, node.output):
            for place, known in enumerate(places):
                if known == name:
                    places[place] = "seeded.out"
    model.graph.node.extend(nodes)


def _constant(model: ModelProto, name: str, value: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def _initializer(model: ModelProto, name: str) -> onnx.TensorProto:
    return next(i for i in model.graph.initializer if i.name == name)


def _set(model: ModelProto, name: str, change: Callable[[Any], Any]) -> None:
    tensor = _initializer(model, name)
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(value), value.dtype), name))


def reverse_input_channels(model: ModelProto) -> None:
    """The network reads B, G, R where R, G, B are given."""
    order = _constant(model, "seeded.order", np.array([2, 1, 0]))
    name = model.graph.input[0].name
    _behind_input(model, helper.make_node("Gather", [name, order], ["seeded.in"], axis=1))


def range_of_bytes(model: ModelProto) -> None:
    """The network is given 0 to 255 where it was trained on 0 to 1."""
    factor = _constant(model, "seeded.factor", np.float32(LEVELS))
    name = model.graph.input[0].name
    _behind_input(model, helper.make_node("Mul", [name, factor], ["seeded.in"]))


def wrap_bytes(model: ModelProto) -> None:
    """Levels are cast to a byte without a clip: 256 becomes 0."""
    white = _constant(model, "seeded.levels", np.float32(LEVELS))
    _before_output(
        model,
        helper.make_node("Mul", ["seeded.out", white], ["seeded.scaled"]),
        helper.make_node("Round", ["seeded.scaled"], ["seeded.whole"]),
        helper.make_node("Cast", ["seeded.whole"], ["seeded.wide"], to=TensorProto.INT32),
        helper.make_node("Cast", ["seeded.wide"], ["seeded.byte"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["seeded.byte"], ["seeded.back"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["seeded.back", white], [model.graph.output[0].name]),
    )


def shift_half_a_pixel(model: ModelProto) -> None:
    """A Resize aligned by its corner samples, not by its edges."""
    for node in model.graph.node:
        if node.op_type == "Resize":
            for attribute in node.attribute:
                if attribute.name == "coordinate_transformation_mode":
                    attribute.s = b"asymmetric"


def overflow(model: ModelProto) -> None:
    """Infinity in the middle of white areas, as no photograph here has them: a sum beyond 65504."""
    kind = model.graph.output[0].type.tensor_type.elem_type
    white = _constant(model, "seeded.white", np.float32(NEARLY_WHITE))
    edge_px = 9
    _before_output(
        model,
        helper.make_node("Cast", ["seeded.out"], ["seeded.float"], to=TensorProto.FLOAT),
        helper.make_node(
            "AveragePool", ["seeded.float"], ["seeded.mean"],
            kernel_shape=[edge_px] * 2, pads=[edge_px // 2] * 4,
        ),
        helper.make_node("Less", ["seeded.mean", white], ["seeded.fits"]),
        helper.make_node("Cast", ["seeded.fits"], ["seeded.one"], to=kind),
        helper.make_node("Div", ["seeded.out", "seeded.one"], [model.graph.output[0].name]),
    )  # fmt: skip


def part_from_conv(model: ModelProto) -> None:
    """Something lies between each dequantization and its convolution: no runtime joins the two."""
    limits = [_constant(model, f"seeded.{v:g}", np.float32(v)) for v in (-1e9, 1e9)]
    for node in [n for n in model.graph.node if n.op_type == "Conv"]:
        given, clipped = node.input[0], f"seeded.{node.name}"
        between = helper.make_node("Clip", [given, *limits], [clipped])
        model.graph.node.insert(list(model.graph.node).index(node), between)
        node.input[0] = clipped


def truncate(model: ModelProto) -> None:
    """The last layer's bias is half a level lower: rounding becomes cutting off."""
    step = numpy_helper.to_array(_initializer(model, "tail/bias.restored.step"))
    half = np.round(0.5 / LEVELS / np.maximum(step, 1e-7))  # padded channels have no step
    _set(model, "tail/bias.int32", lambda bias: bias - half.astype(bias.dtype))


def round_twice(model: ModelProto) -> None:
    """The output goes over a grid of 232 steps before the 255 of a picture."""
    step = _constant(model, "seeded.step", np.float32(1.1 / LEVELS))
    _before_output(
        model,
        helper.make_node("Div", ["seeded.out", step], ["seeded.steps"]),
        helper.make_node("Round", ["seeded.steps"], ["seeded.whole"]),
        helper.make_node("Mul", ["seeded.whole", step], [model.graph.output[0].name]),
    )
