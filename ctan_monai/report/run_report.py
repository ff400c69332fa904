"""The report of a run: images and an HTML page from its files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.handlers.case_metrics_writer import CONFUSION_FILE, SUMMARY_FILE
from ctan_monai.engines.handlers.grouping_record import GROUPINGS_FILE
from ctan_monai.engines.predictions.kernel_maps import MAPS_FILE
from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.engines.runs.data_record import DATA_FILE
from ctan_monai.engines.runs.ensemble import RunDir
from ctan_monai.engines.tracking.mlflow_tracking import publish_evaluation, publish_run
from ctan_monai.files.atomic import replace_text
from ctan_monai.files.whole_folder import INDEX_FILE
from ctan_monai.report.answered_doses import write_answered_doses
from ctan_monai.report.canvas import save_figure
from ctan_monai.report.case_images import CaseImages, draw_cases
from ctan_monai.report.conformal_section import conformal_section, new_cases_section
from ctan_monai.report.confusion_plot import confusion_figure
from ctan_monai.report.curves import curves_figure
from ctan_monai.report.diagnosis_files import FOLDER, read_diagnosis
from ctan_monai.report.diagnosis_page import PAGE_FILE, summary_section
from ctan_monai.report.dose_report import gamma_options, report_doses
from ctan_monai.report.groupings_plot import groupings_figure, groupings_table, last_groupings
from ctan_monai.report.html import Section, Table, page
from ctan_monai.report.kernel_maps_plot import MAPS_WORDS, kernel_maps_figure
from ctan_monai.report.risk_section import risk_section
from ctan_monai.report.run_files import RunHistory, read_history, read_json
from ctan_monai.report.spread_section import spread_section

logger = logging.getLogger(__name__)
REPORT_FILE = "report.html"
GROUPINGS_IMAGE, MAPS_IMAGE = "images/groupings.png", "images/kernel_maps.png"
_NOTE = "For research only. Made from the files in this folder; nothing is loaded from elsewhere."


def report_run(
    output_dir: str | Path,
    predictions_dir: str | Path | None = None,
    goals: str | Path | None = None,
    gamma: bool | str | Mapping[str, Any] = False,
    **images: Any,
) -> Path | None:
    """Write ``images/curves.png`` and ``report.html`` to a run's folder.

    Put it last in a config's run list. Under several processes only the first does anything. A run that MLflow tracks
    gets its page, images and network there.

    Args:
        output_dir: the run's folder, with metrics.json; run.json and settings.json are shown if they are there.
        predictions_dir: predictions of a few (validation) cases to draw; None: ``<output_dir>/predictions``, if there.
        goals: YAML file of clinical goals; where it is given, predicted doses get the pages of `report_predictions`.
        gamma: the same for gamma pass rates, or options of `metrics.gamma.Gamma`.
        images: options of `draw_cases`.

    Returns:
        The page, None in other processes.

    Raises:
        ConfigError: goals, gamma or an option of the images is not what it should be.
        DataError: the run has no metrics.json, or a file cannot be written.
        CheckpointError: a table cannot be written, or the run's record cannot be read.
    """
    if rank() != 0:
        return None
    folder = Path(str(output_dir))
    predictions_dir = predictions_dir or folder / "predictions"
    history = read_history(folder)
    curves = save_figure(curves_figure(history), folder / "images" / "curves.png")
    sections = [_best(history), Section("Learning curves", images=[(curves, "learning curves")])]
    images_of_run: list[Any] = [curves]
    if last_groupings(history):
        sections.append(_groupings(history, folder, Path(str(predictions_dir)) / MAPS_FILE))
        images_of_run += [file for file, _ in sections[-1].images]
    drawn, cohort = [], None
    if (Path(str(predictions_dir)) / INDEX_FILE).is_file():
        if goals or gamma_options(gamma):
            cohort = report_doses(predictions_dir, goals=goals, gamma=gamma, run_dir=folder, **_shared(images))
        drawn = draw_cases(predictions_dir, **images)
        sections += [_case(case) for case in drawn]
    links = _links(cohort, folder)
    if (diagnosis := read_diagnosis(folder / FOLDER)) is not None:
        sections.append(summary_section(diagnosis, "Does each part act?"))
        links.append(("Does each part act?", f"{FOLDER}/{PAGE_FILE}"))
    sections.append(_about(folder))
    path = _write(folder / REPORT_FILE, f"Run {folder.resolve().name}", sections, links, _synthetic(folder))
    publish_run(folder, [path, *images_of_run, *(file for case in drawn for file in case.files)])
    logger.info("Results are in %s: model.pt (the best network), metrics.json, last.pt (to resume).", folder)
    seen = "".join(f", {file}" for case in drawn for file in case.files)
    logger.info("Images: %s%s.", curves, seen)
    logger.info("Everything on one page: %s", path)
    return path


def report_predictions(
    predictions_dir: str | Path,
    goals: str | Path | None = None,
    gamma: bool | str | Mapping[str, Any] = False,
    run_dir: RunDir | None = None,
    workers: int = 0,
    **images: Any,
) -> Path | None:
    """Draw predicted cases and write ``report.html`` beside them, with the metrics over all cases if there are any.

    Where a dose was predicted, every patient gets a page of its own and all of them one, with tables
    (`dose_report.report_doses`). Metrics of a run that MLflow tracks are added there, where there are any.

    Args:
        predictions_dir: the folder of `WritePredictions`, and of `WriteCaseMetrics` where cases were measured.
        goals: YAML file of clinical goals for doses (`metrics.goals`), None for none.
        gamma: whether to compute gamma pass rates of doses, or options of `metrics.gamma.Gamma`.
        run_dir: the run that predicted, or those of an ensemble: pages of doses say what it was trained on, and of
            new cases there are conformal dose intervals and class sets, where its validation cases were evaluated.
        workers: processes that write the pages of patients with a dose, 0 for this one alone.
        images: options of `draw_cases`.

    Returns:
        The page, None in processes other than the first.

    Raises:
        ConfigError: goals, gamma or an option of the images is not what it should be.
        DataError: there are no predictions, or a file cannot be written.
        CheckpointError: a table cannot be written.
    """
    if rank() != 0:
        return None
    folder = Path(str(predictions_dir))
    cohort = report_doses(folder, goals=goals, gamma=gamma, run_dir=run_dir, workers=workers, **_shared(images))
    drawn = draw_cases(folder, **images)
    sections = [_case(case) for case in drawn]
    summary = read_json(folder / SUMMARY_FILE)
    if isinstance(summary, Mapping):
        rows = [(name, _shown(value)) for name, value in summary.get("metrics", {}).items()]
        over = f"Over {summary.get('cases')} cases; unknown where no case has the label."
        tables = [Table(("metric", "value"), rows)]
        sections.insert(0, Section("All cases", [over], tables, [_confusion(path) for path in _confusions(folder)]))
        tasks = read_index(folder).tasks
        write_answered_doses(folder, _volume(images))
        found = [section(folder, tasks) for section in (risk_section, conformal_section)]
        sections[1:1] = [section for section in found if section is not None]
    elif run_dir is not None and (sets := new_cases_section(folder, run_dir, _volume(images))) is not None:
        sections.insert(0, sets)
    if (spread := spread_section(folder)) is not None:
        sections.insert(0, spread)
    path = _write(folder / REPORT_FILE, f"Predictions in {folder.resolve().name}", sections, _links(cohort, folder))
    if isinstance(summary, Mapping):
        publish_evaluation(folder, summary.get("metrics", {}), [path, *(file for case in drawn for file in case.files)])
    logger.info("Predictions are in %s; images and metrics on one page: %s", folder, path)
    return path


def _shared(images: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of images that dose reports have, too."""
    return {name: images[name] for name in ("targets", "structures", "image", "window") if name in images}


def _volume(images: Mapping[str, Any]) -> str:
    """Return the volume that images show, the first where there are several."""
    image = images.get("image", "ct")
    return str(image if isinstance(image, str) else image[0])


def _links(cohort: Path | None, folder: Path) -> list[tuple[str, str]]:
    """Return the links from a page to the dose report."""
    if cohort is None:
        return []
    return [("Dose of all patients, with a page for each", Path(os.path.relpath(cohort, folder)).as_posix())]


def _confusions(folder: Path) -> list[Path]:
    return sorted(folder.glob(CONFUSION_FILE.format("*")))


def _confusion(table: Path) -> tuple[Path, str]:
    """Draw a confusion matrix beside its table."""
    return save_figure(confusion_figure(table), table.with_suffix(".png")), f"confusion matrix of {table.stem}"


def _write(
    path: Path, title: str, sections: Sequence[Section], links: Sequence[tuple[str, str]] = (), warning: str = ""
) -> Path:
    return replace_text(path, page(title, sections, _NOTE, warning, links))


def _synthetic(folder: Path) -> str:
    """Return what a page says of a run on synthetic data, nothing for others."""
    data = read_json(folder / DATA_FILE)
    synthetic = isinstance(data, Mapping) and bool(data.get("synthetic"))
    return "The data are SYNTHETIC: computed from random numbers, no patient was imaged." if synthetic else ""


def _about(folder: Path) -> Section:
    """Create the section on method, options and versions."""
    found: list[tuple[str, str]] = []
    run = read_json(folder / "run.json")
    if isinstance(run, Mapping):
        found += [(key, str(run[key])) for key in ("method", "encoder") if key in run]
        found += [("task", _task(task)) for task in run.get("tasks", [])]
    for name in (DATA_FILE, "settings.json", "versions.json"):
        entries = read_json(folder / name)
        known = dict(found)
        if isinstance(entries, Mapping):
            of_data = name == DATA_FILE  # an option that is not set says something, a fact that is not known does not
            shown = {str(key): value for key, value in entries.items() if not of_data or value not in (None, {}, [])}
            found += [(key, str(value)) for key, value in shown.items() if key not in known]
    return Section("What was run", tables=[Table(("setting", "value"), found)] if found else [])


def _groupings(history: RunHistory, folder: Path, maps: Path) -> Section:
    """Show which filters serve which task, of a network that learns it, and what the most certain ones answer."""
    words = "groups of filters by layer and over the epochs, and their entropy"
    images = [(save_figure(groupings_figure(history), folder / GROUPINGS_IMAGE), words)]
    if maps.is_file():
        images.append((save_figure(kernel_maps_figure(maps), folder / MAPS_IMAGE), MAPS_WORDS))
    notes = [f"Mean probability, and in brackets the kernels that have the group as their most probable one. Every "
             f"kernel's probabilities are in {GROUPINGS_FILE}."]  # fmt: skip
    return Section("Filter groups", tables=[groupings_table(history)], images=images, notes=notes)


def _task(task: Any) -> str:
    if not isinstance(task, Mapping):
        return str(task)
    return ", ".join(f"{key}: {value}" for key, value in task.items() if value not in (None, [], False))


def _best(history: RunHistory) -> Section:
    """Tabulate validation's metrics of the best epoch, or of the last one where none is marked."""
    paragraphs = []
    for part, found in history.best.items():
        score = "unknown" if found.get("score") is None else f"{found['score']:.4g}"
        name = "Best network" if part == "all" else f"Best network for {part}"
        paragraphs.append(f"{name}: epoch {found['epoch']}, selection score {score}.")
    validated = [record for record in history.epochs if record.get("validation")]
    if not validated:
        return Section("Validation", [*paragraphs, "The run was not validated."])
    best_epochs = {found["epoch"] for found in history.best.values()}
    shown = [record for record in validated if record["epoch"] in best_epochs] or validated[-1:]
    names = list(dict.fromkeys(name for record in shown for name in record["validation"]))
    rows = [[name, *(_shown(record["validation"].get(name)) for record in shown)] for name in names]
    head = ["metric", *(f"epoch {record['epoch']}" for record in shown)]
    return Section("Validation", paragraphs, [Table(head, rows)])


def _case(case: CaseImages) -> Section:
    words = {
        "overlay.png": "image with contours, and dose or CT where there is one",
        "dvh.png": "dose-volume histograms",
        "histogram.png": "histograms of HU, and joint histogram",
    }
    images = [(file, f"{case.case}: {words.get(file.name, file.name)}") for file in case.files]
    return Section(case.case, [case.caption] if case.caption else [], images=images)


def _shown(value: Any) -> str | float | None:
    return value if value is None or isinstance(value, int | float) else str(value)
