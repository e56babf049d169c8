"""Ends of ranges where the only reader of a tensor is flat."""

import numpy as np
import pytest
from quant_networks import anchored, quantized

from toolkit.quant.ranges import low_end


def histogram(values, low, high):
    return np.histogram(values, 2048, (low, high))[0]


def leaky(slope):
    return lambda x: np.where(x < 0, slope * x, x)


def squared_error(values, low, high, function):
    step = (high - low) / 255
    stored = np.round((values.clip(low, high) - low) / step) * step + low
    return float(np.square(function(stored) - function(values)).mean())


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.05, 0.2])
def test_low_end_before_a_leaky_activation_is_near_the_best_of_all(slope):
    values = np.random.default_rng(0).normal(-0.5, 1, 200_000)
    low, high = values.min(), values.max()
    found = low_end(histogram(values, low, high), low, high, leaky(slope))
    errors = [squared_error(values, end, high, leaky(slope)) for end in low * np.linspace(1, 0, 41)]
    assert squared_error(values, found, high, leaky(slope)) < 1.1 * min(errors)
    if slope < 0.01:
        assert found > low * 0.1
    assert errors[0] >= squared_error(values, found, high, leaky(slope))


def test_positive_tensors_and_identities_keep_their_low_end():
    values = np.random.default_rng(0).uniform(1, 2, 1000)
    assert low_end(histogram(values, 1, 2), 1, 2, leaky(0.1)) == 1
    both = np.random.default_rng(0).uniform(-1, 1, 10_000)
    assert low_end(histogram(both, -1, 1), -1, 1, leaky(1.0)) == -1


@pytest.mark.parametrize("activation", ["LeakyRelu", "PRelu"])
def test_plan_never_cuts_the_high_end_before_a_leaky_activation(activation, tmp_path):
    _, whole, _ = quantized(anchored(activation=activation), tmp_path / "a", rung="ranges")
    network, cut, _ = quantized(anchored(activation=activation), tmp_path / "b", rung="equalise")
    assert whole.ranges["head"].low < 0
    assert cut.ranges["head"].high == pytest.approx(cut.ranges["a"].high)
    assert network.digest == cut.network
    ratio = cut.ranges["head"].low / cut.ranges["head"].high
    assert ratio > whole.ranges["head"].low / whole.ranges["head"].high
