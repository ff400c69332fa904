"""The metric that methods are compared by is what the evaluation reports, and follows any weighting of the cases."""

import math

import numpy as np
import pytest
import torch

from ctan_monai.metrics.for_task import metrics_for
from ctan_monai.metrics.main_metric import main_metric_for
from ctan_monai.tasks import Classification, Regression, Segmentation, present_key, region_key

TASKS = {
    "segmentation": Segmentation("oar", ["a", "b"], overlapping=True),
    "voxel": Regression("dose", "Gy", 70.0),
    "masked": Regression("hu", "HU", 1000.0, region="mask"),
    "image": Regression("age", "years", 50.0, level="image"),
    "classes": Classification("dx", ["x", "y", "z"]),
    "binary": Classification("severe", ["severe"]),
    "findings": Classification("signs", ["p", "q"], multilabel=True),
}
SHAPE = (4, 4, 2)


def answers(task, number):
    """Make a random prediction and target of one case; the fourth case is unknown."""
    random = torch.Generator().manual_seed(number)
    known = torch.tensor(number != 3)
    if isinstance(task, Segmentation):
        prediction, label = (torch.rand(2, *SHAPE, generator=random) > 0.5 for _ in range(2))
        return prediction, label, torch.stack([known, known])
    if isinstance(task, Regression):
        shape = (1, *SHAPE) if task.pixel_level else (1,)
        return torch.rand(shape, generator=random), torch.rand(shape, generator=random), known
    probs = torch.rand(len(task.classes), generator=random)
    if task.exclusive:
        return probs / probs.sum(), torch.tensor(number % 3), known
    label = torch.tensor([float((number + k) % 2) for k in range(len(task.classes))])
    return probs, label, known


def measured(task, numbers):
    (metric,) = metrics_for(task)
    for place, number in enumerate(numbers):
        prediction, label, known = answers(task, number)
        target = {task.name: label, present_key(task): known, region_key(task): torch.ones(1, *SHAPE)}
        metric.update(f"{place}_{number}", {task.name: prediction}, target, (1.0, 1.0, 1.0))
    return metric


def table(task, numbers):
    main = main_metric_for(task)
    return main, np.array([[row[column] for column in main.columns] for row in measured(task, numbers).rows()])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_over_all_cases_it_is_what_the_evaluation_reports(task):
    main, values = table(task, range(12))
    assert main.compute(values) == pytest.approx(measured(task, range(12)).compute()[main.key])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_case_that_is_drawn_twice_counts_as_two_cases(task):
    numbers = [0, 0, 1, 2, 5, 6, 6, 6, 8, 11]
    main, values = table(task, range(12))
    weights = np.bincount(numbers, minlength=12).astype(float)[None]
    assert main.compute_weighted(values, weights)[0] == pytest.approx(measured(task, numbers).compute()[main.key])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_it_is_unknown_where_nothing_is_known(task):
    main, values = table(task, [3, 3])
    assert math.isnan(main.compute(values))


def test_only_errors_are_better_when_they_are_lower():
    assert {name for name, task in TASKS.items() if not main_metric_for(task).higher_is_better} == {
        "voxel",
        "masked",
        "image",
    }


@pytest.mark.parametrize(("kind", "name"), [("segmentation", "Wilcoxon"), ("voxel", "Wilcoxon"), ("binary", "DeLong")])
def test_each_kind_has_its_test(kind, name):
    main, values = table(TASKS[kind], range(12))
    _, others = table(TASKS[kind], range(100, 112))
    others[:, len(main.columns) // 2 :] = values[:, len(main.columns) // 2 :] if kind == "binary" else others
    found = main.test([values, values], [others], range(12))
    assert found.name == name
    assert 0 < found.p <= 1
    assert main.test([values], [values], range(12)).p == 1.0


@pytest.mark.parametrize("kind", ["classes", "findings"])
def test_what_is_no_mean_and_no_single_area_is_left_to_the_bootstrap(kind):
    main, values = table(TASKS[kind], range(12))
    assert main.test([values], [values], range(12)) is None


@pytest.mark.parametrize("kind", ["segmentation", "voxel", "classes", "binary", "findings"])
def test_the_best_case_is_the_one_that_is_answered_best(kind):
    main, values = table(TASKS[kind], range(12))
    order = main.case_order(values)
    assert math.isnan(order[3])  # unknown
    if kind == "segmentation":
        assert order[np.nanargmax(order)] == np.nanmax(values[:, 0])
    if kind == "voxel":
        assert -order[np.nanargmax(order)] == np.nanmin(values[:, 0])
    if kind == "classes":
        truth = values[np.nanargmax(order), -1].astype(int)
        assert values[np.nanargmax(order), truth] == np.nanmax(order)
    if kind == "binary":
        best = np.nanargmax(order)
        assert abs(values[best, 0] - values[best, 1]) == np.nanmin(np.abs(values[:, 0] - values[:, 1]))
