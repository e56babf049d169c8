"""The ONNX file itself: opened safely, walked, named and given static sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.model.external import inline_external
from toolkit.model.trial import SLIM_FAILURES, quiet_slim

Array = npt.NDArray[Any]

LIMIT_BYTES = 512 << 20  # of the file and its external data; SR networks for devices take few MB
STANDARD_DOMAINS = ("", "ai.onnx")
CONTROL_FLOW = ("If", "Loop", "Scan")
MAY_BE_INFINITE = ("Clip", "Where", "Pad", "Max", "Min")  # infinity means "no limit" there
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def load_checked(path: Path, warnings: list[str] | None = None) -> onnx.ModelProto:
    """Open an untrusted ONNX file; it is only read, never written to or run.

    The result has one real input and one output, its weights inside, and model-local functions
    expanded. What is odd but usable is appended to `warnings`. Raises SecurityError for external
    data outside the model's folder, UserError (all problems at once) for everything else.
    """
    model = _parsed(path)
    inline_external(model, path.parent, LIMIT_BYTES - path.stat().st_size)
    if model.functions:
        model = _inlined(model, path)
    _drop_weights_from_inputs(model.graph)
    problems: list[ToolkitError] = [
        *_io_problems(model.graph, path),
        *_operator_problems(model, path),
        *_weight_problems(model.graph, path),
    ]
    raise_all(problems)
    if warnings is not None:
        warnings.extend(_zero_weights(model.graph))
    return model


def load_parsed(path: Path) -> onnx.ModelProto:
    """Open an untrusted ONNX file that may be quantized, to read what it takes and gives.

    Its weights are inside; no operator is checked. Raises SecurityError for external data outside
    the model's folder, UserError where the file is damaged or too large.
    """
    model = _parsed(path)
    inline_external(model, path.parent, LIMIT_BYTES - path.stat().st_size)
    _drop_weights_from_inputs(model.graph)
    raise_all([*_io_problems(model.graph, path)])
    return model


def _parsed(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        what = "is not a plain file" if path.exists() else "does not exist"
        raise UserError(f"`{path.name}` {what}", where=str(path))
    size = path.stat().st_size
    if size > LIMIT_BYTES:
        raise UserError(
            f"`{path.name}` is too large: `{size}` bytes, at most `{LIMIT_BYTES}`",
            where=str(path),
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise _damaged(path, size) from None
    if not model.graph.node or not model.opset_import:
        raise _damaged(path, size)
    return model


def _damaged(path: Path, size: int) -> UserError:
    found = "is empty, `0` bytes" if size == 0 else f"is no readable ONNX file, `{size}` bytes"
    return UserError(
        f"`{path.name}` {found}",
        where=str(path),
        hint="it may be cut short or of another format: copy or export it again",
    )


def _inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except RuntimeError as failure:
        raise UserError(
            f"model-local functions cannot be expanded: {failure}", where=str(path)
        ) from failure


def _drop_weights_from_inputs(graph: GraphProto) -> None:
    """Files of IR version 3 and older list their weights among the inputs."""
    stored = {tensor.name for tensor in graph.initializer}
    real = [value for value in graph.input if value.name not in stored]
    del graph.input[:]
    graph.input.extend(real)


def _io_problems(graph: GraphProto, path: Path) -> Iterator[UserError]:
    for kind, values in (("input", graph.input), ("output", graph.output)):
        if len(values) == 1:
            continue
        listed = ", ".join(f"`{value.name}`" for value in values) or "none"
        yield UserError(
            f"the network has {len(values)} {kind}s, a super-resolution network has one: {listed}",
            where=str(path),
            hint=f"export it with the image as the only {kind}",
        )


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from all_nodes(inner)


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operator set, 0 where the file imports none."""
    return max((o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS), default=0)


def _operator_problems(model: onnx.ModelProto, path: Path) -> Iterator[UserError]:
    opset = opset_of(model)
    seen = set()
    for node in all_nodes(model.graph):
        key = (node.domain, node.op_type)
        if key in seen or _is_known(node, opset):
            continue
        seen.add(key)
        title = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        quantized = node.op_type.endswith("Linear") or node.op_type.startswith("QLinear")
        yield UserError(
            f"operator `{title}` at node `{node.name or node.output[0]}` "
            + ("is quantized already" if quantized else f"is not a standard one of opset {opset}"),
            where=str(path),
            hint="hand in the float network" if quantized else "export it with plain operators",
        )


def _is_known(node: NodeProto, opset: int) -> bool:
    if node.domain not in STANDARD_DOMAINS or node.op_type.endswith("Linear"):
        return False
    newest = min(max(opset, 1), onnx.defs.onnx_opset_version())
    return bool(onnx.defs.has(node.op_type, newest, ""))


def constants(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Names and tensors of initializers and of Constant nodes."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def _weight_problems(graph: GraphProto, path: Path) -> Iterator[UserError]:
    users: dict[str, set[str]] = {}
    for node in all_nodes(graph):
        for name in node.input:
            users.setdefault(name, set()).add(node.op_type)
    for name, tensor in constants(graph):
        if tensor.data_type not in FLOATS:
            continue
        try:
            values = numpy_helper.to_array(tensor).astype(np.float64)
        except (ValueError, TypeError) as failure:
            yield UserError(f"tensor `{name}` is damaged: {failure}", where=str(path))
            continue
        finite = np.isfinite(values)
        if users.get(name, set()) and users[name] <= set(MAY_BE_INFINITE):
            finite |= np.isinf(values)
        if not finite.all():
            yield _not_finite(name, values, np.argwhere(~finite), path)


def _not_finite(name: str, values: Array, bad: Array, path: Path) -> UserError:
    first = tuple(int(i) for i in bad[0])
    place = f"[{', '.join(map(str, first))}]"
    return UserError(
        f"tensor `{name}` holds `{values[first]}` at {place}, "
        f"{len(bad)} of {values.size} values are not finite",
        where=str(path),
        hint="train or export the network again",
    )


def _zero_weights(graph: GraphProto) -> Iterator[str]:
    stored = dict(constants(graph))
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in stored:
            continue
        if not numpy_helper.to_array(stored[node.input[1]]).any():
            yield f"all weights `{node.input[1]}` of node `{node.name or node.output[0]}` are zero"


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in a message of its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def arrays(graph: GraphProto) -> dict[str, Array]:
    """Initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def attributes(node: NodeProto) -> dict[str, Any]:
    """Attributes by name; byte strings as text."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def dims(value: ValueInfoProto) -> tuple[int | None, ...] | None:
    """The shape of a tensor with None for free sizes; None where even the rank is unknown."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    shape = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in shape)


def set_dims(value: ValueInfoProto, shape: tuple[int | str, ...]) -> None:
    """Write a shape; text is the name of a free size."""
    holder = value.type.tensor_type.shape
    holder.Clear()
    for size in shape:
        entry = holder.dim.add()
        if isinstance(size, str):
            entry.dim_param = size
        else:
            entry.dim_value = size


def with_input_shape(model: onnx.ModelProto, shape: tuple[int | str, ...]) -> onnx.ModelProto:
    """A copy with this input shape, and all that was inferred from the old one forgotten."""
    copy = copy_of(model)
    set_dims(copy.graph.input[0], shape)
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return copy


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with `value_info` for every tensor that ONNX can infer. Raises InferenceError."""
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Shapes of inputs, outputs, inferred tensors and initializers, by name."""
    graph = model.graph
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shape = dims(value)
        if shape is not None:
            found[value.name] = shape
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose every node has a name of its own; good names are kept."""
    copy = copy_of(model)
    counts = Counter(node.name for node in copy.graph.node)
    used = {name for name, count in counts.items() if name and count == 1}
    for index, node in enumerate(copy.graph.node):
        if node.name in used:
            continue
        name = f"{node.op_type}_{index}"
        while name in used:
            name += "_"
        node.name = name
        used.add(name)
    return copy


def pruned(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without nodes and initializers that do not reach an output."""
    copy = copy_of(model)
    needed = {output.name for output in copy.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(copy.graph.node):
        if needed.isdisjoint(node.output):
            continue
        kept.append(node)
        needed.update(node.input)
    del copy.graph.node[:]
    copy.graph.node.extend(reversed(kept))
    stored = [tensor for tensor in copy.graph.initializer if tensor.name in needed]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(stored)
    return copy


def tile_of(model: onnx.ModelProto) -> tuple[int, int] | None:
    """Input height and width where the file fixes them, else None."""
    shape = dims(model.graph.input[0])
    if shape is None or len(shape) != 4 or shape[2] is None or shape[3] is None:
        return None
    return shape[2], shape[3]


def specialise(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """The same spine network with N = 1, `height` and `width` static everywhere.

    All shape arithmetic is folded into constants and every tensor has a static shape in
    `value_info`, or in the output. Raises UserError where the network does not take this size.
    """
    fixed = tile_of(model)
    shape = dims(model.graph.input[0])
    if (fixed is not None and fixed != (height, width)) or shape is None or shape[1] is None:
        raise UserError(
            f"the network takes `{shape}`, not height `{height}` and width `{width}`",
            hint="it was exported at a fixed size: use that tile size, or export it with free ones",
        )
    static = with_input_shape(model, (1, shape[1], height, width))
    try:
        result = named(inferred(_unshaped(quiet_slim(static))))
    except (onnx.shape_inference.InferenceError, *SLIM_FAILURES) as failure:
        raise UserError(
            f"the network does not take height `{height}` and width `{width}`: "
            f"{' '.join(str(failure).split())[:300]}"
        ) from failure
    _demand_static(result, height, width)
    return result


def _unshaped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what another tool inferred, which may contradict ONNX's own inference."""
    shape = dims(model.graph.input[0])
    assert shape is not None
    return with_input_shape(model, tuple(size or 1 for size in shape))


def _demand_static(model: onnx.ModelProto, height: int, width: int) -> None:
    shapes = shapes_of(model)
    for node in model.graph.node:
        for name in node.output:
            shape = shapes.get(name, (None,))
            if any(size is not None and size < 1 for size in shape):
                raise UserError(
                    f"the network does not take height `{height}` and width `{width}`: "
                    f"nothing is left of it in tensor `{name}`"
                )
            if name and None in shape:
                raise UserError(
                    f"operator `{node.op_type}` at node `{node.name}` gives tensor `{name}` a size "
                    f"that depends on pixel values at {height} x {width}",
                    hint="export the network without data-dependent sizes",
                )
