"""Calibration on hard input: constant pictures, noise, layers and channels that never speak."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quant_networks import CONTRACT, PARAMS, anchored, psnr_db, tensor

from toolkit.contracts import StepInput
from toolkit.images.decode import write_png
from toolkit.images.sets import ImageFile, ImageSet
from toolkit.model.network import read_network, write_network
from toolkit.model.quant_plan import read_plan
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.qdq import quantized_model
from toolkit.quant.rounding import Moments, round_rows
from toolkit.quant.schemes import SCHEMES
from toolkit.steps import quantize


def calibrated(model, folder, picture, **params):
    """The step on a set of one picture: (network, plan, facts)."""
    path = folder / "one.png"
    write_png(path, picture)
    images = ImageSet(name="one", files=(ImageFile(name=path.name, path=path, digest="1"),))
    given = StepInput(
        network=write_network(model, CONTRACT, folder / "given.onnx"),
        params={**PARAMS, "patches": 3, **params},
        calibration=images,
        work=folder,
        show=lambda progress: None,
    )
    facts = quantize.run(given, folder)
    return read_network(folder / "network.onnx"), read_plan(folder / "plan.json"), facts


def worst_psnr_db(model, network, plan, value):
    """Agreement with the float network, least of the Q/DQ schemes."""
    name = model.graph.input[0].name
    reference = quiet_session(model).run(None, {name: value})[0]
    found = []
    for scheme in ("onnxruntime", "openvino", "tensorrt"):
        lowered = quantized_model(network, plan, SCHEMES[scheme])
        result = quiet_session(lowered).run(None, {name: value})[0]
        assert np.isfinite(result).all()
        found.append(psnr_db(result, reference))
    return min(found)


def constant_picture(level):
    return np.full((120, 120, 3), level, np.uint8)


def with_weights(model, edits):
    for stored in model.graph.initializer:
        if stored.name in edits:
            value = edits[stored.name](numpy_helper.to_array(stored).copy())
            stored.CopyFrom(numpy_helper.from_array(value, stored.name))
    return model


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_constant_picture_gives_that_picture_back(level, tmp_path):
    model = anchored()
    picture = constant_picture(level)
    network, plan, _ = calibrated(model, tmp_path, picture, charts=False)
    value = np.full((1, 3, 24, 24), level / 255, np.float32)
    assert worst_psnr_db(model, network, plan, value) > 40


def test_a_constant_picture_and_charts_are_enough_for_a_photograph(tmp_path):
    model = anchored()
    network, plan, _ = calibrated(model, tmp_path, constant_picture(90))
    assert worst_psnr_db(model, network, plan, tensor()) > 25


def test_noise_for_calibration_costs_little_on_a_photograph(tmp_path):
    model = anchored()
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8)
    network, plan, facts = calibrated(model, tmp_path, noise)
    assert facts["equalised"]
    assert worst_psnr_db(model, network, plan, tensor()) > 30


def silent(weight):
    return np.zeros_like(weight)


def test_a_layer_that_gives_nothing_but_zero(tmp_path):
    model = with_weights(anchored(), {"body.weight": silent, "body.bias": silent})
    picture = np.random.default_rng(1).integers(0, 256, (120, 120, 3)).astype(np.uint8)
    network, plan, _ = calibrated(model, tmp_path, picture)
    assert plan.ranges["b"].low == plan.ranges["b"].high == 0
    assert worst_psnr_db(model, network, plan, tensor()) > 40


def only(channel, factor):
    def edit(weight):
        weight[channel] *= np.float32(factor)
        return weight

    return edit


@pytest.mark.parametrize("factor", [0.0, 1e-12, 1e4])
def test_a_dead_and_a_huge_channel_leave_the_others_their_steps(factor, tmp_path):
    edits = {"head.weight": only(4, factor), "head.bias": only(4, factor)}
    if factor > 1:
        edits["body.weight"] = lambda w: (
            w / np.where(np.arange(12) == 4, factor, 1.0).astype(np.float32).reshape(1, -1, 1, 1)
        )
    model = with_weights(anchored(), edits)
    picture = np.random.default_rng(1).integers(0, 256, (120, 120, 3)).astype(np.uint8)
    network, plan, facts = calibrated(model, tmp_path, picture)
    assert facts["equalised"]
    assert worst_psnr_db(model, network, plan, tensor()) > 32
    for stored in onnx.load(network.path).graph.initializer:
        assert np.isfinite(numpy_helper.to_array(stored)).all()


def test_inputs_that_never_vary_are_rounded_by_their_mean():
    moments = Moments(total=np.zeros((1, 18)), product=np.zeros((1, 18, 18)))
    moments.add(np.full((1, 500, 18), 0.7, np.float32))
    moments.settle()
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 18))
    whole, steps = round_rows(weight, moments.covariance()[0])
    assert np.abs(whole).max(axis=1).tolist() == [127] * 4
    assert np.allclose(moments.mean, 0.7, atol=1e-6)
    assert np.abs(weight - whole * steps[:, None]).max() <= steps.max()


def test_many_samples_in_float32_give_the_covariance_of_float64():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(40, 40))
    vectors = (rng.normal(size=(30_000, 40)) @ mixing + 50).astype(np.float32)
    moments = Moments(total=np.zeros((1, 40)), product=np.zeros((1, 40, 40)))
    for block in np.split(vectors, 10):
        moments.add(block[None].copy())
    moments.settle()
    exact = np.cov(vectors.astype(np.float64).T, bias=True)
    found = moments.covariance()[0]
    damping = 0.003 * np.trace(exact) / 40
    assert np.allclose(found - damping * np.eye(40), exact, atol=2e-3)
    assert np.allclose(moments.mean[0], vectors.mean(axis=0, dtype=np.float64), atol=1e-4)
