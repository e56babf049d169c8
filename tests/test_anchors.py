"""Residuals on grey levels: found, pinned, and worth one rounding of the picture."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from quant_networks import anchored, quantized, residual, target, tensor

from toolkit import plugins
from toolkit.model.quant_plan import TensorRange
from toolkit.quant.anchors import on_grey_levels, residuals
from toolkit.quant.view import view, with_names


def ranges(low, high):
    return {"tail": TensorRange(low=low, high=high)}


def graph():
    return view(with_names(anchored()))


def test_the_tensor_that_is_added_to_the_repeated_picture_is_found():
    assert residuals(graph()) == [["tail"]]


def test_an_add_inside_the_body_is_no_anchor():
    assert residuals(view(with_names(residual()))) == []


@pytest.mark.parametrize("span", [(-0.2, 0.3), (-0.7, 0.6), (-1.4, 0.0), (0.1, 0.4)])
def test_a_pinned_range_has_one_grey_level_per_step_and_zero_on_the_grid(span):
    (found,) = on_grey_levels(graph(), ranges(*span), white=1.0).values()
    assert found.high - found.low == pytest.approx(1.0)
    assert found.low <= 0 <= found.high
    levels = -found.low * 255
    assert levels == pytest.approx(round(levels), abs=1e-9)
    middle = (min(span[0], 0) + max(span[1], 0)) / 2
    nearest = min(max(middle, -0.5), 0.5)
    assert (found.low + found.high) / 2 == pytest.approx(nearest, abs=1 / 255)


def test_a_residual_far_wider_than_white_keeps_its_range():
    assert on_grey_levels(graph(), ranges(-0.9, 0.9), white=1.0) == {}


def test_white_of_255_gives_steps_of_1():
    (found,) = on_grey_levels(graph(), ranges(-60.0, 80.0), white=255.0).values()
    assert found.high - found.low == pytest.approx(255.0)
    assert found.low == round(found.low)


def test_onnx_runtime_and_litert_then_make_the_same_picture(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path / "q", rung="rounding")
    picture = tensor(height=48, width=48)
    made = []
    for backend, more in (
        ("onnxruntime", {}),
        ("litert", {"layout": "nhwc", "tile": (48, 48), "io_dtype": "uint8"}),
    ):
        plug = plugins.load("backends", backend)
        file = plug.lower(network, plan, target(backend, **more), tmp_path, "net")[-1]
        session = plug.open(file, threads=1)
        if backend == "litert":
            levels = np.round(picture * 255).astype(np.uint8).transpose(0, 2, 3, 1)
            made.append(session.run(levels).transpose(0, 3, 1, 2).astype(int))
        else:
            made.append(np.round(session.run(picture) * 255).astype(int))
        session.close()
    assert np.abs(made[0] - made[1]).max() <= 1
    assert (made[0] == made[1]).mean() > 0.9999


def test_the_plan_of_the_step_is_pinned(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path / "q", rung="rounding")
    assert plan.ranges["tail"].high - plan.ranges["tail"].low == pytest.approx(1.0)
    assert onnx.load(network.path).graph.output[0].name == "sr"
