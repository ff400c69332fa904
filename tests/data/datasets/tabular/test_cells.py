from __future__ import annotations

import pytest

from ctan_monai.data.datasets.tabular.values import read_value
from ctan_monai.tasks import Classification, Regression

GRADE = Classification("grade", ["low", "high"])
STAGE = Classification("stage", ["1", "2", "3"])
COVID = Classification("covid", ["covid"])
FINDINGS = Classification("findings", ["effusion", "nodule", "oedema"], multilabel=True)
AGE = Regression("age", "years", 100.0, level="image")


@pytest.mark.parametrize(
    ("task", "cell", "expected"),
    [
        (GRADE, "low", 0),
        (GRADE, "High", 1),
        (GRADE, 1, 1),
        (GRADE, "1.0", 1),
        (STAGE, "1", 0),  # a class of that name, not the index
        (STAGE, 3, 2),
        (COVID, "yes", [1.0]),
        (COVID, 0, [0.0]),
        (COVID, True, [1.0]),
        (COVID, "covid", [1.0]),
        (FINDINGS, "nodule", [0.0, 1.0, 0.0]),
        (FINDINGS, "effusion | oedema", [1.0, 0.0, 1.0]),
        (FINDINGS, ["oedema"], [0.0, 0.0, 1.0]),
        (FINDINGS, "none", [0.0, 0.0, 0.0]),
        (FINDINGS, [], [0.0, 0.0, 0.0]),
        (AGE, "61.5", 61.5),
        (AGE, 7, 7.0),
    ],
)
def test_a_cell_is_the_label_of_an_image(task, cell, expected):
    assert read_value(task, cell) == expected


@pytest.mark.parametrize(
    ("task", "cell", "message"),
    [
        (GRADE, "medium", "'medium' is no class; expected one of low, high, or an index from 0 to 1"),
        (GRADE, "2", "'2' is no class"),
        (GRADE, "-1", "'-1' is no class"),
        (STAGE, "0", "'0' is no class; expected one of 1, 2, 3$"),
        (COVID, "perhaps", "'perhaps' is neither yes nor no"),
        (FINDINGS, "nodule|mass", "'mass' is no class"),
        (AGE, "61,5", "write a point, not a comma"),
        (AGE, "inf", "is not finite"),
        (AGE, "1_000", "'1_000' is no number in years"),  # a number to Python alone
        (AGE, True, "True is no number in years"),
        (AGE, ["61"], "is no number in years"),
    ],
)
def test_what_a_task_cannot_have_is_refused(task, cell, message):
    with pytest.raises(ValueError, match=message):
        read_value(task, cell)
