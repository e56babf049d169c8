"""Which levels a file skips: a comb of gaps is seen, a flat picture raises no alarm."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.validate.level_gaps import LEVELS, gap_verdict, level_counts, level_gaps


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
