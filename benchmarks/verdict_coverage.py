"""Simulate how often the intervals of `compare` hold the truth, and how often equal methods are called different.

    python benchmarks/verdict_coverage.py

Seeds and cases are crossed. Every setting has its own fractions of the variance: of seeds, of cases, of the rest (some
seeds are better on some cases). A false positive is an interval that leaves out a difference of 0.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from ctan_monai.metrics.main_metric import main_metric_for
from ctan_monai.metrics.statistics import bootstrap, crossed, crossed_error
from ctan_monai.tasks import Classification

Floats = NDArray[np.float64]
STEPS = 10  # fractions of the variance are multiples of a tenth


def grid_coverage(
    seeds: int, clusters: int, shares: tuple[float, float, float], trials: int, random: np.random.Generator
) -> float:
    """Return the coverage for normal effects, whose mean squares are drawn from their chi-square distributions."""
    of_seeds, of_cases, rest = shares
    free = (seeds - 1, clusters - 1, (seeds - 1) * (clusters - 1))
    sums = (of_seeds + rest, of_cases + rest, rest)
    parts = [size * random.chisquare(n, trials) / n for size, n in zip(sums, free, strict=True)]
    error, freedom = crossed_error(parts[0], parts[1], parts[2], seeds, clusters)
    estimate = random.normal(0, 1, trials)  # the shares add up to 1
    return float(np.mean(np.abs(estimate) <= t.ppf(0.975, freedom) * error))


def table_coverage(
    seeds: int, clusters: int, shares: tuple[float, float, float], trials: int, random: np.random.Generator
) -> float:
    """Return the coverage for skewed effects of cases (gamma) and heavy-tailed ones of seeds (t with 5 degrees)."""
    held = 0
    sizes = np.sqrt(np.array(shares) * np.array([seeds, clusters, seeds * clusters]))
    for _ in range(trials):
        seed = sizes[0] * random.standard_t(5, (seeds, 1)) / np.sqrt(5 / 3)
        case = sizes[1] * (random.gamma(4.0, 0.5, (1, clusters)) - 2)
        table = seed + case + sizes[2] * random.normal(size=(seeds, clusters))
        mean = table.mean()
        rows, columns = table.mean(1), table.mean(0)
        left = table - rows[:, None] - columns + mean
        rest = (left**2).sum() / ((seeds - 1) * (clusters - 1)) / (seeds * clusters)
        error, freedom = crossed_error(
            np.array(rows.var(ddof=1) / seeds), np.array(columns.var(ddof=1) / clusters), rest, seeds, clusters
        )
        held += abs(mean) <= t.ppf(0.975, freedom) * error
    return held / trials


def accuracy_coverage(seeds: int, clusters: int, spread: float, trials: int, draws: int = 300) -> float:
    """Return the coverage for a difference in balanced accuracy of two equal methods, through the bootstrap.

    Each network has a skill of its own, normal with the given spread, and is right about a case where skill, the case's
    easiness (the same for all networks) and luck add up to more than 0.
    """
    metric, held = main_metric_for(Classification("d", ["a", "b", "c"])), 0
    for trial in range(trials):
        random = np.random.default_rng([5, seeds, clusters, trial])
        truth = random.choice(3, clusters, p=[0.5, 0.3, 0.2])
        easy = random.normal(0.3, 1, clusters)
        skill = random.normal(0, spread, (2, seeds, 1))
        right = skill + easy + random.normal(0, 1, (2, seeds, clusters)) > 0
        answers = np.eye(3)[np.where(right, truth, (truth + 1) % 3)]  # (2, S, N, 3)
        tables = [[np.column_stack([answer, truth]) for answer in row] for row in answers]

        def differences(weights: Floats, tables: list[list[Floats]] = tables) -> Floats:
            pairs = zip(*tables, strict=True)
            return np.stack(
                [metric.compute_weighted(a, weights) - metric.compute_weighted(b, weights) for a, b in pairs], 1
            )

        samples = bootstrap(differences, range(clusters), draws, seed=trial)
        held += crossed(differences(np.ones((1, clusters)))[0], samples, clusters).interval().holds(0.0)
    return held / trials


def main() -> None:
    """Print the tables of docs/compare.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20_000)
    trials = parser.parse_args().trials
    random = np.random.default_rng(0)
    simplex = [(a, b) for a, b in itertools.product(range(STEPS + 1), repeat=2) if a + b <= STEPS]
    tenths = [(a / STEPS, b / STEPS, (STEPS - a - b) / STEPS) for a, b in simplex]
    print(f"normal effects, {len(tenths)} mixtures of variance, {trials} simulations each: coverage, %")
    print("| seeds | cases | smallest | mean | largest |\n| --- | --- | --- | --- | --- |")
    for seeds, cases in itertools.product((3, 5, 10), (20, 100, 1000)):
        found = [100 * grid_coverage(seeds, cases, shares, trials, random) for shares in tenths]
        print(f"| {seeds} | {cases} | {min(found):.1f} | {np.mean(found):.1f} | {max(found):.1f} |", flush=True)
    print("\nskewed cases, heavy-tailed seeds, by fractions of seeds / cases / rest: coverage, %")
    mixtures = [(0.8, 0.2, 0.0), (0.2, 0.8, 0.0), (0.0, 1.0, 0.0), (0.4, 0.3, 0.3), (0.1, 0.1, 0.8)]
    print("| seeds | cases | " + " | ".join(" / ".join(map(str, shares)) for shares in mixtures) + " |")
    print("| --- " * (2 + len(mixtures)) + "|")
    for seeds, cases in itertools.product((3, 5, 10), (20, 100, 1000)):
        cells = [100 * table_coverage(seeds, cases, shares, trials // 10, random) for shares in mixtures]
        print(f"| {seeds} | {cases} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |", flush=True)
    print("\nequal methods, balanced accuracy through the bootstrap: false positives, %")
    print("| seeds | cases | networks equally good | networks differ |\n| --- | --- | --- | --- |")
    for seeds, cases in itertools.product((3, 5, 10), (60, 300)):
        cells = [100 - 100 * accuracy_coverage(seeds, cases, spread, trials // 20) for spread in (0.0, 0.3)]
        print(f"| {seeds} | {cases} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
