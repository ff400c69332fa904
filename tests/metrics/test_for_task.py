"""Every kind of task has metrics, and their keys carry the task's name."""

import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.classification import ExclusiveAnswers, FindingAnswers
from ctan_monai.metrics.for_task import metrics_for
from ctan_monai.metrics.regression import ImageError, VoxelError
from ctan_monai.metrics.segmentation import SegmentationDice
from ctan_monai.tasks import Classification, Regression, Segmentation

KINDS = [
    (Segmentation("t", ["a"]), SegmentationDice, torch.ones(1, 4, 4, 4), torch.tensor([True])),
    (Regression("t", "Gy", 80.0), VoxelError, torch.ones(1, 4, 4, 4), torch.tensor(True)),
    (Regression("t", "years", 80.0, level="image"), ImageError, torch.ones(1), torch.tensor(True)),
    (Classification("t", ["yes"]), FindingAnswers, torch.ones(1), torch.tensor(True)),
    (Classification("t", ["a", "b"], multilabel=True), FindingAnswers, torch.ones(2), torch.tensor(True)),
    (Classification("t", ["a", "b"]), ExclusiveAnswers, torch.tensor([0.2, 0.8]), torch.tensor(True)),
]


@pytest.mark.parametrize(("task", "kind", "answer", "present"), KINDS)
def test_a_perfect_answer_is_measured_under_the_tasks_name(task, kind, answer, present):
    (metric,) = metrics_for(task)
    assert type(metric) is kind
    label = torch.tensor(1) if kind is ExclusiveAnswers else answer
    metric.update("x", {"t": answer}, {"t": label, "t_present": present}, (1.0, 1.0, 1.0))
    assert all(key.startswith("t_") for key in metric.compute())
    assert all(key == "case" or key.startswith("t_") for key in metric.rows()[0])
    assert metric.selection() in {1.0, None}  # None: one class only has no AUROC


def test_each_call_gives_fresh_metrics():
    task = KINDS[0][0]
    assert metrics_for(task)[0] is not metrics_for(task)[0]


def test_what_is_no_task_is_refused():
    with pytest.raises(ConfigError, match="has no metrics"):
        metrics_for("dose")
