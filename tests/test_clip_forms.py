"""A clip that is written as two mirrored ReLUs: folded where it is one, left where it is not."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from quant_networks import Graph, tensor

from toolkit.model.clip_forms import mirrored_relus_to_clip


def mirrored(*, ceiling=1.0, factor=1.0, mixing=0.0, twice=False, grouped=False):
    g = Graph(3, 0)
    inner = g.node("Relu", [g.conv("lr", "head", 3, 12, gain=2.0)], "inner")
    matrix = -np.diag(np.full(12, factor)) + mixing * np.eye(12, k=1)
    if grouped:
        matrix = -np.full((12, 1), factor)
    names = [
        g.constant("mirror.weight", matrix.astype(np.float32)[:, :, None, None]),
        g.constant("mirror.bias", np.broadcast_to(ceiling, 12).astype(np.float32)),
    ]
    g.node("Conv", [inner, *names], "mirror", group=12 if grouped else 1)
    outer = g.node("Relu", ["mirror"], "outer")
    if twice:
        outer = g.node("Add", [outer, inner], "both")
    g.node("DepthToSpace", [outer], "sr", blocksize=2, mode="CRD")
    return g.model("sr")


def run(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"lr": tensor()})[0]


@pytest.mark.parametrize("form", [{}, {"ceiling": 0.5, "factor": 2.0}, {"grouped": True}], ids=str)
def test_it_becomes_one_clip_with_the_same_numbers(form):
    model = mirrored(**form)
    changed = mirrored_relus_to_clip(model)
    onnx.checker.check_model(changed)
    assert [n.op_type for n in changed.graph.node] == ["Conv", "Clip", "DepthToSpace"]
    np.testing.assert_allclose(run(changed), run(model), atol=1e-6)
    assert np.ptp(run(model)) > 0.3


@pytest.mark.parametrize(
    "form",
    [{"mixing": 0.1}, {"twice": True}, {"ceiling": -0.2}, {"factor": -1.0},
     {"ceiling": np.linspace(0.5, 1, 12)}],
    ids=["mixes channels", "read twice", "ceiling below 0", "not mirrored", "many ceilings"],
)  # fmt: skip
def test_what_is_no_clip_is_left(form):
    assert mirrored_relus_to_clip(mirrored(**form)) is None
