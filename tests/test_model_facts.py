"""Work, operators and reach of a network: counted by hand, and proven by tiles."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.errors import UserError
from toolkit.model.facts import NetworkFacts, network_facts


def weights(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).standard_normal(shape)
    return numpy_helper.from_array((values / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def floats(name: str, *values: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def node(kind: str, inputs: str, outputs: str, **attributes) -> onnx.NodeProto:
    given = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(kind, given, outputs.split(), outputs, **attributes)


def conv(x: str, y: str, w: str, size: int = 3, **more) -> onnx.NodeProto:
    dilation = more.get("dilations", [1])[0]
    pads = [size // 2 * dilation] * 4
    return node("Conv", f"{x} {w}", y, **{"kernel_shape": [size, size], "pads": pads} | more)


def shuffle(x: str, y: str, block: int = 2) -> onnx.NodeProto:
    return node("DepthToSpace", x, y, blocksize=block, mode="CRD")


def spine(nodes, stored, *, channels: int = 3, size=("height", "width")) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, [1, channels, *size])],
        [helper.make_tensor_value_info("sr", TensorProto.FLOAT, [1, channels, None, None])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def two_convolutions() -> onnx.ModelProto:
    nodes = [conv("lr", "f", "w"), node("Relu", "f", "r"), conv("r", "g", "v"), shuffle("g", "sr")]
    return spine(nodes, [weights("w", 8, 3, 3, 3), weights("v", 12, 8, 3, 3)])


# ---- work


def test_work_of_convolutions_is_counted_per_node():
    facts = network_facts(two_convolutions(), 36, 64)
    pixels = 36 * 64
    assert facts.macs_by_node == {"f": pixels * 8 * 3 * 9, "g": pixels * 12 * 8 * 9}
    assert facts.macs == sum(facts.macs_by_node.values())
    assert facts.parameters == 8 * 3 * 9 + 12 * 8 * 9
    assert facts.operators == {"Conv": 2, "DepthToSpace": 1, "Relu": 1}
    assert facts.input_px == (36, 64)


def test_work_of_grouped_transposed_and_matrix_products():
    nodes = [
        conv("lr", "grouped", "w", group=3),
        node("ConvTranspose", "grouped v", "up", kernel_shape=[4, 4], strides=[2, 2], pads=[1] * 4),
        node("GlobalAveragePool", "lr", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat a", "gemm", transB=1),
        node("MatMul", "gemm b", "product"),
        node("Unsqueeze", "product axes", "gate"),
        node("Mul", "up gate", "sr"),
    ]
    stored = [weights("w", 6, 1, 3, 3), weights("v", 6, 3, 4, 4), weights("a", 5, 3)]
    stored += [weights("b", 5, 3), ints("axes", 2, 3)]
    facts = network_facts(spine(nodes, stored), 10, 20)
    assert facts.macs_by_node == {
        "grouped": 10 * 20 * 6 * 1 * 9,
        "up": 10 * 20 * 6 * 3 * 16,
        "gemm": 3 * 5,
        "product": 5 * 3,
    }


def test_sizes_the_network_does_not_take_are_rounded_up():
    nodes = [
        node("SpaceToDepth", "lr", "low", blocksize=4),
        conv("low", "f", "w"),
        shuffle("f", "sr", 8),
    ]
    facts = network_facts(spine(nodes, [weights("w", 192, 48, 3, 3)]), 30, 33)
    assert facts.input_px == (32, 36)


def test_a_network_that_takes_no_size_is_a_user_error():
    nodes = [node("Add", "lr fixed", "s"), conv("s", "f", "w"), shuffle("f", "sr")]
    stored = [weights("fixed", 1, 3, 17, 19), weights("w", 12, 3, 3, 3)]
    with pytest.raises(UserError, match="does not take height `360` and width `640`"):
        network_facts(spine(nodes, stored))


# ---- reach


def tiled(model: onnx.ModelProto, picture: np.ndarray, tile: int, halo: int) -> np.ndarray:
    """The picture in tiles of `tile` pixels, each run with `halo` more around it."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    height, width = picture.shape[2:]
    result = np.zeros(0)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            y, x = max(0, top - halo), max(0, left - halo)
            part = picture[:, :, y : top + tile + halo, x : left + tile + halo]
            (answer,) = session.run(None, {"lr": np.ascontiguousarray(part)})
            scale = answer.shape[2] // part.shape[2]
            if not result.size:
                result = np.zeros((1, answer.shape[1], height * scale, width * scale), np.float32)
            rows, columns = slice(top * scale, (top + tile) * scale), (left * scale)
            inner = answer[:, :, (top - y) * scale :, (left - x) * scale :]
            inner = inner[:, :, : tile * scale, : tile * scale]
            result[:, :, rows, columns : columns + inner.shape[3]] = inner
    return result


def assert_exact_halo(model: onnx.ModelProto, facts: NetworkFacts, *, tight: bool) -> None:
    period, halo = facts.period_px, facts.halo_px
    assert halo is not None and halo % period == 0
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    height, width, tile = (-(-size // period) * period for size in (60, 70, 20))
    picture = np.random.default_rng(3).random((1, channels, height, width), np.float32)
    whole = tiled(model, picture, width, 0)
    np.testing.assert_allclose(tiled(model, picture, tile, halo), whole, atol=1e-6)
    if tight:
        less = tiled(model, picture, tile, halo - period)
        assert np.abs(less - whole).max() > 1e-3


def chain(*middle: onnx.NodeProto, stored=(), tail: int = 8) -> onnx.ModelProto:
    """A head of 8 channels `f`, the middle to `m`, and a tail that doubles the picture."""
    nodes = [conv("lr", "f", "head"), *middle, conv("m", "t", "tail"), shuffle("t", "sr")]
    return spine(nodes, [weights("head", 8, 3, 3, 3), weights("tail", 12, tail, 3, 3), *stored])


DECONVOLUTION = {"kernel_shape": [9, 9], "strides": [2, 2]}
RESIZE = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
NETWORKS = {
    "plain": (two_convolutions(), 2, 1),
    "dilated": (
        chain(conv("f", "m", "v", dilations=[3, 3]), stored=[weights("v", 8, 8, 3, 3)]),
        5,
        1,
    ),
    "5x1 kernel": (
        chain(
            conv("f", "m", "v", kernel_shape=[1, 5], pads=[0, 2, 0, 2]),
            stored=[weights("v", 8, 8, 1, 5)],
        ),
        4,
        1,
    ),
    "pad and valid": (
        chain(
            node("Pad", "f pads", "p", mode="reflect"),
            conv("p", "m", "v", pads=[0] * 4),
            stored=[ints("pads", 0, 0, 1, 1, 0, 0, 1, 1), weights("v", 8, 8, 3, 3)],
        ),
        3,
        1,
    ),
    "cropped front": (  # pixels lost at a tile's border shift nothing, but they are missing
        spine(
            [
                node("Pad", "lr pads", "p", mode="edge"),
                conv("p", "f", "head"),
                node("Slice", "f four minus axes", "c"),
                conv("c", "t", "tail"),
                shuffle("t", "sr"),
            ],
            [
                weights("head", 8, 3, 3, 3),
                weights("tail", 12, 8, 3, 3),
                ints("pads", 0, 0, 4, 4, 0, 0, 4, 4),
                ints("four", 4, 4),
                ints("minus", -4, -4),
                ints("axes", 2, 3),
            ],
        ),
        2,
        1,
    ),
    "cropped and padded": (  # row 0 of the cropped map is a border, though what it shows is there
        chain(
            node("Slice", "f two minus axes", "c"),
            conv("c", "d", "v"),
            node("Pad", "d pads", "m"),
            stored=[
                weights("v", 8, 8, 3, 3),
                ints("two", 2, 2),
                ints("minus", 1 << 40, 1 << 40),
                ints("axes", 2, 3),
                ints("pads", 0, 0, 2, 2, 0, 0, 0, 0),
            ],
        ),
        4,
        1,
    ),
    "cropped and mirrored": (
        chain(
            node("Slice", "f two minus axes", "c"),
            conv("c", "d", "v"),
            node("Pad", "d pads", "m", mode="edge"),
            stored=[
                weights("v", 8, 8, 3, 3),
                ints("two", 2, 2),
                ints("minus", 1 << 40, 1 << 40),
                ints("axes", 2, 3),
                ints("pads", 0, 0, 2, 2, 0, 0, 0, 0),
            ],
        ),
        8,
        1,
    ),
    "looks only back": (
        chain(conv("f", "m", "v", pads=[2, 2, 0, 0]), stored=[weights("v", 8, 8, 3, 3)]),
        4,
        1,
    ),
    "strided": (
        chain(
            conv("f", "d", "v", strides=[2, 2]),
            conv("d", "e", "u"),
            shuffle("e", "m"),
            stored=[weights("v", 8, 8, 3, 3), weights("u", 32, 8, 3, 3)],
        ),
        6,
        2,
    ),
    "space to depth": (
        spine(
            [node("SpaceToDepth", "lr", "low", blocksize=2), conv("low", "f", "w"),
             conv("f", "g", "v"), shuffle("g", "sr", 4)],
            [weights("w", 8, 12, 3, 3), weights("v", 48, 8, 3, 3)],
        ),
        4,
        2,
    ),
    "pooled gate": (
        chain(
            node("AveragePool", "f", "p", kernel_shape=[4, 4], strides=[4, 4]),
            node("Resize", "p - four", "g", **RESIZE),
            node("Mul", "f g", "m"),
            stored=[floats("four", 1, 1, 4, 4)],
        ),
        8,
        4,
    ),
    "deconvolution": (
        spine(
            [
                conv("lr", "f", "head"),
                node("ConvTranspose", "f up", "sr", **DECONVOLUTION,
                     pads=[4] * 4, output_padding=[1, 1]),
            ],
            [weights("head", 8, 3, 3, 3), weights("up", 8, 3, 9, 9)],
        ),
        3,
        1,
    ),
    "bicubic skip": (
        spine(
            [
                conv("lr", "f", "w"),
                shuffle("f", "s"),
                node("Resize", "lr - two", "b", mode="cubic"),
                node("Add", "s b", "sr"),
            ],
            [weights("w", 12, 3, 3, 3), floats("two", 1, 1, 2, 2)],
        ),
        2,
        1,
    ),
    "channels last norm": (
        chain(
            node("Transpose", "f", "l", perm=[0, 2, 3, 1]),
            node("LayerNormalization", "l gain", "n"),
            node("MatMul", "n mix", "x"),
            node("Transpose", "x", "m", perm=[0, 3, 1, 2]),
            stored=[floats("gain", *[1.0] * 8), weights("mix", 8, 8)],
        ),
        2,
        1,
    ),
}  # fmt: skip


GENEROUS = {
    "bicubic skip",  # the outermost taps of its kernel are too small to show in float32
    "cropped and mirrored",  # only seen at the picture's borders
}


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_with_the_halo_equal_the_whole_picture_and_with_less_they_do_not(name):
    model, halo, period = NETWORKS[name]
    facts = network_facts(model, 40, 80)
    assert (facts.halo_px, facts.period_px) == (halo, period)
    assert_exact_halo(model, facts, tight=name not in GENEROUS)


def test_the_receptive_field_of_two_convolutions_is_five_pixels():
    assert network_facts(two_convolutions(), 40, 80).receptive_field_px == 5


WHOLE = {
    "GlobalAveragePool": [node("GlobalAveragePool", "f", "g"), node("Mul", "f g", "m")],
    "ReduceMean": [node("ReduceMean", "f", "g", axes=[2, 3]), node("Sub", "f g", "m")],
    "InstanceNormalization": [node("InstanceNormalization", "f eight eight", "m")],
    "Softmax": [node("Softmax", "f", "m", axis=3)],
    "Resize": [  # its factor is the picture's size over that of the pooled map
        node("MaxPool", "f", "p", kernel_shape=[7, 7], strides=[3, 3]),
        node("Shape", "f", "size"),
        node("Resize", "p - - size", "g", **RESIZE),
        node("Mul", "f g", "m"),
    ],
    "MatMul": [node("Transpose", "f", "g", perm=[0, 1, 3, 2]), node("MatMul", "f g", "h"),
               node("MatMul", "h f", "m")],
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_a_node_that_sees_the_whole_picture_is_named(kind):
    model = chain(*WHOLE[kind], stored=[floats("eight", *[1.0] * 8)])
    facts = network_facts(model, 40, 80)
    assert facts.halo_px is None and facts.receptive_field_px is None
    guilty = next(n for n in model.graph.node if n.op_type == kind)
    assert facts.whole_picture.startswith(f"`{kind}` at node `{guilty.name}`: ")


def test_a_resize_to_fixed_corners_sees_the_size_of_the_picture():
    nodes = [
        conv("lr", "f", "w"),
        shuffle("f", "s"),
        node(
            "Resize", "lr - two", "b",
            mode="linear", coordinate_transformation_mode="align_corners",
        ),
        node("Add", "s b", "sr"),
    ]  # fmt: skip
    model = spine(nodes, [weights("w", 12, 3, 3, 3), floats("two", 1, 1, 2, 2)])
    assert "`align_corners` depends on" in network_facts(model, 40, 80).whole_picture


def test_a_fixed_tile_is_what_the_facts_are_for():
    model = two_convolutions()
    for place, size in ((2, 24), (3, 32)):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    facts = network_facts(model)
    assert facts.input_px == (24, 32) and facts.halo_px == 2
