"""PSNR, SSIM and the protocol: known answers, and independent ways to the same number."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import independent_psnr
import numpy as np
import pytest
from test_images_tiles import contract, picture, shuffle_network

from toolkit.errors import UserError
from toolkit.images.decode import write_png
from toolkit.images.luma import luma_bt601
from toolkit.images.resize import bicubic_resize, crop_to_multiple, low_resolution
from toolkit.images.tiles import with_tile
from toolkit.metrics.protocol import protocol_pair, score_image, score_planes
from toolkit.metrics.psnr_db import psnr_db
from toolkit.metrics.ssim import ssim


def plane(seed, height=20, width=17):
    return np.random.default_rng(seed).uniform(0, 255, (height, width))


def scene(height=75, width=98):
    """Something like a photograph: smooth, with edges."""
    rough = np.random.default_rng(5).integers(
        0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8
    )
    rgb = np.ascontiguousarray(bicubic_resize(rough, 8)[:height, :width])
    rgb[20:40, 30:60] = 255 - rgb[20:40, 30:60]
    return rgb


def test_one_grey_level_apart_is_48_db():
    flat = np.full((16, 16), 100.0)
    assert psnr_db(flat, flat + 1) == pytest.approx(20 * math.log10(255))


def test_equal_is_infinite_and_nan_stays_nan():
    assert psnr_db(plane(0), plane(0)) == math.inf
    assert math.isnan(psnr_db(plane(0), plane(0) * math.nan))


def test_psnr_compares_equal_shapes_only():
    with pytest.raises(ValueError, match="cannot compare"):
        psnr_db(plane(0), plane(0)[1:])
    with pytest.raises(ValueError, match="cannot compare"):
        psnr_db(np.empty((0, 4)), np.empty((0, 4)))


def ssim_by_windows(a, b):
    """The definition, window by window, with a two-dimensional Gaussian."""
    y, x = np.mgrid[-5:6, -5:6]
    weight = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    weight /= weight.sum()
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            p, q = a[top : top + 11, left : left + 11], b[top : top + 11, left : left + 11]
            mp, mq = (weight * p).sum(), (weight * q).sum()
            vp, vq = (weight * (p - mp) ** 2).sum(), (weight * (q - mq) ** 2).sum()
            cov = (weight * (p - mp) * (q - mq)).sum()
            c1, c2 = 6.5025, 58.5225
            luminance = (2 * mp * mq + c1) / (mp**2 + mq**2 + c1)
            values.append(luminance * (2 * cov + c2) / (vp + vq + c2))
    return np.mean(values)


@pytest.mark.parametrize("noise", [0.0, 3.0, 40.0])
def test_ssim_equals_its_definition(noise):
    noisy = plane(1) + noise * (plane(2) / 255 - 0.5)
    assert ssim(plane(1), noisy) == pytest.approx(ssim_by_windows(plane(1), noisy), abs=1e-12)


def test_ssim_of_two_flat_planes_is_the_luminance_term():
    a, b = np.full((11, 11), 100.0), np.full((11, 11), 120.0)
    expected = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)


def test_ssim_needs_a_whole_window():
    with pytest.raises(ValueError, match="windows of 11"):
        ssim(plane(0, 10, 30), plane(1, 10, 30))


def test_the_pair_is_cropped_and_shrunk():
    lr, hr = protocol_pair(picture(47, 38), 3)
    assert hr.shape == (45, 36, 3)
    assert (lr == low_resolution(crop_to_multiple(picture(47, 38), 3), 3)).all()


def test_a_picture_that_leaves_no_window_is_refused():
    assert protocol_pair(picture(18, 18), 3)[0].shape == (6, 6, 3)
    with pytest.raises(UserError, match=r"17 x 30 is too small .* x3: each side .* least 18 px"):
        protocol_pair(picture(30, 17), 3)


def test_the_border_of_one_scale_is_left_out_and_no_more():
    hr, io = picture(40, 44), contract(scale=2)
    spoiled = hr.copy()
    spoiled[:2] = spoiled[-2:] = 0
    spoiled[:, :2] = spoiled[:, -2:] = 0
    assert score_planes(spoiled, hr, io).psnr_db == math.inf
    spoiled[2, 2] ^= 255
    assert score_planes(spoiled, hr, io).psnr_db < math.inf


def test_bgr_planes_are_turned_and_luma_planes_are_the_luma_itself():
    hr = picture(40, 44)
    bgr = np.ascontiguousarray(hr[:, :, ::-1])
    assert score_planes(bgr, hr, contract(scale=2, color="bgr")).psnr_db == math.inf
    rounded = np.floor(luma_bt601(hr) + 0.5).astype(np.uint8)[:, :, None]
    found = score_planes(rounded, hr, contract(scale=2, color="luma", channels=1))
    error = (luma_bt601(hr) - rounded[:, :, 0])[2:-2, 2:-2]
    # the HR luma is not rounded, so a rounded plane is not perfect
    assert found.psnr_db == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)))


def test_nan_scores_nan():
    broken = lambda tensor: np.full((1, 3, 40, 40), np.nan, np.float32)  # noqa: E731
    found = score_image(picture(40, 40), contract(scale=2), broken)
    assert math.isnan(found.psnr_db) and math.isnan(found.ssim)


KINDS = {
    "rgb": {},
    "bgr": {"color": "bgr"},
    "luma": {"color": "luma", "channels": 1},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tile", [None, (16, 24), (64, 64)])
def test_the_independent_script_finds_the_same_number(kind, tile):
    io = contract(scale=2, halo_px=2, **KINDS[kind])
    if tile is not None:
        io = with_tile(io, tile)
    run = shuffle_network(io.image.channels)
    as_json = json.loads(json.dumps(io.as_json()))
    expected = independent_psnr.psnr(run, scene(), as_json)
    assert score_image(scene(), io, run).psnr_db == pytest.approx(expected, abs=1e-9)


def test_the_independent_script_reads_integer_files():
    io = contract(scale=2)
    int8 = {"dtype": "int8", "layout": "nhwc", "shape": (1, None, None, 3), "zero_point": -128}
    io = replace(
        io,
        input=replace(io.input, step=1 / 255, **int8),
        output=replace(io.output, step=1 / 250, **int8),
    )
    run = lambda tensor: tensor.repeat(2, axis=1).repeat(2, axis=2)  # noqa: E731
    expected = independent_psnr.psnr(run, scene(), json.loads(json.dumps(io.as_json())))
    assert score_image(scene(), io, run).psnr_db == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_independent_bicubic_is_the_bicubic_of_the_papers(scale):
    hr = crop_to_multiple(scene(), scale)
    lr = independent_psnr.u8(
        np.einsum("hg,gwc->hwc", independent_psnr.shrinking(hr.shape[0], scale), hr.astype(float))
    )
    lr = independent_psnr.u8(
        np.einsum("wv,hvc->hwc", independent_psnr.shrinking(hr.shape[1], scale), lr)
    )
    assert (lr == low_resolution(hr, scale)).all()


def test_the_independent_script_runs_from_the_command_line(tmp_path):
    path, io = tmp_path / "net.onnx", contract(scale=2, halo_px=2)
    run = shuffle_network(save_to=path)
    manifest = {"files": [{"name": "net.onnx", "contract": io.as_json()}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    write_png(tmp_path / "pictures" / "a.png", scene())
    write_png(tmp_path / "pictures" / "b.png", scene(60, 64))
    command = [sys.executable, independent_psnr.__file__, str(tmp_path), "net.onnx"]
    done = subprocess.run(
        [*command, str(tmp_path / "pictures")], capture_output=True, text=True, check=True
    )
    found = [score_image(rgb, io, run).psnr_db for rgb in (scene(), scene(60, 64))]
    assert float(done.stdout) == pytest.approx(np.mean(found), abs=1e-6)


def test_the_independent_script_does_not_import_the_toolkit():
    text = Path(independent_psnr.__file__).read_text()
    assert "import toolkit" not in text and "from toolkit" not in text
