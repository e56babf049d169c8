"""A written file keeps to its scheme, and each rule names the file that breaks it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import networks
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper
from test_backend_litert import TILE, pictures, plain, ranges_of, target_of

from toolkit.backends import litert
from toolkit.errors import ToolkitError
from toolkit.lowering.tflite_conformance import tflite_breaches
from toolkit.lowering.tflite_flat import FlatGraph, FlatOp, FlatTensor, Quant, serialise
from toolkit.lowering.tflite_float import finish, float_graph
from toolkit.lowering.tflite_quantize import quantised
from toolkit.model.breach import Breach, refuse_breaches
from toolkit.model.graph import specialise
from toolkit.quant.conformance import breaches
from toolkit.quant.qdq import quantized_model
from toolkit.quant.schemes import SCHEMES

# Q/DQ files


def activation_pair(
    name: str, dtype: str, step: float = 0.01, zero: int = 0
) -> list[onnx.NodeProto]:
    parts = [f"{name}.step", f"{name}.zero"]
    return [
        helper.make_node("QuantizeLinear", [name, *parts], [f"{name}.q"], f"{name}.quantize"),
        helper.make_node("DequantizeLinear", [f"{name}.q", *parts], [f"{name}.dq"], f"{name}.back"),
    ]


def constants_of(name: str, dtype: str, step: float = 0.01, zero: int = 0) -> dict[str, np.ndarray]:
    return {f"{name}.step": np.float32(step), f"{name}.zero": np.array(zero, dtype)}


def right_file(scheme: str) -> onnx.ModelProto:
    """x and r in 8 bits, a convolution, an add, a shuffle and a picture in 8 bits."""
    dtype = SCHEMES[scheme].activations
    steps = np.full(4, 0.02, np.float32)
    values = {
        **constants_of("x", dtype),
        **constants_of("c", dtype),
        **constants_of("s", dtype),
        "w": np.full((4, 4, 3, 3), 5, np.int8),
        "w.step": steps,
        "w.zero": np.zeros(4, np.int8),
        "b": np.full(4, 7, np.int32),
        "b.step": steps * np.float32(0.01),
        "b.zero": np.zeros(4, np.int32),
    }
    bias = ["b.dq"] if SCHEMES[scheme].int32_bias else ["b.float"]
    values |= {} if SCHEMES[scheme].int32_bias else {"b.float": np.zeros(4, np.float32)}
    nodes = [
        *activation_pair("x", dtype),
        helper.make_node("DequantizeLinear", ["w", "w.step", "w.zero"], ["w.dq"], "w.back", axis=0),
        helper.make_node("DequantizeLinear", ["b", "b.step", "b.zero"], ["b.dq"], "b.back", axis=0),
        helper.make_node("Conv", ["x.dq", "w.dq", *bias], ["c"], "conv", pads=[1] * 4),
        *activation_pair("c", dtype),
        helper.make_node("Add", ["c.dq", "x.dq"], ["a"], "add"),
        helper.make_node("DepthToSpace", ["c.dq"], ["s"], "shuffle", blocksize=2),
        *activation_pair("s", dtype),
        helper.make_node("Resize", ["a", "", "scales"], ["big"], "resize"),
        helper.make_node("Concat", ["s.dq", "s.dq", "s.dq", "s.dq"], ["four"], "four", axis=1),
        helper.make_node("Add", ["big", "four"], ["y"], "tail"),
    ]
    values["scales"] = np.array([1, 1, 2, 2], np.float32)
    infos = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 8, 8]),
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, 16, 16]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def change(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    (old,) = [t for t in model.graph.initializer if t.name == name]
    old.CopyFrom(numpy_helper.from_array(np.asarray(value), name))


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def rename(model: onnx.ModelProto, node: str, place: int, tensor: str) -> None:
    node_of(model, node).input[place] = tensor


def float_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))


def weight_axis(model: onnx.ModelProto) -> None:
    node_of(model, "w.back").attribute[0].i = 1


def restored_elsewhere(model: onnx.ModelProto) -> None:
    float_constant(model, "other.step", np.array(0.5))
    rename(model, "c.back", 1, "other.step")


def float_weights(model: onnx.ModelProto) -> None:
    float_constant(model, "w.float", np.ones((4, 4, 3, 3)))
    rename(model, "conv", 1, "w.float")


def undone(model: onnx.ModelProto) -> None:
    """The picture is rounded for an operator that runs in float."""
    float_constant(model, "z.step", np.array(0.5))
    zero = next(t for t in model.graph.initializer if t.name == "x.zero")
    model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(zero), "z.zero"))
    model.graph.node.extend(
        [
            helper.make_node("Erf", ["x"], ["z"], "erf"),
            *activation_pair("z", ""),
            helper.make_node("Erf", ["z.dq"], ["unused"], "erf2"),
        ]
    )


def q_read_by_a_move(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["c.q"], ["raw"], "raw"))


Wrong = Callable[[onnx.ModelProto], object]
ACTIVATION_ZERO = {"uint8": 3, "int8": 3}
ANY: dict[str, Wrong] = {
    "weight type": lambda m: (
        change(m, "w", np.full((4, 4, 3, 3), 5, np.uint8))
        or change(m, "w.zero", np.zeros(4, np.uint8))
    ),
    "weight zero point": lambda m: change(m, "w.zero", np.array([0, 0, 1, 0], np.int8)),
    "weight range": lambda m: change(m, "w", np.full((4, 4, 3, 3), -128, np.int8)),
    "weight axis": weight_axis,
    "weight steps": lambda m: change(m, "w.step", np.float32(0.02)),
    "pairs": restored_elsewhere,
    "pairs ": q_read_by_a_move,
    "activation steps": lambda m: change(m, "c.step", np.full(4, 0.01, np.float32)),
    "steps": lambda m: change(m, "c.step", np.float32(0.0)),
    "products": lambda m: rename(m, "conv", 0, "x"),
    "products ": float_weights,
    "undone": undone,
}
OWN: dict[str, dict[str, Wrong]] = {
    "onnxruntime": {
        "activation type": lambda m: [
            change(m, f"{n}.zero", np.array(0, np.int8)) for n in ("x", "c", "s")
        ],
        "bias type": lambda m: float_constant(m, "bf", np.zeros(4)) or rename(m, "conv", 2, "bf"),
        "bias zero point": lambda m: change(m, "b.zero", np.array([0, 1, 0, 0], np.int32)),
        "bias step": lambda m: change(m, "b.step", np.full(4, 0.5, np.float32)),
        "moves": lambda m: change(m, "s.step", np.float32(0.5)),
    },
    "openvino": {
        "activation type": lambda m: change(m, "x.zero", np.array(0, np.int8)),
        "resize": lambda m: rename(m, "resize", 0, "s.dq") or rename(m, "four", 0, "a")
        or [rename(m, "four", i, "a") for i in range(4)],
    },
    "tensorrt": {
        "activation type": lambda m: change(m, "x.zero", np.array(0, np.uint8)),
        "activation zero point": lambda m: change(m, "c.zero", np.array(3, np.int8)),
        "residual adds": lambda m: rename(m, "add", 1, "x"),
    },
}  # fmt: skip
CASES = [(s, rule, wrong) for s in SCHEMES for rule, wrong in (ANY | OWN.get(s, {})).items()]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_right_file_has_no_breach(scheme):
    assert breaches(right_file(scheme), SCHEMES[scheme]) == []


@pytest.mark.parametrize(("scheme", "rule", "wrong"), CASES, ids=[f"{s}-{r}" for s, r, _ in CASES])
def test_each_rule_names_the_file_that_breaks_it(scheme, rule, wrong):
    model = right_file(scheme)
    wrong(model)
    assert rule.strip() in {breach.rule for breach in breaches(model, SCHEMES[scheme])}


def test_several_steps_are_a_breach_where_one_per_tensor_is_allowed():
    found = breaches(right_file("tensorrt"), SCHEMES["tensorrt"], per_channel=False)
    assert [(b.rule, b.node) for b in found] == [("weight steps", "conv")]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "name", ["fsrcnn_x4", "window_attention_x2", "convnext_gelu_x2", "rfdn_x4"]
)
def test_what_the_writer_writes_keeps_to_the_rules(tmp_path, scheme, name):
    network, plan = plain(tmp_path, name)
    for per_channel in (True, False):
        model = quantized_model(network, plan, SCHEMES[scheme], per_channel=per_channel)
        assert breaches(model, SCHEMES[scheme], per_channel=per_channel) == []


# TFLite files


def tensor(name, shape, dtype, scales, zero=0, axis=0, data=None) -> FlatTensor:
    quant = Quant(scales=tuple(np.atleast_1d(scales).tolist()), zero_point=zero, axis=axis)
    return FlatTensor(name=name, shape=shape, dtype=dtype, data=data, quant=quant)


def right_tflite(wide: bool = False) -> FlatGraph:
    """A convolution, tanh, a reshape and sigmoid, in 8 bits or with 16-bit activations."""
    dtype, bias = ("int16", "int64") if wide else ("int8", "int32")
    zero = 0 if wide else -5
    fixed = {"TANH": (1 / 32768, 0) if wide else (1 / 128, 0)}
    fixed["LOGISTIC"] = (1 / 32768, 0) if wide else (1 / 256, -128)
    steps = np.array([0.02, 0.03])
    weight = np.full((2, 1, 1, 2), 9, np.int8)
    made = [
        tensor("x", (1, 4, 4, 2), dtype, 0.01, zero),
        tensor("w", (2, 1, 1, 2), "int8", steps, data=weight),
        tensor("b", (2,), bias, steps * 0.01, data=np.ones(2, bias)),
        tensor("c", (1, 4, 4, 2), dtype, 0.05, zero),
        tensor("t", (1, 4, 4, 2), dtype, *fixed["TANH"]),
        FlatTensor(name="size", shape=(4,), dtype="int32", data=np.array([1, 4, 2, 4], np.int32)),
        tensor("r", (1, 4, 2, 4), dtype, *fixed["TANH"]),
        tensor("y", (1, 4, 2, 4), dtype, *fixed["LOGISTIC"]),
    ]
    ops = (
        FlatOp(kind="CONV_2D", inputs=("x", "w", "b"), outputs=("c",), options={"padding": 1}),
        FlatOp(kind="TANH", inputs=("c",), outputs=("t",)),
        FlatOp(kind="RESHAPE", inputs=("t", "size"), outputs=("r",)),
        FlatOp(kind="LOGISTIC", inputs=("r",), outputs=("y",)),
    )
    return FlatGraph(tensors={t.name: t for t in made}, ops=ops, input="x", output="y")


def with_tensor(graph: FlatGraph, name: str, **changes) -> bytes:
    old = graph.tensors[name]
    quant = {"scales": old.quant.scales, "zero_point": old.quant.zero_point, "axis": old.quant.axis}
    quant |= {k: changes.pop(k) for k in list(changes) if k in quant}
    new = FlatTensor(
        **{**vars(old), "quant": Quant(**quant), **changes},
    )
    tensors = {**graph.tensors, name: new}
    return serialise(FlatGraph(tensors=tensors, ops=graph.ops, input="x", output="y"))


WRONG_TFLITE = {
    "weight type": ("w", {"dtype": "uint8"}),
    "weight zero point": ("w", {"zero_point": 4}),
    "weight range": ("w", {"data": np.full((2, 1, 1, 2), -128, np.int8)}),
    "weight axis": ("w", {"axis": 3}),
    "bias type": ("b", {"dtype": "int16", "data": np.ones(2, np.int16)}),
    "bias zero point": ("b", {"zero_point": 2}),
    "bias step": ("b", {"scales": (0.5, 0.5)}),
    "activation steps": ("c", {"scales": (0.05, 0.05)}),
    "fixed grid": ("t", {"scales": (1 / 120,)}),
    "fixed grid of the picture": ("y", {"scales": (1 / 255,)}),
    "moves": ("r", {"scales": (1 / 64,)}),
}


@pytest.mark.parametrize("wide", [False, True])
def test_a_right_tflite_file_has_no_breach(wide):
    assert tflite_breaches(serialise(right_tflite(wide))) == []


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("rule", WRONG_TFLITE)
def test_each_rule_names_the_tflite_file_that_breaks_it(rule, wide):
    name, changes = WRONG_TFLITE[rule]
    found = {b.rule for b in tflite_breaches(with_tensor(right_tflite(wide), name, **changes))}
    assert rule.removesuffix(" of the picture") in found


def test_rules_of_16_bits_of_the_picture_s_grid_and_of_one_step_per_tensor():
    wide = with_tensor(right_tflite(wide=True), "c", zero_point=3)
    assert "16-bit zero point" in {b.rule for b in tflite_breaches(wide)}
    picture = with_tensor(right_tflite(), "y", scales=(1 / 255,))
    assert tflite_breaches(picture, strict=False) == []
    inner = with_tensor(right_tflite(), "t", scales=(1 / 120,))
    assert "fixed grid" in {b.rule for b in tflite_breaches(inner, strict=False)}
    (breach,) = tflite_breaches(serialise(right_tflite()), per_channel=False)
    assert breach == Breach(
        rule="weight steps", node="c", problem="CONV_2D has 2 steps where one per tensor is allowed"
    )


@functools.cache
def lowered(name: str):
    zoo, model = networks.build(name), networks.onnx_of(name)
    ranges = ranges_of(model, pictures(zoo.channels, zoo.white))
    return zoo.white, ranges, float_graph(specialise(model, *TILE))


@pytest.mark.parametrize("widening", ["none", "all"])
@pytest.mark.parametrize("name", networks.NAMES)
def test_every_kind_of_network_keeps_to_tflite_s_specification(name, widening):
    white, ranges, graph = lowered(name)
    for io_dtype, strict, per_channel in (("int8", True, True), ("uint8", False, False)):
        given = {"per_channel": per_channel, "io_dtype": io_dtype, "strict": strict}
        made = quantised(graph, ranges, (), white=white, widening=widening, **given)
        content = serialise(finish(made, "transpose_conv"))
        assert tflite_breaches(content, per_channel=per_channel, strict=strict) == []


def test_a_breach_stops_the_backend_and_asks_for_a_report(tmp_path, monkeypatch):
    network, plan = plain(tmp_path, "plain_x2")
    monkeypatch.setattr(litert, "serialise", _spoilt)
    with pytest.raises(ToolkitError) as caught:
        litert.lower(network, plan, target_of(), tmp_path, "x2")
    assert "weight zero point: CONV_2D has weights that are not around zero" in caught.value.problem
    assert "mistake of the toolkit" in (caught.value.hint or "")


def _spoilt(graph: FlatGraph) -> bytes:
    """What `serialise` writes, with a zero point in the first int8 weights."""
    model = schema.ModelT.InitFromPackedBuf(serialise(graph), 0)
    for stored in model.subgraphs[0].tensors:
        if stored.type == schema.TensorType.INT8 and stored.buffer:
            stored.quantization.zeroPoint = [3] * len(stored.quantization.zeroPoint)
            break
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_only_the_first_breaches_are_listed():
    many = [Breach(rule="pairs", node=f"n{i}", problem="is wrong") for i in range(6)]
    with pytest.raises(ToolkitError, match=r"pairs: is wrong \(`n3`\); and 2 more"):
        refuse_breaches(many, "net.int8.onnx")
    refuse_breaches([], "net.int8.onnx")
