"""Look-ups over an ONNX graph: who makes a tensor, who reads it, what is constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class GraphView:
    """One graph as it is now; make a new view after editing it."""

    model: onnx.ModelProto
    producer: Mapping[str, onnx.NodeProto]
    consumers: Mapping[str, tuple[onnx.NodeProto, ...]]
    constants: Mapping[str, Array]
    ranks: Mapping[str, int]  # of float32 tensors only

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """In topological order."""
        return list(self.model.graph.node)

    @property
    def input(self) -> str:
        """Name of the picture that goes in."""
        return str(self.model.graph.input[0].name)

    @property
    def output(self) -> str:
        """Name of the picture that comes out."""
        return str(self.model.graph.output[0].name)

    def dynamic_inputs(self, node: onnx.NodeProto) -> list[str]:
        """Float inputs of `node` that depend on the picture, in order, repeats kept."""
        return [name for name in node.input if name in self.ranks]

    def only_consumer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that alone reads `tensor`; None for several, none, or a graph output."""
        readers = self.consumers.get(tensor, ())
        return readers[0] if len(readers) == 1 and tensor != self.output else None


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that can be edited."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Value of an attribute, or `default` where the node has none of that name."""
    for candidate in node.attribute:
        if candidate.name == name:
            return helper.get_attribute_value(candidate)
    return default


def with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own, and constants are initializers."""
    named = copied(model)
    kept: list[onnx.NodeProto] = []
    seen: set[str] = set()
    for node in named.graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if value is not None:
            stored = numpy_helper.from_array(numpy_helper.to_array(value), node.output[0])
            named.graph.initializer.append(stored)
            continue
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{node.output[0]}"
        seen.add(node.name)
        kept.append(node)
    del named.graph.node[:]
    named.graph.node.extend(kept)
    return named


def with_nodes(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> GraphView:
    """`model` itself with these nodes in place of its own, indexed anew."""
    del model.graph.node[:]
    del model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return view(model)


def _picture_dependent(model: onnx.ModelProto) -> dict[str, int]:
    """Rank of every float32 tensor whose values depend on the picture, in topological order."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {v.name: v.type.tensor_type for v in (*inferred.value_info, *inferred.output)}
    picture = model.graph.input[0].name
    depends = {picture}
    ranks = {picture: 4}
    for node in model.graph.node:
        if node.op_type in ("Shape", "Size") or not depends & set(node.input):
            continue
        depends.update(node.output)
        for name in node.output:
            kind = known.get(name)
            if kind is not None and kind.elem_type == onnx.TensorProto.FLOAT:
                ranks[name] = len(kind.shape.dim) if kind.HasField("shape") else 4
    return ranks


def view(model: onnx.ModelProto) -> GraphView:
    """Index `model`, whose nodes must be named (`with_names`)."""
    producer = {out: node for node in model.graph.node for out in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    return GraphView(
        model=model,
        producer=producer,
        consumers={name: tuple(nodes) for name, nodes in readers.items()},
        constants={t.name: numpy_helper.to_array(t) for t in model.graph.initializer},
        ranks=_picture_dependent(model),
    )


def set_constant(model: onnx.ModelProto, name: str, value: Array) -> None:
    """Replace or add one initializer; the value keeps its own dtype."""
    stored = numpy_helper.from_array(np.ascontiguousarray(value), name)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(stored)
            return
    model.graph.initializer.append(stored)


def fix_size(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """A copy whose input is (1, C, height, width); other sizes are left to inference."""
    fixed = copied(model)
    shape = fixed.graph.input[0].type.tensor_type.shape
    for axis, size in ((0, 1), (2, height), (3, width)):
        shape.dim[axis].Clear()
        shape.dim[axis].dim_value = size
    for axis in (0, 2, 3):
        fixed.graph.output[0].type.tensor_type.shape.dim[axis].Clear()
    del fixed.graph.value_info[:]
    return fixed
