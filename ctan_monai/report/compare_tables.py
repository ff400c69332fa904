"""Tables of a comparison, from the summary of `compare_analysis.analyze`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ctan_monai.metrics.delta import PublishedDelta, published_table2
from ctan_monai.metrics.statistics import SEEDS_FOR_VERDICTS
from ctan_monai.report.compare_judge import MEAN, SMALLEST
from ctan_monai.report.html import Table

Summary = Mapping[str, Any]
_DIGITS = 2
UNKNOWN = "unknown"


def number(value: float | None, digits: int = _DIGITS, sign: bool = False) -> str:
    """Format a number; 'unknown' for None and nan.

    >>> number(1.005, sign=True), number(float("nan")), number(None)
    ('+1.00', 'unknown', 'unknown')
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def with_interval(
    value: float | None, interval: Sequence[float | None], digits: int = _DIGITS, sign: bool = False
) -> str:
    """Format a number with its interval."""
    low, high = interval
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return f"{number(value, digits, sign)} [{UNKNOWN}]"
    return f"{number(value, digits, sign)} [{number(low, digits, sign)}, {number(high, digits, sign)}]"


def paper_table(summary: Summary) -> Table:
    """Tabulate the paper's columns: M_task, Delta_task, Delta_mean and rank, with intervals."""
    head = ["row"]
    for name, metric in summary["tasks"].items():
        head += [f"{name}: {metric['label']} ({metric['unit']})", f"Delta {name} (%)"]
    rows = []
    for name, row in summary["rows"].items():
        against = row["against_reference"]
        cells = [name]
        for task in summary["tasks"]:
            found = row["tasks"][task]
            cells += [with_interval(found["value"], found["interval"]), _delta(against, task)]
        rows.append([*cells, _delta(against, MEAN), str(row["rank"])])
    caption = (
        f"Mean over seeds with 95 % intervals over {summary['intervals_over']}. Delta: improvement over the reference"
        " (CTAN eq. 3); positive is better."
    )
    return Table([*head, "Delta mean (%)", "rank"], rows, caption)


def test_table(summary: Summary, against: str) -> Table | None:
    """Tabulate the statistics of each improvement.

    Args:
        summary: of the comparison.
        against: 'against_reference' or 'against_best_baseline'.

    Returns:
        The table, None where nothing was compared.
    """
    rows = []
    for name, row in summary["rows"].items():
        found = row[against]
        for task in [*summary["tasks"], MEAN] if found else []:
            entry = found[task]
            rows.append(
                [
                    f"{name} against {found['with']}",
                    task,
                    with_interval(entry["delta"], entry["interval_given_seeds"], sign=True),
                    _bounds(entry["interval_over_seeds"]),
                    f"{entry['test']}, n = {entry['units']}",
                    number(entry["p"], 4),
                    number(entry["p_holm"], 4),
                    _needed_words(entry, "needed"),
                    _needed_words(entry, "needed_for_smallest"),
                    entry["verdict"],
                ]
            )
    head = (
        *("rows", "task", "Delta (%) [other cases, given these seeds]", "[other cases and seeds]", "test", "p"),
        *("p, Holm", "would show it", f"would show {SMALLEST:g} %", "difference"),
    )
    return Table(head, rows) if rows else None


def seed_table(summary: Summary) -> Table:
    """Tabulate the value of each seed, and their standard deviation."""
    head = ["row", "task", *(f"seed {seed}" for seed in summary["seeds"]), "standard deviation"]
    rows = [
        [name, task, *(number(value) for value in found["by_seed"]), number(found["spread_over_seeds"])]
        for name, row in summary["rows"].items()
        for task, found in row["tasks"].items()
    ]
    return Table(head, rows)


def seed_words(summary: Summary) -> str:
    """Describe what the number of seeds allows to conclude."""
    seeds = len(summary["seeds"])
    if seeds >= SEEDS_FOR_VERDICTS:
        return f"{seeds} seeds. Verdicts hold for other cases and other seeds; the spread over seeds is here."
    return (
        f"Only {seeds} of the {SEEDS_FOR_VERDICTS} seeds that a verdict needs: intervals and tests are about other"
        " cases, given these seeds, and nothing is said about how other seeds would rank the rows."
    )


def complete_table(summary: Summary) -> Table:
    """Tabulate the metrics over the cases whose labels are all known (docs/adr/0002, A18)."""
    rows = [
        [name, *(number(row["complete_cases"]["tasks"].get(task)) for task in summary["tasks"])]
        for name, row in summary["rows"].items()
    ]
    count = next(iter(summary["rows"].values()))["complete_cases"]["cases"]
    return Table(["row", *summary["tasks"]], rows, f"Over the {count} of {summary['cases']} cases with all labels.")


def baseline_table(summary: Summary) -> Table | None:
    """Tabulate the naive baselines."""
    rows = [
        [task, found["answer"], number(found["value"]), summary["tasks"][task]["unit"]]
        for task, found in summary["naive_baselines"].items()
    ]
    return Table(("task", "answer", "value", "unit"), rows) if rows else None


def other_table(summary: Summary) -> Table:
    """Tabulate all other metrics of the evaluations, each error named with its region."""
    names = list(dict.fromkeys(name for row in summary["rows"].values() for name in row["other_metrics"]))
    baselines = {
        name: value for found in summary["naive_baselines"].values() for name, value in found["other_metrics"].items()
    }
    shown = [name for name in names if not name.startswith("selection")]
    rows = [
        [
            name,
            *(number(row["other_metrics"].get(name), 4) for row in summary["rows"].values()),
            number(baselines.get(name), 4),
        ]
        for name in shown
    ]
    return Table(
        ["metric", *summary["rows"], "naive baseline"],
        rows,
        "Mean over seeds, in the units of the evaluation.",
        dense=True,
    )


def cost_table(summary: Summary) -> Table:
    """Tabulate parameters, operations, time and memory."""
    rows = []
    for name, row in summary["rows"].items():
        cost, run = row["cost"] or {}, row["runs"]
        millions = cost["parameters"] / 1e6 if cost else None
        gpu = cost.get("gpu_memory_mb")
        memory = run["training_peak_memory_mb"] if gpu is None else gpu
        rows.append(
            [
                name,
                number(millions, 1 if millions is None or millions >= 1 else 3),
                number(cost.get("gflops"), 2),
                number(cost.get("step_s"), 3),
                number(cost.get("inference_s"), 3),
                number(memory, 0),
                number(run["training_cpu_seconds"], 0),
            ]
        )
    head = (
        *("row", "parameters (M)", "GFLOPs, 1 image", "training step (s)", "inference, 1 batch (s)"),
        *("memory (MB)", "CPU time of a training (s)"),
    )
    return Table(head, rows, "Memory: the GPU's during steps, or the training process's peak on a CPU.")


def epoch_table(summary: Summary) -> Table:
    """Tabulate the tested epochs, and the best one for all tasks together."""
    rows = []
    for name, row in summary["rows"].items():
        for seed, epochs in row["runs"]["best_epochs"].items():
            parts = [f"{part}: {epoch}" for part, epoch in epochs.items() if part not in ("all", "joint")]
            tested = ", ".join(parts) or str(epochs.get("all", UNKNOWN))
            rows.append([name, str(seed), tested, str(epochs.get("joint")), *_noise(row["runs"]["selection"][seed])])
    caption = (
        "Where tasks share nothing, each task's own best epoch is tested. Joint: the best epoch for all tasks. The best"
        " of many noisy scores is too high: compare it with mean and standard deviation of the last epochs'."
    )
    head = ("row", "seed", "tested epoch", "joint epoch", "best selection score", "the last epochs'")
    return Table(head, rows, caption)


def published_table(dataset: str) -> Table | None:
    """Tabulate the paper's Table 2 for a dataset, None for one that it does not have.

    Args:
        dataset: its name, however it is capitalised.
    """
    found = [entry for entry in published_table2() if entry.dataset.lower() == dataset.lower()]
    rows = [
        [entry.method, entry.task, entry.metric, _printed(entry.baseline), _printed(entry.value), _shown(entry)]
        for entry in found
    ]
    caption = "As printed in the paper (Kim et al. 2023, Table 2). * : does not follow from its own columns."
    head = ("method", "task", "metric", "STL", "method's", "Delta (%)")
    return Table(head, rows, caption) if rows else None


def markdown(table: Table) -> str:
    """Format a table as Markdown, with its caption above."""
    lines = [f"{table.caption}\n"] if table.caption else []
    cells = [list(table.head), ["---"] * len(table.head), *([str(cell) for cell in row] for row in table.rows)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join(lines) + "\n"


def _noise(found: Mapping[str, Any]) -> list[str]:
    """Format a run's best selection score, and those of its last epochs."""
    last = f"{number(found['last_mean'], 4)} +- {number(found['last_spread'], 4)} ({found['last']})"
    return [f"{number(found['best'], 4)} of {found['validated']}", last]


def _bounds(interval: Sequence[float | None]) -> str:
    """Format an interval."""
    return with_interval(0.0, interval, sign=True).removeprefix("+0.00 ")


def _needed_words(entry: Mapping[str, Any], which: str) -> str:
    """Describe how many seeds, or cases, would show a difference."""
    if number(entry["variance"]["seeds"]) == UNKNOWN:
        return UNKNOWN
    needed = entry[which]
    seeds, cases = needed["seeds"], needed["cases"]
    parts = [] if seeds is None else [f"{seeds} seeds on these cases"]
    parts += [] if cases is None else [f"{cases} cases with {needed['with_seeds']} seeds"]
    return f"about {' or '.join(parts)}" if parts else "more of both"


def _delta(against: Mapping[str, Any] | None, task: str) -> str:
    if against is None:
        return "reference"
    entry = against[task]
    return with_interval(entry["delta"], entry["interval"], sign=True)


def _printed(value: float | None) -> str:
    return "" if value is None else number(value)


def _shown(entry: PublishedDelta) -> str:
    return number(entry.delta, sign=True) + ("" if entry.follows else " *")
