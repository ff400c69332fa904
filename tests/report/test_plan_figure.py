"""Where planes are cut, what the panels show, and that both doses share one scale."""

import dataclasses

import numpy as np
import pytest
from dose_predictions import ANSWERED, TARGET, box_case, predicted_dose, write_predictions

from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.report.case_view import load_view
from ctan_monai.report.dose_results import assess, without_outline
from ctan_monai.report.dvh_plot import dvh_curves
from ctan_monai.report.plan_figure import columns_of, plan_figure, point_of


@pytest.fixture
def view(tmp_path):
    index = read_index(write_predictions(tmp_path, [(box_case(), ANSWERED, predicted_dose(3.0))]))
    return without_outline(load_view(index.cases[0], index.tasks, targets=["PTV"])[0])


def panels_of(figure):
    return [axes for axes in figure.axes if len(axes.images) > 0 and axes.get_ylim()[0] > axes.get_ylim()[1]]


def test_the_planes_cross_in_the_middle_of_the_target(view):
    point, reason = point_of(view)
    middle = [float(places.mean()) for places in np.nonzero(TARGET)]
    assert point == pytest.approx(middle, abs=0.5)
    assert reason == "through the center of the PTV"
    other, reason = point_of(dataclasses.replace(view, targets=()))
    assert other == pytest.approx(middle, abs=0.5), "here the high dose lies in the same place"
    assert "90%" in reason


def test_planned_predicted_and_difference_stand_side_by_side_in_three_planes(view):
    figure = plan_figure(view)
    panels = panels_of(figure)
    assert [panel.get_title() for panel in panels[:3]] == ["Planned dose", "Predicted dose", "Predicted - planned"]
    assert [panel.get_ylabel() for panel in panels[::3]] == ["axial", "coronal", "sagittal"]
    planned, predicted, error = (panel.images[-1] for panel in panels[:3])
    assert planned.norm.vmax == predicted.norm.vmax == 63
    assert error.norm.vmin == -error.norm.vmax == -3
    labels = {axes.get_xlabel() for axes in figure.axes}
    assert {"Dose / Gy", "Predicted - planned / Gy"} <= labels


def test_panels_keep_the_patients_proportions(view):
    figure = plan_figure(view)
    width, height = figure.get_size_inches()
    for panel in panels_of(figure):
        left, right, bottom, top = (*panel.get_xlim(), *panel.get_ylim())
        place = panel.get_position()
        mm_per_inch = (right - left) / (place.width * width), (bottom - top) / (place.height * height)
        assert mm_per_inch[0] == pytest.approx(mm_per_inch[1], rel=1e-6)


def test_orientation_letters_and_contours_are_named(view):
    figure = plan_figure(view)
    axial, *_, sagittal = panels_of(figure)[::3]
    assert {text.get_text() for text in axial.texts} == {"R", "L", "A", "P", "5 cm"}
    assert {text.get_text() for text in sagittal.texts} == {"A", "P", "S", "I", "5 cm"}
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {"Rectum", "Bladder", "PTV (white)", "planned contour", "predicted contour", "95% of 60 Gy"}


def test_where_the_planned_dose_is_not_known_there_is_no_difference(view):
    error = columns_of(view)[2].error
    assert (error[..., 0] == 0).all(), "the prediction has dose there, the plan nobody knows"
    assert (error[TARGET] == 3).all()


def test_without_a_plan_only_the_prediction_is_shown(view):
    bare = dataclasses.replace(view, dose_reference=None, dose_region=None, reference={}, targets=())
    figure = plan_figure(bare)
    assert [panel.get_title() for panel in panels_of(figure)] == ["axial", "coronal", "sagittal"]
    assert [panel.get_ylabel() for panel in panels_of(figure)] == ["Predicted dose", "", ""]
    width = figure.get_window_extent().width
    assert figure.legends[0].get_window_extent().x0 >= 0
    assert figure.legends[0].get_window_extent().x1 <= width, "the names are not cut off"


def test_a_target_that_is_only_predicted_is_shown_and_cut_through(view):
    bare = dataclasses.replace(
        view, dose_reference=None, dose_region=None, reference={}, predicted={"CTV": TARGET}, targets=("CTV", "PTV")
    )
    point, reason = point_of(bare)
    assert reason == "through the center of the predicted CTV"
    assert TARGET[point]
    names = {text.get_text() for text in plan_figure(bare).legends[0].get_texts()}
    assert "CTV (white)" in names
    assert [curve.name for curve in dvh_curves(bare)] == ["CTV"]
    assert [each.name for each in assess(bare).structures] == ["CTV"]
