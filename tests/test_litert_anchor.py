"""An anchor in TFLite: the picture so many times, no slices, no convolution that sorts channels."""

from __future__ import annotations

import numpy as np
import pytest
from quant_networks import anchored, quantized, target, tensor

from toolkit import plugins

TILE = {"layout": "nhwc", "tile": (48, 56), "io_dtype": "float32"}


@pytest.mark.parametrize("upsampler", ["reshape", "depth_to_space"])
def test_repeated_channels_are_joined_in_the_order_of_the_shuffle(tmp_path, upsampler):
    network, plan, _ = quantized(anchored(), tmp_path / "q", rung="rounding")
    plug = plugins.load("backends", "litert")
    build = target("litert", upsampler=upsampler, **TILE)
    files = plug.lower(network, plan, build, tmp_path, "net")
    for file in files:
        kinds = [operator.kind for operator in plug.operators(file)]
        assert kinds.count("CONV_2D") == 3
        assert kinds.count("CONCATENATION") == 1
        assert not {"SLICE", "STRIDED_SLICE", "GATHER"} & set(kinds)
    picture = tensor()
    onnx_plug = plugins.load("backends", "onnxruntime")
    reference = onnx_plug.lower(network, plan, target("onnxruntime"), tmp_path, "ref")
    for ours, theirs in zip(files, reference, strict=True):
        made = plug.open(ours, threads=1).run(picture.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        wanted = onnx_plug.open(theirs, threads=1).run(picture)
        assert np.abs(made - wanted).max() <= (1e-5 if ours.precision == "float32" else 1.01 / 255)
