"""The one bicubic: known answers by arithmetic. (Bit equality with the published files is measured
outside the suite, since those files do not ship.)"""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.images.resize import bicubic_resize, crop_to_multiple, keys_cubic, round_half_up_u8


def test_a_flat_image_stays_flat_in_both_directions():
    flat = np.full((12, 18, 3), 77, np.uint8)
    assert (bicubic_resize(flat, 0.5) == 77).all()
    assert (bicubic_resize(flat, 3) == 77).all()


def test_kernel_is_keys_with_a_minus_half():
    # At 1.5 the outer cubic is a * (3.375 - 5 * 2.25 + 8 * 1.5 - 4) = a * 0.125.
    assert keys_cubic(np.array([0.0, 1.0, 1.5, 2.0])) == pytest.approx([1, 0, -0.0625, 0])


def test_half_size_of_a_step_edge_equals_the_hand_computed_row():
    # Half size: output i sits at 2 i + 1.5 (from 1); weights are keys(d / 2) / 2 for |d| < 4.
    row = np.repeat(np.array([[0, 0, 0, 0, 200, 200, 200, 200]], np.uint8), 8, axis=0)
    offsets = np.arange(-3.5, 4.0)
    weights = keys_cubic(offsets / 2) / 2
    edges = {
        1: 200 * weights[offsets > 0.0][1:].sum(),
        2: 200 * (1 - weights[offsets > 0][1:].sum()),
    }
    small = bicubic_resize(row, 0.5)[2]
    assert small[1] == round(max(0.0, edges[1]))
    assert small[2] == round(min(255.0, edges[2]))


def test_rounding_is_half_up_and_clipped():
    assert round_half_up_u8(np.array([-3.0, 0.5, 1.5, 254.5, 300.0])).tolist() == [
        0,
        1,
        2,
        255,
        255,
    ]


def test_the_intermediate_is_rounded():
    """Rounding after the rows is what makes published LR files come out bit for bit."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32), np.uint8)
    other_order = bicubic_resize(np.ascontiguousarray(image.T), 0.5).T
    assert not np.array_equal(bicubic_resize(image, 0.5), other_order)


def test_crop_keeps_the_upper_left():
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert np.array_equal(crop_to_multiple(image, 3), image[:3, :6])


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.float32), np.zeros(4, np.uint8)])
def test_other_dtypes_and_ranks_are_refused(bad):
    with pytest.raises(ValueError, match="uint8"):
        bicubic_resize(bad, 2)
