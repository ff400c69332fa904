"""Changes of metrics and their intervals, on cases whose values can be worked out by hand."""

import math

import numpy as np
import pytest
from scipy.stats import t

from ctan_monai.engines.diagnosis.effects import Effects, judge
from ctan_monai.metrics.main_metric import main_metric_for
from ctan_monai.tasks import Classification, Segmentation

LESION = main_metric_for(Segmentation("lesion", ["lesion"]))
KIND = main_metric_for(Classification("kind", ["a", "b"]))


def rows_of(dice, right):
    """Make rows: Dice of each case, and whether its class (a, b in turn) is answered rightly."""
    return [
        {
            "case": f"c{index}",
            "lesion_dice": value,
            "kind_prob_a": float((index % 2 == 0) == answered),
            "kind_prob_b": float((index % 2 == 0) != answered),
            "kind_label": float(index % 2),
        }
        for index, (value, answered) in enumerate(zip(dice, right, strict=True))
    ]


def metrics_of(dice, accuracy):
    return {"lesion_dice": dice, "kind_balanced_accuracy": accuracy, "kind_loss": 1.0}


def make(count=20, change=0.0):
    dice = np.linspace(0.5, 0.9, count)
    rows = rows_of(dice, [True] * count)
    groups = {row["case"]: row["case"] for row in rows}
    effects = Effects(rows, metrics_of(float(dice.mean()), 1.0), groups, [LESION, KIND], 2000, 0)
    return effects, dice + change


def test_nothing_changes_where_nothing_was_exchanged():
    effects, dice = make()
    found = effects.of(rows_of(dice, [True] * 20), metrics_of(float(dice.mean()), 1.0))
    for key in ("lesion_dice", "kind_balanced_accuracy"):
        assert found[key]["change"] == found[key]["low"] == found[key]["high"] == 0
        assert judge(found[key], higher_is_better=True) == "no change shown"


def test_the_interval_of_a_mean_is_about_the_t_interval_of_paired_differences():
    effects, dice = make()
    shift = np.random.default_rng(0).normal(-0.1, 0.05, 20)
    found = effects.of(rows_of(dice + shift, [True] * 20), metrics_of(float((dice + shift).mean()), 1.0))["lesion_dice"]
    half = t.ppf(0.975, 19) * shift.std(ddof=1) / math.sqrt(20)
    assert found["change"] == pytest.approx(shift.mean())
    assert found["low"] == pytest.approx(shift.mean() - half, abs=0.15 * half)
    assert found["high"] == pytest.approx(shift.mean() + half, abs=0.15 * half)
    assert judge(found, higher_is_better=True) == "worse"
    assert judge(found, higher_is_better=False) == "better"


def test_a_metric_that_is_no_mean_over_cases_is_computed_anew_in_each_draw():
    effects, dice = make()
    right = [index % 4 != 0 for index in range(20)]  # half of class a is wrong now: balanced accuracy .75
    found = effects.of(rows_of(dice, right), metrics_of(float(dice.mean()), 0.75))["kind_balanced_accuracy"]
    assert found["change"] == pytest.approx(-0.25)
    assert found["low"] < -0.25 < found["high"] < 0


def test_other_metrics_have_a_change_and_no_interval():
    effects, dice = make()
    found = effects.of(rows_of(dice, [True] * 20), {**metrics_of(float(dice.mean()), 1.0), "kind_loss": 3.0})
    assert found["kind_loss"]["change"] == 2.0
    assert math.isnan(found["kind_loss"]["low"])
    assert judge(found["kind_loss"], higher_is_better=True) == "unknown"


def test_cases_whose_label_is_unknown_count_nowhere():
    rows = rows_of([0.5, math.nan, 0.7, 0.9], [True] * 4)
    groups = {row["case"]: row["case"] for row in rows}
    effects = Effects(rows, {"lesion_dice": 0.7}, groups, [LESION], 200, 0)
    changed = rows_of([0.4, math.nan, 0.6, 0.8], [True] * 4)
    found = effects.of(changed, {"lesion_dice": 0.6})["lesion_dice"]
    assert found["change"] == pytest.approx(-0.1)
    assert found["low"] == pytest.approx(-0.1)
    assert found["high"] == pytest.approx(-0.1)
