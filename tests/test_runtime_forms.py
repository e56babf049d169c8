"""The forms in which runtimes are fastest: equal in float, equal in INT8, and really taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from quant_networks import Graph, anchored, psnr_db, quantized, residual, tanh_network, tensor

from toolkit.model.quant_plan import QuantPlan, TensorRange
from toolkit.quant.channel_padding import FastChannels, with_fast_channels
from toolkit.quant.conformance import breaches
from toolkit.quant.interleaving import with_interleaving
from toolkit.quant.onnx_file import node_macs
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.qdq import quantized_model
from toolkit.quant.real_work import real_work
from toolkit.quant.schemes import SCHEMES
from toolkit.quant.tanh_tables import WHOLE, sigmoid_zero_point, with_whole_tanh
from toolkit.quant.view import view, with_names
from toolkit.quant.width_blocks import input_block, output_block, with_width_blocks
from toolkit.quant.window_products import with_window_products

FAST = FastChannels(into_multiple=4, out_multiple=4, out_least=16)
WIDTHS = (40, 41, 42, 43)  # all remainders by four: what is padded and cut must be so rightly


def luma(hidden=8, activation="Relu"):
    """conv 5x5 of one channel, activation, conv 5x5 to four channels + picture, shuffle."""
    g = Graph(1, 4)
    a = g.node(activation, [g.conv("lr", "head", 1, hidden, 5)], "a")
    b = g.node("Relu", [g.conv(a, "body", hidden, hidden)], "b")
    total = g.node("Add", [b, a], "total")
    tail = g.conv(total, "tail", hidden, 4, 5, gain=0.3)
    anchor = g.node("Concat", ["lr"] * 4, "anchor", axis=1)
    g.node("Add", [tail, anchor], "sum")
    g.node("DepthToSpace", ["sum"], "sr", blocksize=2, mode="CRD")
    return g.model("sr")


def planned(model):
    """A view of the model, and a plan that has a range for each of its tensors."""
    graph = view(with_names(model))
    ranges = dict.fromkeys(graph.ranks, TensorRange(low=-1.0, high=1.0))
    return graph, QuantPlan(network="", calibration="", ranges=ranges)


def answer(model, value):
    return quiet_session(model, threads=1).run(None, {model.graph.input[0].name: value})[0]


def assert_equal_in_float(before, after, channels):
    for width in WIDTHS:
        value = tensor(width, 24, width, channels)
        one, other = answer(before, value), answer(after, value)
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 2e-6


def conv_shapes(graph):
    names = {n.name: n.input[1] for n in graph.nodes if n.op_type == "Conv"}
    return {name: graph.constants[weight].shape for name, weight in names.items()}


def every(node):
    return node.op_type == "Conv"


@pytest.mark.parametrize(
    ("network", "channels"),
    [(luma(18), 1), (luma(18, activation="LeakyRelu"), 1), (luma(30, "Sigmoid"), 1)],
)
def test_wide_channels_are_equal_and_flow_on(network, channels):
    graph, plan = planned(network)
    wide, more = with_fast_channels(graph, plan, FAST, every)
    assert_equal_in_float(network, wide.model, channels)
    for out, into, *_ in conv_shapes(wide).values():
        assert (out >= 16, out % 4, into % 4) == (True, 0, 0)
    inside = [n for n in wide.nodes if n.op_type == "Slice" and n.name.endswith(".wide.cut")]
    assert inside == []  # no wide tensor is cut between two convolutions
    assert set(wide.ranks) <= set(more.ranges)


def test_nodes_that_stay_float_are_not_widened():
    graph, plan = planned(anchored())
    same, _ = with_fast_channels(graph, plan, FAST, lambda node: False)
    assert same is graph
    some, _ = with_fast_channels(graph, plan, FAST, lambda node: node.name == "node_tail")
    assert conv_shapes(some)["node_body"] == (12, 12, 3, 3)
    assert conv_shapes(some)["node_tail"] == (16, 12, 3, 3)
    assert_equal_in_float(graph.model, some.model, 3)


@pytest.mark.parametrize("network", [anchored(), residual()])
def test_narrow_layers_before_others_stay_narrow(network):
    graph, plan = planned(network)
    wide, _ = with_fast_channels(graph, plan, FAST, every)
    before, after = conv_shapes(graph), conv_shapes(wide)
    grown = {name for name in before if before[name] != after[name]}
    assert grown == {"node_tail"}
    assert_equal_in_float(network, wide.model, 3)


def test_point_convolutions_are_not_grown_to_the_least_count():
    g = Graph(3, 1)
    g.node("Relu", [g.conv("lr", "tail", 3, 4, 1)], "sr")
    graph, plan = planned(g.model("sr"))
    assert with_fast_channels(graph, plan, FAST, every)[0] is graph


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid"])
def test_blocks_of_pixels_are_equal_at_every_width(activation):
    network = luma(activation=activation)
    graph, plan = planned(network)
    blocked, more = with_width_blocks(graph, plan, every, ("Relu",))
    shapes = conv_shapes(blocked)
    assert shapes["node_head"] == (32, 4, 5, 3)  # four pixels of 8 channels, from cells of four
    assert shapes["node_tail"] == (16, 8, 5, 8)
    assert_equal_in_float(network, blocked.model, 1)
    relus = [n for n in blocked.nodes if n.op_type == "Relu"]
    makers = {blocked.producer[n.input[0]].op_type for n in relus}
    assert makers == {"Conv"}  # still right behind it, where the runtime fuses it
    assert set(blocked.ranks) <= set(more.ranges)


def test_block_is_the_one_with_least_work():
    def weight(*shape):
        return np.zeros(shape, np.float32)

    assert output_block(weight(4, 16, 5, 5)) == 4
    assert output_block(weight(3, 16, 3, 3)) == 4
    assert output_block(weight(16, 16, 3, 3)) == 1
    assert output_block(weight(12, 32, 3, 3)) == 1
    assert input_block(weight(16, 1, 5, 5)) == 4
    assert input_block(weight(16, 1, 1, 1)) == 1


@pytest.mark.parametrize("scale", [2, 3])
def test_interleaving_is_the_shuffle(scale):
    g = Graph(3, 1)
    tail = g.conv("lr", "tail", 3, 3 * scale**2)
    g.node("DepthToSpace", [tail], "sr", blocksize=scale, mode="CRD")
    graph, plan = planned(g.model("sr"))
    changed, more = with_interleaving(graph, plan)
    assert "DepthToSpace" not in {n.op_type for n in changed.nodes}
    value = tensor(1, 20, 33)
    assert np.array_equal(answer(graph.model, value), answer(changed.model, value))
    assert set(changed.ranks) <= set(more.ranges)


def test_other_shuffles_stay():
    g = Graph(3, 1)
    tail = g.conv("lr", "tail", 3, 12)
    g.node("DepthToSpace", [tail], "sr", blocksize=2, mode="DCR")
    graph, plan = planned(g.model("sr"))
    assert with_interleaving(graph, plan)[0] is graph


@pytest.mark.parametrize("form", ["wide", "blocks"])
def test_zeros_do_not_count_as_work(form):
    graph, plan = planned(luma())
    if form == "wide":
        changed, _ = with_fast_channels(graph, plan, FAST, every)
    else:
        changed, _ = with_width_blocks(graph, plan, every, ("Relu",))
    assert real_work(changed.model)
    assert node_macs(changed.model, (24, 40)) == node_macs(graph.model, (24, 40))


def test_float_graph_with_both_forms_is_still_a_valid_file():
    graph, plan = planned(luma())
    blocked, plan = with_width_blocks(graph, plan, every, ("Relu",))
    wide, plan = with_fast_channels(blocked, plan, FAST, every)
    done, _ = with_interleaving(wide, plan)
    onnx.checker.check_model(done.model, full_check=True)
    assert_equal_in_float(graph.model, done.model, 1)


def test_product_of_windows_is_the_first_convolution():
    graph, plan = planned(tanh_network())
    changed, more = with_window_products(graph, plan)
    product = next(n for n in changed.nodes if n.name == "node_head")
    assert product.op_type == "Gemm"
    assert product.output[0] not in more.ranges  # so that it is never rounded
    for width in WIDTHS:
        value = tensor(width, 24, width)
        assert np.abs(answer(graph.model, value) - answer(changed.model, value)).max() < 5e-6
    assert node_macs(changed.model, (24, 40)) == node_macs(graph.model, (24, 40))


def test_convolutions_before_other_activations_and_float_ones_stay():
    graph, plan = planned(anchored())
    assert with_window_products(graph, plan)[0] is graph
    graph, plan = planned(tanh_network())
    kept = replace(plan, float_nodes=("node_head",))
    assert with_window_products(graph, kept)[0] is graph


def test_tanh_of_bytes_is_a_sigmoid_of_the_same_bytes(tmp_path):
    g = Graph(3, 2)
    a = g.node("Relu", [g.conv("lr", "head", 3, 8, gain=3.0)], "a")
    b = g.node("Tanh", [g.conv(a, "body", 8, 8, gain=6.0)], "b")
    g.node("DepthToSpace", [g.conv(b, "tail", 8, 12)], "sr", blocksize=2, mode="CRD")
    network, plan, _ = quantized(g.model("sr"), tmp_path)
    scheme = SCHEMES["onnxruntime"]
    table = quantized_model(network, plan, scheme)
    assert [n.op_type for n in table.graph.node if n.op_type in ("Tanh", "Sigmoid")] == ["Sigmoid"]
    assert breaches(table, scheme) == []
    curve = quantized_model(network, plan, replace(scheme, tanh_tables=False))
    want, value = answer(g.model("sr"), tensor()), tensor()
    of_table, of_curve = answer(table, value), answer(curve, value)
    assert psnr_db(of_table, want) > psnr_db(of_curve, want) - 0.5
    assert psnr_db(of_table, want) > 35


@pytest.mark.parametrize(("high", "cut"), [(1.0, 3.2), (0.7, 2.9)])
def test_only_a_tanh_that_reaches_its_ends_gets_the_whole_range(high, cut):
    g = Graph(3, 2)
    g.node("Tanh", [g.conv("lr", "head", 3, 3)], "sr")
    graph = view(with_names(g.model("sr")))
    ranges = {"head": TensorRange(low=-2.9, high=2.9), "sr": TensorRange(low=-high, high=high)}
    given = QuantPlan(network="", calibration="", ranges=ranges)
    changed = with_whole_tanh(graph, given).ranges
    assert changed["head"].high == cut
    assert (changed["sr"] == WHOLE) == (high == 1.0)


def test_tanh_on_any_other_grid_stays():
    assert sigmoid_zero_point(np.float32(1 / 127), 127) == 0
    assert sigmoid_zero_point(np.float32(2 / 255), 128) is None  # 1 is no whole number of steps
    assert sigmoid_zero_point(np.float32(1 / 200), 100) is None  # the sigmoid's zero is below 0


def prelu_network(slopes):
    g = Graph(3, 3)
    a = g.node("PRelu", [g.conv("lr", "head", 3, 8), g.constant("slopes", slopes)], "a")
    g.node("DepthToSpace", [g.conv(a, "tail", 8, 12)], "sr", blocksize=2, mode="CRD")
    return g.model("sr")


def operators_of(model):
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    ("low", "high", "made"),
    [(-0.3, 0.4, "Max"), (0.2, 0.2, "LeakyRelu"), (0.1, 1.6, "PRelu")],
)
def test_prelu_is_a_maximum_of_bytes(low, high, made, tmp_path):
    slopes = np.linspace(low, high, 8, dtype=np.float32).reshape(8, 1, 1)
    network, plan, _ = quantized(prelu_network(slopes), tmp_path)
    scheme = SCHEMES["onnxruntime"]
    of_bytes = quantized_model(network, plan, scheme)
    assert operators_of(of_bytes) & {"Max", "LeakyRelu", "PRelu"} == {made}
    assert breaches(of_bytes, scheme) == []
    plain = quantized_model(network, plan, replace(scheme, prelu_bytes=False))
    want, value = answer(prelu_network(slopes), tensor()), tensor()
    assert psnr_db(answer(of_bytes, value), want) > psnr_db(answer(plain, value), want) - 0.5


def test_a_prelu_that_is_to_stay_float_stays(tmp_path):
    slopes = np.linspace(0.1, 0.4, 8, dtype=np.float32).reshape(8, 1, 1)
    network, plan, _ = quantized(prelu_network(slopes), tmp_path)
    plan = replace(plan, float_nodes=("node_a",))
    assert "PRelu" in operators_of(quantized_model(network, plan, SCHEMES["onnxruntime"]))
