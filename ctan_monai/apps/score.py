"""``ctan-monai score``: score predictions, whoever made them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ctan_monai.errors import DataError
from ctan_monai.metrics import openkbp_official as official
from ctan_monai.metrics.base import known_mean


def _gy(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def summary_table(patients: Mapping[str, official.PatientScore]) -> Table:
    """Tabulate dose and DVH score of all patients and of those with all four organs of the CTAN paper."""
    complete = [patient for patient in patients.values() if patient.complete]
    table = _table("OpenKBP scores, Gy (lower is better)", ("patients", "number", "dose score", "DVH score"))
    for name, group in (("all", list(patients.values())), ("all four organs", complete)):
        table.add_row(name, str(len(group)), _gy(official.dose_score(group)), _gy(official.dvh_score(group)))
    return table


def worst_table(patients: Mapping[str, official.PatientScore], number: int) -> Table:
    """Tabulate the patients with the largest dose errors."""
    worst = sorted(patients.items(), key=lambda item: -item[1].dose_error)[:number]
    table = _table(f"Largest dose errors ({len(worst)} of {len(patients)}), Gy", ("patient", "dose error", "DVH error"))
    for name, patient in worst:
        table.add_row(Text(name), _gy(patient.dose_error), _gy(official.dvh_score([patient])))
    return table


def structure_table(patients: Mapping[str, official.PatientScore]) -> Table:
    """Tabulate the mean absolute difference of every criterion, by structure."""
    criteria = (*official.ORGAN_CRITERIA, *official.TARGET_CRITERIA)
    table = _table("Mean absolute difference by structure, Gy", ("structure", "patients", *criteria))
    for roi in (*official.ORGANS, *official.TARGETS):
        errors = {name: [p.dvh_errors.get(f"{roi}:{name}", math.nan) for p in patients.values()] for name in criteria}
        counts = [sum(not math.isnan(error) for error in column) for column in errors.values()]
        table.add_row(roi, str(max(counts)), *(_gy(known_mean(column)) for column in errors.values()))
    return table


if TYPE_CHECKING:
    from rich.console import Console

    from ctan_monai.metrics.openkbp_folder import FileScore, Matching

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Score predictions, whoever made them.")

_WORST = 5  # patients that the console lists; all of them are in the JSON file
_EXAMPLES = """[bold]Examples[/]

  ctan-monai score openkbp --reference validation-pats --prediction results

  ctan-monai score openkbp --reference test-pats --prediction mine --out mine.json
"""


@app.callback()
def _group() -> None:
    """Keep `openkbp` a subcommand while it is the only one."""


@app.command(epilog=_EXAMPLES)
def openkbp(
    reference: Annotated[
        Path,
        typer.Option(
            exists=True, file_okay=False, help="Folder of the patients' folders (pt_N/ with the official CSV files)."
        ),
    ],
    prediction: Annotated[
        Path,
        typer.Option(
            exists=True, file_okay=False, help="Folder of predicted doses in Gy: pt_N.csv (or pt_N/dose.csv)."
        ),
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="JSON file for every metric.")] = Path("scores.json"),
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score what is there although patients have no prediction.")
    ] = False,
) -> None:
    """Score dose predictions with the OpenKBP challenge's official formulas.

    Dose score and DVH score equal those of the challenge's own evaluator.

    Patients are matched by name.

    Nothing is masked or clipped: dose outside possible_dose_mask is an error.
    """
    from rich.console import Console
    from rich.progress import track

    from ctan_monai.files.atomic import replacing
    from ctan_monai.metrics.openkbp_folder import match_patients, score_files, scores_as_json

    matching = match_patients(reference, prediction)
    _refuse_missing(matching, prediction, allow_missing)
    pairs = track(matching.pairs.items(), "Scoring", console=Console(stderr=True), transient=True)
    scores = {name: score_files(name, folder, file) for name, (folder, file) in pairs}
    with replacing(out) as temporary:
        temporary.write_text(
            json.dumps(scores_as_json(scores, matching), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    _show(Console(), scores, matching, out)


def _refuse_missing(matching: Matching, prediction: Path, allow_missing: bool) -> None:
    missing = matching.without_prediction
    if missing and not allow_missing:
        raise DataError(
            prediction,
            None,
            f"{len(missing)} of {len(missing) + len(matching.pairs)} patients have no prediction: "
            f"{', '.join(missing)}.",
            "Add them, or pass --allow-missing to score the others.",
        )


def _show(console: Console, scores: Mapping[str, FileScore], matching: Matching, out: Path) -> None:
    from rich.text import Text

    patients = {name: score.patient for name, score in scores.items()}
    console.print(structure_table(patients), worst_table(patients, _WORST), summary_table(patients))
    spilling = {name: score.outside_mask_gy for name, score in scores.items() if score.outside_mask_gy > 0}
    if spilling:
        share = sum(spilling.values()) / len(scores)
        found = f"{len(spilling)} of {len(scores)} predictions have dose outside possible_dose_mask"
        console.print(Text(f"{found}; {share:.3f} Gy of the dose score come from there.", style="yellow"))
    for names, what in (
        (matching.without_prediction, "patients without a prediction, left out"),
        (matching.without_reference, "predictions of no patient of the reference, left out"),
    ):
        if names:
            console.print(Text(f"{len(names)} {what}: {', '.join(names)}", style="yellow"))
    console.print("Every metric is in", str(out), soft_wrap=True, highlight=False, markup=False)
