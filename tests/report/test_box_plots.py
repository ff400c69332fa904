from __future__ import annotations

import numpy as np
import pytest

from ctan_monai.report.box_plots import box_figure
from ctan_monai.report.dose_tables import spread_of


def test_a_box_goes_from_quartile_to_quartile_and_whiskers_stop_at_outliers():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 30.0]
    (panel,) = box_figure({"title": {"Rectum": values, "empty": []}}, "error / Gy").axes
    (box,) = panel.patches
    low, high = np.percentile(values, (25, 75))
    assert (box.get_x(), box.get_x() + box.get_width()) == (low, high)
    whisker, median, dots = panel.lines
    assert list(whisker.get_xdata()) == [1.0, 5.0], "30 is more than 1.5 boxes away"
    assert set(median.get_xdata()) == {3.5}
    assert list(dots.get_xdata()) == values
    assert [label.get_text() for label in panel.get_yticklabels()] == ["Rectum (n = 6)"]
    assert panel.get_xlabel() == "error / Gy"


def test_a_single_case_makes_no_box_but_a_dot():
    (panel,) = box_figure({"title": {"Rectum": [2.0]}}, "x").axes
    assert list(panel.lines[-1].get_xdata()) == [2.0]


def test_the_outermost_boxes_are_not_cut_by_the_panels_edges():
    errors = {"D98%": {"PTV": [-18.6], "Femur_L": [2.59]}, "D2%": {"Rectum": [1.0, 4.0], "CTV": [2.0]}}
    figure = box_figure(errors, "error / Gy")
    figure.draw_without_rendering()
    for panel, (lowest, highest) in zip(figure.axes, [(-18.6, 2.59), (1.0, 4.0)], strict=True):
        low, high = panel.get_xlim()
        margin = 0.04 * (highest - lowest)
        assert low < lowest - margin
        assert high > highest + margin


def test_spreads_leave_out_what_is_not_known():
    found = spread_of([1.0, float("nan"), 3.0])
    assert (found.count, found.mean, found.median, found.mean_absolute) == (2, 2.0, 2.0, 2.0)
    assert found.sd == pytest.approx(2**0.5)
    assert np.isnan(spread_of([]).mean)
    assert np.isnan(spread_of([1.0]).sd)
