"""Any ONNX file in, a clean spine out: what is refused, what is rewritten, what stays equal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.errors import SecurityError, UserError
from toolkit.model.contract import ImageContract
from toolkit.model.graph import load_checked, shapes_of, specialise, tile_of
from toolkit.model.importing import Imported, import_onnx
from toolkit.model.probe import probe_contract
from toolkit.model.trial import TrialFailed, Trials
from toolkit.spec.recipe import NetworkSource

X2 = NetworkSource(scale=2)


def weights(name: str, *shape: int, seed: int = 0) -> onnx.TensorProto:
    values = np.random.default_rng(seed).standard_normal(shape)
    values = values / np.sqrt(max(1, np.prod(shape[1:])))
    return numpy_helper.from_array(values.astype(np.float32), name)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(kind: str, inputs: str, outputs: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def conv(x: str, y: str, w: str, size: int = 3) -> onnx.NodeProto:
    return node("Conv", f"{x} {w}", y, kernel_shape=[size, size], pads=[size // 2] * 4)


def model_of(nodes, stored, *, shape=("n", 3, "h", "w"), opset=17, ir=8, kind=TensorProto.FLOAT):
    graph = helper.make_graph(
        nodes,
        "given",
        [helper.make_tensor_value_info("lr", kind, shape)],
        [helper.make_tensor_value_info("sr", kind, [None] * 4)],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def plain(**options) -> onnx.ModelProto:
    nodes = [conv("lr", "f", "w"), node("DepthToSpace", "f", "sr", blocksize=2, mode="CRD")]
    return model_of(nodes, [weights("w", 12, 3, 3, 3)], **options)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "given.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def imported(model: onnx.ModelProto, folder: Path, source: NetworkSource = X2) -> Imported:
    return import_onnx(saved(model, folder), source)


def run(model: onnx.ModelProto, tensor: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: tensor})[0]


def picture(channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).random((1, channels, height, width), np.float32)


def assert_same(given: onnx.ModelProto, spine: onnx.ModelProto, size=(18, 22)) -> None:
    channels = shapes_of(spine)["lr"][1]
    tensor = picture(channels, *size)
    np.testing.assert_allclose(run(spine, tensor), run(given, tensor), atol=2e-5)


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    names = [n.op_type for n in model.graph.node]
    return {name: names.count(name) for name in sorted(set(names))}


# ---- what a file may be


def test_the_file_handed_in_is_never_written(tmp_path):
    path = saved(plain(), tmp_path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        import_onnx(path, X2)
    finally:
        tmp_path.chmod(0o755)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [p.name for p in tmp_path.iterdir()] == ["given.onnx"]


@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.97])
def test_a_cut_file_is_refused_with_its_size(tmp_path, kept):
    path = saved(plain(), tmp_path)
    data = path.read_bytes()
    length = kept if kept in (0, 1) else int(len(data) * kept)
    path.write_bytes(data[:length])
    with pytest.raises(UserError, match=rf"`given.onnx`.*`{length}` bytes"):
        load_checked(path)


def test_a_missing_file_and_a_folder_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_checked(tmp_path / "no.onnx")
    with pytest.raises(UserError, match="not a plain file"):
        load_checked(tmp_path)


def test_several_inputs_and_outputs_are_named_at_once(tmp_path):
    model = plain()
    model.graph.input.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1]))
    model.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, None))
    with pytest.raises(UserError) as refused:
        load_checked(saved(model, tmp_path))
    assert "`lr`, `noise`" in str(refused.value) and "`sr`, `f`" in str(refused.value)


def test_weights_listed_as_inputs_are_no_inputs(tmp_path):
    model = plain(opset=9, ir=3)
    del model.graph.node[:]
    model.graph.node.extend([conv("lr", "f", "w"), node("Upsample", "f scales", "sr")])
    model.graph.initializer[0].CopyFrom(weights("w", 3, 3, 3, 3))
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    model.graph.initializer.append(scales)
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        model.graph.input.append(value)
    found = imported(model, tmp_path).model
    assert [value.name for value in found.graph.input] == ["lr"]
    assert found.opset_import[0].version == 17
    assert_same(model, found)


def test_foreign_and_quantized_operators_are_named_with_their_nodes(tmp_path):
    model = plain()
    model.graph.node[0].op_type, model.graph.node[0].domain = "FusedConv", "com.microsoft"
    model.graph.node[0].name = "head"
    with pytest.raises(UserError, match=r"`com.microsoft.FusedConv` at node `head`"):
        load_checked(saved(model, tmp_path))
    model = plain()
    model.graph.node[1].CopyFrom(node("DequantizeLinear", "f w", "sr", name="dq"))
    with pytest.raises(UserError, match="`DequantizeLinear` at node `dq` is quantized already"):
        load_checked(saved(model, tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named_with_its_index(tmp_path, value):
    model = plain()
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values[3, 1, 2, 0] = value
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    with pytest.raises(UserError, match=rf"`w` holds `{value}` at \[3, 1, 2, 0\], 1 of 324"):
        load_checked(saved(model, tmp_path))


def test_an_unlimited_clip_is_no_damaged_weight(tmp_path):
    model = plain()
    model.graph.node[1].output[0] = "up"
    model.graph.node.append(node("Clip", "up low high", "sr"))
    for name, value in (("low", 0.0), ("high", np.inf)):
        tensor = numpy_helper.from_array(np.array(value, np.float32), name)
        model.graph.initializer.append(tensor)
    load_checked(saved(model, tmp_path))


def test_a_convolution_of_zeros_is_a_warning(tmp_path):
    model = plain()
    zeros = np.zeros((12, 3, 3, 3), np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(zeros, "w"))
    warnings: list[str] = []
    load_checked(saved(model, tmp_path), warnings)
    assert warnings == ["all weights `w` of node `f` are zero"]


# ---- external data


def with_external(folder: Path, location: str, **extent: int | str) -> Path:
    model = plain()
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **extent}.items():
        tensor.external_data.add(key=key, value=str(value))
    home = folder / "home"
    home.mkdir()
    (home / "weights.bin").write_bytes(b"head" + data)
    (folder / "secret.bin").write_bytes(b"head" + data)
    (home / "link.bin").symlink_to(folder / "secret.bin")
    (home / "hard.bin").hardlink_to(folder / "secret.bin")
    (home / "linked").symlink_to(folder)
    os.mkfifo(home / "pipe.bin")  # opening it would wait for ever
    return saved(model, home)


def test_external_data_beside_the_file_is_read(tmp_path):
    path = with_external(tmp_path, "weights.bin", offset=4, length=1296)
    tensor = numpy_helper.to_array(load_checked(path).graph.initializer[0])
    np.testing.assert_array_equal(tensor, numpy_helper.to_array(plain().graph.initializer[0]))


@pytest.mark.parametrize(
    ("location", "extent", "why"),
    [
        ("../secret.bin", {}, "leaves the model's folder"),
        ("a/../../secret.bin", {}, "leaves the model's folder"),
        ("/etc/hostname", {}, "is absolute"),
        ("C:\\secret.bin", {}, "is absolute"),
        ("link.bin", {}, "symbolic link"),
        ("linked/secret.bin", {}, "symbolic link"),
        ("hard.bin", {}, "hard link"),
        ("pipe.bin", {}, "not a plain file"),
        ("", {}, "empty"),
        ("weights.bin", {"offset": -4}, "offset is negative"),
        ("weights.bin", {"length": -1}, "length is negative"),
        ("weights.bin", {"offset": "x"}, "offset is `x`"),
        ("weights.bin", {"offset": 4, "length": 1297}, "beyond its end"),
        ("weights.bin", {"length": 10**30}, "beyond its end"),
        ("weights.bin", {"offset": 99999}, "beyond its end"),
    ],
)
def test_external_data_outside_is_refused(tmp_path, location, extent, why):
    path = with_external(tmp_path, location, **extent)
    with pytest.raises(SecurityError, match=why) as refused:
        load_checked(path)
    assert refused.value.exit_code == 5


def test_no_data_is_read_before_all_of_it_is_checked(tmp_path):
    path = with_external(tmp_path, "missing.bin")
    model = onnx.ModelProto.FromString(path.read_bytes())
    second = model.graph.initializer.add()
    second.CopyFrom(model.graph.initializer[0])
    second.name, second.external_data[0].value = "second", "../secret.bin"
    with pytest.raises(SecurityError):  # not the UserError for the missing first one
        load_checked(saved(model, path.parent))


# ---- scale, opset, types, layout


def test_a_wrong_scale_is_answered_with_the_right_one(tmp_path):
    with pytest.raises(UserError, match="scale is `2`, not the stated `3`") as refused:
        imported(plain(), tmp_path, NetworkSource(scale=3))
    assert refused.value.hint == "say `scale: 2`"


def test_a_wrong_colour_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"color `luma`.*takes `3`"):
        imported(plain(), tmp_path, NetworkSource(scale=2, color="luma"))


def test_opset_8_is_refused_and_11_raised(tmp_path):
    with pytest.raises(UserError, match="opset `8` is too old"):
        imported(plain(opset=8), tmp_path)
    nodes = [
        conv("lr", "f", "w"),
        node("ReduceMean", "f", "m", axes=[1], keepdims=1),
        node("Sub", "f m", "g"),
        node("Split", "g", "a b", axis=1, split=[5, 7]),
        node("Concat", "b a", "c", axis=1),
        node("DepthToSpace", "c", "sr", blocksize=2, mode="CRD"),
    ]
    model = model_of(nodes, [weights("w", 12, 3, 3, 3)], opset=11)
    found = imported(model, tmp_path).model
    assert found.opset_import[0].version == 17
    assert_same(model, found)


def test_a_newer_opset_is_lowered(tmp_path):
    nodes = [
        conv("lr", "f", "w"),
        node("Gelu", "f", "g"),
        node("ReduceMean", "g axes", "m", keepdims=1),
        node("Sub", "g m", "s"),
        node("Split", "s", "a b", axis=1, num_outputs=2),
        node("Mish", "a", "a2"),
        node("Concat", "a2 b", "c", axis=1),
        node("Pad", "c pads  spatial", "p", mode="edge"),
        node("Conv", "p v", "q", kernel_shape=[3, 3]),
        node("DepthToSpace", "q", "sr", blocksize=2, mode="CRD"),
    ]
    nodes[7].input[:] = ["c", "pads", "", "spatial"]
    stored = [
        weights("w", 12, 3, 3, 3),
        weights("v", 12, 12, 3, 3),
        ints("axes", 1),
        ints("pads", 1, 1, 1, 1),
        ints("spatial", 2, 3),
    ]
    model = model_of(nodes, stored, opset=22, ir=10)
    found = imported(model, tmp_path).model
    assert found.opset_import[0].version == 17 and found.ir_version == 8
    assert {"Erf", "Softplus"} <= kinds(found).keys() and "Gelu" not in kinds(found)
    assert_same(model, found)


def test_an_operator_without_older_form_is_named(tmp_path):
    model = plain(opset=22, ir=10)
    model.graph.node[0].output[0] = "e"
    model.graph.node.insert(1, node("Gelu", "e", "f", approximate="tanh", name="act"))
    with pytest.raises(UserError, match="`Gelu` at node `act` of opset 22"):
        imported(model, tmp_path)


def test_half_precision_becomes_single(tmp_path):
    model = plain(kind=TensorProto.FLOAT16)
    half = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float16)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(half, "w"))
    found = imported(model, tmp_path).model
    types = {found.graph.input[0].type.tensor_type.elem_type}
    types |= {found.graph.output[0].type.tensor_type.elem_type}
    types |= {tensor.data_type for tensor in found.graph.initializer}
    assert types == {TensorProto.FLOAT}
    tensor = picture(3, 9, 8)
    expected = run(model, tensor.astype(np.float16)).astype(np.float32)
    np.testing.assert_allclose(run(found, tensor), expected, atol=1e-2)


def test_channels_last_becomes_channels_first(tmp_path):
    inner = plain()
    nodes = [node("Transpose", "lr", "t", perm=[0, 3, 1, 2]), *inner.graph.node]
    nodes[1].input[0], nodes[2].output[0] = "t", "u"
    nodes.append(node("Transpose", "u", "sr", perm=[0, 2, 3, 1]))
    model = model_of(nodes, inner.graph.initializer, shape=(1, "h", "w", 3))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("sr", TensorProto.FLOAT, [1, "H", "W", 3])
    )
    found = imported(model, tmp_path).model
    assert kinds(found) == {"Conv": 1, "DepthToSpace": 1}
    tensor = picture(3, 9, 8)
    expected = run(model, tensor.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(run(found, tensor), expected, atol=2e-5)


def test_bytes_in_and_out_are_refused(tmp_path):
    with pytest.raises(UserError, match="input `lr` is `uint8`"):
        imported(plain(kind=TensorProto.UINT8), tmp_path)


# ---- the spine's form


def test_names_types_and_shapes_of_the_spine(tmp_path):
    model = plain()
    for given in model.graph.node:
        given.name, given.doc_string = "same", "/home/somebody/train.py"
    found = imported(model, tmp_path).model
    names = [n.name for n in found.graph.node]
    assert len(set(names)) == len(names) and all(names)
    assert found.graph.input[0].name == "lr" and found.graph.output[0].name == "sr"
    assert shapes_of(found)["lr"] == (1, 3, None, None)
    assert shapes_of(found)["sr"] == (1, 3, None, None)
    assert {n for made in found.graph.node for n in made.output} <= shapes_of(found).keys()
    assert b"somebody" not in found.SerializeToString()


def test_the_same_file_gives_the_same_bytes_in_another_process(tmp_path):
    nodes = [
        conv("lr", "f", "w"),
        node("Relu", "f", "g"),
        conv("g", "h", "v"),
        node("Tile", "lr four", "a"),
        node("Add", "h a", "s"),
        node("DepthToSpace", "s", "sr", blocksize=2, mode="DCR"),
    ]
    stored = [weights("w", 8, 3, 3, 3), weights("v", 12, 8, 3, 3), ints("four", 1, 4, 1, 1)]
    path = saved(model_of(nodes, stored), tmp_path)
    script = (
        "import sys, pathlib, toolkit.digest as d; from toolkit.model.importing import import_onnx;"
        "from toolkit.spec.recipe import NetworkSource as S;"
        "m = import_onnx(pathlib.Path(sys.argv[1]), S(scale=2)).model;"
        "print(d.sha256_bytes(m.SerializeToString(deterministic=True)))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_batch_normalisation_is_folded(tmp_path):
    stored = [
        weights("w", 12, 3, 3, 3),
        *(weights(name, 12, seed=k) for k, name in enumerate(("g", "b", "m"))),
        numpy_helper.from_array(np.linspace(0.5, 2, 12, dtype=np.float32), "v"),
        *(weights(f"{name}2", 3, seed=k) for k, name in enumerate(("g", "b", "m"))),
        numpy_helper.from_array(np.array([0.5, 1, 2], np.float32), "v2"),
    ]
    nodes = [
        node("BatchNormalization", "lr g2 b2 m2 v2", "i"),
        conv("i", "f", "w"),
        node("BatchNormalization", "f g b m v", "n"),
        node("DepthToSpace", "n", "sr", blocksize=2, mode="CRD"),
    ]
    model = model_of(nodes, stored)
    found = imported(model, tmp_path).model
    assert "BatchNormalization" not in kinds(found) and kinds(found)["Conv"] == 1
    assert_same(model, found)


def test_equal_biases_stay_two_tensors(tmp_path):
    nodes = [
        node("Conv", "lr w one", "f", kernel_shape=[3, 3], pads=[1] * 4),
        node("Relu", "f", "r"),
        node("Conv", "r v two", "g", kernel_shape=[3, 3], pads=[1] * 4),
        node("DepthToSpace", "g", "sr", blocksize=2, mode="CRD"),
    ]
    zeros = np.zeros(12, np.float32)
    stored = [weights("w", 12, 3, 3, 3), weights("v", 12, 12, 3, 3, seed=1)]
    stored += [numpy_helper.from_array(zeros, name) for name in ("one", "two")]
    found = imported(model_of(nodes, stored), tmp_path).model
    biases = [n.input[2] for n in found.graph.node if n.op_type == "Conv"]
    assert len(set(biases)) == 2  # a shared tensor would be trained as one


# ---- movement of pixels


def repeat_nodes(how: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Each of three channels four times, as `x.repeat_interleave(4, 1)` exports or is written."""
    reshape = node("Reshape", "wide shape", "anchor")
    nodes = [
        node("Unsqueeze", "lr two", "deep"),
        node("Tile", "deep times", "wide"),
        node("Shape", "wide", "all"),
        node("Slice", "all first", "start"),
        node("Slice", "all last", "end"),
        node("Concat", "start minus end", "shape", axis=0),
        reshape,
    ]
    nodes[3].input[:] = ["all", "zero", "one"]
    nodes[4].input[:] = ["all", "three", "many"]
    stored = [ints("two", 2), ints("zero", 0), ints("one", 1), ints("three", 3), ints("many", 9)]
    stored += [ints("minus", -1), ints("times", 1, 1, 4, 1, 1)]
    if how == "gather":
        return [node("Gather", "lr order", "anchor", axis=1)], [
            ints("order", 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)
        ]
    return nodes, stored


@pytest.mark.parametrize("how", ["messy", "gather"])
def test_a_channel_repeat_becomes_slices_and_a_concat(tmp_path, how):
    nodes, stored = repeat_nodes(how)
    nodes += [
        conv("lr", "f", "w"),
        node("Add", "f anchor", "s"),
        node("DepthToSpace", "s", "sr", blocksize=2, mode="CRD"),
    ]
    model = model_of(nodes, [*stored, weights("w", 12, 3, 3, 3)])
    found = imported(model, tmp_path)
    assert kinds(found.model) == {"Add": 1, "Concat": 1, "Conv": 1, "DepthToSpace": 1, "Slice": 3}
    assert not any("left as it is" in warning for warning in found.warnings)
    assert_same(model, found.model)


def test_a_whole_repeat_becomes_one_concat(tmp_path):
    nodes = [
        conv("lr", "f", "w"),
        node("Tile", "lr four", "anchor"),
        node("Add", "f anchor", "s"),
        node("DepthToSpace", "s", "sr", blocksize=2, mode="DCR"),
    ]
    model = model_of(nodes, [weights("w", 12, 3, 3, 3), ints("four", 1, 4, 1, 1)])
    found = imported(model, tmp_path).model
    (concat,) = [n for n in found.graph.node if n.op_type == "Concat"]
    assert list(concat.input) == ["lr"] * 4
    assert_same(model, found)


def shuffle_nodes(source: str, result: str, order: list[int], split: list[int], size: str):
    """A pixel shuffle as reshapes and a transpose; the sizes come from Shape of the input."""
    return [
        node("Shape", "lr", "size"),
        node("Slice", "size two", "hw"),
        node("Concat", f"{split[0]} hw", "deep", axis=0),
        node("Reshape", f"{source} deep", "six"),
        node("Transpose", "six", "turned", perm=order),
        node("Mul", "hw block", "HW"),
        node("Concat", f"{size} HW", "flat", axis=0),
        node("Reshape", "turned flat", result),
    ]


@pytest.mark.parametrize(
    ("mode", "split", "order"),
    [
        ("CRD", [1, 3, 2, 2], [0, 1, 4, 2, 5, 3]),
        ("DCR", [1, 2, 2, 3], [0, 3, 4, 1, 5, 2]),
    ],
)
def test_a_decomposed_pixel_shuffle_becomes_depth_to_space(tmp_path, mode, split, order):
    moving = shuffle_nodes("f", "sr", order, ["split"], "front")
    moving[1].input[:] = ["size", "start", "end"]
    stored = [weights("w", 12, 3, 3, 3), ints("split", *split), ints("front", 1, 3)]
    stored += [ints("start", 2), ints("end", 4), ints("block", 2, 2)]
    model = model_of([conv("lr", "f", "w"), *moving], stored)
    found = imported(model, tmp_path).model
    assert kinds(found) == {"Conv": 1, "DepthToSpace": 1}
    assert mode.encode() in {a.s for n in found.graph.node for a in n.attribute}
    assert_same(model, found)


@pytest.mark.parametrize("reader", ["Conv", "Relu"])
def test_strided_slices_become_space_to_depth(tmp_path, reader):
    """Channels in PixelUnshuffle's order: folded into a convolution, or put in order before."""
    nodes, names = [], []
    for channel in range(3):
        for row in range(2):
            for column in range(2):
                name = f"p{channel}{row}{column}"
                names.append(name)
                bounds = f"b{channel}{row}{column}"
                nodes.append(node("Slice", f"lr {bounds} {bounds}e axes steps", name))
    stored = [ints("axes", 1, 2, 3), ints("steps", 1, 2, 2)]
    for name in names:
        c, a, b = map(int, name[1:])
        stored.append(ints(f"b{c}{a}{b}", c, a, b))
        stored.append(ints(f"b{c}{a}{b}e", c + 1, 1 << 40, 1 << 40))
    nodes.append(node("Concat", " ".join(names), "low", axis=1))
    source = "low"
    if reader == "Relu":
        nodes += [node("Relu", "low", "r")]
        source = "r"
    nodes += [conv(source, "f", "w"), node("DepthToSpace", "f", "sr", blocksize=4, mode="CRD")]
    model = model_of(nodes, [*stored, weights("w", 48, 12, 3, 3)])
    found = imported(model, tmp_path)
    count = kinds(found.model)
    assert count["SpaceToDepth"] == 1
    assert ("Slice" in count) == (reader == "Relu")
    assert found.contract.multiple_of == 2
    assert_same(model, found.model)


def test_a_crop_to_a_multiple_is_not_taken_for_idle(tmp_path):
    """Padded to a multiple of 4 and cropped again: without effect at all round sizes."""
    nodes = [
        node("Shape", "lr", "size", start=2),
        node("Mod", "size four", "over"),
        node("Sub", "four over", "lack"),
        node("Mod", "lack four", "need"),
        node("Concat", "front need", "pads", axis=0),
        node("Pad", "lr pads", "p", mode="reflect"),
        node("SpaceToDepth", "p", "low", blocksize=4),
        conv("low", "f", "w"),
        node("DepthToSpace", "f", "big", blocksize=8, mode="CRD"),
        node("Mul", "size twos", "ends"),
        node("Slice", "big starts ends axes", "sr"),
    ]
    stored = [weights("w", 192, 48, 3, 3), ints("four", 4, 4), ints("front", 0, 0, 0, 0, 0, 0)]
    stored += [ints("twos", 2, 2), ints("starts", 0, 0), ints("axes", 2, 3)]
    model = model_of(nodes, stored)
    found = imported(model, tmp_path)
    for size in ((16, 20), (17, 23)):
        assert_same(model, found.model, size=size)
    assert found.contract.multiple_of == 4  # tiles must start where the blocks do


def test_a_mirror_is_not_taken_for_idle(tmp_path):
    turn = "start end axis back"
    nodes = [
        node("Slice", f"lr {turn}", "l"),
        conv("l", "f", "w"),
        node("Slice", f"f {turn}", "g"),
        node("DepthToSpace", "g", "sr", blocksize=2, mode="CRD"),
    ]
    stored = [ints("start", -1), ints("end", -(1 << 40)), ints("axis", 3), ints("back", -1)]
    model = model_of(nodes, [weights("w", 12, 3, 3, 3), *stored])
    found = imported(model, tmp_path)
    assert not any("left as it is" in warning for warning in found.warnings)
    assert_same(model, found.model)


def test_a_network_that_needs_double_precision_is_refused(tmp_path):
    nodes = [
        conv("lr", "f", "w"),
        node("Cast", "f", "d", to=TensorProto.DOUBLE),
        node("Add", "d big", "e"),
        node("Sub", "e big", "g"),
        node("Cast", "g", "h", to=TensorProto.FLOAT),
        node("DepthToSpace", "h", "sr", blocksize=2, mode="CRD"),
    ]
    big = numpy_helper.from_array(np.array(1e7), "big")  # float32 has steps of 1 there
    with pytest.raises(UserError, match="float32 unchanged: outputs differ by `"):
        imported(model_of(nodes, [weights("w", 12, 3, 3, 3), big]), tmp_path)


# ---- deconvolution


@pytest.mark.parametrize(
    ("size", "stride", "pad", "extra", "group"),
    [(9, 2, 4, 1, 1), (9, 3, 3, 0, 1), (9, 4, 4, 3, 1), (4, 2, 1, 0, 4), (2, 2, 0, 0, 1)],
)
def test_a_deconvolution_becomes_convolution_and_shuffle(tmp_path, size, stride, pad, extra, group):
    attributes = {
        "kernel_shape": [size, size], "strides": [stride] * 2, "pads": [pad] * 4,
        "output_padding": [extra] * 2, "group": group,
    }  # fmt: skip
    nodes = [conv("lr", "f", "w"), node("ConvTranspose", "f v b", "u", **attributes)]
    nodes.append(conv("u", "sr", "t", 1))
    stored = [weights("w", 4, 3, 3, 3), weights("v", 4, 8 // group, size, size)]
    stored += [weights("b", 8), weights("t", 3, 8, 1, 1)]
    model = model_of(nodes, stored)
    found = imported(model, tmp_path, NetworkSource(scale=stride))
    assert kinds(found.model) == {"Conv": 3, "DepthToSpace": 1}
    assert_same(model, found.model)


@pytest.mark.parametrize("front", [0, 1])
def test_what_a_deconvolution_gives_too_much_is_cut_where_the_network_cuts(tmp_path, front):
    """Kernel 9, padding 3, stride 2 gives 2 H + 1 rows; the first or the last one is cut off."""
    nodes = [
        node(
            "ConvTranspose", "lr v", "u",
            kernel_shape=[9, 9], strides=[2, 2], pads=[3, 3, 3, 3],
        ),
        node("Slice", "u start end axes", "sr"),
    ]  # fmt: skip
    bounds = (ints("start", 1, 1), ints("end", 1 << 40, 1 << 40))
    if not front:
        bounds = (ints("start", 0, 0), ints("end", -1, -1))
    model = model_of(nodes, [weights("v", 3, 3, 9, 9), *bounds, ints("axes", 2, 3)])
    found = imported(model, tmp_path).model
    assert ("Slice" in kinds(found)) == bool(front)
    assert "ConvTranspose" not in kinds(found)
    assert_same(model, found)


# ---- fixed sizes


def fixed_shuffle() -> onnx.ModelProto:
    """Exported at 12 x 20: sizes of a pixel shuffle, a skip and a crop are baked in."""
    nodes = [
        conv("lr", "f", "w"),
        node("Reshape", "f deep", "six"),
        node("Transpose", "six", "turned", perm=[0, 1, 4, 2, 5, 3]),
        node("Reshape", "turned flat", "big"),
        node("Resize", "lr", "skip", mode="linear", coordinate_transformation_mode="half_pixel"),
        node("Add", "big skip", "sum"),
        node("Pad", "sum pads", "more", mode="edge"),
        node("Slice", "more start end axes", "sr"),
    ]
    nodes[4].input[:] = ["lr", "", "", "sizes"]
    stored = [
        weights("w", 12, 3, 3, 3),
        ints("deep", 1, 3, 2, 2, 12, 20),
        ints("flat", 1, 3, 24, 40),
        ints("sizes", 1, 3, 24, 40),
        ints("pads", 0, 0, 0, 0, 0, 0, 1, 1),
        ints("start", 0, 0),
        ints("end", 24, 40),
        ints("axes", 2, 3),
    ]
    return model_of(nodes, stored, shape=(1, 3, 12, 20))


def test_sizes_baked_at_export_are_made_free(tmp_path):
    model = fixed_shuffle()
    found = imported(model, tmp_path)
    assert tile_of(found.model) is None and found.contract.minimum_px == 1
    assert not {"Reshape", "Shape"} & kinds(found.model).keys()
    assert_same(model, found.model, size=(12, 20))
    wide = picture(3, 30, 40)
    part = np.ascontiguousarray(wide[:, :, :12, :20])
    inside = run(found.model, wide)[:, :, :20, :36]  # 2 pixels away from the part's borders
    np.testing.assert_allclose(inside, run(model, part)[:, :, :20, :36], atol=2e-5)


def test_a_size_that_cannot_be_free_stays_and_is_said(tmp_path):
    model = plain(shape=(1, 3, 12, 20))
    model.graph.node[0].input[0] = "p"
    model.graph.node.insert(0, node("Add", "lr position", "p"))
    model.graph.initializer.append(weights("position", 1, 3, 12, 20))
    found = imported(model, tmp_path)
    assert tile_of(found.model) == (12, 20)
    assert shapes_of(found.model)["sr"] == (1, 3, 24, 40)
    assert any("fixes the input to 12 x 20" in warning for warning in found.warnings)
    assert_same(model, found.model, size=(12, 20))


# ---- specialise


def test_specialise_leaves_no_shape_arithmetic(tmp_path):
    nodes = [
        conv("lr", "f", "w"),
        node("MaxPool", "f", "small", kernel_shape=[3, 3], strides=[3, 3]),
        node("Shape", "f", "size"),
        node("Resize", "small", "gate", mode="linear"),
        node("Mul", "f gate", "m"),
        node("DepthToSpace", "m", "sr", blocksize=2, mode="CRD"),
    ]
    nodes[3].input[:] = ["small", "", "", "size"]
    model = model_of(nodes, [weights("w", 12, 3, 3, 3)])
    spine = imported(model, tmp_path).model
    assert "Shape" in kinds(spine)
    static = specialise(spine, 14, 17)
    assert "Shape" not in kinds(static)
    shapes = shapes_of(static)
    assert shapes["sr"] == (1, 3, 28, 34)
    assert all(None not in shapes[name] for n in static.graph.node for name in n.output)
    np.testing.assert_array_equal(*(run(m, picture(3, 14, 17)) for m in (static, spine)))


def test_specialise_refuses_sizes_that_the_network_does_not_take():
    with pytest.raises(UserError, match=r"takes `\(1, 3, 12, 20\)`, not height `14`"):
        specialise(plain(shape=(1, 3, 12, 20)), 14, 17)
    valid = plain(shape=(1, 3, "height", "width"))
    valid.graph.node[0].CopyFrom(node("Conv", "lr w", "f", kernel_shape=[3, 3]))
    with pytest.raises(UserError, match="does not take height `2` and width `2`"):
        specialise(valid, 2, 2)


# ---- contract


def nearest(*after: onnx.NodeProto, channels: int = 3) -> onnx.ModelProto:
    """Nearest enlargement by a Resize, then `after` from tensor `u` to `sr`."""
    nodes = [node("Resize", "lr", "u", mode="nearest"), *after]
    nodes[0].input[:] = ["lr", "", "scales"]
    stored = [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")]
    for name, value in (("zero", 0.0), ("white", 1.0)):
        stored.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return model_of(nodes, stored, shape=(1, channels, "h", "w"))


def test_white_is_found_by_what_restores_a_picture(tmp_path):
    clipped = imported(nearest(node("Clip", "u zero white", "sr")), tmp_path)
    whole = imported(nearest(node("Floor", "u", "sr"), channels=1), tmp_path)
    assert (clipped.contract.white, clipped.contract.color) == (1.0, "rgb")
    assert (whole.contract.white, whole.contract.color) == (255.0, "luma")
    stated = NetworkSource(scale=2, white=255.0, color="bgr", minimum_px=9, multiple_of=3)
    assert probe_contract(clipped.model, stated) == ImageContract(
        scale=2, color="bgr", white=255.0, minimum_px=9, multiple_of=3, halo_px=0
    )


def test_a_network_that_restores_nothing_is_a_warning(tmp_path):
    found = imported(nearest(node("Mul", "u zero", "sr")), tmp_path)
    assert any("restore a picture" in warning for warning in found.warnings)


def test_dependence_on_the_whole_picture_is_in_the_contract_and_said(tmp_path):
    pool = node("GlobalAveragePool", "u", "mean", name="pool")
    found = imported(nearest(pool, node("Sub", "u mean", "sr")), tmp_path)
    assert found.contract.halo_px is None
    assert any("`GlobalAveragePool` at node `pool`" in warning for warning in found.warnings)


def test_minimum_and_multiple_are_found_by_running(tmp_path):
    nodes = [
        node("Pad", "lr pads", "p", mode="reflect"),
        node("Conv", "p w", "f", kernel_shape=[11, 11]),
        node("DepthToSpace", "f", "sr", blocksize=2, mode="CRD"),
    ]
    stored = [weights("w", 12, 3, 11, 11), ints("pads", 0, 0, 5, 5, 0, 0, 5, 5)]
    found = imported(model_of(nodes, stored), tmp_path).contract
    assert (found.minimum_px, found.multiple_of) == (6, 1)  # reflecting 5 pixels takes 6


# ---- trial runs


def endless() -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Identity", "go", "again"), node("Add", "x x", "y")],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    loop = helper.make_node("Loop", ["", "yes", "lr"], ["sr"], body=body)
    return model_of([loop], [yes])


def test_a_network_that_never_ends_is_stopped_and_the_next_one_runs():
    with Trials(limit_s=1.0) as trials:
        with pytest.raises(TrialFailed, match="longer than 1 s"):
            trials.run(endless(), picture(3, 4, 4))
        assert trials.run(plain(), picture(3, 4, 4), limit_s=30).shape == (1, 3, 8, 8)


def test_a_network_that_kills_its_process_is_reported_and_the_next_one_runs():
    with Trials() as trials:
        trials.run(plain(), picture(3, 4, 4))
        child = trials._child
        timer = threading.Timer(0.5, lambda: os.kill(child.pid, signal.SIGSEGV))
        timer.start()
        with pytest.raises(TrialFailed, match="SIGSEGV"):
            trials.run(endless(), picture(3, 4, 4))
        assert trials.run(plain(), picture(3, 4, 4)).shape == (1, 3, 8, 8)


def test_control_flow_is_refused_by_name(tmp_path):
    branches = {
        name: helper.make_graph(
            [node(kind, "f", f"{name}_out")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)],
        )
        for name, kind in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }
    nodes = [
        conv("lr", "f", "w"),
        node("ReduceMean", "f", "mean", keepdims=0),
        node("Greater", "mean limit", "flag"),
        helper.make_node("If", ["flag"], ["g"], "fork", **branches),
        node("DepthToSpace", "g", "sr", blocksize=2, mode="CRD"),
    ]
    limit = numpy_helper.from_array(np.array(0.1, np.float32), "limit")
    with pytest.raises(UserError, match="`If` at node `fork` branches"):
        imported(model_of(nodes, [weights("w", 12, 3, 3, 3), limit]), tmp_path)
