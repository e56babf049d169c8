"""Tiled equals untiled, exactly, with a real network in a real runtime; and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.errors import UserError
from toolkit.images import tiles
from toolkit.images.luma import rgb_to_ycbcr
from toolkit.images.resize import bicubic_resize
from toolkit.images.tiles import (
    NotFinite,
    from_tensor,
    spans,
    to_tensor,
    upscale_planes,
    upscale_rgb,
    with_halo,
    with_tile,
)
from toolkit.model.contract import ImageContract, IoContract, TensorSpec


def picture(height, width, channels=3):
    return np.random.default_rng(height * width).integers(
        0, 256, (height, width, channels), np.uint8
    )


def contract(*, channels=3, **image):
    def tensor(name):
        shape = (1, channels, None, None)
        return TensorSpec(name=name, dtype="float32", layout="nchw", shape=shape)

    return IoContract(image=ImageContract(**image), input=tensor("lr"), output=tensor("sr"))


def session(nodes, weights, channels, save_to=None):
    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, None, None])

    initializers = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(nodes, "g", [value("lr")], [value("sr")], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    opened = onnxruntime.InferenceSession(model.SerializeToString())
    if save_to is not None:
        onnx.save(model, save_to)
    return lambda tensor: opened.run(None, {"lr": tensor})[0]


def conv(source, result, weight):
    return helper.make_node("Conv", [source, weight], [result], pads=[1, 1, 1, 1])


def shuffle_network(channels=3, *, pooled=False, save_to=None):
    """Two 3x3 convolutions, ReLU, pixel shuffle x2: halo 2. Pooled: adds the picture's mean."""
    rng = np.random.default_rng(7)
    weights = {
        "w1": rng.normal(0.05, 0.2, (8, channels, 3, 3)),
        "w2": rng.normal(0.02, 0.1, (channels * 4, 8, 3, 3)),
    }
    nodes = [
        conv("lr", "a", "w1"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["mean"]),
        helper.make_node("Add", ["b", "mean"], ["c"]),
        conv("c" if pooled else "b", "d", "w2"),
        helper.make_node("DepthToSpace", ["d"], ["sr"], blocksize=2, mode="CRD"),
    ]
    return session(nodes if pooled else [*nodes[:2], *nodes[4:]], weights, channels, save_to)


def strided_network():
    """Works on blocks of 4: space to depth, a 3x3 convolution, depth to space twice; halo 7."""
    weights = {"w": np.random.default_rng(3).normal(0.01, 0.06, (192, 48, 3, 3))}
    nodes = [
        helper.make_node("SpaceToDepth", ["lr"], ["a"], blocksize=4),
        conv("a", "b", "w"),
        helper.make_node("DepthToSpace", ["b"], ["sr"], blocksize=8),
    ]
    return session(nodes, weights, 3)


@pytest.mark.parametrize("tile", [(16, 16), (24, 12), (8, 40)])
@pytest.mark.parametrize("size", [(37, 53), (16, 90), (24, 13), (40, 40)])
def test_tiled_equals_untiled_exactly(tile, size):
    run, io = shuffle_network(), contract(scale=2, halo_px=2)
    if size[0] < tile[0] or size[1] < tile[1]:
        size = (size[0] + 24, size[1] + 32)
    whole = upscale_planes(picture(*size), io, run)
    assert (upscale_planes(picture(*size), with_tile(io, tile), run) == whole).all()
    assert 20 < whole.mean() < 235


def test_a_halo_one_pixel_too_small_is_seen():
    """Else the test above proves nothing."""
    run = shuffle_network()
    whole = upscale_planes(picture(37, 53), contract(scale=2, halo_px=2), run)
    cut = with_tile(contract(scale=2, halo_px=1), (16, 16))
    assert (upscale_planes(picture(37, 53), cut, run) != whole).any()


def test_tiles_keep_strides_in_phase():
    run, io = strided_network(), contract(scale=2, halo_px=7, multiple_of=4)
    whole = upscale_planes(picture(61, 83), io, run)
    assert whole.shape == (122, 166, 3)
    assert (upscale_planes(picture(61, 83), with_tile(io, (32, 36)), run) == whole).all()
    out_of_phase = contract(scale=2, halo_px=7, multiple_of=1)
    shifted = upscale_planes(picture(64, 84), with_tile(out_of_phase, (32, 36)), run)
    assert (shifted != upscale_planes(picture(64, 84), io, run)).any()


def test_a_large_picture_is_cut_into_tiles_by_itself(monkeypatch):
    run, io, sizes = shuffle_network(), contract(scale=2, halo_px=2), []
    monkeypatch.setattr(tiles, "WHOLE_PICTURE_PX", 1000)
    monkeypatch.setattr(tiles, "FREE_TILE_PX", 32)

    def watched(tensor):
        sizes.append(tensor.shape[2:])
        return run(tensor)

    seen = []
    result = upscale_planes(
        picture(60, 90), io, watched, on_tile=lambda done, total: seen.append((done, total))
    )
    assert set(sizes) == {(32, 32)}
    assert seen == [(i, len(sizes)) for i in range(1, len(sizes) + 1)]
    monkeypatch.undo()
    assert (result == upscale_planes(picture(60, 90), io, run)).all()


def test_spans_cover_the_axis_once_and_keep_the_halo_away():
    for length in range(1, 70):
        cut = spans(length, tile=20, halo=3, multiple_of=2)
        kept = [pixel for span in cut for pixel in range(span.keep_from, span.keep_to)]
        assert kept == list(range(length))
        for span in cut if length >= 6 else []:  # two halos
            end = span.start + span.length
            # each end of a tile is the picture's own, or a halo away from what is kept
            assert span.start == 0 or span.keep_from >= max(span.start, 0) + 3
            assert end == length or span.keep_to <= min(end, length) - 3
            assert span.start % 2 == 0 or span is cut[-1]


def test_a_tile_that_is_all_halo_is_refused():
    with pytest.raises(UserError, match="a tile of 16 px has no pixel that is 8 px away") as caught:
        spans(100, tile=16, halo=8)
    assert caught.value.hint == "make the file with a tile of at least 17 px"


def test_a_network_that_sees_the_whole_picture_is_never_tiled_silently(monkeypatch):
    monkeypatch.setattr(tiles, "WHOLE_PICTURE_PX", 100)
    run, io = shuffle_network(pooled=True), contract(scale=2, halo_px=None)
    direct = from_tensor(run(to_tensor(picture(24, 24), io.input, 1.0)), io.output, 1.0)
    assert (upscale_planes(picture(24, 24), io, run) == direct).all()
    fixed = with_tile(io, (24, 24))
    assert (upscale_planes(picture(24, 24), fixed, run) == direct).all()
    for other in (picture(24, 40), picture(20, 24)):
        with pytest.raises(UserError, match="each pixel depends on the whole picture"):
            upscale_planes(other, fixed, run)
    assert upscale_planes(picture(24, 40), with_halo(fixed, 4), run).shape == (48, 80, 3)


def test_off_the_multiple_is_padded_and_cropped():
    run, io = strided_network(), contract(scale=2, halo_px=7, multiple_of=4)
    odd = picture(21, 18)
    padded = np.pad(odd, ((0, 3), (0, 2), (0, 0)), mode="edge")
    assert (upscale_planes(odd, io, run) == upscale_planes(padded, io, run)[:42, :36]).all()


def test_below_the_minimum_the_size_is_right():
    run, io = strided_network(), contract(scale=2, halo_px=7, minimum_px=16, multiple_of=4)
    assert upscale_planes(picture(5, 18), io, run).shape == (10, 36, 3)
    assert upscale_planes(picture(1, 1), io, run).shape == (2, 2, 3)


def test_a_picture_smaller_than_the_tile_equals_a_run_at_its_own_size():
    run, io = shuffle_network(), contract(scale=2, halo_px=2)
    for small in (picture(20, 20), picture(4, 31), picture(32, 7)):
        whole = upscale_planes(small, io, run)
        assert (upscale_planes(small, with_tile(io, (32, 32)), run) == whole).all()


INTEGERS = {
    "uint8": (1 / 255, 0, 1.0),
    "int8": (1 / 255, -128, 1.0),
    "uint8 in 0..255": (1.0, 0, 255.0),
    "int8 in 0..255": (float(np.float32(1.0)), -128, 255.0),
    "uint8 as a float32 step": (float(np.float32(1 / 255)), 0, 1.0),
}


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_integer_tensors_hold_the_pixels_exactly(kind, layout):
    step, zero_point, white = INTEGERS[kind]
    dtype = kind.split()[0]
    spec = TensorSpec(
        name="x", dtype=dtype, layout=layout, shape=(), step=step, zero_point=zero_point
    )
    planes = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    tensor = to_tensor(planes, spec, white)
    assert tensor.dtype == dtype
    assert tensor.shape == ((1, 1, 16, 16) if layout == "nchw" else (1, 16, 16, 1))
    assert tensor.ravel().tolist() == [level + zero_point for level in range(256)]
    assert (from_tensor(tensor, spec, white) == planes).all()


def test_a_coarse_step_is_dequantised_by_its_formula_and_clipped():
    spec = TensorSpec(name="x", dtype="int8", layout="nhwc", shape=(), step=0.005, zero_point=-100)
    stored = np.array([-128, -100, -99, 0, 99, 127], np.int8).reshape(1, 1, 6, 1)
    # (stored + 100) * 0.005 * 255, rounded half up and clipped
    assert from_tensor(stored, spec, 1.0).ravel().tolist() == [0, 0, 1, 128, 254, 255]


@pytest.mark.parametrize(
    ("dtype", "white"), [("float32", 1.0), ("float32", 255.0), ("float16", 1.0)]
)
def test_float_tensors_hold_the_pixels_and_round_half_up(dtype, white):
    spec = TensorSpec(name="x", dtype=dtype, layout="nchw", shape=())
    planes = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    tensor = to_tensor(planes, spec, white)
    assert tensor.dtype == dtype and tensor.max() == white
    assert (from_tensor(tensor, spec, white) == planes).all()
    odd = np.array([-1.0, 0.5, 1.5, 254.5, 999.0], "float32").reshape(1, 1, 1, 5)
    given = from_tensor(odd, TensorSpec(name="y", dtype="float32", layout="nchw", shape=()), 255.0)
    assert given.ravel().tolist() == [0, 1, 2, 255, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_make_no_picture(value):
    broken = lambda tensor: np.full((1, 3, 16, 16), value, np.float32)  # noqa: E731
    with pytest.raises(NotFinite, match="the network gave NaN or infinity"):
        upscale_planes(picture(8, 8), contract(scale=2), broken)


def test_an_output_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"gave .* \(16, 16, 3\), promised were \(24, 24, 3\)"):
        upscale_planes(picture(8, 8), contract(scale=3), shuffle_network())


def test_a_bgr_network_gets_blue_first_and_rgb_comes_out():
    seen = []

    def enlarge(tensor):
        seen.append(tensor)
        return tensor.repeat(2, axis=2).repeat(2, axis=3)

    rgb = picture(8, 9)
    result = upscale_rgb(rgb, contract(scale=2, color="bgr"), enlarge)
    assert (seen[0][0, 0] == rgb[:, :, 2] / np.float32(255)).all()
    assert (result == rgb.repeat(2, axis=0).repeat(2, axis=1)).all()
    assert (upscale_rgb(rgb, contract(scale=2), enlarge) == result).all()


def test_a_luma_network_gets_luma_and_colour_goes_by_bicubic():
    run = shuffle_network(channels=1)
    io = contract(scale=2, color="luma", channels=1, halo_px=2)
    smooth = bicubic_resize(picture(5, 6), 8)
    result = rgb_to_ycbcr(upscale_rgb(smooth, io, run)).astype(int)
    chroma = bicubic_resize(rgb_to_ycbcr(smooth)[:, :, 1:], 2).astype(int)
    grey = np.repeat(rgb_to_ycbcr(smooth)[:, :, :1], 3, axis=2)
    luma = upscale_planes(grey[:, :, :1], io, run)[:, :, 0].astype(int)
    in_gamut = (luma > 60) & (luma < 190) & (np.abs(chroma - 128).max(axis=2) < 25)
    assert in_gamut.sum() > 50
    assert np.abs(result[:, :, 0] - luma)[in_gamut].max() <= 1
    assert np.abs(result[:, :, 1:] - chroma)[in_gamut].max() <= 1


def test_with_tile_fixes_the_input_of_either_layout():
    io = contract(scale=2)
    nhwc = replace(io, input=replace(io.input, layout="nhwc", shape=(1, None, None, 3)))
    assert with_tile(io, (4, 6)).tile == with_tile(nhwc, (4, 6)).tile == (4, 6)
