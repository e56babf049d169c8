"""Groups of channels before a tanh or sigmoid: chosen from what channels do, exact in float."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from toolkit.lowering.tflite_conformance import tflite_breaches
from toolkit.lowering.tflite_curves import split_curves
from toolkit.lowering.tflite_flat import serialise
from toolkit.lowering.tflite_float import finish, float_graph
from toolkit.lowering.tflite_inspect import operators_of
from toolkit.lowering.tflite_quantize import quantised
from toolkit.lowering.tflite_trial import run_in_child
from toolkit.model.quant_plan import QuantPlan, TensorRange, read_plan, write_plan
from toolkit.quant.calibration import gather_spans
from toolkit.quant.channel_groups import channel_ranges
from toolkit.quant.view import view

CHANNELS, SIZE = 32, 24


def network(curve="Tanh", *, read_twice=False) -> onnx.ModelProto:
    """Conv, curve, Conv; half of the channels small, half large, each a few sigmas to one side."""
    random = np.random.default_rng(0)
    widths = random.permutation(np.repeat([0.1, 1.0], CHANNELS // 2))
    weight = random.normal(size=(CHANNELS, 3, 3, 3)) * widths[:, None, None, None]
    offset = widths * random.choice([-1.0, 1.0], CHANNELS)
    constants = {
        "w": weight, "b": offset,
        "v": random.normal(size=(3, CHANNELS, 3, 3)) / 40, "c": np.full(3, 0.5),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["before"], "first", pads=[1] * 4),
        helper.make_node(curve, ["before"], ["after"], "curve"),
        helper.make_node("Conv", ["after", "v", "c"], ["y"], "last", pads=[1] * 4),
    ]
    if read_twice:
        nodes[2].input[0] = "sum"
        nodes.insert(2, helper.make_node("Add", ["after", "after"], ["sum"], "add"))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, SIZE, SIZE])
        for name in ("x", "y")
    ]
    stored = [numpy_helper.from_array(np.float32(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "n", ends[:1], ends[1:], stored)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.random((1, 3, SIZE, SIZE), np.float32) for _ in range(3)]


def calibrated(model):
    graph = view(model)
    spans = gather_spans(graph, pictures())
    ranges = {n: TensorRange(low=s.whole[0], high=s.whole[1]) for n, s in spans.items()}
    return ranges, channel_ranges(graph, spans, pictures())


@pytest.mark.parametrize("curve", ["Tanh", "Sigmoid"])
def test_groups_are_exact_in_float_and_lose_less_in_8_bits(curve):
    model = network(curve)
    ranges, channels = calibrated(model)
    graph = float_graph(model)
    split, grown = split_curves(graph, ranges, channels)
    picture = pictures()[0].transpose(0, 2, 3, 1)
    levels = np.round(picture * 255).astype(np.uint8)
    expected = run_in_child(serialise(finish(graph, "reshape")), np.float32(levels / 255))
    found = run_in_child(serialise(finish(split, "reshape")), np.float32(levels / 255))
    assert np.abs(found - expected).max() < 1e-5

    errors = []
    for made, spans in ((graph, ranges), (split, grown)):
        integer = quantised(made, spans, (), white=1.0, per_channel=True, io_dtype="uint8")
        content = serialise(finish(integer, "reshape"))
        assert tflite_breaches(content) == []
        kinds = [op.kind for op in operators_of(content)]
        assert kinds.count("QUANTIZE") == 2  # the join needs no other grid
        whole = np.clip(expected * 255, 0, 255)
        errors.append(np.sqrt(np.mean((run_in_child(content, levels) - whole) ** 2)))
    assert errors[1] < 0.85 * errors[0]


def test_channels_of_a_group_share_a_range_or_mirror_it():
    _, channels = calibrated(network())
    (spans,) = channels.values()
    turned = {(min(-s.low, s.high), max(-s.low, s.high)) for s in spans}
    assert len(turned) == 2
    assert len(set(spans)) == 4  # both signs of both groups
    narrow, wide = sorted(turned)
    assert narrow[1] < wide[1] / 2


def test_a_curve_that_more_than_convolutions_read_is_left_alone(tmp_path):
    ranges, channels = calibrated(network(read_twice=True))
    assert channels == {}
    _, wanted = calibrated(network())
    graph = float_graph(network(read_twice=True))
    same, grown = split_curves(graph, ranges, wanted)
    assert same == graph
    assert grown == ranges


def test_layers_that_stay_float_are_not_split():
    model = network()
    ranges, channels = calibrated(model)
    graph = float_graph(model)
    assert split_curves(graph, ranges, channels, ["curve"])[0] == graph
    assert split_curves(graph, ranges, channels, ["last"])[0] != graph


def test_a_plan_keeps_the_ranges_of_channels(tmp_path):
    ranges, channels = calibrated(network())
    plan = QuantPlan(network="", calibration="", ranges=ranges, channel_ranges=channels)
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan
