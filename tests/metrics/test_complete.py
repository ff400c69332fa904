"""A case is complete when nothing about it is unknown."""

import torch

from ctan_monai.metrics.complete import CompleteCases
from ctan_monai.tasks import Regression, Segmentation

TASKS = (Segmentation("oar", ["a", "b"]), Regression("dose", "Gy", 70.0))


def test_a_case_is_complete_when_every_label_of_every_task_is_known():
    metric = CompleteCases(TASKS)
    for case, organs, dose in (("1", [True, True], True), ("2", [True, False], True), ("3", [True, True], False)):
        metric.update(case, {}, {"oar_present": torch.tensor(organs), "dose_present": torch.tensor(dose)}, (1.0,))
    assert metric.rows() == [
        {"case": "1", "complete": 1.0},
        {"case": "2", "complete": 0.0},
        {"case": "3", "complete": 0.0},
    ]
    assert metric.compute() == {"complete_cases": 1.0}
    assert metric.selection() is None
