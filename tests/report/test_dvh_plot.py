from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ctan_monai.errors import DataError
from ctan_monai.report.dvh_plot import dvh_curves, dvh_figure


def _volume_at(dvh, dose_gy):
    return float(np.interp(dose_gy, dvh.dose_gy, dvh.volume_percent))


def test_a_uniform_dose_is_a_step(view):
    curves = {curve.name: curve for curve in dvh_curves(view)}
    target = curves["PTV70"]
    assert _volume_at(target.reference, 69) == 100
    assert _volume_at(target.reference, 71) == 0
    assert _volume_at(target.predicted, 79) == 100
    assert _volume_at(target.predicted, 81) == 0
    assert (target.mean_reference, target.mean_predicted) == (70, 80)


def test_the_predicted_dose_is_read_inside_the_reference_contour(view):
    curves = {curve.name: curve for curve in dvh_curves(view)}
    brainstem = view.reference["Brainstem"]
    assert brainstem.any()
    assert not np.array_equal(brainstem, view.predicted["Brainstem"])
    assert curves["Brainstem"].mean_predicted == pytest.approx(view.dose_predicted[brainstem].mean(dtype=float))


def test_without_truth_the_predicted_contour_is_used(view):
    bare = dataclasses.replace(view, reference={}, dose_reference=None)
    curves = dvh_curves(bare)
    assert [curve.name for curve in curves] == ["Brainstem", "LeftParotid"], "the larynx has no voxel"
    assert all(curve.reference is None for curve in curves)
    assert curves[0].mean_predicted == pytest.approx(view.dose_predicted[view.predicted["Brainstem"]].mean(dtype=float))


def test_an_organ_that_nobody_drew_has_no_reference_curve(view):
    larynx = np.zeros_like(view.predicted["Larynx"])
    larynx[10, 10, 10] = True
    drawn = dataclasses.replace(view, predicted={**view.predicted, "Larynx": larynx})
    (curve,) = [curve for curve in dvh_curves(drawn) if curve.name == "Larynx"]
    assert curve.reference is None
    assert curve.mean_predicted == 20


def test_reference_lines_are_solid_predicted_ones_dashed_and_colors_belong_to_structures(view):
    figure = dvh_figure(view, "a line of figures")
    (panel,) = figure.axes
    lines = panel.get_lines()
    assert [line.is_dashed() for line in lines] == [False, True] * 3
    assert all(lines[at].get_color() == lines[at + 1].get_color() for at in (0, 2, 4))
    assert len({line.get_color() for line in lines}) == 3
    assert panel.get_xlabel() == "Dose / Gy"
    names = [text.get_text().split("   ") for text in figure.legends[0].get_texts()]
    assert names[2] == ["PTV70", "70.0 / 80.0"]
    assert "a line of figures" in panel.get_title(loc="left")


@pytest.mark.parametrize(
    "missing", [{"dose_reference": None, "dose_predicted": None}, {"reference": {}, "predicted": {}}]
)
def test_nothing_to_draw_is_said_so(view, missing):
    with pytest.raises(DataError, match="no DVH to draw"):
        dvh_figure(dataclasses.replace(view, **missing))
