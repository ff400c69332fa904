"""``ctan-monai report``: make the pages of a folder again, from the files in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ctan_monai.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """Options of the command."""

    goals: Path | None
    targets: tuple[str, ...]
    gamma: bool
    max_cases: int
    workers: int


def _predictions(folder: Path, options: Options) -> Path | None:
    from ctan_monai.report import report_predictions

    return report_predictions(
        folder,
        goals=options.goals,
        gamma=options.gamma,
        workers=options.workers,
        targets=options.targets,
        max_cases=options.max_cases,
    )


def _run(folder: Path, options: Options) -> Path | None:
    from ctan_monai.report import report_run

    return report_run(folder, folder / "predictions", targets=options.targets, max_cases=options.max_cases)


def _comparison(folder: Path, options: Options) -> Path | None:
    from ctan_monai.report.compare_report import report_comparison

    return report_comparison(folder)


# The file that shows what a folder is, what that is called, and what makes its pages; the first that is there counts.
KINDS: tuple[tuple[str, str, Callable[[Path, Options], Path | None]], ...] = (
    ("compare.json", "comparison", _comparison),
    ("cases.json", "predictions", _predictions),
    ("metrics.json", "run", _run),
)


def report(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A run, or predictions of an evaluation or inference.")
    ],
    goals: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="YAML file of clinical goals (predictions of dose)."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Structure that is drawn as a target, such as PTV; may be repeated.")
    ] = None,
    gamma: Annotated[bool, typer.Option(help="Compute gamma pass rates (predictions of dose).")] = True,
    max_cases: Annotated[int, typer.Option(min=0, help="Cases whose images stand in report.html.")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Processes that write pages of patients with a dose.")] = 0,
) -> None:
    """Make the pages of a folder again, from the files in it.

    Predictions of dose get a page for each patient, too, one for the cohort, and their metrics as CSV.
    """
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make = _kind(folder)
    path = make(folder, Options(goals, tuple(target or ()), gamma, max_cases, workers))
    typer.echo(f"{path}")


def _kind(folder: Path) -> Callable[[Path, Options], Path | None]:
    for file, _, make in KINDS:
        if (folder / file).is_file():
            return make
    known = ", ".join(f"{name} ({file})" for file, name, _ in KINDS)
    raise ConfigError(str(folder), f"it holds none of: {known}.", "Name the folder of a run or of its predictions.")
