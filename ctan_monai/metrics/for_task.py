"""The metrics of each kind of task."""

from __future__ import annotations

from functools import singledispatch

from ctan_monai.metrics.base import CaseMetric
from ctan_monai.metrics.classification import ExclusiveAnswers, FindingAnswers
from ctan_monai.metrics.regression import ImageError, VoxelError
from ctan_monai.metrics.segmentation import SegmentationDice
from ctan_monai.tasks import Classification, Regression, Segmentation, unregistered


@singledispatch
def metrics_for(task: object) -> list[CaseMetric]:
    """Create the metrics of a task; every key they report starts with the task's name.

    Raises:
        ConfigError: this kind of task has no metrics.
    """
    raise unregistered(task, "metrics", "metrics_for")


@metrics_for.register
def _segmentation(task: Segmentation) -> list[CaseMetric]:
    return [SegmentationDice(task)]


@metrics_for.register
def _regression(task: Regression) -> list[CaseMetric]:
    return [VoxelError(task) if task.pixel_level else ImageError(task)]


@metrics_for.register
def _classification(task: Classification) -> list[CaseMetric]:
    return [ExclusiveAnswers(task) if task.exclusive else FindingAnswers(task)]
