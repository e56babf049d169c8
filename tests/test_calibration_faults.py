"""Calibration that goes wrong: damaged pictures, pictures of nothing, layers without a range."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from onnx import numpy_helper
from quant_networks import CONTRACT, PARAMS, Graph, anchored, picture, psnr_db, target, tensor
from tiny_project import edgesr_run, make_project

from toolkit import plugins
from toolkit.contracts import StepInput
from toolkit.images.decode import write_png
from toolkit.images.sets import folder_set
from toolkit.model.network import read_network, write_network
from toolkit.model.quant_plan import read_plan
from toolkit.quant.ort_session import quiet_session
from toolkit.run.score import int8_shares
from toolkit.run.trial import try_out
from toolkit.steps import quantize

SIZE = (48, 56)
BUILDS = {
    "onnxruntime": {},
    "openvino": {},
    "tensorrt": {},
    "litert": {"layout": "nhwc", "tile": SIZE},
}
RUNTIMES = sorted(BUILDS)


def calibrated(model, pictures, folder, **params):
    """Run the step on `pictures` (uint8 RGB) alone: (network, plan)."""
    (folder / "images").mkdir(parents=True)
    for index, levels in enumerate(pictures):
        write_png(folder / "images" / f"{index}.png", levels)
    given = StepInput(
        network=write_network(model, CONTRACT, folder / "given.onnx"),
        params={**PARAMS, **params},
        calibration=folder_set(folder / "images", "calibration"),
        work=folder,
        show=lambda progress: None,
    )
    quantize.run(given, folder)
    return read_network(folder / "network.onnx"), read_plan(folder / "plan.json")


def int8_file(backend, made, folder):
    """The INT8 artefact of `made` for a backend."""
    out = folder / backend
    out.mkdir()
    artefacts = plugins.load("backends", backend).lower(
        *made, target(backend, **BUILDS[backend]), out, "n"
    )
    return next(a for a in artefacts if a.precision == "int8")


def upscaled(artefact, value):
    """`value` (1, 3, 48, 56) through the file on its own runtime, (1, 3, 96, 112) float32."""
    nhwc = artefact.contract.input.layout == "nhwc"
    session = plugins.load("backends", artefact.backend).open(artefact, threads=1)
    result = session.run(np.ascontiguousarray(value.transpose(0, 2, 3, 1)) if nhwc else value)
    session.close()
    return result.transpose(0, 3, 1, 2) if nhwc else result


def in_float(model, value):
    return quiet_session(model).run(None, {"lr": value})[0]


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.mark.parametrize("bytes_kept", [0, 2000])
def test_a_damaged_calibration_picture_is_named_and_nothing_is_lost(bytes_kept, tmp_path):
    recipe = make_project(tmp_path / "damaged")
    folder = recipe.parent / "calibration"
    whole = (folder / "calibration-1.png").read_bytes()
    (folder / "holiday.png").write_bytes(whole[:bytes_kept])
    before = digests(folder)
    done = edgesr_run(recipe)
    assert done.returncode == 2
    assert "holiday.png" in done.stderr
    assert "calibration-1.png" not in done.stderr
    assert "Traceback" not in done.stderr
    assert digests(folder) == before
    assert not (recipe.parent / "out").exists()
    (folder / "holiday.png").unlink()
    done = edgesr_run(recipe)
    assert done.returncode == 0, done.stderr


def test_calibration_that_ruins_the_picture_is_stopped_by_the_gate(tmp_path):
    recipe = make_project(tmp_path / "ruined", mean=0.3)
    for path in (recipe.parent / "calibration").iterdir():
        write_png(path, np.full((96, 96, 3), 128, np.uint8))
    text = recipe.read_text().replace("charts: false", "charts: false, rung: rounding")
    recipe.write_text(text)
    done = edgesr_run(recipe)
    assert done.returncode == 4, done.stderr
    assert "tiny.int8.onnx loses" in done.stdout
    assert not list((recipe.parent / "out").rglob("manifest.json"))


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("level", [0, 255])
def test_one_picture_of_one_colour_still_gives_a_file_that_shows_pictures(level, backend, tmp_path):
    """The charts bring the range that the picture lacks."""
    constant = np.full((96, 96, 3), level, np.uint8)
    made = calibrated(anchored(), [constant], tmp_path / "step")
    found = upscaled(int8_file(backend, made, tmp_path), tensor())
    assert psnr_db(found, in_float(anchored(), tensor())) > 35


def without_bias(model):
    """The network with zero for every bias: black in, zero in every tensor."""
    for stored in model.graph.initializer:
        if stored.name.endswith(".bias"):
            zeros = np.zeros_like(numpy_helper.to_array(stored))
            stored.CopyFrom(numpy_helper.from_array(zeros, stored.name))
    return model


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_black_picture_alone_leaves_no_range_and_still_gives_a_file_that_runs(backend, tmp_path):
    black = np.zeros((96, 96, 3), np.uint8)
    made = calibrated(without_bias(anchored()), [black], tmp_path / "step", charts=False)
    assert {(r.low, r.high) for name, r in made[1].ranges.items() if name in "ab"} == {(0, 0)}
    assert np.isfinite(upscaled(int8_file(backend, made, tmp_path), tensor())).all()


@pytest.mark.parametrize("backend", RUNTIMES)
def test_noise_for_calibration_keeps_the_picture(backend, tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (96, 96, 3)).astype(np.uint8)
    made = calibrated(anchored(), [noise], tmp_path / "step", charts=False)
    found = upscaled(int8_file(backend, made, tmp_path), tensor())
    assert psnr_db(found, in_float(anchored(), tensor())) > 35


def silent_branch():
    """conv, Relu, and a branch whose weights and bias are all zero, added to it; tail, shuffle."""
    g = Graph(3, 7)
    first = g.node("Relu", [g.conv("lr", "head", 3, 8)], "first")
    silent = g.node("Relu", [g.conv(first, "silent", 8, 8, gain=0.0)], "quiet")
    g.constants["silent.bias"] = np.zeros(8, np.float32)
    after = g.conv(silent, "after", 8, 8)
    g.constants["after.bias"] = np.zeros(8, np.float32)
    total = g.node("Add", [first, after], "total")
    g.node("DepthToSpace", [g.conv(total, "tail", 8, 12)], "sr", blocksize=2, mode="CRD")
    return g.model("sr")


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("rung", ["ranges", "rounding"])
def test_a_layer_whose_range_is_zero_stays_zero(rung, backend, tmp_path):
    made = calibrated(silent_branch(), [picture()], tmp_path / "step", rung=rung)
    span = made[1].ranges["quiet"]
    assert (span.low, span.high) == (0.0, 0.0)
    found = upscaled(int8_file(backend, made, tmp_path), tensor())
    assert psnr_db(found, in_float(silent_branch(), tensor())) > 35


def waving():
    """conv, Sin, conv, shuffle: no scheme has an 8-bit Sin."""
    g = Graph(3, 8)
    wave = g.node("Sin", [g.conv("lr", "head", 3, 8)], "wave")
    g.node("DepthToSpace", [g.conv(wave, "tail", 8, 12)], "sr", blocksize=2, mode="CRD")
    return g.model("sr")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tensorrt"])
def test_an_operator_that_no_scheme_quantizes_stays_float_and_the_share_says_so(backend, tmp_path):
    made = calibrated(waving(), [picture()], tmp_path / "step")
    artefact = int8_file(backend, made, tmp_path)
    found = upscaled(artefact, tensor())
    assert psnr_db(found, in_float(waving(), tensor())) > 35
    operators = try_out(artefact, threads=1, input_px=SIZE).operators
    operators_share, macs_share = int8_shares(operators)
    assert operators_share < 1
    assert macs_share == 1
