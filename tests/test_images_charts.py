"""Charts are what their names say, at any size."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.images.charts import charts


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (96, 128)])
def test_each_chart_has_the_asked_size_and_one_name(size):
    made = charts(*size)
    assert len({name for name, _ in made}) == len(made) == 6
    assert all(c.shape == (*size, 3) and c.dtype == np.uint8 for _, c in made)


def test_charts_show_what_they_promise():
    chart = dict(charts(96, 128))
    assert (chart["chart-white"] == 255).all()
    assert (chart["chart-black"] == 0).all()
    across, down = chart["chart-gradient-horizontal"], chart["chart-gradient-vertical"]
    assert (across[0, :, 0] == across[95, :, 2]).all()
    assert across[0, 0, 0] == down[0, 0, 0] == 0
    assert across[0, 127, 0] == down[95, 0, 0] == 255
    assert (np.diff(across[0, :, 0].astype(int)) >= 1).all()
    colours = {tuple(c) for c in chart["chart-colour-bars"][0].tolist()}
    assert colours == {(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)}
    assert chart["chart-single-pixel"].sum() == 3 * 255


def test_no_chart_of_nothing():
    with pytest.raises(ValueError, match="at least one pixel"):
        charts(0, 4)
