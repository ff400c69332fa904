"""Metrics of a case of boxes against numbers worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
from dose_predictions import ANSWERED, BODY, SHAPE, TASKS, box_case, predicted_dose, write_predictions

from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.errors import DataError
from ctan_monai.metrics.gamma import Gamma
from ctan_monai.metrics.goals import read_goals
from ctan_monai.report.case_view import load_view
from ctan_monai.report.dose_results import assess, without_outline

ALL = Gamma(max_points=None)


def view_of(tmp_path, *prediction):
    folder = write_predictions(tmp_path, [prediction])
    index = read_index(folder)
    return load_view(index.cases[0], index.tasks, targets=["PTV"])[0]


@pytest.fixture
def view(tmp_path):
    """The predicted dose is 3 Gy too high in the target; everything else agrees."""
    return view_of(tmp_path, box_case(), ANSWERED, predicted_dose(3.0))


def test_every_structure_but_the_outline_has_its_metrics(view):
    found = {each.name: each for each in assess(view).structures}
    assert list(found) == ["Rectum", "Bladder", "PTV"]
    assert found["PTV"].planned["Dmean"] == 60
    assert found["PTV"].predicted["D98%"] == 63
    assert found["PTV"].error("Dmean") == 3
    assert found["Rectum"].error("D2%") == 0
    # the bladder, 4 x 4 x 8 voxels, has three quarters of its slices in the target
    assert found["Bladder"].planned["Dmean"] == pytest.approx(0.75 * 60 + 0.25 * 20)
    assert found["Bladder"].volume_cc == pytest.approx(128 * 0.04)
    assert found["Rectum"].dice == pytest.approx(0.75), "moved by one of four voxels"
    assert found["Bladder"].dice == 1
    assert math.isnan(found["PTV"].dice), "it is not predicted"


def test_voxels_whose_planned_dose_is_not_known_count_nowhere(tmp_path):
    case = box_case()
    case = dataclasses.replace(case, masks={**case.masks, "Rectum": BODY})
    view = view_of(tmp_path, case, ANSWERED, predicted_dose())
    rectum = assess(view).structures[0]
    assert rectum.unknown_percent == pytest.approx(100 / 14), "one slice of fourteen"
    assert rectum.planned["D98%"] == 20, "not the 0 Gy of the slice outside the dose grid"
    assert assess(view).error_gy == (0, 0)


def test_a_region_that_bounds_the_dose_rather_than_what_is_known_leaves_nothing_out(tmp_path, monkeypatch):
    """OpenKBP's possible_dose_mask: outside it the dose is known to be 0."""
    everywhere = (TASKS[0], dataclasses.replace(TASKS[1], region="all"))
    monkeypatch.setattr("dose_predictions.TASKS", everywhere)
    case = box_case()
    case = dataclasses.replace(case, masks={**case.masks, "Rectum": BODY})
    rectum = assess(view_of(tmp_path, case, ANSWERED, predicted_dose())).structures[0]
    assert rectum.unknown_percent == 0
    assert rectum.planned["D98%"] == 0


def test_the_error_is_that_inside_the_patient(view):
    result = assess(view)
    share = 8 * 8 * 6 / (16 * 20 * 13)  # of the body's voxels with a known dose
    assert result.error_gy == pytest.approx((3 * share, 3 * share))
    assert result.error_where == "over the voxels whose planned dose is known, inside External"
    bare = without_outline(view)
    assert assess(bare).error_gy[0] == pytest.approx(3 * 384 / (20 * 24 * 13))


def test_goals_are_judged_for_plan_and_prediction(view, tmp_path):
    path = tmp_path / "goals.yaml"
    path.write_text(
        "goals:\n"
        "- {structure: PTV, goal: D2% <= 104 %}\n"
        "- {structure: Rectum, goal: V20Gy < 5 cc}\n"
        "- {structure: Bowel, goal: Dmean < 20 Gy}\n"
        "- {structure: PTV, goal: V60Gy >= 95 %, fraction_gy: 2}\n"
    )
    high, rectum, bowel, other = assess(view, read_goals(path)).goals
    assert (high.planned.value, high.planned.met) == (100, True)
    assert (high.predicted.value, high.predicted.met) == (pytest.approx(105), False)
    assert high.agree is False
    assert (rectum.planned.value, rectum.agree) == (pytest.approx(4.8), True)
    assert (bowel.predicted.reason, bowel.agree) == ("not contoured", None)
    assert (other.predicted.reason, other.agree) == ("not for 3 Gy per fraction", None)


def test_gamma_fails_where_the_dose_is_too_high(view):
    pytest.importorskip("pymedphys")
    strict, loose = assess(view, gamma=dataclasses.replace(ALL, criteria=((3, 3), (6, 3)))).gamma
    known = BODY.sum() * 13 // 14
    # 3 Gy are 5 % of 60 Gy; at the target's edge the fall-off to 20 Gy is within reach, inside it nothing is
    assert 100 * (1 - 384 / known) <= strict.percent < 100
    assert strict.points == known
    assert loose.percent == 100


def test_without_a_plan_the_dose_is_read_in_what_is_contoured_or_predicted(tmp_path):
    result = assess(view_of(tmp_path, box_case(planned=False), ANSWERED, predicted_dose(3.0)), gamma=ALL)
    assert not result.has_plan
    assert [(each.name, each.planned_contour, each.planned) for each in result.structures] == [
        ("Rectum", False, None),
        ("Bladder", False, None),
    ]
    assert result.structures[1].predicted["Dmean"] == pytest.approx(0.75 * 63 + 0.25 * 20)
    assert result.gamma_note == "there is no planned dose."
    assert math.isnan(result.error_gy[0])


def test_a_goals_files_prescription_stands_in_for_an_unknown_one(tmp_path):
    path = tmp_path / "goals.yaml"
    path.write_text("prescription_gy: 50\ngoals: [{structure: PTV, goal: D2% <= 104 %}]")
    unknown = {"prescription_gy": None, "fractions": None}
    view = view_of(tmp_path, box_case(meta=unknown), ANSWERED, predicted_dose())
    result = assess(view, read_goals(path))
    assert result.plan.prescription_gy == 50
    assert result.goals[0].planned.value == pytest.approx(120)


def test_a_library_that_is_not_installed_is_named_with_how_to_get_it(view, monkeypatch):
    monkeypatch.setattr("ctan_monai.report.dose_results.has_gamma", lambda: False)
    result = assess(view, gamma=ALL)
    assert result.gamma == []
    assert 'pip install -e ".[gamma]"' in result.gamma_note


def test_a_dose_that_gamma_refuses_costs_gamma_and_not_the_report(view, caplog):
    pytest.importorskip("pymedphys")
    result = assess(dataclasses.replace(view, dose_reference=np.zeros(SHAPE, np.float32)), gamma=ALL)
    assert result.gamma_note == "there is no planned dose."
    assert "No gamma of pt_1" in caplog.text


def test_a_case_without_a_predicted_dose_is_refused(view):
    with pytest.raises(DataError, match="no dose is predicted"):
        assess(dataclasses.replace(view, dose_predicted=None))
