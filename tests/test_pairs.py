"""Training pairs: which pictures are read, held out and left out, and the score on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from toolkit.errors import UserError
from toolkit.model.contract import ImageContract
from toolkit.train.pairs import UnitRgb, holdout_psnr_db, read_pairs


class Nearest(nn.Module):
    def forward(self, x):
        return F.interpolate(x, scale_factor=2.0)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(6):
        picture = rng.integers(0, 256, (80 + 2 * index, 100, 3), np.uint8)
        place = tmp_path / ("a" if index % 2 else "b")
        place.mkdir(exist_ok=True)
        Image.fromarray(picture).save(place / f"{index}.png")
    Image.fromarray(rng.integers(0, 256, (20, 300, 3), np.uint8)).save(tmp_path / "a" / "thin.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def heights(pairs):
    return [pair.hr.shape[0] for pair in pairs]


def test_every_nth_picture_in_path_order_is_held_out(folder):
    wanted = {"scale": 2, "luma_only": False, "exclude": ()}
    training, holdout = read_pairs(folder, holdout_every=3, **wanted)
    assert heights(holdout) == [82, 80]  # a/1, b/0; a/thin is too small to count
    assert heights(training) == [86, 90, 84, 88]
    assert read_pairs(folder, holdout_every=0, **wanted)[1] == []


@pytest.mark.parametrize("pattern", ["3.png", "a/3.*", "a/3.png"])
def test_excluded_pictures_are_left_out(folder, pattern):
    training, _ = read_pairs(folder, scale=2, luma_only=True, exclude=[pattern], holdout_every=0)
    assert 86 not in heights(training) and len(training) == 5
    assert training[0].lr.shape[2] == 1


def test_sides_are_cropped_for_networks_that_ask_for_multiples(folder):
    training, _ = read_pairs(
        folder, scale=2, luma_only=False, exclude=(), holdout_every=0, multiple_of=4
    )
    assert {side % 4 for pair in training for side in pair.lr.shape[:2]} == {0}


def test_nothing_left_to_train_on_is_told(folder, tmp_path):
    wanted = {"scale": 2, "luma_only": False, "holdout_every": 0}
    with pytest.raises(UserError, match="no picture to train on"):
        read_pairs(folder, exclude=["*"], **wanted)
    with pytest.raises(UserError, match="at least 400 x 400"):
        read_pairs(folder, exclude=(), minimum_lr_px=200, **wanted)


def test_the_score_is_the_psnr_of_the_luma(folder):
    _, holdout = read_pairs(folder, scale=2, luma_only=True, exclude=(), holdout_every=3)
    expected = []
    for pair in holdout:
        up = pair.lr[..., 0].repeat(2, 0).repeat(2, 1).astype(np.float64)
        error = (up - pair.hr[..., 0])[2:-2, 2:-2]
        expected.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert holdout_psnr_db(Nearest(), holdout, 2) == pytest.approx(np.mean(expected))
    assert np.isnan(holdout_psnr_db(Nearest(), [], 2))


def test_a_network_of_another_contract_sees_its_own_pixels():
    seen = []

    class OnlyFirst(nn.Module):
        def forward(self, x):
            seen.append(x[0, :, 0, 0].tolist())
            return F.interpolate(x * torch.tensor([1.0, 0.0, 0.0])[:, None, None], scale_factor=2.0)

    adapter = UnitRgb(OnlyFirst(), ImageContract(scale=2, color="bgr", white=255.0))
    red, green, blue = 0.2, 0.4, 0.8
    picture = torch.tensor([red, green, blue])[None, :, None, None].expand(1, 3, 4, 4)
    result = adapter(picture)
    assert seen == [pytest.approx([blue * 255, green * 255, red * 255])]
    assert result[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.0, blue])
