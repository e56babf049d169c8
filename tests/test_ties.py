"""Channel equalisation over the kinds of networks met in the wild: exact, and as wide as it can."""

import networks
import numpy as np
import onnx
import pytest
from quant_networks import Graph, tensor

from toolkit.model.importing import import_onnx
from toolkit.quant.calibration import gather_spans
from toolkit.quant.equalise import apply_scales, channel_scales, scaled_spans
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.ties import tied_channels
from toolkit.quant.view import view, with_names
from toolkit.spec.recipe import NetworkSource


def view_of(model):
    return view(with_names(model))


def equalised(graph, picture):
    spans = gather_spans(graph, [picture])
    ties = tied_channels(graph, spans)
    scales = channel_scales(graph, spans, ties, white=1.0)
    return view(apply_scales(graph, scales)), spans, ties, scales


def run(graph, picture):
    return quiet_session(graph.model).run(None, {graph.input: picture})[0]


def spread(graph, picture, name):
    """Largest channel of a tensor over its median channel."""
    span = gather_spans(graph, [picture])[name]
    sizes = np.maximum(-span.low, span.high)
    return float(sizes.max() / np.median(sizes))


def free_share(ties, name):
    return np.mean([root not in ties.pinned for root in ties.roots(name)])


@pytest.mark.parametrize(
    ("kind", "kernels_read"),
    [
        ("rfdn_x4", 0.6),  # features are read by Shape, gated by sigmoid of pooled features
        ("imdn_x2", 0.8),  # contrast attention: squares, roots and means over the picture
        ("rcan_x2", 0.8),
        ("convnext_gelu_x2", 0.3),  # layer norm takes up scales; GELU does not commute
        ("safmn_x3", 0.1),
        ("carn_x2", 0.1),  # its block is used three times with the same weights
        ("depthwise_batch_norm_x2", 0.3),
    ],
)
def test_kinds_stay_equal_in_float_and_most_of_what_convolutions_read_is_free(
    kind, kernels_read, tmp_path
):
    path = tmp_path / "net.onnx"
    onnx.save(networks.onnx_of(kind), path)
    network = networks.build(kind)
    imported = import_onnx(path, NetworkSource(scale=network.scale, file=path))
    graph = view_of(imported.model)
    picture = tensor(channels=network.channels)
    scaled, spans, ties, scales = equalised(graph, picture)
    before, after = run(graph, picture), run(scaled, picture)
    assert np.abs(before - after).max() < 1e-4 * np.abs(before).max()
    assert any((factor != 1).any() for factor in scales.values())
    foretold, measured = scaled_spans(spans, scales), gather_spans(scaled, [picture])
    for name, span in measured.items():
        low, high = foretold[name].whole
        room = 1e-3 * max(abs(low), abs(high)) + 1e-5
        assert low - room <= span.whole[0]
        assert span.whole[1] <= high + room
    inputs = [n.input[0] for n in graph.nodes if n.op_type == "Conv" and n.input[0] != graph.input]
    assert np.mean([free_share(ties, name) for name in inputs]) >= kernels_read


def _two_halves(loud):
    g = Graph(3, 1)
    sizes = np.where(np.arange(16) % 4 == 0, loud, 1.0)
    both = g.conv("lr", "both", 3, 16, sizes=sizes)
    ends = [g.constant(f"at{i}", np.array([i], np.int64)) for i in (0, 8, 16)]
    axis = g.constant("axis", np.array([1], np.int64))
    halves = [g.node("Slice", [both, ends[i], ends[i + 1], axis], f"half{i}") for i in range(2)]
    gated = g.node("Mul", halves, "gated")
    tail = g.conv(gated, "tail", 8, 12)
    g.node("DepthToSpace", [tail], "sr", blocksize=2, mode="CRD")
    return view_of(g.model("sr"))


def test_product_of_two_halves_lets_one_of_them_scale():
    graph = _two_halves(50.0)
    picture = tensor()
    scaled, *_ = equalised(graph, picture)
    assert spread(graph, picture, "gated") > 5 * spread(scaled, picture, "gated")
    assert np.allclose(run(graph, picture), run(scaled, picture), atol=1e-3, rtol=1e-4)


def _constants_between(kind, value):
    """Features, one operator with a constant, a convolution."""
    g = Graph(3, 2)
    sizes = np.where(np.arange(8) == 3, 80.0, 1.0)
    head = g.conv("lr", "head", 3, 8, sizes=sizes)
    middle = g.node(kind, [head, g.constant("value", value)], "middle")
    tail = g.conv(middle, "tail", 8, 12)
    g.node("DepthToSpace", [tail], "sr", blocksize=2, mode="CRD")
    return view_of(g.model("sr"))


VECTOR = np.linspace(0.5, 2, 8, dtype=np.float32).reshape(8, 1, 1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Add", np.float32(0.25)),
        ("Add", VECTOR),
        ("Sub", VECTOR[None]),
        ("Mul", np.float32(0.5)),
        ("Mul", VECTOR),
        ("Div", VECTOR),
        ("Clip", np.float32(0.0)),
    ],
)
def test_arithmetic_on_constants_takes_part(kind, value):
    graph = _constants_between(kind, value)
    picture = tensor()
    scaled, *_ = equalised(graph, picture)
    assert np.allclose(run(graph, picture), run(scaled, picture), atol=1e-3, rtol=1e-4)
    assert spread(scaled, picture, "middle") < 1.5 < spread(graph, picture, "middle")


def test_what_does_not_commute_keeps_its_scale():
    graph = _constants_between("Pow", np.float32(2.0))
    _, _, _, scales = equalised(graph, tensor())
    assert (scales["middle"] == 1).all()  # a convolution cannot read a square that was scaled
    assert (scales["head"] == 1).all()
    six = _constants_between("Clip", np.float32(-1.0))
    assert (equalised(six, tensor())[3]["middle"] == 1).all()


def test_what_reads_only_the_shape_of_a_tensor_does_not_hold_it():
    g = Graph(3, 2)
    sizes = np.where(np.arange(8) == 3, 80.0, 1.0)
    head = g.conv("lr", "head", 3, 8, sizes=sizes)
    shape = g.node("Shape", [head], "shape")
    middle = g.node("Resize", [head, "", "", shape], "middle", mode="nearest")
    tail = g.conv(middle, "tail", 8, 12)
    g.node("DepthToSpace", [tail], "sr", blocksize=2, mode="CRD")
    picture = tensor()
    scaled, *_ = equalised(view_of(g.model("sr")), picture)
    assert spread(scaled, picture, "middle") < 1.5
