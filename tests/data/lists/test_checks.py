"""What is seen in all cases together, before training starts."""

import logging

import numpy as np
import pytest

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.lists.dataset import check_cases
from ctan_monai.errors import DataError
from ctan_monai.tasks import Classification, Regression, Segmentation

SHAPE = (4, 4, 2)
OAR = Segmentation("oar", ["Cord", "Stem"], overlapping=True)
DOSE = Regression("dose", "Gy", 70.0)
GRADE = Classification("grade", ["low", "high", "highest"])


@pytest.fixture
def items(tmp_path):
    """Write two cases: the stem and the grade are known in the second only."""
    mask = np.ones(SHAPE, bool)
    volumes = {"ct": np.zeros(SHAPE, np.int16), "dose": np.ones(SHAPE, np.float32)}
    made = []
    for name, masks, values in (("a", {"Cord": mask}, {}), ("b", {"Cord": mask, "Stem": mask}, {"grade": 1})):
        path = tmp_path / f"{name}.case"
        write_case(path, Case(name, volumes, masks, np.eye(4), values, {}))
        made += [{"case": name, "file": str(path), "slice": index} for index in range(2)]
    return made


def test_each_label_is_counted_once_per_case(items, caplog):
    with caplog.at_level(logging.INFO):
        check_cases(items, [OAR, DOSE, GRADE])
    assert [record.message for record in caplog.records] == [
        "oar label Cord is known in 2 of 2 cases",
        "oar label Stem is known in 1 of 2 cases",
        "dose is known in 2 of 2 cases",
        "grade is known in 1 of 2 cases",
    ]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Segmentation("oar", ["Cord", "Liver"]), r"oar label Liver is in none of the 2 cases; they hold .*'Stem'"),
        (Regression("hu", "HU", 1000.0), r"hu is in none of the 2 cases"),
        (Classification("stage", ["one", "two"]), r"stage is in none of the 2 cases"),
        (Regression("age", "years", 100.0, level="image"), r"age is in none of the 2 cases"),
    ],
)
def test_a_label_that_no_case_has_is_refused(items, task, message):
    with pytest.raises(DataError, match=message):
        check_cases(items, [task])


def test_a_channel_that_no_case_has_is_told(items, caplog):
    with caplog.at_level(logging.WARNING):
        check_cases(items, [DOSE], ["ct", "Cord", "PTV63"])
    assert [record.message for record in caplog.records] == [
        "image channel PTV63 is in none of the 2 cases: it will be zero"
    ]


def test_a_region_that_only_some_cases_have_is_refused(items, tmp_path):
    volumes = {"ct": np.zeros(SHAPE, np.int16), "dose": np.ones(SHAPE, np.float32)}
    path = tmp_path / "c.case"
    write_case(path, Case("c", volumes, {"dose_region": np.ones(SHAPE, bool)}, np.eye(4), {}, {}))
    with pytest.raises(DataError, match=r"1 of 3 cases have dose_region; all or none must"):
        check_cases([*items, {"case": "c", "file": str(path)}], [DOSE])
