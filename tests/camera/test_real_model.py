"""The Python client's own self-test on real ONNX files: right, wrong, slow, hostile, no model."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from camera.attack import AFTER, assert_kept, assert_refused
from camera.models import Blob, Model

PYTHON = pytest.mark.parametrize("client", ["python"], indirect=True)  # C runs a program instead
SHAPE = (1, 4, 6, 5)
WIDE = (1, 1, 12, 10)
GAIN = 1.5
GIVEN = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
CONTRACT = {
    "input": {"name": "x", "shape": list(SHAPE), "dtype": "float32", "layout": "nchw"},
    "output": {"name": "y"},
    "image": {"white": 1.0},
}


def expected(given):
    """Depth to space by hand: channel 2r + c goes to row r, column c of each 2 by 2 block."""
    _, _, height, width = SHAPE
    out = np.zeros((1, 1, 2 * height, 2 * width), np.float32)
    for channel in range(4):
        out[0, 0, channel // 2 :: 2, channel % 2 :: 2] = given[0, channel]
    return out * np.float32(GAIN)


def network(*nodes, shape=WIDE):
    """An ONNX file; without nodes, the network that `expected` describes."""
    nodes = nodes or (
        helper.make_node("DepthToSpace", ["x"], ["wide"], blocksize=2, mode="DCR"),
        helper.make_node("Mul", ["wide", "gain"], ["y"]),
    )
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("gain", TensorProto.FLOAT, [], [GAIN])],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def npy(array):
    kept = io.BytesIO()
    np.save(kept, array, allow_pickle=True)
    return kept.getvalue()


def release(number, *, model=None, output=None, **changes):
    """A release of a real network with one golden vector."""
    output = npy(expected(GIVEN)) if output is None else output
    files = (
        Blob(name="model.onnx", role="model", data=model or network()),
        Blob(name="golden-input.npy", role="golden", data=npy(GIVEN)),
        Blob(name="golden-output.npy", role="golden", data=output),
        Blob(name="contract.json", role="contract", data=json.dumps(CONTRACT).encode()),
    )
    stated = {"backend": "onnxruntime", "precision": "float32", **changes}
    return Model(number, files=files, changes=stated)


class Canary:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return open, (str(self.place), "w")


@PYTHON
def test_a_right_model_is_served(camera, forge):
    forge.publish(release(2, latency_limit_us=10_000_000))
    outcome = camera.pull(self_test=None)
    assert outcome.code == 0, outcome
    assert camera.store.release == 2 and camera.store.is_served()
    assert outcome.result["path"] == str(camera.store.place / "model.onnx")
    assert sorted(file.name for file in camera.store.place.iterdir()) == [
        "contract.json", "golden-input.npy", "golden-output.npy", "model.onnx", "release.json",
    ]  # fmt: skip


@PYTHON
@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ({"output": npy(expected(GIVEN) + 1.01)}, "golden"),
        ({"output": npy(expected(GIVEN)[:, :, :-1])}, "golden"),
        ({"output": npy(np.full_like(expected(GIVEN), np.nan))}, "golden"),
        ({"model": network(helper.make_node("Identity", ["x"], ["y"]))}, "golden"),
        ({"latency_limit_us": 1}, "slow"),
        ({"model": b"no model at all" * 40}, "crash"),
        ({"model": network()[:-20]}, "crash"),
        ({"model": network(helper.make_node("Magic", ["x"], ["y"], domain="evil"))}, "crash"),
        (
            {
                "model": network(
                    helper.make_node(
                        "Constant",
                        [],
                        ["shape"],
                        value=helper.make_tensor("v", TensorProto.INT64, [1], [6 << 30]),
                    ),
                    helper.make_node("ConstantOfShape", ["shape"], ["y"]),
                )
            },
            "crash",
        ),
    ],
    ids=["values", "size", "nan", "no-upscaling", "slow", "no-model", "cut", "operator", "memory"],
)
def test_a_wrong_model_is_not(camera, forge, bad, kind):
    """Tolerance is one level: 1.01 is too much for every value."""
    forge.publish(release(2, **bad))
    before = camera.store.state()
    outcome = camera.pull(self_test=None)
    assert_refused(outcome, kind, "2", code=3)
    after = camera.store.state()
    assert list(camera.store.blocked().values()) == [kind]
    assert_kept(camera, {**before, "blocked": after["blocked"]}, forge, at=AFTER)


@PYTHON
def test_a_golden_vector_runs_no_program(camera, forge, tmp_path):
    canary = tmp_path / "canary"
    vector = npy(np.array([Canary(canary)], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(io.BytesIO(vector))  # it is what it claims to be: numpy says no by default
    forge.publish(release(2, output=vector))
    assert_refused(camera.pull(self_test=None), "golden", code=3)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))  # and it would have
    assert canary.exists()


@PYTHON
def test_a_runtime_that_is_too_old_holds_a_release_back(camera, forge):
    forge.publish(release(2, runtime_least="999.0"))
    before = camera.store.state()
    outcome = camera.pull(self_test=None)
    assert_refused(outcome, "runtime", "onnxruntime", "999.0", code=3)
    assert_kept(camera, before, forge, at=AFTER)
    assert camera.store.blocked() == {}


def test_the_networks_of_these_tests_are_valid():
    onnx.checker.check_model(network())
