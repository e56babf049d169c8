"""What has no weights goes with the layer before it: it is not rounded between float operators."""

from __future__ import annotations

from dataclasses import replace

import pytest
from quant_networks import anchored, quantized, residual, tanh_network, target

from toolkit import plugins

TILE = {"layout": "nhwc", "tile": (32, 32), "io_dtype": "uint8"}
NETWORKS = {
    "LEAKY_RELU": (anchored(activation="LeakyRelu"), "node_body"),
    "TANH": (tanh_network(), "node_head"),
    "ADD": (residual(), "node_two"),
}


def precisions(network, plan, folder, **build):
    plug = plugins.load("backends", "litert")
    file = plug.lower(network, plan, target("litert", **TILE, **build), folder, "net")[-1]
    return [(operator.kind, operator.precision) for operator in plug.operators(file)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_an_operator_between_float_layers_stays_float(kind, tmp_path):
    model, node = NETWORKS[kind]
    network, plan, _ = quantized(model, tmp_path / "q", rung="rounding")
    whole = precisions(network, plan, tmp_path)
    assert {precision for name, precision in whole if name == kind} == {"int8"}
    part = precisions(network, replace(plan, float_nodes=(node,)), tmp_path)
    if kind == "ADD":  # its other operand is a feature in 8 bits
        assert (kind, "int8") in part
    else:
        assert (kind, "float32") in part
