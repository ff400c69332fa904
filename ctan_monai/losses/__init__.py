"""Loss functions by kind of task, and the weightings that combine them."""

from ctan_monai.losses.base import TaskLoss
from ctan_monai.losses.classification import BinaryClassLoss, ExclusiveClassLoss
from ctan_monai.losses.distributed import distributed_mean, sum_over_ranks
from ctan_monai.losses.multitask import MultiTaskLoss, loss_for
from ctan_monai.losses.regression import RegressionLoss
from ctan_monai.losses.segmentation import ComboLoss, ExclusiveComboLoss, OverlappingComboLoss
from ctan_monai.losses.weighting import (
    DynamicWeightAverage,
    EqualWeighting,
    StaticWeighting,
    UncertaintyWeighting,
    Weighting,
    create_weighting,
)

__all__ = [
    "BinaryClassLoss",
    "ComboLoss",
    "DynamicWeightAverage",
    "EqualWeighting",
    "ExclusiveClassLoss",
    "ExclusiveComboLoss",
    "MultiTaskLoss",
    "OverlappingComboLoss",
    "RegressionLoss",
    "StaticWeighting",
    "TaskLoss",
    "UncertaintyWeighting",
    "Weighting",
    "create_weighting",
    "distributed_mean",
    "loss_for",
    "sum_over_ranks",
]
