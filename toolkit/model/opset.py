"""One operator set for every network: older ones are raised to it, newer ones lowered to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper, version_converter
from onnx.onnx_cpp2py_export.version_converter import ConvertError

from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.model.graph import STANDARD_DOMAINS, attributes, constants, copy_of, opset_of
from toolkit.model.network import OPSET

OLDEST = 9  # Upsample and Pad of opset 9 and 10 have adapters in onnx; older files do not
IR_VERSION = 8  # of opset 17, onnx `VERSIONING.md`


def at_opset(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The same network at `OPSET`. Raises UserError naming what cannot be brought there."""
    version = opset_of(model)
    if version < OLDEST:
        raise UserError(
            f"opset `{version}` is too old, at least `{OLDEST}` is needed",
            where=where,
            hint=f"export the network again with opset {OPSET}",
        )
    result = _lowered(model, where) if version > OPSET else _raised(model, version, where)
    result.ir_version = IR_VERSION
    return result


def _raised(model: onnx.ModelProto, version: int, where: str) -> onnx.ModelProto:
    source = copy_of(model)
    _keep_standard_domain(source, version)
    if version == OPSET:
        return source
    source.ir_version = max(source.ir_version, 4)  # weights need not be inputs from 4 on
    try:
        return version_converter.convert_version(source, OPSET)
    except (RuntimeError, ConvertError) as failure:
        text = " ".join(str(failure).split())[:300]
        raise UserError(
            f"opset `{version}` cannot be converted to {OPSET}: {text}",
            where=where,
            hint=f"export the network again with opset {OPSET}",
        ) from failure


def _keep_standard_domain(model: onnx.ModelProto, version: int) -> None:
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", version))
    for node in model.graph.node:
        if node.domain in STANDARD_DOMAINS:
            node.domain = ""


def _lowered(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Newer operator sets mostly add types and default attributes; the rest is rewritten here."""
    result = copy_of(model)
    version = opset_of(model)
    _keep_standard_domain(result, OPSET)
    stored = {name: numpy_helper.to_array(tensor) for name, tensor in constants(model.graph)}
    nodes: list[NodeProto] = []
    for node in result.graph.node:
        nodes.extend(_LOWER.get(node.op_type, _unchanged)(node, stored))
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    for name, values in stored.items():
        if name.startswith(_NEW):
            result.graph.initializer.append(numpy_helper.from_array(values, name))
    problems: list[ToolkitError] = []
    for node in nodes:
        why = _unfit(node)
        if why:
            title = f"operator `{node.op_type}` at node `{node.name or node.output[0]}`"
            problems.append(
                UserError(
                    f"{title} of opset {version} does not exist in opset {OPSET}: {why}",
                    where=where,
                    hint=f"export the network with opset {OPSET}",
                )
            )
    raise_all(problems)
    return result


_NEW = "edgesr/opset/"
Stored = dict[str, np.ndarray]


def _unchanged(node: NodeProto, stored: Stored) -> list[NodeProto]:
    return [node]


def _unfit(node: NodeProto) -> str:
    """Why a node is not one of `OPSET`, or an empty string."""
    if not onnx.defs.has(node.op_type, OPSET, ""):
        return "there is no such operator"
    schema = onnx.defs.get_schema(node.op_type, OPSET, "")
    unknown = sorted({a.name for a in node.attribute} - set(schema.attributes))
    if unknown:
        return f"attribute `{unknown[0]}` is newer"
    if len(node.input) > schema.max_input:
        return f"its input `{node.input[schema.max_input]}` is newer"
    return ""


def _without(node: NodeProto, *names: str) -> NodeProto:
    kept = [a for a in node.attribute if a.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return node


def _drop_defaults(**defaults: object) -> Callable[[NodeProto, Stored], list[NodeProto]]:
    """Forget attributes that say what an older operator does anyway."""

    def lower(node: NodeProto, stored: Stored) -> list[NodeProto]:
        found = attributes(node)
        same = [name for name, value in defaults.items() if found.get(name) == value]
        return [_without(node, *same)]

    return lower


def _axes_to_attribute(node: NodeProto, stored: Stored) -> list[NodeProto]:
    """Reductions of opset 18 take their axes as an input."""
    found = attributes(node)
    if len(node.input) < 2 or not node.input[1]:
        if found.get("noop_with_empty_axes"):
            return [helper.make_node("Identity", node.input[:1], node.output, node.name)]
        del node.input[1:]
        return [_without(node, "noop_with_empty_axes")]
    if node.input[1] in stored:
        axes = stored[node.input[1]].reshape(-1).tolist()
        del node.input[1:]
        node.attribute.append(helper.make_attribute("axes", axes))
        _without(node, "noop_with_empty_axes")
    return [node]


def _pad(node: NodeProto, stored: Stored) -> list[NodeProto]:
    """Pad of opset 18 may name its axes; the rank is that of an image."""
    if len(node.input) < 4 or not node.input[3]:
        del node.input[3:]
        return [node]
    if node.input[1] in stored and node.input[3] in stored:
        axes = stored[node.input[3]].reshape(-1)
        given = stored[node.input[1]].reshape(2, -1)
        pads = np.zeros((2, 4), np.int64)
        pads[:, axes] = given
        name = f"{_NEW}{node.output[0]}/pads"
        stored[name] = pads.reshape(-1)
        node.input[1] = name
        del node.input[3:]
    return [node]


def _resize(node: NodeProto, stored: Stored) -> list[NodeProto]:
    """Resize of opset 18 may name its axes; those of an image are the last two of four."""
    found = attributes(node)
    defaults = {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}
    _without(node, *(name for name, value in defaults.items() if found.get(name) == value))
    scales = node.input[2] if len(node.input) > 2 else ""
    if found.get("axes") in ([2, 3], [-2, -1]) and scales in stored:
        name = f"{_NEW}{node.output[0]}/scales"
        stored[name] = np.concatenate([np.ones(2, np.float32), stored[scales].reshape(-1)])
        node.input[2] = name
        _without(node, "axes")
    return [node]


def _constant(node: NodeProto, value: float, name: str, stored: Stored) -> str:
    key = f"{_NEW}{node.output[0]}/{name}"
    stored[key] = np.array(value, np.float32)
    return key


def _gelu(node: NodeProto, stored: Stored) -> list[NodeProto]:
    """GELU by Erf: x * 0.5 * (1 + erf(x / sqrt 2)); the tanh kind is not lowered."""
    if attributes(node).get("approximate", "none") != "none":
        return [node]
    x, y = node.input[0], node.output[0]
    inner = [f"{_NEW}{y}/{part}" for part in ("div", "erf", "add", "mul")]
    root = _constant(node, float(np.sqrt(2.0)), "root", stored)
    one, half = _constant(node, 1.0, "one", stored), _constant(node, 0.5, "half", stored)
    return [
        helper.make_node("Div", [x, root], inner[:1]),
        helper.make_node("Erf", inner[:1], inner[1:2]),
        helper.make_node("Add", [inner[1], one], inner[2:3]),
        helper.make_node("Mul", [x, inner[2]], inner[3:4]),
        helper.make_node("Mul", [inner[3], half], [y]),
    ]


def _mish(node: NodeProto, stored: Stored) -> list[NodeProto]:
    x, y = node.input[0], node.output[0]
    inner = [f"{_NEW}{y}/{part}" for part in ("softplus", "tanh")]
    return [
        helper.make_node("Softplus", [x], inner[:1]),
        helper.make_node("Tanh", inner[:1], inner[1:]),
        helper.make_node("Mul", [x, inner[1]], [y]),
    ]


def _swish(node: NodeProto, stored: Stored) -> list[NodeProto]:
    if attributes(node).get("alpha", 1.0) != 1.0:
        return [node]
    x, y = node.input[0], node.output[0]
    gate = f"{_NEW}{y}/sigmoid"
    return [helper.make_node("Sigmoid", [x], [gate]), helper.make_node("Mul", [x, gate], [y])]


def _split(node: NodeProto, stored: Stored) -> list[NodeProto]:
    """Equal parts need no attribute in older sets; unequal ones are found by the equality proof."""
    return [_without(node, "num_outputs")]


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_LOWER: dict[str, Callable[[NodeProto, Stored], list[NodeProto]]] = {
    "AveragePool": _drop_defaults(dilations=[1, 1]),
    "Cast": _drop_defaults(saturate=1, round_mode="up"),
    "CastLike": _drop_defaults(saturate=1, round_mode="up"),
    "Gelu": _gelu,
    "Mish": _mish,
    "Pad": _pad,
    "Range": _drop_defaults(stash_type=1),
    "Resize": _resize,
    "SpaceToDepth": _drop_defaults(mode="DCR"),
    "Split": _split,
    "Swish": _swish,
    **{f"Reduce{kind}": _axes_to_attribute for kind in _REDUCTIONS},
}
