"""Brings nodes of opset 7 to 22 into the form of opset 17: each operator has one meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import UserError

Array = npt.NDArray[Any]
OLDEST, NEWEST = 7, 22


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operator. An omitted input is ""; attributes are numbers, strings, tuples or arrays."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def input(self, position: int) -> str:
        """The name of an input, "" where it is omitted."""
        return self.inputs[position] if position < len(self.inputs) else ""

    def without(self, *names: str) -> Node:
        """The same node without some attributes."""
        kept = {k: v for k, v in self.attributes.items() if k not in names}
        return replace(self, attributes=kept)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a rewrite may look at, and the constants to which it may add."""

    opset: int
    constants: dict[str, Array]
    ranks: Mapping[str, int]

    def constant(self, node: Node, position: int) -> Array | None:
        """The value of an input that must be known now; None where it is omitted."""
        name = node.input(position)
        if not name:
            return None
        if name not in self.constants:
            raise UserError(
                f"input {position} of `{node.kind}` is computed by the network",
                where=f"node `{node.name}`",
                hint="re-export with constant arguments, or simplify the file with onnxslim first",
            )
        return self.constants[name]

    def rank(self, node: Node) -> int:
        """How many axes the first input has."""
        if node.inputs[0] not in self.ranks:
            raise UserError(
                f"the rank of `{node.inputs[0]}`, which `{node.kind}` reads, is not known",
                where=f"node `{node.name}`",
                hint="re-export at opset 17, or run shape inference on the file first",
            )
        return self.ranks[node.inputs[0]]

    def name_constant(self, node: Node, label: str, value: Array) -> str:
        """Add a constant and return its name."""
        name = f"{node.name}.{label}"
        self.constants[name] = value
        return name


Rewrite = Callable[[Node, Surroundings], Node]


def _attributes_to_inputs(*labels: str) -> Rewrite:
    """Old form: these attributes became inputs 1, 2, ... of the same meaning."""

    def rewrite(node: Node, around: Surroundings) -> Node:
        if len(node.inputs) > 1 or not any(label in node.attributes for label in labels):
            return node
        added = [
            around.name_constant(node, label, _constant_of(node.attributes[label]))
            if label in node.attributes
            else ""
            for label in labels
        ]
        return replace(node.without(*labels), inputs=(*node.inputs, *added))

    return rewrite


def _constant_of(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)


def _axes_to_attribute(node: Node, around: Surroundings) -> Node:
    """New form: reductions read their axes from input 1."""
    axes = around.constant(node, 1)
    keep_all = node.attributes.get("noop_with_empty_axes", 0)
    node = replace(node.without("noop_with_empty_axes"), inputs=node.inputs[:1])
    if axes is None or axes.size == 0:
        return replace(node, kind="Identity", attributes={}) if keep_all else node
    chosen = tuple(int(axis) for axis in axes)
    return replace(node, attributes={**node.attributes, "axes": chosen})


def _reduce_sum(node: Node, around: Surroundings) -> Node:
    node = _attributes_to_inputs("axes")(node, around)
    if node.attributes.get("noop_with_empty_axes", 0) and not node.input(1):
        return replace(node, kind="Identity", attributes={})
    return node.without("noop_with_empty_axes")


def _softmax(node: Node, around: Surroundings) -> Node:
    if around.opset >= 13:
        return node
    axis = int(node.attributes.get("axis", 1))
    if axis != -1 and axis != around.rank(node) - 1:
        raise UserError(
            f"`{node.kind}` of opset {around.opset} flattens the axes from {axis} on",
            where=f"node `{node.name}`",
            hint="re-export at opset 13 or newer, where it works along one axis",
        )
    return replace(node, attributes={"axis": axis})


def _clip(node: Node, around: Surroundings) -> Node:
    return _attributes_to_inputs("min", "max")(node, around)


def _pad(node: Node, around: Surroundings) -> Node:
    node = _attributes_to_inputs("pads", "value")(node, around)
    if not node.input(3):
        return replace(node, inputs=node.inputs[:3])
    axes, pads = around.constant(node, 3), around.constant(node, 1)
    assert axes is not None and pads is not None
    full = np.zeros((2, around.rank(node)), dtype=np.int64)
    full[:, axes] = pads.reshape(2, -1)
    name = around.name_constant(node, "pads", full.reshape(-1))
    return replace(node, inputs=(node.inputs[0], name, *node.inputs[2:3]))


def _resize(node: Node, around: Surroundings) -> Node:
    if around.opset < 11:
        mode = node.attributes.get("mode", "nearest")
        attributes = {
            "mode": "nearest" if mode == "nearest" else "linear",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        scales = node.input(1)
        if "scales" in node.attributes:  # Upsample of opset 7
            scales = around.name_constant(node, "scales", _constant_of(node.attributes["scales"]))
        return replace(
            node, kind="Resize", inputs=(node.inputs[0], "", scales), attributes=attributes
        )
    if node.attributes.get("antialias", 0) or "axes" in node.attributes:
        raise UserError(
            "`Resize` with `antialias` or `axes` is not understood",
            where=f"node `{node.name}`",
            hint="interpolate all four axes without antialiasing, or do it outside the network",
        )
    return node.without("antialias", "keep_aspect_ratio_policy")


def _split(node: Node, around: Surroundings) -> Node:
    node = _attributes_to_inputs("split")(node, around).without("num_outputs")
    return replace(node, attributes={**node.attributes, "outputs": len(node.outputs)})


def _dropout(node: Node, around: Surroundings) -> Node:
    return replace(
        node, kind="Identity", inputs=node.inputs[:1], outputs=node.outputs[:1], attributes={}
    )


def _batch_normalization(node: Node, around: Surroundings) -> Node:
    if node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise UserError(
            "`BatchNormalization` is in training mode",
            where=f"node `{node.name}`",
            hint="call `.eval()` on the network before exporting it",
        )
    return node.without("training_mode", "momentum", "spatial", "is_test")


def _cast(node: Node, around: Surroundings) -> Node:
    return replace(node, attributes={"to": narrowed_type(int(node.attributes["to"]))})


def _max_pool(node: Node, around: Surroundings) -> Node:
    return replace(node.without("storage_order"), outputs=node.outputs[:1])


def narrowed_type(number: int) -> int:
    """ONNX type number of float32, int64 or bool for any float, integer or boolean type."""
    if number == 9:
        return 9
    return 1 if number in (1, 10, 11, 16) else 7


REWRITES: dict[str, Rewrite] = {
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Dropout": _dropout,
    "LogSoftmax": _softmax,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ReduceL1": _axes_to_attribute,
    "ReduceL2": _axes_to_attribute,
    "ReduceMax": _axes_to_attribute,
    "ReduceMean": _axes_to_attribute,
    "ReduceMin": _axes_to_attribute,
    "ReduceProd": _axes_to_attribute,
    "ReduceSum": _reduce_sum,
    "ReduceSumSquare": _axes_to_attribute,
    "Resize": _resize,
    "Slice": _attributes_to_inputs("starts", "ends", "axes"),
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _attributes_to_inputs("axes"),
    "Unsqueeze": _attributes_to_inputs("axes"),
    "Upsample": _resize,
}


def as_opset_17(node: Node, around: Surroundings) -> Node:
    """The node in the form of opset 17; unchanged where the form never changed."""
    rewrite = REWRITES.get(node.kind)
    return node if rewrite is None else rewrite(node, around)
