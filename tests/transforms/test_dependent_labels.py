import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification
from ctan_monai.transforms import SetDependentLabeld

TASKS = [Classification("covid", ["covid"]), Classification("severe", ["severe"])]


def sample(covid, severe):
    """A sample in which None is unknown."""
    found = {"case": "p", "image": torch.zeros(1, 4, 4)}
    for name, value in (("covid", covid), ("severe", severe)):
        found[name] = torch.tensor([float(value or 0)])
        found[f"{name}_present"] = torch.tensor(value is not None)
    return found


def severity(found):
    return float(found["severe"]) if bool(found["severe_present"]) else None


@pytest.mark.parametrize(
    ("covid", "severe", "missing", "negative"),
    [
        (0, None, None, 0.0),  # the only case in which the readings differ
        (1, 0, 0.0, 0.0),
        (1, 1, 1.0, 1.0),
        (1, None, None, None),
        (None, None, None, None),
        (None, 1, 1.0, 1.0),
    ],
)
def test_severity_of_negatives_is_unknown_or_absent_as_the_rule_says(covid, severe, missing, negative):
    for rule, expected in (("missing", missing), ("negative", negative)):
        before = sample(covid, severe)
        found = SetDependentLabeld(TASKS, "severe", "covid", rule)(before)
        assert severity(found) == expected
        assert found["severe"].shape == (1,)
        assert torch.equal(found["covid_present"], before["covid_present"])


@pytest.mark.parametrize(
    ("task", "given", "rule"),
    [("severe", "covid", "absent"), ("severe", "fever", "missing"), ("grade", "covid", "missing")],
)
def test_other_rules_and_names_are_refused(task, given, rule):
    tasks = [*TASKS, Classification("grade", ["low", "high"])]
    with pytest.raises(ConfigError):
        SetDependentLabeld(tasks, task, given, rule)
