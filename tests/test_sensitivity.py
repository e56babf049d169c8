"""Per-layer drops and the choice of layers to widen."""

import dataclasses
import math

import numpy as np
import pytest
from quant_networks import CONTRACT, anchored, photographs, quantized, residual

from toolkit.quant.patches import cut_pairs
from toolkit.quant.sensitivity import LayerDrop, layer_drops, nodes_to_widen, predicted_drop_db


def drop(node, drop_db, macs_share):
    return LayerDrop(node=node, kind="Conv", drop_db=drop_db, macs_share=macs_share)


def test_pairs_hold_the_luma_of_the_crop_that_was_shrunk(tmp_path):
    images = photographs(tmp_path)
    for pair in cut_pairs(images, CONTRACT, count=3, size_px=24, seed=1):
        assert pair.lr.shape == (1, 3, 24, 24)
        assert pair.luma.shape == (48, 48)
        halves = pair.luma.reshape(24, 2, 24, 2).mean(axis=(1, 3))
        shrunk = np.tensordot([65.481, 128.553, 24.966], pair.lr[0], axes=1) + 16
        assert np.abs(halves - shrunk).mean() < 6


def test_every_kernel_is_measured_alone_and_the_worst_range_costs_most(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path / "n")
    images = photographs(tmp_path)
    drops = layer_drops(network, plan, images)
    assert [d.node for d in drops] == ["node_head", "node_body", "node_tail"]
    assert sum(d.macs_share for d in drops) == pytest.approx(1.0)
    assert all(d.drop_db >= 0 for d in drops)
    # what the second layer reads, on a grid ten times too coarse
    wide = {**plan.ranges, "a": dataclasses.replace(plan.ranges["a"], high=10.0)}
    worse = layer_drops(network, dataclasses.replace(plan, ranges=wide), images)
    assert worse[1].drop_db > 5 * drops[1].drop_db
    assert worse[2].drop_db == pytest.approx(drops[2].drop_db)


def test_layers_that_are_float_already_are_not_measured(tmp_path):
    network, plan, _ = quantized(residual(), tmp_path / "n", float_nodes=["node_one"])
    names = [d.node for d in layer_drops(network, plan, photographs(tmp_path))]
    assert names == ["node_head", "node_two", "node_tail"]


def test_errors_of_layers_add_up_as_power_not_as_db():
    three = [drop("a", 3.0, 0.3), drop("b", 3.0, 0.3)]
    assert predicted_drop_db(three) == pytest.approx(10 * math.log10(1 + 2 * (10**0.3 - 1)))
    assert predicted_drop_db(three, ["a"]) == pytest.approx(3.0)


def test_most_gain_per_mac_goes_first_until_the_rest_is_small():
    drops = [drop("big", 0.20, 0.5), drop("head", 0.15, 0.05), drop("quiet", 0.01, 0.45)]
    assert nodes_to_widen(drops, macs_share=0.3) == ("head",)
    assert nodes_to_widen(drops, macs_share=0.6) == ("big", "head")
    assert nodes_to_widen(drops, macs_share=0.0) == ()
    assert nodes_to_widen([drop("a", 0.01, 0.5), drop("b", 0.01, 0.5)], macs_share=1.0) == ()


def test_what_the_rest_does_not_need_is_given_back():
    # `cheap` gains most per MAC, but `rich` alone is enough
    drops = [drop("cheap", 0.02, 0.001), drop("rich", 0.5, 0.1)]
    assert nodes_to_widen(drops, macs_share=0.3, rest_db=0.03) == ("rich",)
