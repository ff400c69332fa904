"""Reports of predicted doses: a page per patient, one of the cohort, and tables."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.predictions.prediction_files import is_dose
from ctan_monai.engines.predictions.predictions_index import PredictedCase, PredictionsIndex, read_index
from ctan_monai.engines.runs.ensemble import RunDir
from ctan_monai.engines.runs.options import as_bool
from ctan_monai.engines.runs.training_data import TrainedOn, trained_on
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.atomic import replace_text
from ctan_monai.metrics.gamma import Gamma
from ctan_monai.metrics.goals import Goals, read_goals
from ctan_monai.report.case_view import load_view
from ctan_monai.report.cohort_page import cohort_page
from ctan_monai.report.dose_results import OUTLINE_SPELLINGS, CaseResult, assess
from ctan_monai.report.dose_tables import write_tables
from ctan_monai.report.overlay import CT_WINDOW_HU
from ctan_monai.report.patient_page import patient_page
from ctan_monai.tasks import Task

logger = logging.getLogger(__name__)
PATIENTS_FOLDER, COHORT_FILE = "patients", "cohort.html"


@dataclass(frozen=True)
class _Wanted:
    """The parsed arguments of `report_doses`."""

    goals: Goals | None
    gamma: Gamma | None
    image: str
    targets: tuple[str, ...]
    structures: Sequence[str] | None
    window: tuple[float, float]
    learned: TrainedOn | None

    @property
    def read_structures(self) -> list[str] | None:
        """Structures to read: those asked for, those of goals, and the patient's outline."""
        if self.structures is None:
            return None
        judged = [goal.structure for goal in self.goals.goals] if self.goals else []
        return [*self.structures, *judged, *OUTLINE_SPELLINGS]


def report_doses(
    predictions_dir: str | Path,
    targets: Sequence[str] = (),
    goals: str | Path | None = None,
    gamma: bool | str | Mapping[str, Any] = False,
    image: str = "ct",
    structures: Sequence[str] | None = None,
    window: Sequence[float] | None = None,
    run_dir: RunDir | None = None,
    workers: int = 0,
) -> Path | None:
    """Write ``patients/<case>.html``, ``cohort.html``, ``dose_statistics.csv``, ``goals.csv`` and ``gamma.csv``.

    Every case of the folder gets a page, as far as it can be read; what cannot is named in the log and on the page of
    all. Pages hold their images, case ids and nothing else about a person.

    Args:
        predictions_dir: the folder of `WritePredictions`.
        targets: structures that are drawn in white, such as PTVs.
        goals: YAML file of clinical goals (`metrics.goals`), None for none.
        gamma: whether to compute gamma pass rates, or options of `metrics.gamma.Gamma`.
        image: volume to show.
        structures: reference structures to report beside the targets and those of goals, None for all that a case has.
        window: gray values that are black and white, None for soft tissue on a CT.
        run_dir: the run that predicted; pages say what it was trained on, and its prescription stands in for those
            that are not known.
        workers: processes that write the patients' pages, 0 for this one alone.

    Returns:
        The page of all; None where no task predicts a dose, no case could be read, or in processes other than the
        first.

    Raises:
        ConfigError: goals or gamma are not what they should be.
        DataError: there are no predictions, or a page cannot be written.
        CheckpointError: a table cannot be written, or the run's record cannot be read.
    """
    wanted = _Wanted(
        read_goals(goals) if goals else None,
        gamma_options(gamma),
        str(image),
        tuple(targets),
        structures,
        CT_WINDOW_HU if window is None else (float(window[0]), float(window[1])),
        None if run_dir is None else trained_on(run_dir),
    )
    if rank() != 0:
        return None
    folder = Path(str(predictions_dir))
    index = read_index(folder)
    if not any(is_dose(task) for task in index.tasks):
        return None
    results: list[CaseResult] = []
    left_out: dict[str, str] = {}
    for case, found in zip(index.cases, _reports(folder, index, wanted, workers), strict=True):
        if isinstance(found, DataError):
            logger.warning("No dose report of %s: %s", case.case, found)
            left_out[case.case] = found.reason
        else:
            results.append(found)
    if not results:
        return None
    _warn_of_unknown_structures(wanted.goals, results)
    write_tables(folder, results, wanted.gamma)
    text = cohort_page(results, left_out, wanted.gamma, PATIENTS_FOLDER, wanted.learned.text if wanted.learned else "")
    path = replace_text(folder / COHORT_FILE, text)
    logger.info("Dose of %d patients, with a page for each: %s", len(results), path)
    return path


def gamma_options(gamma: bool | str | Mapping[str, Any]) -> Gamma | None:
    """Parse the options of gamma.

    Raises:
        ConfigError: it is neither true or false nor options of `metrics.gamma.Gamma`.
    """
    if not isinstance(gamma, Mapping):
        return Gamma() if as_bool(gamma, "gamma") else None
    known = {field.name for field in fields(Gamma)}
    if unknown := sorted(set(gamma) - known):
        raise ConfigError("gamma", f"{unknown} is unknown.", f"Use {sorted(known)}.")
    try:
        return Gamma(**gamma)
    except (TypeError, ValueError) as error:
        raise ConfigError("gamma", f"{dict(gamma)} ({error}).", "Write criteria like [[3, 3], [2, 2]].") from error


def _reports(folder: Path, index: PredictionsIndex, wanted: _Wanted, workers: int) -> Iterator[CaseResult | DataError]:
    """Write the page of each case, in the order of the index."""
    write = partial(_try, folder, index.tasks, wanted)
    count = min(workers, len(index.cases))
    if count < 2:
        yield from map(write, index.cases)
        return
    try:
        # spawned: OpenMP's threads, which a training has used before, do not survive a fork
        with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
            yield from pool.map(write, index.cases)
    except BrokenProcessPool as error:
        reason = f"one of {count} processes that write pages was killed, perhaps for want of memory."
        raise DataError(folder, None, reason, "Report again with fewer workers.") from error


def _try(folder: Path, tasks: Sequence[Task], wanted: _Wanted, predicted: PredictedCase) -> CaseResult | DataError:
    try:
        return _report(folder, predicted, tasks, wanted)
    except DataError as error:
        return error


def _report(folder: Path, predicted: PredictedCase, tasks: Sequence[Task], wanted: _Wanted) -> CaseResult:
    view, _ = load_view(predicted, tasks, wanted.image, wanted.targets, wanted.read_structures, caption=False)
    if view.image.ndim != 3:
        raise DataError("report", view.case, f"it has {view.image.ndim} axes.", "Report volumes.")
    learned = wanted.learned
    result = assess(view, wanted.goals, wanted.gamma, learned.prescription_gy if learned else None)
    text = patient_page(view, result, wanted.gamma, wanted.window, learned.text if learned else "")
    replace_text(folder / PATIENTS_FOLDER / f"{view.case}.html", text)
    return result


def _warn_of_unknown_structures(goals: Goals | None, results: Sequence[CaseResult]) -> None:
    """Warn of structures of goals that no case has, which are often spelled differently."""
    if goals is None:
        return
    met = {
        each.goal.structure for result in results for each in result.goals if each.predicted.reason != "not contoured"
    }
    missing = list(dict.fromkeys(goal.structure for goal in goals.goals if goal.structure not in met))
    if missing:
        known = list(dict.fromkeys(each.name for result in results for each in result.structures))
        logger.warning("Goals name structures that no case has: %s; the cases have %s.", missing, known)
