"""Measurements besides the runs: groups of cases, naive baselines, costs of a step."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ctan_monai.aliases import existing_file
from ctan_monai.apps.comparing.bundle import Bundle, read_overrides
from ctan_monai.apps.comparing.plan import Plan, Run
from ctan_monai.data.lists.leakage import groups_of
from ctan_monai.engines.handlers.case_metrics_writer import WriteCaseMetrics
from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.engines.loop.step_cost import step_cost
from ctan_monai.files.json_files import write_json
from ctan_monai.metrics.base import CaseMetric
from ctan_monai.metrics.for_task import metrics_for
from ctan_monai.metrics.naive_baselines import naive_baseline_for
from ctan_monai.report.compare_files import BASELINES_FILE, COSTS_FILE, GROUPS_FILE, fold_folder
from ctan_monai.report.run_files import read_json
from ctan_monai.tasks import Task

_logger = logging.getLogger(__name__)


def collect(plan: Plan, out: Path, made: Bundle, done: Sequence[Run]) -> None:
    """Write groups.json, naive_baselines/ (of each fold) and costs.json, each unless it exists.

    Args:
        plan: of the comparison.
        out: its folder.
        made: the bundle.
        done: runs that are finished; one of them says with which settings the test cases are read.

    Raises:
        DataError: data cannot be read, or a file cannot be written.
    """
    if plan.folds is None and not (out / GROUPS_FILE).is_file():
        write_json(groups_of(made.get(_evaluation(made, plan, done[0]), "datalists")["test"]), out / GROUPS_FILE)
    folder = existing_file(out, BASELINES_FILE).parent
    for fold in plan.fold_numbers:
        runs = [run for run in done if run.fold == fold]
        if runs and not (fold_folder(folder, fold) / Path(BASELINES_FILE).name).is_file():
            evaluation = _evaluation(made, plan, runs[0])
            write_baselines(
                made.tasks,
                _training_samples(made, made.parser(_options(plan, runs[0]))),
                iter(made.get(evaluation, "validate#dataset")),
                fold_folder(folder, fold),
                made.get(evaluation, "validate#key_metric#metrics"),
            )
    write_costs(plan, out, made)


def _options(plan: Plan, run: Run) -> dict[str, Any]:
    options = {"method": run.row.method, "output_dir": str(run.output_dir), "seed": run.seed}
    return {**options, **read_overrides(plan.fold_options(run.fold))}


def _evaluation(made: Bundle, plan: Plan, run: Run) -> Any:
    """Return the parser of a finished run's evaluation, which says with which settings the test cases are read."""
    return made.parser({**_options(plan, run), **read_overrides(run.row.overrides)}, evaluating=True)


def write_baselines(
    tasks: Sequence[Task],
    training: Iterable[Mapping[str, Any]],
    test: Iterable[Mapping[str, Any]],
    folder: Path,
    others: Sequence[CaseMetric] = (),
) -> None:
    """Fit naive baselines to training samples, and measure them on test samples as an evaluation does.

    Args:
        tasks: what is predicted.
        training: flat dictionaries of labels, without a batch axis.
        test: the same, with the image.
        folder: where to write per_case.csv, summary.json and baselines.json.
        others: further metrics of the evaluation.
    """
    answers = {task.name: naive_baseline_for(task) for task in tasks}
    for sample in training:
        for answer in answers.values():
            answer.learn(sample)
    metrics = [metric for task in tasks for metric in metrics_for(task)] + list(others)
    for sample in test:
        predicted = {name: answer.answer(sample) for name, answer in answers.items()}
        target = {key: torch.as_tensor(value) for key, value in sample.items() if _is_number(value)}
        spacing_mm = [float(step) for step in sample["image"].pixdim]
        for metric in metrics:
            metric.update(str(sample["case"]), predicted, target, spacing_mm)
    values = {name: value for metric in metrics for name, value in metric.compute().items()}
    tables = [metric.rows() for metric in metrics]
    rows = [{name: cell for row in parts for name, cell in row.items()} for parts in zip(*tables, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    WriteCaseMetrics(folder).write(rows, values)
    write_json({name: answer.words for name, answer in answers.items()}, folder / Path(BASELINES_FILE).name)


def write_costs(plan: Plan, out: Path, made: Bundle) -> None:
    """Measure a training step of each row that was not measured yet, one after the other.

    Memory on a CPU is that of the training's process, which its mark holds.
    """
    costs = dict(read_json(out / COSTS_FILE) or {})
    threads = torch.get_num_threads()
    for row in plan.rows:
        if row.name in costs:
            continue
        weighting = {} if row.weighting is None else {"weighting": row.weighting}
        loading = {"data_on": "loader"}  # one batch is needed, not all data on the device
        parser = made.parser({"method": row.method, "seed": 0, **weighting, **read_overrides(row.overrides), **loading})
        torch.set_num_threads(plan.threads)
        try:
            batch = next(iter(made.get(parser, "train#dataloader")))
            device = torch.device(made.get(parser, "device"))
            image, targets = PrepareMultiTaskBatch(made.tasks)(batch, device)
            plain = image.as_tensor() if hasattr(image, "as_tensor") else image
            costs[row.name] = step_cost(
                made.get(parser, "network"),
                made.get(parser, "loss"),
                made.get(parser, "optimizer"),
                plain,
                targets,
                made.get(parser, "amp"),
            )
        finally:
            torch.set_num_threads(threads)
        write_json(costs, out / COSTS_FILE)


def _training_samples(made: Bundle, parser: Any) -> Iterable[Mapping[str, Any]]:
    """Yield the training cases, each once and whole, with the transforms of validation."""
    items = {
        item["case"]: {"case": item["case"], "file": item["file"]} for item in made.get(parser, "datalists")["train"]
    }
    preprocessing = made.get(parser, "validate#preprocessing")
    return itertools.chain(map(preprocessing, items.values()))


def _is_number(value: Any) -> bool:
    return hasattr(value, "shape") or isinstance(value, bool | int | float)
