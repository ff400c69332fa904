import logging

import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms.labels import DropLabelsd

LESION = Segmentation("lesion", ["lesion", "globules"], overlapping=True)
DIAGNOSIS = Classification("diagnosis", ["nv", "mel"])
DOSE = Regression("dose", "Gy", 70.0)
TASKS = [LESION, DIAGNOSIS, DOSE]
ITEMS = [{"case": f"p{number}", "file": "", "slice": part} for number in range(50) for part in (0, 1)]


def sample(case):
    return {
        "case": case,
        "image": torch.ones(3, 4, 4),
        "lesion": torch.ones(2, 4, 4, dtype=torch.uint8),
        "lesion_present": torch.tensor([True, False]),
        "diagnosis": torch.tensor(1),
        "diagnosis_present": torch.tensor(True),
        "dose": torch.ones(1, 4, 4),
        "dose_present": torch.tensor(True),
        "dose_region": torch.ones(1, 4, 4),
    }


def known(hide, name):
    return {item["case"] for item in ITEMS if bool(hide(sample(item["case"]))[f"{name}_present"].any())}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_exactly_a_share_of_the_cases_keeps_its_label(share):
    assert len(known(DropLabelsd(TASKS, ITEMS, {"lesion": share}), "lesion")) == share * 50


def test_a_hidden_label_is_what_an_unknown_one_is_and_the_rest_stays():
    hidden = DropLabelsd(TASKS, ITEMS, {"lesion": 0.0, "dose": 0.0})(sample("p1"))
    before = sample("p1")
    for name in ("lesion", "lesion_present", "dose", "dose_present"):
        assert not hidden[name].any()
        assert (hidden[name].shape, hidden[name].dtype) == (before[name].shape, before[name].dtype)
    for name in ("image", "diagnosis", "diagnosis_present", "dose_region"):
        assert torch.equal(hidden[name], before[name])


def test_the_same_cases_are_hidden_each_time_and_more_of_them_for_a_smaller_share():
    one, again = (known(DropLabelsd(TASKS, ITEMS, {"lesion": 0.3}), "lesion") for _ in range(2))
    assert one == again
    assert known(DropLabelsd(TASKS, list(reversed(ITEMS)), {"lesion": 0.1}), "lesion") < one
    assert known(DropLabelsd(TASKS, ITEMS, {"lesion": 0.3}, seed=1), "lesion") != one
    assert known(DropLabelsd(TASKS, ITEMS, {"diagnosis": 0.3}), "diagnosis") != one


def test_hiding_is_said_and_hiding_nothing_is_not(caplog):
    with caplog.at_level(logging.WARNING):
        DropLabelsd(TASKS, ITEMS, {"lesion": 1.0, "diagnosis": 1})
        assert not caplog.records
        DropLabelsd(TASKS, ITEMS, {"lesion": 0.2})
    assert "labels of lesion are hidden: 10 of 50 cases keep theirs" in caplog.text


@pytest.mark.parametrize("wrong", [{"lesion": 20}, {"lesion": -0.1}, {"mask": 0.5}, {"lesion": "half"}])
def test_a_share_or_a_name_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="known: "):
        DropLabelsd(TASKS, ITEMS, wrong)
