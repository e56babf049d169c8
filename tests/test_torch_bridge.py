"""ONNX to torch and back: the same numbers, trainable, exportable, and clear refusals."""

from __future__ import annotations

import copy
from collections import Counter

import networks
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from bridge_cases import CASES, CHANNELS, Case, model_of
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from toolkit.archs import sesr
from toolkit.errors import Problems, UserError
from toolkit.model.bridge.exporter import write_graph
from toolkit.model.torch_bridge import to_module, to_onnx

onnxruntime.set_default_logger_severity(3)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def run_onnx(model: onnx.ModelProto, picture: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: picture})[0]


def run_module(module: nn.Module, picture: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(picture)).numpy()


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference, as a share of the values' own size where that is above 1."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return float(np.abs(one - other).max() / max(1.0, np.abs(other).max()))


def picture_of(network: networks.Network, height: int = 24, width: int = 32) -> np.ndarray:
    rng = np.random.default_rng(height)
    shape = (1, network.channels, height, width)
    return rng.random(shape, dtype=np.float32) * np.float32(network.white)


def float_graph(nodes, constants=(), shape=(1, 3, "h", "w"), opset=17) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "test",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def export(module: nn.Module, name: str) -> onnx.ModelProto:
    network = networks.build(name)
    return to_onnx(module, channels=network.channels, scale=network.scale)


@pytest.mark.parametrize("name", networks.NAMES)
def test_module_gives_what_the_file_gives_and_trains(name):
    network, model = networks.build(name), networks.onnx_of(name)
    module = to_module(model)
    for height, width in ((24, 32), (40, 36)):
        picture = picture_of(network, height, width)
        assert difference(run_module(module, picture), run_onnx(model, picture)) < 1e-5
    module(torch.rand(3, network.channels, 24, 24)).square().sum().backward()
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) == len(
        [m for m in network.module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    )
    assert all(layer.weight.grad.abs().sum() > 0 for layer in layers)


@pytest.mark.parametrize("name", networks.NAMES)
def test_round_trip_is_the_same_network_and_adds_no_nodes(name):
    network, model = networks.build(name), networks.onnx_of(name)
    once = export(to_module(model), name)
    twice = export(to_module(once), name)
    onnx.checker.check_model(once, full_check=True)
    picture = picture_of(network)
    wanted = run_onnx(model, picture)
    assert difference(run_onnx(once, picture), wanted) < 1e-5
    assert difference(run_onnx(twice, picture), wanted) < 1e-5
    assert len(twice.graph.node) == len(once.graph.node) <= len(model.graph.node)


@pytest.mark.parametrize("name", networks.NAMES)
def test_export_program_of_a_fixed_size(name):
    network = networks.build(name)
    module = to_module(networks.onnx_of(name))
    picture = picture_of(network)
    program = torch.export.export(module, (torch.from_numpy(picture),))
    assert difference(run_module(program.module(), picture), run_module(module, picture)) < 1e-6


@pytest.mark.parametrize("name", ["plain_x2", "pad_and_crop_x2", "imdn_x2", "restormer_x2"])
def test_a_batch_gives_what_each_picture_gives(name):
    network = networks.build(name)
    spine = export(to_module(networks.onnx_of(name)), name)  # has a batch of 1 written into it
    module = to_module(spine)
    pictures = np.concatenate([picture_of(network, 24, 36), picture_of(network, 24, 36)[..., ::-1]])
    alone = [run_onnx(spine, picture[None]) for picture in pictures]
    assert difference(run_module(module, pictures), np.concatenate(alone)) < 1e-5


def test_a_batch_is_not_mixed_by_a_reshape_to_one():
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["b"], axes=[2]),
        helper.make_node("Reshape", ["b", "point"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    constants = [("flat", np.array([1, 3, -1])), ("point", np.array([1, 3, 1, 1]))]
    model = float_graph(nodes, constants)
    pictures = np.random.default_rng(0).random((4, 3, 24, 24), dtype=np.float32)
    wanted = np.concatenate([run_onnx(model, picture[None]) for picture in pictures])
    assert difference(run_module(to_module(model), pictures), wanted) < 1e-6


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_operator_means_what_it_means_in_the_runtime(case: Case):
    model = model_of(case)
    picture = np.random.default_rng(0).normal(0, 0.6, (1, CHANNELS, 14, 12)).astype(np.float32)
    wanted = run_onnx(model, picture)
    module = to_module(model)
    assert difference(run_module(module, picture), wanted) < 1e-5
    graph = write_graph(getattr(module, "network", module), input_name="x", output_name="z")
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    again = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    again.ir_version = 8
    assert difference(run_onnx(again, picture), wanted) < 1e-5


@pytest.mark.parametrize("scale", [2, 3])
def test_file_of_an_own_network(scale):
    torch.manual_seed(0)
    module = sesr.build(scale=scale, channels=3, features=8, blocks=2, wide=16).train()
    model = to_onnx(sesr.collapse(module), channels=3, scale=scale)
    (shuffle,) = [node for node in model.graph.node if node.op_type == "DepthToSpace"]
    assert {a.name: helper.get_attribute_value(a) for a in shuffle.attribute} == {
        "blocksize": scale,
        "mode": b"CRD",
    }
    assert Counter(n.op_type for n in model.graph.node).keys() <= {
        "Conv", "Relu", "Add", "Slice", "Concat", "DepthToSpace",
    }  # fmt: skip
    picture = np.random.default_rng(1).random((1, 3, 17, 22), dtype=np.float32)
    assert difference(run_onnx(model, picture), run_module(module, picture)) < 1e-5


@pytest.mark.parametrize("traced", [False, True])
def test_file_has_the_form_of_the_spine(traced, capfd):
    network = networks.build("imdn_x2")
    module = network.module if traced else to_module(networks.onnx_of("imdn_x2"))
    module.train()
    part = next(m for m in module.modules() if isinstance(m, nn.Conv2d)).eval()
    model = export(module, "imdn_x2")
    assert capfd.readouterr() == ("", "")
    assert module.training and not part.training
    (opset,) = model.opset_import
    assert opset.version == 17
    (given,), (made,) = model.graph.input, model.graph.output
    dims = [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim]
    assert (given.name, dims, made.name) == ("lr", [1, 3, "h", "w"], "sr")
    assert len(made.type.tensor_type.shape.dim) == 4
    assert model.SerializeToString() == export(copy.deepcopy(module), "imdn_x2").SerializeToString()


def test_training_lowers_the_loss_and_the_file_has_the_new_weights():
    network = networks.build("compact_x4")
    module = copy.deepcopy(to_module(networks.onnx_of("compact_x4")))
    goal = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pictures = torch.nn.functional.avg_pool2d(goal, 4)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = (module(pictures) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    picture = picture_of(network)
    trained = run_onnx(export(module, "compact_x4"), picture)
    assert difference(trained, run_module(module, picture)) < 1e-5
    fresh = to_module(networks.onnx_of("compact_x4"))
    fresh.load_state_dict(module.state_dict())
    assert difference(trained, run_module(fresh, picture)) < 1e-5


def test_weights_are_parameters_and_arithmetic_constants_are_buffers():
    module = to_module(networks.onnx_of("mean_arithmetic_x2"))
    (buffer,) = module.buffers()
    assert buffer.shape == (1, 3, 1, 1)
    assert {tuple(p.shape) for p in module.parameters()} == {
        (12, 3, 3, 3), (12,), (12, 12, 3, 3),
    }  # fmt: skip


def test_layers_become_the_modules_that_pruning_and_people_know():
    def kinds(name: str) -> Counter[str]:
        module = to_module(networks.onnx_of(name))
        return Counter(type(m).__name__ for m in module.children())

    assert kinds("fsrcnn_x2") == {"Conv2d": 5, "PReLU": 5, "ConvTranspose2d": 1}
    assert kinds("convnext_gelu_x2") == {
        "Conv2d": 5, "LayerNorm": 1, "GELU": 1, "PixelShuffle": 1,
    }  # fmt: skip
    assert kinds("window_attention_x2")["Linear"] == 2
    assert kinds("rcan_x2")["AdaptiveAvgPool2d"] == 1


def test_gelu_is_found_in_every_order_of_its_factors():
    half, one, root = ("half", np.float32(0.5)), ("one", np.float32(1)), ("r", np.float32(2**0.5))
    start = [
        helper.make_node("Div", ["x", "r"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["one", "b"], ["c"]),
    ]
    mul = [
        [("x", "c", "d"), ("d", "half", "y")],
        [("c", "half", "d"), ("x", "d", "y")],
        [("half", "x", "d"), ("d", "c", "y")],
    ]
    picture = np.random.default_rng(0).normal(size=(1, 3, 24, 24)).astype(np.float32)
    for products in mul:
        ends = [helper.make_node("Mul", [a, b], [out]) for a, b, out in products]
        nodes = sorted([*start, *ends], key=lambda n: n.output[0] == "y")
        model = float_graph(nodes, [half, one, root])
        module = to_module(model)
        assert [type(m) for m in module.children()] == [nn.GELU]
        assert difference(run_module(module, picture), run_onnx(model, picture)) < 1e-6
        almost = float_graph(nodes, [("half", np.float32(0.4)), one, root])
        assert not list(to_module(almost).children())
        assert difference(run_module(to_module(almost), picture), run_onnx(almost, picture)) < 1e-6


def test_sizes_are_computed_from_the_picture_at_hand():
    """Where, Equal, ConstantOfShape, Range, ScatterND, Floor and Cast on sizes."""
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Shape", ["shape"], ["rank"]),
        node("ConstantOfShape", ["rank"], ["ones"], value=numpy_helper.from_array(np.array([1]))),
        node("Equal", ["asked", "minus"], ["kept"]),
        node("Where", ["kept", "shape", "asked"], ["target"]),
        node("Mul", ["target", "ones"], ["target1"]),
        node("Expand", ["x", "target1"], ["wide"]),
        node("Gather", ["shape", "three"], ["width"]),
        node("Range", ["zero", "width", "one"], ["columns"]),
        node("Cast", ["columns"], ["ramp"], to=TensorProto.FLOAT),
        node("Div", ["ramp", "seven"], ["steps"]),
        node("Floor", ["steps"], ["stairs"]),
        node("Add", ["wide", "stairs"], ["bent"]),
        node("ScatterND", ["shape", "where_to", "minus"], ["open"]),
        node("Reshape", ["bent", "open"], ["y"]),
    ]
    constants = [
        ("asked", np.array([-1, 3, -1, -1])), ("minus", np.array([-1])), ("three", np.array(3)),
        ("zero", np.array(0)), ("one", np.array(1)), ("seven", np.float32(7)),
        ("where_to", np.array([[2]])),
    ]  # fmt: skip
    model = float_graph(nodes, constants)
    module = to_module(model)
    for size in ((24, 24), (30, 47)):
        picture = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
        assert difference(run_module(module, picture), run_onnx(model, picture)) < 1e-6


def test_two_uses_of_the_same_weights_stay_one_layer():
    weight = np.random.default_rng(0).normal(0, 0.2, (3, 3, 3, 3)).astype(np.float32)
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", **pads),
        helper.make_node("Conv", ["a", "w"], ["b"], name="second", **pads),
        helper.make_node("Identity", ["w"], ["equal"]),
        helper.make_node("Conv", ["b", "equal"], ["y"], name="third", **pads),
    ]
    module = to_module(float_graph(nodes, [("w", weight)]))
    assert [name for name, _ in module.named_parameters()] == ["first.weight", "third.weight"]


def test_half_precision_weights_and_weights_listed_as_inputs():
    weight = np.random.default_rng(0).normal(0, 0.2, (3, 3, 1, 1)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w32"], ["z"]),
        helper.make_node("Upsample", ["z", "s"], ["y"]),
    ]
    scales = np.array([1, 1, 2, 2], np.float32)
    model = float_graph(nodes, [("w", weight), ("s", scales)], opset=9)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT16, (3, 3, 1, 1)))
    module = to_module(model)
    assert next(module.parameters()).dtype == torch.float32
    picture = np.random.default_rng(1).random((1, 3, 9, 8), dtype=np.float32)
    assert difference(run_module(module, picture), run_onnx(model, picture)) < 1e-6


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([helper.make_node("TopK", ["x", "k"], ["y", "i"], name="best")], ["`TopK`", "`best`"]),
        ([helper.make_node("Foo", ["x"], ["y"], domain="acme")], ["`acme::Foo`"]),
        ([helper.make_node("Conv", ["x", "x"], ["y"], name="dyn")], ["`Conv`", "`x`", "`dyn`"]),
        (
            [
                helper.make_node("ReduceMax", ["x"], ["m"]),
                helper.make_node("Cast", ["m"], ["n"], to=TensorProto.INT64),
                helper.make_node("Reshape", ["x", "n"], ["y"], name="odd"),
            ],
            ["`Reshape`", "`odd`", "content"],
        ),
        (
            [
                helper.make_node(
                    "Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="odd"
                )
            ],
            ["`odd`", "half_pixel"],
        ),
        (
            [helper.make_node("Pad", ["x", "k8"], ["y"], mode="reflect", name="all")],
            ["`reflect`", "height and width"],
        ),
    ],
)  # fmt: skip
def test_refusal_names_what_is_not_understood(nodes, words):
    constants = [
        ("k", np.array([1])), ("s", np.array([1, 1, 3, 2.5], np.float32)),
        ("k8", np.array([0, 1, 1, 1, 0, 1, 1, 1])),
    ]  # fmt: skip
    with pytest.raises(UserError) as caught:
        to_module(float_graph(nodes, constants))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.hint


def test_all_operators_that_are_not_understood_are_named_at_once():
    nodes = [
        helper.make_node("Acos", ["x"], ["a"]),
        helper.make_node("Acos", ["a"], ["b"]),
        helper.make_node("Hardmax", ["b"], ["y"]),
    ]
    with pytest.raises(Problems) as caught:
        to_module(float_graph(nodes))
    text = str(caught.value)
    assert "`Acos`" in text and "`Hardmax`" in text and "and 1 more" in text


def test_refusal_of_other_graphs():
    with pytest.raises(UserError, match="opset `30`"):
        to_module(float_graph([helper.make_node("Relu", ["x"], ["y"])], opset=30))
    with pytest.raises(UserError, match="flattens the axes from 1 on"):
        to_module(float_graph([helper.make_node("Softmax", ["x"], ["y"])], opset=11))
    two = float_graph([helper.make_node("Add", ["x", "second"], ["y"])])
    two.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, (1, 3, 4, 4)))
    with pytest.raises(UserError, match="2 inputs and 1 outputs"):
        to_module(two)
    flat = float_graph([helper.make_node("Relu", ["x"], ["y"])], shape=(1, "n"))
    with pytest.raises(UserError, match=r"\(N, C, H, W\)"):
        to_module(flat)
    with pytest.raises(UserError, match="x3 would be"):
        to_onnx(to_module(networks.onnx_of("plain_x2")), channels=3, scale=3)


def test_a_failing_probe_is_not_printed(capfd):
    nodes = [helper.make_node("Add", ["x", "ramp"], ["y"])]
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 1, 64)
    module = to_module(float_graph(nodes, [("ramp", ramp)]))  # fails at the first two sizes tried
    assert run_module(module, np.ones((1, 3, 7, 64), np.float32)).shape == (1, 3, 7, 64)
    assert capfd.readouterr() == ("", "")
