"""Training with rounding in the loop: what it simulates, what it leaves, and that it resumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from quant_networks import (
    CONTRACT,
    anchored,
    photographs,
    quantized,
    tanh_network,
    target,
    tensor,
)

from toolkit import plugins
from toolkit.images.decode import read_rgb
from toolkit.model.network import write_network
from toolkit.model.torch_bridge import to_module
from toolkit.qat import training
from toolkit.qat.grids import STEP_RATE, ActivationGrid, WeightGrid
from toolkit.qat.network import rounded_weights, rounding_network
from toolkit.quant.carried import keep_rounded, kept_rounded
from toolkit.quant.schemes import SCHEMES
from toolkit.train.patches import make_pair

SCHEME = SCHEMES["onnxruntime"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A network, its plan and carried integers, deliberately rough."""
    folder = tmp_path_factory.mktemp("start")
    network, plan, _ = quantized(anchored(), folder / "q", rung="rounding")
    return onnx.load(network.path), plan, folder


def job(start, work, **changes):
    model, plan, folder = start
    files = photographs(folder, 3).files
    pairs = [make_pair(read_rgb(f.path), scale=2, luma_only=False) for f in files]
    given = training.Job(
        model=model, plan=plan, scheme=SCHEME, contract=CONTRACT, pairs=pairs[:2],
        holdout=pairs[2:], minutes=1, seed=0, work=work,
    )  # fmt: skip
    return replace(given, **changes)


def with_moved_biases(model):
    """The model with carried biases that are wrong, so that there is something to learn."""
    rounded = kept_rounded(model)
    moved = {name: replace(w, bias=w.bias + np.float32(0.01)) for name, w in rounded.items()}
    return keep_rounded(model, moved)


def error(model, plan):
    """Mean squared difference of the rounding network and the float one on a new picture."""
    picture = torch.from_numpy(tensor())
    with torch.no_grad():
        rounded = rounding_network(model, plan, SCHEME, white=1.0).module(picture)
        return float(((rounded - to_module(model)(picture)) ** 2).mean())


def shorter(monkeypatch, steps=60):
    monkeypatch.setattr(training, "LR_PX", 24)
    monkeypatch.setattr(training, "BATCH", 2)
    monkeypatch.setattr(training, "MOST_STEPS", steps)
    monkeypatch.setattr(training, "MOST_VALIDATIONS", 4)  # not what this machine's speed allows


def test_the_simulation_is_the_real_file(start, tmp_path):
    model, plan, _ = start
    network = write_network(model, CONTRACT, tmp_path / "network.onnx")
    plan = replace(plan, network=network.digest)
    backend = plugins.load("backends", "onnxruntime")
    lowered = backend.lower(network, plan, target("onnxruntime"), tmp_path, "n")
    session = backend.open(lowered[-1], threads=1)
    picture = tensor()
    real = session.run(picture)
    simulated = rounding_network(model, plan, SCHEME, white=1.0).module.eval()
    with torch.no_grad():
        made = simulated(torch.from_numpy(picture)).numpy()
    levels = np.round(np.clip(made, 0, 1) * 255) - np.round(real * 255)
    assert np.abs(levels).max() <= 1
    assert (levels == 0).mean() > 0.99


def test_integers_survive_a_round_trip(start):
    model, plan, _ = start
    network = rounding_network(model, plan, SCHEME, white=1.0)
    before = kept_rounded(model)
    for name, weights in rounded_weights(network).items():
        assert np.array_equal(weights.stored, before[name].stored), name
        np.testing.assert_allclose(weights.steps, before[name].steps, rtol=1e-6)
        np.testing.assert_allclose(weights.bias, before[name].bias, atol=1e-7)


def test_training_brings_the_picture_nearer_to_the_float_network(start, tmp_path, monkeypatch):
    shorter(monkeypatch, 120)
    monkeypatch.setattr(training, "LEARNING_RATE", 0.1)
    model, plan, _ = start
    crude = with_moved_biases(model)
    trained = training.train_quantized(job(start, tmp_path, model=crude), lambda progress: None)
    assert trained is not None
    better = keep_rounded(model, trained.rounded)
    ranges = {**plan.ranges, **trained.ranges}
    assert error(better, replace(plan, ranges=ranges)) < error(crude, plan) / 4
    assert trained.rounded.keys() == kept_rounded(crude).keys()
    assert all(np.abs(w.stored).max() == 127 for w in trained.rounded.values())
    assert trained.ranges.keys() <= plan.ranges.keys()


def test_what_gains_nothing_is_not_kept(start, tmp_path, monkeypatch):
    shorter(monkeypatch, 4)
    monkeypatch.setattr(training, "LEARNING_RATE", 50.0)
    assert training.train_quantized(job(start, tmp_path), lambda progress: None) is None


def test_killed_in_the_middle_it_ends_with_the_same_integers(start, tmp_path, monkeypatch):
    shorter(monkeypatch, 40)
    crude = {
        n: replace(w, bias=w.bias + np.float32(0.01)) for n, w in kept_rounded(start[0]).items()
    }
    model = keep_rounded(start[0], crude)
    whole = training.train_quantized(job(start, tmp_path / "a", model=model), lambda progress: None)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.done >= 20:
            raise Killed

    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(Killed):
        training.train_quantized(job(start, tmp_path / "b", model=model), kill)
    assert (tmp_path / "b" / "training.ckpt").exists()
    rest = training.train_quantized(job(start, tmp_path / "b", model=model), lambda progress: None)
    for name, weights in whole.rounded.items():
        assert np.array_equal(weights.stored, rest.rounded[name].stored)
        assert np.array_equal(weights.bias, rest.rounded[name].bias)


def test_float_nodes_are_neither_rounded_nor_trained(start):
    model, plan, _ = start
    network = rounding_network(model, replace(plan, float_nodes=("node_body",)), SCHEME, white=1.0)
    assert "node_body" not in network.layers
    assert "node_tail" in network.layers


def test_grid_cuts_and_passes_gradients_inside_only():
    grid = ActivationGrid(step=0.1, low=0, high=10)
    x = torch.tensor([-0.5, 0.32, 0.97, 5.0], requires_grad=True)
    y = grid(x)
    torch.testing.assert_close(y, torch.tensor([0.0, 0.3, 1.0, 1.0]))
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]
    # k outside, k - x/step inside, times the step that the parameter moves
    wanted = (0 + (3 - 3.2) + (10 - 9.7) + 10) * 0.1 * STEP_RATE
    assert float(grid.growth.grad) == pytest.approx(wanted, rel=1e-4)


def test_weight_grid_keeps_every_rows_largest_weight():
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    made = WeightGrid(weight, 0)(torch.zeros_like(weight))
    largest = weight.abs().amax((1, 2, 3))
    torch.testing.assert_close(made.abs().amax((1, 2, 3)), largest)
    assert (made - weight).abs().amax() <= largest.max() / 254 + 1e-6


def test_nothing_is_rounded_before_a_curve_and_its_own_grid_stays(tmp_path):
    network, plan, _ = quantized(tanh_network(), tmp_path / "q", rung="rounding")
    graph = onnx.load(network.path)
    made = rounding_network(graph, plan, SCHEME, white=1.0)
    fixed = [m for m in made.module.modules() if isinstance(m, ActivationGrid)]
    assert len(fixed) == 1  # behind the tanh; the picture behind the sigmoid is the tail
    assert not fixed[0].growth.requires_grad
    assert made.grids == {}
