"""Tasks: what is predicted, described once and used by every layer of the package.

A task says what its label looks like, and nothing about networks, losses or metrics. Each layer contributes
`functools.singledispatch` functions over the kinds (`decoder_for`, `loss_for`, `activate`, `metrics_for` and others);
docs/new-task.md lists them.

A batch is a flat dictionary. For a task named ``dose`` it holds the label under ``dose``, whether the label is
known under ``dose_present`` and, for voxel-level regression, the voxels that count under ``dose_region``.
"""

from ctan_monai.tasks.base import Task, check_tasks, describe_task, present_key, region_key, task_from, unregistered
from ctan_monai.tasks.kinds import Classification, Regression, Segmentation

__all__ = [
    "Classification",
    "Regression",
    "Segmentation",
    "Task",
    "check_tasks",
    "describe_task",
    "present_key",
    "region_key",
    "task_from",
    "unregistered",
]
