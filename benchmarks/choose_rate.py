"""Choose each method's learning rate from a comparison's validation metrics, as docs/results/protocol.md says.

    python benchmarks/choose_rate.py COMPARISON

COMPARISON is the folder of `ctan-monai compare`, in which rows of a method differ in their learning rate alone. Printed
is a row of a Markdown table for each run: the main metric of each task at the best epoch (where tasks share nothing, at
the task's own), and the mean over tasks of the relative improvement over the method's row without preset (CTAN eq. 3).
The highest mean is chosen, unless the row without preset comes within 2 % of it. Test cases are not looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ctan_monai.metrics.delta import delta_mean, delta_task
from ctan_monai.metrics.main_metric import MainMetric, main_metric_for
from ctan_monai.report.compare_files import ComparedRow, read_comparison

_NEAR = 2.0  # percent within which the default is kept


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
        best = max(means, key=lambda name: means[name])
        chosen = best if means[best] > _NEAR else default.name
        print(f"| **{default.method}** | chosen: {chosen} |{' |' * len(metrics)}")
    for line in comparison.missing:
        print(f"not finished: {line}")


if __name__ == "__main__":
    main()
