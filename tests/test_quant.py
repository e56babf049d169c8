"""Step `quantize` and what it is made of: ranges, equalisation, rounding, Q/DQ."""

from __future__ import annotations

import dataclasses
from functools import partial

import networks
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quant_networks import CONTRACT, anchored, psnr_db, quantized, residual, tanh_network, tensor

from toolkit import plugins
from toolkit.errors import UserError
from toolkit.model.contract import ImageContract
from toolkit.model.importing import import_onnx
from toolkit.model.network import write_network
from toolkit.model.quant_plan import QuantPlan, TensorRange
from toolkit.quant.calibration import gather_spans, mse_range
from toolkit.quant.carried import kept_rounded, snapped, without_rounded
from toolkit.quant.equalise import apply_scales, channel_scales
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.patches import cut_patches, patch_px, tensor_from_rgb
from toolkit.quant.qdq import grid_of, quantized_model
from toolkit.quant.rounding import round_rows
from toolkit.quant.schemes import SCHEMES
from toolkit.quant.ties import tied_channels
from toolkit.quant.view import attribute, view, with_names
from toolkit.spec.recipe import NetworkSource
from toolkit.steps import quantize


def run(model, value):
    return quiet_session(model).run(None, {model.graph.input[0].name: value})[0]


def int8(network, plan, scheme="onnxruntime", **options):
    return quantized_model(network, plan, SCHEMES[scheme], **options)


def named(model, kind):
    return [node for node in model.graph.node if node.op_type == kind]


def constants(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_uint8_grid_of_the_picture_is_one_grey_level_per_step():
    for white in (1.0, 255.0):
        grid = grid_of(TensorRange(low=0.0, high=white), SCHEMES["onnxruntime"])
        assert grid.step == np.float32(white / 255)
        assert grid.zero_point == 0


@pytest.mark.parametrize("low, high", [(-0.37, 1.9), (0.2, 0.9), (-3.0, -1.0), (0.0, 0.0)])
@pytest.mark.parametrize("scheme", ["onnxruntime", "tensorrt"])
def test_zero_lies_exactly_on_every_grid(low, high, scheme):
    grid = grid_of(TensorRange(low=low, high=high), SCHEMES[scheme])
    span = np.iinfo(grid.zero_point.dtype)
    reach = np.array([span.min, span.max], np.float64) - float(grid.zero_point)
    assert reach[0] <= 0 <= reach[1]
    assert reach[0] * grid.step <= min(low, 0) + grid.step
    assert reach[1] * grid.step >= max(high, 0) - grid.step


@pytest.mark.parametrize("activation", ["Relu", "PRelu", "LeakyRelu"])
def test_equalised_network_is_equal_in_float_and_its_channels_are_of_one_size(activation):
    model = with_names(anchored(loud=30.0, activation=activation))
    graph, patches = view(model), [tensor(seed) for seed in range(3)]
    spans = gather_spans(graph, patches)
    scales = channel_scales(graph, spans, tied_channels(graph, spans), white=1.0)
    scaled = apply_scales(graph, scales)
    assert np.abs(run(model, tensor(9)) - run(scaled, tensor(9))).max() < 1e-5

    def spread(of):
        span = gather_spans(view(of), patches)["a"]
        size = np.maximum(np.abs(span.low), span.high)
        return size.max() / size.min()

    assert spread(model) > 10
    assert spread(scaled) < (1.01 if activation == "Relu" else spread(model) / 2)


def test_residual_adds_tie_their_operands_to_one_scale():
    model = with_names(residual())
    graph = view(model)
    spans = gather_spans(graph, [tensor()])
    scales = channel_scales(graph, spans, tied_channels(graph, spans), white=1.0)
    assert np.array_equal(scales["first"], scales["total"])
    assert np.array_equal(scales["two"], scales["first"])
    assert not np.allclose(scales["first"], 1)
    assert np.array_equal(scales["lr"], np.ones(3))
    assert np.array_equal(scales["sr"], np.ones(3))


def test_two_times_the_step_gives_the_same_digests(tmp_path):
    one = quantized(anchored(loud=8.0), tmp_path / "one")
    two = quantized(anchored(loud=8.0), tmp_path / "two")
    assert one[0].digest == two[0].digest == one[1].network
    assert one[1] == two[1]


def test_plan_pins_the_picture_and_names_what_it_was_made_from(tmp_path):
    _, plan, facts = quantized(anchored(), tmp_path)
    assert plan.ranges["lr"] == plan.ranges["sr"] == TensorRange(low=0.0, high=1.0)
    assert {"head", "a", "body", "b", "tail", "total"} <= set(plan.ranges)
    assert facts["equalised"]
    assert facts["rounded_layers"] == 3
    other = quantized(anchored(), tmp_path / "other", seed=1)[1]
    assert other.calibration != plan.calibration


def test_float_network_of_the_step_computes_what_the_given_one_does(tmp_path):
    given = anchored(loud=20.0)
    network, _, _ = quantized(given, tmp_path)
    assert np.abs(run(given, tensor()) - run(onnx.load(network.path), tensor())).max() < 1e-4


@pytest.mark.parametrize("model", [anchored(loud=25.0), anchored(loud=25.0, activation="PRelu")])
def test_equalising_and_rounding_bring_back_what_plain_int8_loses(model, tmp_path):
    reference = run(model, tensor())
    plain = quantized(model, tmp_path / "plain", rung="ranges")
    ours = quantized(model, tmp_path / "ours")
    loss = [psnr_db(run(int8(*made[:2]), tensor()), reference) for made in (plain, ours)]
    assert loss[1] > loss[0] + 3
    assert loss[1] > 48


def test_rounding_by_covariance_keeps_the_output_better_than_the_nearest_integers():
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 1, (40, 40)) * np.geomspace(1, 0.003, 40)
    inputs = rng.normal(0, 1, (4000, 40)) @ mixing.T
    weight = rng.normal(0, 1, (6, 40))
    whole, steps = round_rows(weight, np.cov(inputs.T))
    nearest = np.abs(weight).max(axis=1, keepdims=True) / 127
    plain = np.round(weight / nearest) * nearest

    def error(of):
        return np.var(inputs @ (of - weight).T)

    assert error(whole * steps[:, None]) < error(plain) / 2
    assert np.array_equal(np.abs(whole).max(axis=1), np.full(6, 127))


def test_carried_integers_come_back_from_the_snapped_weights(tmp_path):
    network, plan, _ = quantized(anchored(loud=5.0), tmp_path)
    carrying = with_names(onnx.load(network.path))
    rounded = kept_rounded(carrying)
    weights = constants(snapped(carrying))
    assert set(rounded) == {"node_head", "node_body", "node_tail"}
    for name, kept in rounded.items():
        weight = weights[name.replace("node_", "") + ".weight"]
        step = np.abs(weight).reshape(len(weight), -1).max(axis=1)[:, None, None, None] / 127
        assert np.array_equal(np.round(weight / step), kept.stored)
        stored = constants(int8(network, plan))[f"{name}/weight.int8"]  # widened by zero channels
        out, into = kept.stored.shape[:2]
        assert np.array_equal(stored[:out, :into], kept.stored)
        assert np.abs(stored).sum() == np.abs(kept.stored.astype(int)).sum()
    assert kept_rounded(without_rounded(carrying)) == {}


def test_mean_of_the_rounding_error_goes_into_the_bias(tmp_path):
    network, _, _ = quantized(anchored(loud=5.0), tmp_path)
    model = with_names(onnx.load(network.path))
    rounded = kept_rounded(model)["node_body"]
    values = constants(model)
    error = rounded.stored * rounded.steps[:, None, None, None] - values["body.weight"]
    mean = view_mean(model, "a")
    shift = error.sum(axis=(2, 3)) @ mean
    assert np.abs(values["body.bias"] - rounded.bias - shift).max() < np.abs(shift).max()
    assert np.corrcoef(values["body.bias"] - rounded.bias, shift)[0, 1] > 0.8


def view_mean(model, name):
    return gather_spans(view(model), [tensor(seed) for seed in range(4)])[name].mean


def test_output_file_gives_exact_grey_levels_and_drops_the_final_clip(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    lowered = int8(network, plan)
    levels = run(lowered, tensor()) * 255
    assert np.abs(levels - np.round(levels)).max() < 1e-4
    assert not named(lowered, "Clip")


def test_shuffle_and_concat_keep_the_scale(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    lowered = int8(network, plan)
    steps = constants(lowered)
    assert steps["total.step"] == steps["sr.step"] == np.float32(1 / 255)
    assert steps["anchor.step"] == steps["lr.step"] == np.float32(1 / 255)
    for node in named(lowered, "Concat"):
        assert all(name.endswith(".dq") for name in node.input)


def test_what_a_relu_reads_is_never_rounded(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    for scheme in ("onnxruntime", "openvino", "tensorrt"):
        quantizers = named(int8(network, plan, scheme), "QuantizeLinear")
        rounded = {n.input[0].removesuffix(".wide") for n in quantizers}
        assert not {"head", "body"} & rounded
        assert {"a", "b"} <= rounded


def test_range_before_tanh_and_sigmoid_ends_where_they_are_flat(tmp_path):
    network, plan, _ = quantized(tanh_network(), tmp_path)
    assert plan.ranges["head"].high <= 3.2
    assert plan.ranges["head"].low >= -3.2
    assert plan.ranges["tail"] == plan.ranges["wide"]
    lowered = int8(network, plan)
    assert psnr_db(run(lowered, tensor()), run(tanh_network(), tensor())) > 36


def test_mse_range_cuts_an_outlier_and_keeps_a_flat_histogram_whole():
    flat = np.full(2048, 100)
    assert mse_range(flat, -1.0, 1.0) == (-1.0, 1.0)
    centre = np.zeros(2048, int)
    centre[900:1148] = 100_000
    centre[0] = 1
    low, high = mse_range(centre, -1.0, 1.0)
    assert high < 0.5
    assert low > -0.5


def test_the_lowest_rung_takes_whole_ranges_and_nothing_else(tmp_path):
    network, plan, facts = quantized(tanh_network(), tmp_path / "lowest", rung="ranges")
    assert plan.ranges["head"].high > 3.2  # not cut before the tanh
    assert not facts["equalised"]
    assert kept_rounded(onnx.load(network.path)) == {}
    scaled, _, facts = quantized(anchored(loud=8.0), tmp_path / "next", rung="equalise")
    assert facts["equalised"]
    assert kept_rounded(onnx.load(scaled.path)) == {}


def test_mixed_takes_the_layer_that_loses_most_out_of_8_bits(tmp_path, monkeypatch):
    # this network loses so little that a lower rest must be asked for
    sparing = partial(quantize.nodes_to_widen, rest_db=0.001)
    monkeypatch.setattr(quantize, "nodes_to_widen", sparing)
    given = {"rung": "mixed", "patches": 2, "charts": False}
    model = anchored(loud=25.0)
    _, plan, facts = quantized(model, tmp_path / "wide", mixed_macs_share=0.5, **given)
    losses = {layer["node"]: layer["drop_db"] for layer in facts["layers"]}
    assert set(losses) == {"node_head", "node_body", "node_tail"}
    assert plan.float_nodes == (max(losses, key=losses.get),) == tuple(facts["widened"])
    _, plan, _ = quantized(model, tmp_path / "none", mixed_macs_share=0.0, **given)
    assert plan.float_nodes == ()


def test_mixed_takes_sums_of_features_along_but_not_those_of_the_picture(tmp_path):
    from quant_networks import Graph

    g = Graph()
    head = g.conv("lr", "head", 3, 12)
    body = g.conv(g.node("Relu", [head], "active"), "body", 12, 12)
    trunk = g.node("Add", [body, head], "trunk")
    tail = g.conv(trunk, "tail", 12, 12)
    anchor = g.node("Concat", ["lr"] * 4, "anchor", axis=1)
    picture = g.node("Add", [tail, anchor], "picture")
    model = g.model(g.node("DepthToSpace", [picture], "sr", blocksize=2, mode="DCR"))
    given = {"rung": "mixed", "patches": 2, "charts": False, "mixed_macs_share": 0.0}
    _, plan, facts = quantized(model, tmp_path, **given)
    assert plan.float_nodes == ("node_trunk",)
    assert facts["widened"] == []


def test_named_float_nodes_stay_float(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path, float_nodes=["node_head"])
    lowered = int8(network, plan)
    inputs = {n.name: n.input[1] for n in named(lowered, "Conv")}
    assert inputs["node_head"] == "head.weight"
    assert inputs["node_body"] == "node_body/weight.restored"
    assert np.array_equal(
        constants(lowered)["head.weight"], constants(onnx.load(network.path))["head.weight"]
    )


def test_per_tensor_weights_have_one_step(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    lowered = int8(network, plan, per_channel=False)
    assert constants(lowered)["node_body/weight.restored.step"].shape == ()
    assert psnr_db(run(lowered, tensor()), run(anchored(), tensor())) > 35


def test_plan_of_another_network_is_refused(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    stale = dataclasses.replace(plan, network="0" * 64)
    with pytest.raises(UserError, match="the plan is for network `000000000000`"):
        int8(network, stale)


def test_network_that_gives_nan_is_refused_by_the_name_of_its_node(tmp_path):
    broken = anchored()
    for stored in broken.graph.initializer:
        if stored.name == "body.weight":
            value = numpy_helper.to_array(stored).copy()
            value[0, 0, 0, 0] = np.nan
            stored.CopyFrom(numpy_helper.from_array(value, stored.name))
    with pytest.raises(UserError, match="node_body"):
        quantized(broken, tmp_path)


def test_photographs_smaller_than_the_network_takes_are_refused(tmp_path):
    contract = ImageContract(scale=2, minimum_px=100)
    with pytest.raises(UserError, match="no calibration patch"):
        quantized(anchored(), tmp_path, contract, charts=False)


def test_patches_fit_the_networks_sizes_and_follow_the_seed(tmp_path):
    from quant_networks import photographs

    contract = ImageContract(scale=2, multiple_of=16)
    images = photographs(tmp_path)
    assert patch_px(40, contract) == 48

    def cut(seed):
        return list(cut_patches(images, contract, count=4, size_px=48, seed=seed))

    assert [p.shape for p in cut(0)] == [(1, 3, 48, 48)] * 4
    assert all(np.array_equal(a, b) for a, b in zip(cut(0), cut(0), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(cut(0), cut(1), strict=True))


def test_tensors_follow_the_colour_contract():
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 0] = 255
    rgb = tensor_from_rgb(red, CONTRACT)
    bgr = tensor_from_rgb(red, ImageContract(scale=2, color="bgr", white=255.0))
    luma = tensor_from_rgb(red, ImageContract(scale=2, color="luma"))
    assert rgb[0, :, 0, 0].tolist() == [1, 0, 0]
    assert bgr[0, :, 0, 0].tolist() == [0, 0, 255]
    assert luma.shape == (1, 1, 4, 4)
    assert luma[0, 0, 0, 0] == pytest.approx(81 / 255)  # BT.601: 16 + 65.481, rounded


def test_tensorrt_scheme_holds_all_grey_levels_of_the_picture(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    lowered = int8(network, plan, "tensorrt")
    source = next(n.input[0] for n in named(lowered, "QuantizeLinear") if "padded" in n.input[0])
    ramp = np.tile(np.arange(256, dtype=np.float32) / 255, (1, 3, 16, 1))
    probed = onnx.ModelProto.FromString(lowered.SerializeToString())
    probed.graph.output.append(onnx.ValueInfoProto(name=f"{source}.q"))
    stored = quiet_session(probed).run([f"{source}.q"], {"lr": ramp})[0]
    assert stored[0, 0, 8, 2:-2].tolist() == list(range(-128, 128))
    assert set(stored[0, 0, 0].tolist()) == {-128}  # the padding is black


def test_tail_of_the_tensorrt_scheme_stays_float_and_the_body_adds_do_not(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path / "a")
    rounded = {n.input[0] for n in named(int8(network, plan, "tensorrt"), "QuantizeLinear")}
    assert not {"total", "anchor", "sr", "tail"} & rounded
    network, plan, _ = quantized(residual(), tmp_path / "r")
    rounded = {n.input[0] for n in named(int8(network, plan, "tensorrt"), "QuantizeLinear")}
    assert {"two", "first", "total"} <= rounded


KINDS = ["fsrcnn_x2", "edsr_mean_shift_255_x4", "rcan_x2", "imdn_x2", "pad_and_crop_x2"]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_from_the_wild_pass_through_all_schemes(kind, tmp_path):
    found = networks.build(kind)
    onnx.save(networks.onnx_of(kind), tmp_path / "user.onnx")
    source = NetworkSource(
        scale=found.scale, file=tmp_path / "user.onnx", white=found.white,
        multiple_of=found.multiple_of, minimum_px=found.minimum_px,
    )  # fmt: skip
    imported = import_onnx(tmp_path / "user.onnx", source)
    network, plan, facts = quantized(
        imported.model, tmp_path, imported.contract, patches=2, patch_px=24, charts=False
    )
    assert facts["equalised"]
    side = patch_px(24, imported.contract)
    value = tensor(4, side, side, imported.contract.channels) * np.float32(imported.contract.white)
    reference = run(imported.model, value) / imported.contract.white
    for scheme in ("onnxruntime", "openvino", "tensorrt"):
        lowered = int8(network, plan, scheme)
        assert named(lowered, "QuantizeLinear")
        assert psnr_db(run(lowered, value) / imported.contract.white, reference) > 24


def test_the_three_backends_are_found_by_their_files():
    assert {"onnxruntime", "openvino", "tensorrt"} <= set(plugins.names("backends"))
    assert "quantize" in plugins.names("steps")


def test_network_without_convolutions_is_left_float(tmp_path):
    from quant_networks import Graph

    g = Graph(3)
    sizes = g.constant("factors", np.array([1, 1, 2, 2], np.float32))
    g.node("Resize", ["lr", "", sizes], "sr", mode="nearest")
    network = write_network(g.model("sr"), CONTRACT, tmp_path / "n.onnx")
    plan = QuantPlan(
        network=network.digest, calibration="", ranges={"lr": TensorRange(low=0, high=1)}
    )
    lowered = int8(network, plan)
    assert [n.op_type for n in lowered.graph.node] == ["Resize"]
    assert attribute(lowered.graph.node[0], "mode") == b"nearest"
