"""Compute the metrics of an evaluator's cases, over all processes."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch.distributed as dist
from ignite.engine import Events
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import CaseMetric
from ctan_monai.metrics.complete import CompleteCases
from ctan_monai.metrics.device_metric import DeviceMetric, read_numbers
from ctan_monai.metrics.for_task import metrics_for
from ctan_monai.tasks import Task, check_tasks
from ctan_monai.transforms.batch import plain
from ctan_monai.transforms.postprocess import postprocess_for

logger = logging.getLogger(__name__)

Row = dict[str, Any]


class MultiTaskMetrics:
    """Evaluator handler: post-process the logits, measure each case, and average after the last one.

    What a `DeviceMetric` computes is read from the device once for each batch. Afterwards ``state.metrics`` holds the
    values of every metric, ``selection_<task>`` for each task and ``selection``, their mean, by which the best model is
    chosen (higher is better, nan where no label was known), and ``state.metric_details["cases"]`` one row per case.
    All processes get the same; a case that a distributed sampler repeats counts once.

    Args:
        tasks: the tasks of the network.
        metrics: further metrics beside those that belong to the tasks (`metrics_for`).

    Raises:
        ConfigError: two metrics have one name; or, while running, the batch names no cases or has been decollated.
    """

    def __init__(self, tasks: Iterable[Task], metrics: Sequence[CaseMetric] | None = None) -> None:
        self.tasks = check_tasks(tasks)
        self.by_task = {task.name: metrics_for(task) for task in self.tasks}
        of_tasks = [metric for found in self.by_task.values() for metric in found]
        self.metrics = [*of_tasks, *(metrics or ()), CompleteCases(self.tasks)]
        self._postprocess = {task.name: postprocess_for(task) for task in self.tasks}
        self._warned = False
        keys = [key for metric in self.metrics for key in metric.compute()]  # the same before the first case
        keys += [f"selection_{task.name}" for task in self.tasks]
        if again := sorted({key for key in keys if keys.count(key) > 1}):
            reason = f"{again} would be metrics of two tasks or labels."
            raise ConfigError("tasks", reason, "Rename one of them.")

    def attach(self, engine: Any) -> None:
        """Attach to an evaluator with ``decollate=False``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._complete)

    def reset(self) -> None:
        """Remove all records."""
        for metric in self.metrics:
            metric.reset()

    def rows(self) -> list[Row]:
        """Return one row per case: its id under ``case`` and what each metric measured."""
        merged: dict[str, Row] = {}
        for metric in self.metrics:
            for row in metric.rows():
                merged.setdefault(str(row["case"]), {}).update(row)
        return list(merged.values())

    def update(self, batch: Any, output: Mapping[str, Any]) -> None:
        """Measure the cases of a batch.

        Args:
            batch: as the loader gave it, with the list of its cases under 'case'.
            output: image, label (the targets) and pred (logits by task).

        Raises:
            ConfigError: the batch names no cases, or has been decollated.
        """
        if not isinstance(batch, Mapping) or not isinstance(batch.get("case"), Sequence):
            raise ConfigError(
                "evaluator",
                "MultiTaskMetrics needs a batch with the list of its cases under 'case'.",
                "Let the transforms keep 'case', and set decollate: false.",
            )
        predictions = {
            name: postprocess(plain(output["pred"][name])) for name, postprocess in self._postprocess.items()
        }
        image, targets = output["image"], output["label"]
        if image.device.type == "mps":  # which knows no double precision
            predictions, targets = (
                {key: value.cpu() for key, value in each.items()} for each in (predictions, targets)
            )
        found: list[tuple[DeviceMetric, str, Mapping[str, Tensor]]] = []
        for index, case in enumerate(map(str, batch["case"])):
            prediction = {name: answer[index] for name, answer in predictions.items()}
            target = {key: value[index] for key, value in targets.items()}
            spacing_mm = self._spacing_mm(image, index)
            for metric in self.metrics:
                if not isinstance(metric, DeviceMetric):
                    metric.update(case, prediction, target, spacing_mm)
                elif metric.lacks(case):
                    found.append((metric, case, metric.numbers(case, prediction, target, spacing_mm)))
        read = read_numbers([numbers for *_, numbers in found])  # the only transfer
        for (metric, case, _), numbers in zip(found, read, strict=True):
            metric.keep(case, metric.record(case, numbers))

    def _spacing_mm(self, image: Tensor, index: int) -> tuple[float, ...]:
        """Return the voxel size of one case of a batch (B, C, *S) from its affine."""
        dims = image.ndim - 2
        if not isinstance(image, MetaTensor):
            if not self._warned:
                logger.warning("the image has no affine: lengths and volumes are measured as if voxels were 1 mm wide")
                self._warned = True
            return (1.0,) * dims
        affine = image.affine[index] if image.affine.ndim == 3 else image.affine
        return tuple(map(float, affine_to_spacing(np.asarray(affine), r=dims)))  # MONAI keeps affines on the host

    def compute(self) -> dict[str, float]:
        """Return the metrics over all cases; nan = nothing known."""
        metrics: dict[str, float] = {}
        for metric in self.metrics:
            metrics.update(metric.compute())
        selections = {f"selection_{name}": _mean_selection(found) for name, found in self.by_task.items()}
        known = [value for value in selections.values() if not math.isnan(value)]
        metrics.update(selections, selection=sum(known) / len(known) if known else math.nan)
        return metrics

    def _update(self, engine: Any) -> None:
        self.update(engine.state.batch, engine.state.output)

    def _complete(self, engine: Any) -> None:
        self._gather()
        engine.state.metrics.update(self.compute())
        engine.state.metric_details["cases"] = self.rows()

    def _gather(self) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            return
        everyone: list[list[Any]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(everyone, [metric.state() for metric in self.metrics])
        for index, metric in enumerate(self.metrics):
            metric.merge([states[index] for states in everyone])


def _mean_selection(metrics: Sequence[CaseMetric]) -> float:
    known = [value for value in (metric.selection() for metric in metrics) if value is not None]
    return sum(known) / len(known) if known else math.nan
