"""TFLite files are the network in float, run in 8 bits, and say what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import networks
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.backends import litert
from toolkit.errors import UserError
from toolkit.lowering.tflite_channels import push_up
from toolkit.lowering.tflite_conformance import tflite_breaches
from toolkit.lowering.tflite_convolution import _grow, same_pads
from toolkit.lowering.tflite_editor import Editor
from toolkit.lowering.tflite_flat import Quant, serialise
from toolkit.lowering.tflite_float import finish, float_graph
from toolkit.lowering.tflite_grids import SAFE_KINDS, grid_of, image_grid, scheme
from toolkit.lowering.tflite_inspect import operators_of
from toolkit.lowering.tflite_prelu import without_prelu
from toolkit.lowering.tflite_quantize import quantised, weight_scales
from toolkit.lowering.tflite_shuffles import crd_to_dcr, space_to_depth
from toolkit.lowering.tflite_source import Node, Source
from toolkit.lowering.tflite_trial import Died, run_in_child
from toolkit.model.contract import ImageContract
from toolkit.model.graph import specialise
from toolkit.model.network import Network, write_network
from toolkit.model.quant_plan import QuantPlan, TensorRange
from toolkit.quant.per_tensor import round_to_one_step
from toolkit.run.trial import artefact_json
from toolkit.spec.target import Build, Npu, OperatorLimits, Target

TILE = (24, 36)


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def pictures(channels: int, white: float, count: int = 3) -> list[np.ndarray]:
    """Smooth ramps with noise, uint8 levels as float32 NCHW in [0, white]."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[0 : TILE[0], 0 : TILE[1]] / np.array(TILE).reshape(2, 1, 1)
    found = []
    for _ in range(count):
        slopes = random.uniform(-1, 1, (2, channels, 1, 1))
        ramp = 0.5 + 0.4 * (slopes[0] * rows + slopes[1] * columns)
        noisy = np.clip(ramp + random.normal(0, 0.05, ramp.shape), 0, 1)
        levels = np.round(noisy * 255) / 255 * white
        found.append(levels[None].astype(np.float32))
    return found


def ranges_of(model: onnx.ModelProto, batches: list[np.ndarray]) -> dict[str, TensorRange]:
    """Lowest and highest value of every float tensor, by ONNX Runtime."""
    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del open_model.graph.output[:]
    open_model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
    session = session_of(open_model)
    found: dict[str, TensorRange] = {}
    for batch in batches:
        values = session.run(None, {session.get_inputs()[0].name: batch})
        for name, value in zip(names, values, strict=True):
            if value.dtype == np.float32 and value.size:
                old = found.get(name, TensorRange(low=np.inf, high=-np.inf))
                low, high = float(value.min()), float(value.max())
                found[name] = TensorRange(low=min(low, old.low), high=max(high, old.high))
    return found


def run_file(content: bytes, tensor: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("name", networks.NAMES)
def test_every_kind_of_network_is_equal_in_float_and_close_in_8_bits(name):
    network = networks.build(name)
    model = networks.onnx_of(name)
    batches = pictures(network.channels, network.white)
    ranges = ranges_of(model, batches)
    static = specialise(model, *TILE)
    session = session_of(static)
    expected = session.run(None, {session.get_inputs()[0].name: batches[0]})[0]
    expected = expected.transpose(0, 2, 3, 1)

    graph = float_graph(static)
    given = np.ascontiguousarray(batches[0].transpose(0, 2, 3, 1))
    found = run_file(serialise(finish(graph, "reshape")), given)
    assert np.abs(found - expected).max() <= 2e-5 * max(network.white, np.abs(expected).max())

    integer = quantised(graph, ranges, (), white=network.white, per_channel=True, io_dtype="uint8")
    content = serialise(finish(integer, "depth_to_space"))
    levels = np.round(given / network.white * 255).astype(np.uint8)
    error = run_file(content, levels) - np.clip(expected / network.white * 255, 0, 255)
    # Random weights reach far beyond [0, white]; one step of the widest tensor is what 8 bits lose.
    widest = max(span.high - span.low for span in ranges.values()) / network.white
    assert np.sqrt(np.mean(error**2)) <= 1 + 3 * widest
    operators = operators_of(content)
    total = sum(o.macs for o in operators)
    assert sum(o.macs for o in operators if o.precision == "int8") >= 0.99 * total


def plain(tmp_path: Path, name: str = "abpn_repeat_interleave_x2") -> tuple[Network, QuantPlan]:
    zoo = networks.build(name)
    model = networks.onnx_of(name)
    contract = ImageContract(scale=zoo.scale, white=zoo.white)
    network = write_network(model, contract, tmp_path / "network.onnx")
    ranges = ranges_of(model, pictures(zoo.channels, zoo.white))
    return network, QuantPlan(network=network.digest, calibration="", ranges=ranges)


def target_of(**build) -> Target:
    given = {"scheme": "litert", "io_dtype": "uint8", "layout": "nhwc", "tile": TILE, **build}
    return Target(
        name="t",
        title="",
        builds=(Build(backend="litert", **given),),
        limits=OperatorLimits(refused={}),
        rules=(),
        gates=MappingProxyType({}),
        path=Path("t.yaml"),
        facts=MappingProxyType({}),
    )


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("int8", -128), ("float32", 0)])
def test_the_contract_describes_the_file(tmp_path, dtype, zero):
    network, plan = plain(tmp_path)
    whole, small = litert.lower(network, plan, target_of(io_dtype=dtype), tmp_path, "x2")
    assert (whole.path.name, small.path.name) == ("x2.float32.tflite", "x2.int8.tflite")
    assert whole.contract.input.step is None
    assert whole.contract.input.dtype == "float32"
    assert small.contract.tile == TILE
    assert small.contract.output.shape == (1, TILE[0] * 2, TILE[1] * 2, 3)
    assert small.contract.output.dtype == dtype
    assert small.contract.output.zero_point == zero
    given = pictures(3, 1.0)[0].transpose(0, 2, 3, 1)
    session = litert.open(whole, threads=1)
    expected = np.clip(session.run(given) * 255, 0, 255)
    session.close()
    stored = given if dtype == "float32" else (np.round(given * 255) + zero).astype(dtype)
    made = litert.open(small, threads=1).run(stored)
    assert made.dtype == dtype
    levels = made * 255 if dtype == "float32" else made.astype(np.float32) - zero
    assert np.sqrt(np.mean((levels - expected) ** 2)) < 3


def test_input_and_output_lie_on_one_grey_level_per_step_and_the_clip_is_gone(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    network, plan = plain(tmp_path)
    whole, small = litert.lower(network, plan, target_of(), tmp_path, "x2")
    interpreter = Interpreter(model_path=str(small.path))
    for detail in (*interpreter.get_input_details(), *interpreter.get_output_details()):
        assert detail["quantization"] == (pytest.approx(1 / 255, rel=1e-6), 0)
    assert "RELU_0_TO_1" in {o.kind for o in litert.operators(whole)}
    kinds = [o.kind for o in litert.operators(small)]
    assert kinds.count("QUANTIZE") == 2
    assert not {"RELU_0_TO_1", "MINIMUM", "MAXIMUM", "DEQUANTIZE"}.intersection(kinds)


def test_both_upsamplers_give_the_same_bytes_of_picture(tmp_path):
    network, plan = plain(tmp_path)
    levels = np.round(pictures(3, 1.0)[1].transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    made = []
    for upsampler in ("depth_to_space", "reshape"):
        _, small = litert.lower(network, plan, target_of(upsampler=upsampler), tmp_path, upsampler)
        kinds = {o.kind for o in litert.operators(small)}
        assert ("DEPTH_TO_SPACE" in kinds) == (upsampler == "depth_to_space")
        made.append(litert.open(small, threads=1).run(levels))
    assert np.array_equal(*made)


def test_per_tensor_builds_have_one_scale_for_each_weight(tmp_path):
    from ai_edge_litert import schema_py_generated as schema

    network, plan = plain(tmp_path)
    whole = litert.lower(network, None, target_of(), tmp_path, "whole")[0]
    levels = np.round(pictures(3, 1.0)[1].transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    expected = litert.open(whole, threads=1).run(levels.astype(np.float32) / 255) * 255
    counts = {}
    for per_channel in (True, False):
        target = target_of(per_channel=per_channel)
        small = litert.lower(network, plan, target, tmp_path, str(per_channel))[1]
        graph = schema.ModelT.InitFromPackedBuf(small.path.read_bytes(), 0).subgraphs[0]
        weights = [t for t in graph.tensors if t.shape is not None and len(t.shape) == 4]
        stored = [t for t in weights if t.buffer and t.quantization is not None]
        counts[per_channel] = max(len(t.quantization.scale) for t in stored)
        made = litert.open(small, threads=1).run(levels).astype(np.float32)
        assert np.sqrt(np.mean((made - expected) ** 2)) < 6
    assert counts[True] > 1
    assert counts[False] == 1


def test_nodes_that_the_plan_names_and_tensors_without_a_range_stay_float(tmp_path):
    network, plan = plain(tmp_path)
    static = specialise(onnx.load(network.path), *TILE)
    convs = [node for node in static.graph.node if node.op_type == "Conv"]
    named = QuantPlan(network="", calibration="", ranges=plan.ranges, float_nodes=(convs[1].name,))
    part = litert.lower(network, named, target_of(), tmp_path, "named")[1]
    heavy = [o.precision for o in litert.operators(part) if o.kind == "CONV_2D"]
    assert heavy.count("float32") == 1
    no_ranges = QuantPlan(network="", calibration="", ranges={})
    none = litert.lower(network, no_ranges, target_of(), tmp_path, "none")[1]
    heavy = [o.precision for o in litert.operators(none) if "CONV" in o.kind and o.macs > 2e5]
    assert "int8" not in heavy


def test_the_same_input_gives_the_same_bytes(tmp_path):
    network, plan = plain(tmp_path)
    first = litert.lower(network, plan, target_of(), tmp_path, "a")
    second = litert.lower(network, plan, target_of(), tmp_path, "b")
    for a, b in zip(first, second, strict=True):
        assert a.path.read_bytes() == b.path.read_bytes()


def one_node(kind: str, shape_out: list[int], extra: dict[str, np.ndarray], **attributes):
    inputs = ["x", *extra]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["y"], name="the_node", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *TILE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape_out)],
        [numpy_helper.from_array(value, name) for name, value in extra.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_an_unknown_operator_is_named_with_its_node_and_the_way_out():
    model = one_node("CumSum", [1, 3, *TILE], {"axis": np.array(2, np.int64)})
    with pytest.raises(UserError) as refusal:
        float_graph(model)
    assert "CumSum" in refusal.value.problem
    assert "the_node" in refusal.value.where
    assert "Conv" in refusal.value.hint


def test_a_target_without_a_tile_is_refused(tmp_path):
    network, plan = plain(tmp_path)
    with pytest.raises(UserError, match="fixed tile"):
        litert.lower(network, plan, target_of(tile=None), tmp_path, "x")


def test_macs_of_a_convolution_are_counted_from_the_file():
    weight = np.ones((8, 3, 3, 3), np.float32)
    model = one_node("Conv", [1, 8, *TILE], {"w": weight}, pads=[1, 1, 1, 1])
    (found,) = operators_of(serialise(float_graph(model)))
    assert (found.kind, found.precision) == ("CONV_2D", "float32")
    assert found.macs == TILE[0] * TILE[1] * 8 * 3 * 3 * 3


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6, 8, 9])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_transposed_convolutions_of_any_padding_are_equal(kernel, stride):
    for pad in range(kernel):
        for extra in range(stride):
            sizes = [(n - 1) * stride + kernel - 2 * pad + extra for n in TILE]
            if min(sizes) < 1 or pad > kernel - 1 or extra > max(stride - 1, 0):
                continue
            weight = np.random.default_rng(1).normal(size=(3, 2, kernel, kernel))
            model = one_node(
                "ConvTranspose",
                [1, 2, *sizes],
                {"w": weight.astype(np.float32)},
                pads=[pad] * 4,
                strides=[stride] * 2,
                output_padding=[extra] * 2,
            )
            batch = pictures(3, 1.0)[0]
            expected = session_of(model).run(None, {"x": batch})[0].transpose(0, 2, 3, 1)
            given = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
            found = run_file(serialise(float_graph(model)), given)
            assert np.abs(found - expected).max() < 1e-4, (pad, extra)


def test_zeros_around_a_kernel_make_same_crop_what_is_asked():
    for kernel in range(1, 10):
        for stride in range(1, 5):
            for top in range(kernel):
                above, below = _grow(kernel, stride, top)
                total = max(kernel + above + below - stride, 0)
                assert total // 2 == top + above
    assert same_pads(128, 3, 2) == (0, 1)


def test_dcr_order_is_the_order_of_tflite():
    from ai_edge_litert import schema_py_generated as schema  # the runtime must be there

    assert schema.BuiltinOperator.DEPTH_TO_SPACE == 5
    picture = np.arange(2 * 6 * 9).reshape(1, 2, 6, 9)
    assert space_to_depth(picture, 3)[0, :4, 0, 0].tolist() == [0, 54, 1, 55]
    assert crd_to_dcr(12, 2).tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_a_permutation_is_not_pushed_through_a_tensor_with_two_readers():
    """Otherwise the second reader would see permuted channels."""
    nodes = (
        Node(kind="Relu", name="a", inputs=("x",), outputs=("t",)),
        Node(
            kind="Select",
            name="s",
            inputs=("t",),
            outputs=("u",),
            attributes={"channels": np.array([1, 0])},
        ),
        Node(kind="Add", name="b", inputs=("t", "u"), outputs=("y",)),
    )
    shapes = dict.fromkeys("xtuy", (1, 2, 4, 4))
    editor = Editor(Source(nodes=nodes, constants={}, shapes=shapes, input="x", output="y"))
    push_up(editor)
    assert [node.kind for node in editor.finish().nodes] == ["Relu", "Select", "Add"]


def test_zero_is_exact_on_every_grid_and_black_and_white_on_the_picture_s():
    for low, high in ((-1.3, 2.1), (0.2, 3.0), (-5.0, -1.0), (0.0, 0.0)):
        grid = grid_of(low, high)
        assert -128 <= grid.zero_point <= 127
        assert (127 - grid.zero_point) * grid.scales[0] >= high - grid.scales[0]
    assert (127 - image_grid(255.0).zero_point) * image_grid(255.0).scales[0] == 255.0


def test_a_bias_that_weights_cannot_carry_raises_their_scale():
    weight = np.zeros((2, 1, 1, 1), np.float32)
    weight[0] = 1.0
    scales = weight_scales(weight, np.array([0.1, 5.0]), 1 / 255, 0, True)
    steps = np.array([0.1, 5.0]) / (scales / 255)
    assert np.abs(steps).max() < 2**31
    assert scales[0] == pytest.approx(1 / 127)


def test_with_safe_kinds_only_the_best_tested_operators_are_8_bit():
    model = networks.onnx_of("espcn_tanh_x3")
    ranges = ranges_of(model, pictures(3, 1.0))
    graph = float_graph(specialise(model, *TILE))
    options = {"white": 1.0, "per_channel": True, "io_dtype": "uint8"}
    safe = quantised(graph, ranges, (), kinds=SAFE_KINDS, **options)
    found = {o.kind: o.precision for o in operators_of(serialise(finish(safe, "reshape")))}
    assert (found["CONV_2D"], found["TANH"]) == ("int8", "float32")


def test_a_file_that_kills_its_process_is_reported_and_not_died_of():
    with pytest.raises(Died, match="exit"):
        run_in_child(b"TFL3" * 8, np.zeros((1, 4, 4, 3), np.float32))


def test_opening_says_nothing_even_the_first_time(tmp_path):
    network, plan = plain(tmp_path, "plain_x2")
    small = litert.lower(network, plan, target_of(), tmp_path, "x2")[1]
    script = (
        "import json, sys; from toolkit.backends import litert\n"
        "from toolkit.run.trial import artefact_from_json\n"
        "file = artefact_from_json(json.load(sys.stdin))\n"
        "litert.open(file, threads=1).close(); print('opened')"
    )
    child = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(artefact_json(small)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (child.stdout, child.stderr) == ("opened\n", "")


def test_an_output_without_a_clip_is_made_on_the_grid_of_the_picture(tmp_path):
    network, plan = plain(tmp_path, "plain_x2")
    small = litert.lower(network, plan, target_of(), tmp_path, "x2")[1]
    kinds = [o.kind for o in litert.operators(small)]
    assert kinds == ["QUANTIZE", *["CONV_2D"] * 3, "DEPTH_TO_SPACE", "QUANTIZE"]


def test_a_damaged_file_is_refused_by_name(tmp_path):
    network, plan = plain(tmp_path, "plain_x2")
    small = litert.lower(network, plan, target_of(), tmp_path, "x2")[1]
    small.path.write_bytes(small.path.read_bytes()[:40])
    with pytest.raises(UserError) as refusal:
        litert.open(small, threads=1)
    assert str(small.path) in refusal.value.where


def levels_of(artefact, dtype: str = "int8") -> np.ndarray:
    """What a file with integer IO makes of a picture, in grey levels."""
    zero = -128 if dtype == "int8" else 0
    picture = np.round(pictures(3, 1.0)[1].transpose(0, 2, 3, 1) * 255)
    session = litert.open(artefact, threads=1)
    return session.run((picture + zero).astype(dtype)).astype(np.float64) - zero


def float_levels(artefact) -> np.ndarray:
    picture = np.round(pictures(3, 1.0)[1].transpose(0, 2, 3, 1) * 255) / 255
    made = litert.open(artefact, threads=1).run(picture.astype(np.float32))
    return np.clip(made.astype(np.float64) * 255, 0, 255)


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(error**2)))


@pytest.mark.parametrize("name", ["abpn_concat_x3", "espcn_tanh_x3", "rfdn_x4"])
def test_16_bit_activations_beside_8_bit_weights_leave_little_but_the_last_rounding(tmp_path, name):
    network, plan = plain(tmp_path, name)
    whole, small = litert.lower(network, plan, target_of(io_dtype="int8"), tmp_path, "a")
    target = target_of(io_dtype="int8", scheme="litert_a16w8")
    wide = litert.lower(network, plan, target, tmp_path, "b")[1]
    assert wide.path.name == "b.a16w8.tflite"
    assert (wide.precision, wide.contract.input.dtype) == ("int8", "int8")
    precisions = {o.precision for o in litert.operators(wide) if o.precision}
    assert precisions == {"int16"}
    expected = float_levels(whole)
    assert rms(levels_of(wide) - expected) < 0.75 * rms(levels_of(small) - expected)


def test_named_nodes_run_16_bit_inside_an_8_bit_file(tmp_path):
    network, plan = plain(tmp_path)
    static = specialise(onnx.load(network.path), *TILE)
    convs = [node.name for node in static.graph.node if node.op_type == "Conv"]
    named = replace(plan, float_nodes=(convs[1],))
    target = target_of(io_dtype="int8", mixed="int16")
    mixed = litert.lower(network, named, target, tmp_path, "m")[1]
    found = [o for o in litert.operators(mixed) if o.kind == "CONV_2D"]
    assert [o.precision for o in found].count("int16") == 1
    assert "float32" not in {o.precision for o in litert.operators(mixed)}
    assert {"DEQUANTIZE"}.isdisjoint(o.kind for o in litert.operators(mixed))
    whole, small = litert.lower(network, plan, target_of(io_dtype="int8"), tmp_path, "s")
    expected = float_levels(whole)
    assert rms(levels_of(mixed) - expected) <= rms(levels_of(small) - expected) + 0.05


@pytest.mark.parametrize("name", ["abpn_repeat_interleave_x2", "abpn_concat_x3", "rfdn_x4"])
def test_a_one_hot_transposed_convolution_shuffles_to_the_same_bytes(tmp_path, name):
    network, plan = plain(tmp_path, name)
    made = {}
    for upsampler in ("reshape", "transpose_conv"):
        target = target_of(io_dtype="int8", upsampler=upsampler)
        small = litert.lower(network, plan, target, tmp_path, upsampler)[1]
        kinds = [o.kind for o in litert.operators(small)]
        assert ("TRANSPOSE_CONV" in kinds) == (upsampler == "transpose_conv")
        assert "DEPTH_TO_SPACE" not in kinds
        made[upsampler] = levels_of(small)
    assert np.array_equal(*made.values())


def test_grids_of_16_bits_are_symmetric_and_hold_the_picture_exactly():
    assert grid_of(-1.0, 3.0, 16) == Quant(scales=(float(np.float32(3 / 32767)),), bits=16)
    level = image_grid(1.0).scales[0]
    assert image_grid(1.0, 16).scales[0] * 128 == level
    assert 255 * 128 < 32767


def test_sigmoids_keep_to_the_specification_for_accelerators_alone(tmp_path):
    network, plan = plain(tmp_path, "espcn_sigmoid_x2")
    ends = {}
    for dtype in ("uint8", "int8"):
        small = litert.lower(network, plan, target_of(io_dtype=dtype), tmp_path, dtype)[1]
        kinds = [o.kind for o in litert.operators(small)]
        ends[dtype] = kinds[kinds.index("LOGISTIC") :].count("QUANTIZE")
    assert ends == {"uint8": 1, "int8": 1}
    assert len(tflite_breaches((tmp_path / "uint8.int8.tflite").read_bytes())) == 1
    assert tflite_breaches((tmp_path / "int8.int8.tflite").read_bytes()) == []


def test_one_step_per_tensor_is_rounded_against_what_the_layer_reads():
    random = np.random.default_rng(3)
    places = np.arange(72)
    covariance = 0.9 ** np.abs(places[:, None] - places)  # neighbours resemble each other
    sizes = np.repeat([1.0, 0.1, 0.03, 0.01], 4)
    weight = random.normal(size=(16, 72)) * sizes[:, None]
    (whole,), step = round_to_one_step([weight], [covariance])
    plain_step = np.abs(weight).max() / 127
    plain_whole = np.round(weight / plain_step)

    def loss(error):
        return float(np.einsum("rc,rc->", error @ covariance, error))

    assert np.abs(whole).max() == 127
    assert np.array_equal(whole, np.round(whole))
    assert loss(weight - whole * step) < 0.5 * loss(weight - plain_whole * plain_step)


@pytest.mark.parametrize("slopes", [(-0.5, 0.2, 1.0), (1.0, 1.5, 3.0), (0.5, 2.0, 1.0)])
def test_prelu_as_a_product_and_a_maximum_is_the_same_in_float(slopes):
    values = np.array(slopes, np.float32).reshape(3, 1, 1)
    graph = float_graph(one_node("PRelu", [1, 3, *TILE], {"slope": values}))
    rewritten = without_prelu(graph)
    kinds = [op.kind for op in rewritten.ops]
    mixed = min(slopes) < 1 < max(slopes)
    assert kinds == (["PRELU"] if mixed else ["MUL", "MAXIMUM" if max(slopes) <= 1 else "MINIMUM"])
    given = np.random.default_rng(5).normal(size=(1, *TILE, 3)).astype(np.float32)
    made = [run_file(serialise(g), given) for g in (graph, rewritten)]
    assert np.array_equal(*made)


def test_8_bit_files_for_cpus_hold_no_prelu_and_lose_nothing_by_it(tmp_path):
    network, plan = plain(tmp_path, "fsrcnn_x4")
    npu = Npu(accelerator="ethos-u55-256", system_config="", memory_mode="")
    errors = {}
    for name, build in (("cpu", {}), ("npu", {"npu": npu})):
        target = target_of(io_dtype="int8", **build)
        whole, small = litert.lower(network, plan, target, tmp_path, name)
        kinds = {o.kind: o.precision for o in litert.operators(small)}
        assert ("PRELU" in kinds) == (name == "npu")
        assert "float32" not in kinds.values()
        levels = np.round(pictures(int(small.contract.input.shape[3] or 0), 1.0)[1] * 255)
        given = levels.transpose(0, 2, 3, 1)
        exact = litert.open(whole, threads=1).run((given / 255).astype(np.float32)) * 255
        found = litert.open(small, threads=1).run((given - 128).astype(np.int8)) + 128.0
        errors[name] = rms(found - np.clip(exact, 0, 255))
    assert errors["cpu"] < 1.25 * errors["npu"] + 0.1


def test_ranges_cut_for_8_bits_before_a_tanh_are_open_in_16():
    model = networks.onnx_of("espcn_tanh_x3")
    ranges = dict(ranges_of(model, pictures(3, 1.0)))
    graph = float_graph(specialise(model, *TILE))
    (tanh, *_) = [op for op in graph.ops if op.kind == "TANH"]
    before = graph.tensors[tanh.inputs[0]].spine
    ranges[before] = TensorRange(low=-3.0, high=3.0)
    for widening, reach in (("none", 3.0), ("all", 8.0)):
        decided = scheme(graph, ranges, (), 1.0, widening=widening)
        grid = decided.grid(graph.ops.index(tanh), tanh.inputs[0])
        assert grid.scales[0] * (1 << (grid.bits - 1)) == pytest.approx(reach, rel=0.01)
