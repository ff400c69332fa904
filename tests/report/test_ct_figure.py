from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ctan_monai.errors import DataError
from ctan_monai.report.compare_cases import volume_figure
from ctan_monai.report.ct_figure import ct_figure, hu_figure
from ctan_monai.report.planes import planes_through, reorient_lpi

TITLES = ["MR", "CT", "synthetic CT", "synthetic CT - CT"]


@pytest.fixture
def pair(view):
    """The patient's CT, and one that is 50 HU too high in the body."""
    real = view.image.astype(np.float32)
    body = real > -500
    mr = np.where(body, 300, 5).astype(np.int16)
    return dataclasses.replace(
        view, image=mr, dose_unit="HU", dose_reference=real, dose_predicted=real + 50, dose_region=body
    )


def panels_of(figure):
    """Panels row by row; the color bar has no letters."""
    return [axes for axes in figure.axes if axes.texts]


def test_columns_are_mr_ct_synthetic_ct_and_difference(pair):
    panels = panels_of(ct_figure(pair, [10, 15, 6], (0, 400)))
    assert [panel.get_title() for panel in panels[:4]] == TITLES
    assert [panel.get_ylabel() for panel in panels[::4]] == ["axial", "coronal", "sagittal"]
    for row, plane in enumerate(planes_through([10, 15, 6], pair.image.shape, pair.affine_ras)):
        cuts = [
            plane.cut(reorient_lpi(image, pair.affine_ras))
            for image in (pair.image, pair.dose_reference, pair.dose_predicted)
        ]
        for column, cut in enumerate(cuts):
            np.testing.assert_array_equal(panels[4 * row + column].images[0].get_array(), cut)
        error = np.ma.getdata(panels[4 * row + 3].images[1].get_array())
        np.testing.assert_array_equal(error, np.where(cuts[1] > -500, 50, 0))  # outside it is not known


def test_without_a_ct_there_is_nothing_to_compare(pair):
    alone = dataclasses.replace(pair, dose_reference=None, dose_region=None)
    assert [panel.get_title() for panel in panels_of(ct_figure(alone, "dose", (0, 400)))[:2]] == ["MR", "synthetic CT"]
    with pytest.raises(DataError, match="it has no real or no synthetic CT"):
        hu_figure(alone)
    with pytest.raises(DataError, match="it has no synthetic CT"):
        ct_figure(dataclasses.replace(pair, dose_predicted=None), "dose", (0, 400))


def test_histograms_count_the_body_and_the_joint_one_shows_the_shift(pair):
    figure = hu_figure(pair)
    left, right = figure.axes[:2]
    assert [line.get_label() for line in left.get_lines()] == ["CT", "synthetic CT"]
    heights = [line.get_ydata() for line in left.get_lines()]
    assert [each.sum() for each in heights] == pytest.approx([1, 1])
    starts = left.get_lines()[0].get_xdata()
    assert [
        starts[each.argmax()] <= hu < starts[each.argmax()] + 16 for each, hu in zip(heights, (40, 90), strict=True)
    ]
    counted = right.collections[0].get_array()
    assert counted.sum() == pair.dose_region.sum()


def test_a_comparison_shows_a_synthetic_ct_as_a_run_does_and_a_dose_over_the_image(pair, view):
    titles = [panel.get_title() for panel in volume_figure(pair, "median case").axes]
    assert [title for title in titles if title] == TITLES
    assert not set(TITLES) & {panel.get_title() for panel in volume_figure(view, "median case").axes}
