"""Pages about predicted doses: one for each patient, one for all of them, and their figures as files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ctan_monai.data.atomic import replacing
from ctan_monai.engines.options import as_bool
from ctan_monai.engines.prediction_files import is_dose
from ctan_monai.engines.predictions_index import PredictedCase, read_index
from ctan_monai.engines.processes import rank
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.gamma import Gamma
from ctan_monai.metrics.goals import Goals, read_goals
from ctan_monai.report.case_view import load_view
from ctan_monai.report.cohort_page import cohort_page
from ctan_monai.report.dose_results import CaseResult, assess
from ctan_monai.report.dose_tables import write_tables
from ctan_monai.report.overlay import CT_WINDOW_HU
from ctan_monai.report.patient_page import patient_page
from ctan_monai.tasks import Task

logger = logging.getLogger(__name__)
PATIENTS_FOLDER, COHORT_FILE = "patients", "cohort.html"


def report_doses(
    predictions_dir: str | Path,
    targets: Sequence[str] = (),
    goals: str | Path | None = None,
    gamma: bool | str | Mapping[str, Any] = False,
    image: str = "ct",
    structures: Sequence[str] | None = None,
    window: Sequence[float] | None = None,
) -> Path | None:
    """Write ``patients/<case>.html``, ``cohort.html``, ``dose_statistics.csv``, ``goals.csv`` and ``gamma.csv``.

    Every case of the folder gets a page, as far as it can be read; what cannot is named in the log and on the page of
    all. Pages hold their pictures, case ids and nothing else about a person.

    Args:
        predictions_dir: the folder of `WritePredictions`.
        targets: structures that are drawn in white, such as PTVs.
        goals: YAML file of clinical goals (`metrics.goals`), None for none.
        gamma: whether to compute gamma pass rates, or options of `metrics.gamma.Gamma`.
        image: volume to show.
        structures: reference structures to report, None for all that a case has.
        window: grey values that are black and white, None for soft tissue on a CT.

    Returns:
        The page of all; None where no task predicts a dose, no case could be read, or in processes other than the
        first.

    Raises:
        ConfigError: goals or gamma are not what they should be.
        DataError: there are no predictions, or a page cannot be written.
        CheckpointError: a table cannot be written.
    """
    wanted = read_goals(goals) if goals else None
    options = gamma_options(gamma)
    if rank() != 0:
        return None
    folder = Path(str(predictions_dir))
    index = read_index(folder)
    if not any(is_dose(task) for task in index.tasks):
        return None
    ends = CT_WINDOW_HU if window is None else (float(window[0]), float(window[1]))
    results: list[CaseResult] = []
    left_out: dict[str, str] = {}
    for case in index.cases:
        try:
            result = _report(folder, case, index.tasks, wanted, options, str(image), targets, structures, ends)
            results.append(result)
        except DataError as error:
            logger.warning("No dose report of %s: %s", case.case, error)
            left_out[case.case] = error.reason
    if not results:
        return None
    _warn_of_unknown_structures(wanted, results)
    write_tables(folder, results, options)
    path = _write(folder / COHORT_FILE, cohort_page(results, left_out, options, PATIENTS_FOLDER))
    logger.info("Dose of %d patients, with a page for each: %s", len(results), path)
    return path


def gamma_options(gamma: bool | str | Mapping[str, Any]) -> Gamma | None:
    """Read what a config gives.

    Raises:
        ConfigError: it is neither true or false nor options of `metrics.gamma.Gamma`.
    """
    if not isinstance(gamma, Mapping):
        return Gamma() if as_bool(gamma, "gamma") else None
    known = {field.name for field in fields(Gamma)}
    if unknown := sorted(set(gamma) - known):
        raise ConfigError("gamma", f"{unknown} is unknown.", f"Use {sorted(known)}.")
    return Gamma(**gamma)


def _report(
    folder: Path,
    predicted: PredictedCase,
    tasks: Sequence[Task],
    goals: Goals | None,
    gamma: Gamma | None,
    image: str,
    targets: Sequence[str],
    structures: Sequence[str] | None,
    window: tuple[float, float],
) -> CaseResult:
    view, _ = load_view(predicted, tasks, image, targets, structures)
    if view.image.ndim != 3:
        raise DataError("report", view.case, f"it has {view.image.ndim} axes.", "Report volumes.")
    result = assess(view, goals, gamma)
    text = patient_page(view, result, gamma, window)
    _write(folder / PATIENTS_FOLDER / f"{view.case}.html", text)
    return result


def _warn_of_unknown_structures(goals: Goals | None, results: Sequence[CaseResult]) -> None:
    """Name structures of goals that no case has: most of the time they are written differently."""
    if goals is None:
        return
    met = {
        each.goal.structure for result in results for each in result.goals if each.predicted.reason != "not contoured"
    }
    missing = list(dict.fromkeys(goal.structure for goal in goals.goals if goal.structure not in met))
    if missing:
        known = list(dict.fromkeys(each.name for result in results for each in result.structures))
        logger.warning("Goals name structures that no case has: %s; the cases have %s.", missing, known)


def _write(path: Path, text: str) -> Path:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
