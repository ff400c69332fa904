"""Choose each method's learning rate from a comparison's validation metrics, as docs/results/protocol.md says.

    python benchmarks/choose_rate.py COMPARISON

COMPARISON is the folder of `ctan-monai compare`, in which rows of a method differ in their learning rate alone. Printed
is a row of a Markdown table for each run: the main metric of each task at the best epoch (where tasks share nothing, at
the task's own), and the mean over tasks of the relative improvement over the method's row without preset (CTAN eq. 3).
The highest mean is chosen once all of a method's rows are there; where the best two lie within 2 %, the row without
preset is kept. Test cases are not looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ctan_monai.metrics.delta import delta_mean, delta_task
from ctan_monai.metrics.main_metric import MainMetric, main_metric_for
from ctan_monai.report.compare_files import ComparedRow, read_comparison

_NEAR = 2.0  # percent between the best two within which the row without preset is kept


def validated(row: ComparedRow, names: list[str], metrics: list[MainMetric]) -> list[float]:
    """Return the main metric of each task on the validation cases, mean over seeds, at the tested epoch."""
    found = []
    for name, metric in zip(names, metrics, strict=True):
        values = []
        for history in (training.history for run in row.runs for training in run.trainings):
            best = int((history.best.get(name) or history.best["all"])["epoch"])
            epochs, series = history.series("validation", metric.key)
            values.append(series[epochs.index(best)])
        found.append(sum(values) / len(values))
    return found


def choice(means: dict[str, float], default: str, planned: int) -> str:
    """Return which row the rule chooses, or that it cannot yet.

    >>> choice({"stl": 0.0, "low": -46.1, "high": 13.7}, "stl", 3)
    'chosen: high'
    >>> choice({"stl": 0.0, "low": 13.0, "high": 13.7}, "stl", 3)
    'chosen: stl'
    >>> choice({"stl": 0.0, "low": -46.1}, "stl", 3)
    'not chosen yet: 2 of 3 rows are finished'
    """
    if len(means) < planned:
        return f"not chosen yet: {len(means)} of {planned} rows are finished"
    best, second = sorted(means, key=lambda name: means[name], reverse=True)[:2]
    return f"chosen: {best if means[best] - means[second] > _NEAR else default}"


def main() -> None:
    """Print the table and the choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    comparison = read_comparison(parser.parse_args().comparison)
    names, metrics = [task.name for task in comparison.tasks], [main_metric_for(task) for task in comparison.tasks]
    heads = [f"{name}: {metric.label} ({metric.unit})" for name, metric in zip(names, metrics, strict=True)]
    print(f"| row | {' | '.join(heads)} | mean improvement (%) |\n|---|{'---|' * len(heads)}---|")
    for default in (row for row in comparison.rows if row.preset is None):
        base = validated(default, names, metrics)
        means = {}
        for row in (row for row in comparison.rows if row.method == default.method):
            values = validated(row, names, metrics)
            each = zip(base, values, metrics, strict=True)
            means[row.name] = delta_mean(delta_task(one, other, m.higher_is_better) for one, other, m in each)
            shown = [f"{m.factor * value:.2f}" for m, value in zip(metrics, values, strict=True)]
            print(f"| {row.name} | {' | '.join(shown)} | {means[row.name]:+.1f} |")
        planned = sum(entry["method"] == default.method for entry in comparison.plan["rows"])
        print(f"| **{default.method}** | {choice(means, default.name, planned)} |{' |' * len(metrics)}")
    for line in comparison.missing:
        print(f"not finished: {line}")


if __name__ == "__main__":
    main()
