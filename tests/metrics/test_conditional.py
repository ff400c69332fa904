import math

import numpy as np
import pytest
import torch

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.conditional import GivenFinding
from ctan_monai.tasks import Classification

COVID, SEVERE = Classification("covid", ["covid"]), Classification("severe", ["severe"])


def fed(rows):
    """Feed probabilities of severity with both labels; None is unknown."""
    metric = GivenFinding(SEVERE, COVID)
    for number, (prob, covid, severe) in enumerate(rows):
        target = {
            "covid": torch.tensor([float(covid or 0)]),
            "covid_present": torch.tensor(covid is not None),
            "severe": torch.tensor([float(severe or 0)]),
            "severe_present": torch.tensor(severe is not None),
        }
        metric.update(str(number), {"severe": torch.tensor([prob])}, target, ())
    return metric


def test_by_hand():
    found = fed([(0.9, 1, 1), (0.4, 1, 1), (0.6, 1, 0), (0.8, 0, None), (0.1, 0, None), (0.3, 0, None)]).compute()
    # among positives: .9 > .6, .4 < .6
    assert found["severe_auroc_among_covid"] == pytest.approx(1 / 2)
    # over all: .9 beats .6 .8 .1 .3; .4 beats .1 .3
    assert found["severe_auroc_over_all"] == pytest.approx(6 / 8)
    assert (found["severe_cases_over_all"], found["severe_cases_among_covid"]) == (6, 3)


@pytest.mark.parametrize("severe_of_negatives", [None, 0])
def test_it_does_not_matter_whether_the_negatives_counted_in_the_loss(severe_of_negatives):
    rows = [(0.7, 1, 1), (0.2, 1, 0), (0.9, 0, severe_of_negatives), (0.1, 0, severe_of_negatives)]
    found = fed(rows).compute()
    assert found["severe_auroc_among_covid"] == 1
    assert found["severe_auroc_over_all"] == pytest.approx(2 / 3)


def test_unknown_cases_count_nowhere():
    some = [(0.7, 1, 1), (0.2, 1, 0), (0.4, 0, None)]
    assert fed(some).compute() == fed([*some, (0.99, 1, None), (0.01, None, None)]).compute()
    only = fed([(0.9, None, 1), (0.1, 0, None)]).compute()
    assert only["severe_auroc_over_all"] == 1  # severe, whether or not the test is known
    assert math.isnan(only["severe_auroc_among_covid"])


def test_it_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(0)
    rows = [
        (float(p), int(c), int(s) if c else None)
        for p, c, s in zip(rng.random(80), rng.integers(0, 2, 80), rng.integers(0, 2, 80), strict=True)
    ]
    found = fed(rows).compute()
    for among, pairs in (
        ("over_all", [(p, bool(s)) for p, _, s in rows]),
        ("among_covid", [(p, bool(s)) for p, c, s in rows if c]),
    ):
        wins = [float(a > b) for a, yes in pairs for b, no in pairs if yes and not no]
        assert found[f"severe_auroc_{among}"] == pytest.approx(np.mean(wins))


def test_it_chooses_no_model_and_refuses_what_it_cannot_measure():
    assert fed([(0.5, 1, 1)]).selection() is None
    with pytest.raises(DataError, match="not finite"):
        fed([(math.nan, 1, 1)])
    with pytest.raises(ConfigError, match="one class each"):
        GivenFinding(Classification("grade", ["a", "b"]), COVID)
