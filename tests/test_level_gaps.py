"""Which levels a file skips: a comb of gaps is seen, a flat picture raises no alarm."""

from __future__ import annotations

import numpy as np
import pytest
import quant_networks
import small_bundle

from toolkit.backends import onnxruntime as plug
from toolkit.model.network import write_network
from toolkit.run.score import spine_artefact
from toolkit.run.sources import Spine
from toolkit.validate.asked import Asked
from toolkit.validate.float_network import ends_in_curve
from toolkit.validate.level_gaps import LEVELS, gap_verdict, level_counts, level_gaps
from toolkit.validate.validating import validate_file


def picture(seed: int = 0) -> np.ndarray:
    """Every level some hundred times."""
    return np.random.default_rng(seed).integers(0, LEVELS, (256, 256, 3), np.uint8)


def regridded(planes: np.ndarray, steps: int) -> np.ndarray:
    """Rounded to `steps` steps of the range, then to 255."""
    coarse = np.round(planes / 255 * steps) / steps
    return np.round(coarse * 255).astype(np.uint8)


@pytest.mark.parametrize("steps", [128, 232, 250])
def test_a_coarser_grid_leaves_gaps(steps):
    wanted = level_counts(picture())
    gaps = level_gaps(level_counts(regridded(picture(), steps)), wanted)
    assert len(gaps) == 255 - steps
    assert not gap_verdict("f", level_counts(regridded(picture(), steps)), wanted).passed


def test_a_range_within_one_percent_of_white_is_let_through():
    found = level_counts(regridded(picture(), 253))
    verdict = gap_verdict("f", found, level_counts(picture()))
    assert verdict.passed
    assert verdict.value == 2


def test_noise_of_one_level_skips_nothing():
    moved = picture() + np.random.default_rng(1).integers(-1, 2, (256, 256, 3))
    found = level_counts(np.clip(moved, 0, 255).astype(np.uint8))
    assert level_gaps(found, level_counts(picture())) == ()


def test_a_flat_picture_may_move_as_a_whole():
    flat = np.full((64, 64, 3), 200, np.uint8)
    frame = np.full((64, 8, 3), 90, np.uint8)
    wanted = level_counts(np.concatenate([flat, frame], 1))
    assert level_gaps(level_counts(np.concatenate([flat + 1, frame], 1)), wanted) == ()


def test_no_picture_at_all_skips_nothing_by_itself():
    assert level_gaps(level_counts(None), level_counts(picture())) == ()


def scaled_tanh():
    """A tanh from 0 to 1, as published networks have it, under its shuffle."""
    g = quant_networks.Graph(3, 1)
    low = g.conv("lr", "head", 3, 12)
    moved = g.node("Add", [g.node("Tanh", [low], "t"), g.constant("one", np.float32([1]))], "m")
    g.node("Mul", [g.node("DepthToSpace", [moved], "w", blocksize=2, mode="CRD"),
                   g.constant("half", np.float32([0.5]))], "sr")  # fmt: skip
    return g.model("sr")


@pytest.mark.parametrize(
    ("network", "is_curve"),
    [
        (quant_networks.anchored, False),
        (quant_networks.residual, False),
        (quant_networks.tanh_network, True),
        (scaled_tanh, True),
    ],
)
def test_a_curve_before_the_picture_is_known(tmp_path, network, is_curve):
    path = tmp_path / "given.onnx"
    digest = write_network(network(), quant_networks.CONTRACT, path).digest
    assert ends_in_curve(spine_artefact(Spine(path=path, digest=digest))) is is_curve


def test_levels_are_not_counted_behind_a_sigmoid(tmp_path):
    """Steps of an 8-bit layer are wider than a level where the sigmoid is steep: no fault."""
    data = small_bundle.pictures(tmp_path / "data")
    network, plan, _ = quant_networks.quantized(
        quant_networks.tanh_network(), tmp_path / "work", rung="ranges"
    )
    target = quant_networks.target("onnxruntime")
    _, int8 = plug.lower(network, plan, target, tmp_path / "work", "tiny")
    asked = Asked(data=data, reference=tmp_path / "work" / "given.onnx", threads=1, in_child=False)
    validation = validate_file(int8.path, asked, scale=2).validation
    gates = {verdict.gate for verdict in validation.verdicts}
    assert "levels" not in gates and "charts.white" in gates
