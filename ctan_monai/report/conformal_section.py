"""The section of a page with conformal intervals and class sets, made from the validation cases."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.engines.handlers.case_metrics_writer import PER_CASE_FILE, case_csv
from ctan_monai.engines.predictions.predictions_index import PredictionsIndex, read_index
from ctan_monai.engines.predictions.spread_writer import SPREAD_FILE
from ctan_monai.engines.runs.ensemble import RunDir
from ctan_monai.engines.runs.manifest import run_dirs
from ctan_monai.engines.runs.run_record import MODEL_FILE
from ctan_monai.files.json_files import write_text
from ctan_monai.metrics.conformal import class_scores, class_sets, conformal_quantile
from ctan_monai.report.answered_doses import Answers, answered_doses, read_answered_doses
from ctan_monai.report.evaluated import Evaluated, Floats, read_evaluated
from ctan_monai.report.html import Section, Table
from ctan_monai.tasks import Task

_logger = logging.getLogger(__name__)
CONFORMAL_FILE = "conformal.csv"
_LEVEL = 0.9
_PREDICTED, _REFERENCE = ":prediction", ":reference"
_WORDS = (
    "Split conformal prediction at {level:.0f} %: the validation cases say how far answers lie from the truth, and each"
    " test case gets an interval (a dose statistic, plus or minus) or a set of classes that is as wide as they ask for."
    " For new cases of the same kind, whose contours are given, it holds the truth in {level:.0f} % of cases or more,"
    " averaged over cases and over draws of the validation cases: not for each patient, not for another hospital's, and"
    " for images that belong to one patient only so far as these count as one. The epoch was chosen on the validation"
    " cases, which makes it a little too narrow. A set of no class marks a case that is unlike those before. Every"
    " case: {file}."
)
_NEW_WORDS = (
    "Split conformal prediction at {level:.0f} %: the run's validation cases say how wide an interval has to be, and"
    " which classes are in a set. For new cases of the same kind it holds the truth in {level:.0f} % of cases or more,"
    " averaged over cases and over draws of the validation cases: not for each patient, not for another hospital's. The"
    " epoch was chosen on these cases too, which makes it a little too narrow. The same as a table: {file}."
)
_SET_WORDS = "Several classes: the network does not tell them apart; none: the case is unlike those before."
_DOSE_WORDS = (
    "A dose is read in the contour that the network draws. Its interval is for the planned dose in the contour that"
    " somebody would draw, so that errors of both are in it; a validation case in which the network found nothing of"
    " the structure counts as wrong without bounds. Of several statistics of one case, each is held by itself."
)
_MOST_ROWS = 400
_TOO_FEW = "Dose statistics without intervals: {count}. {level:.0f} % take {least} validation cases with known dose."


def conformal_section(folder: Path, tasks: Sequence[Task]) -> Section | None:
    """Write ``conformal.csv`` and tabulate widths and coverage; None without an evaluation of the validation cases.

    Args:
        folder: of an evaluation, called ``<name>``; that of the validation cases lies beside it as
            ``<name>_validation``.
        tasks: that were measured.

    Raises:
        DataError: an evaluation cannot be read, or the table cannot be written.
    """
    beside = folder.with_name(f"{folder.name}_validation")
    if not all((place / PER_CASE_FILE).is_file() for place in (folder, beside)):
        return None
    validation, test = read_evaluated(beside), read_evaluated(folder)
    lines: list[dict[str, Any]] = []
    intervals, too_few = _interval_rows(validation, test, lines)
    rows = [*intervals, *_set_rows(validation, test, tasks, lines)]
    words = [_too_few(too_few)] if too_few else []
    if rows:
        write_text(case_csv(lines), folder / CONFORMAL_FILE)
        words = [_WORDS.format(level=100 * _LEVEL, file=CONFORMAL_FILE), *words]
    if not words:
        return None
    head = ("of", "validation cases", "plus or minus", "mean classes in a set", "test cases", "hold the truth (%)")
    return Section("Conformal intervals and class sets", words, [Table(head, rows)] if rows else [])


def new_cases_section(folder: Path, run_dir: RunDir, image: str = "ct") -> Section | None:
    """Write ``conformal.csv`` with the dose intervals and class sets of new cases and tabulate them.

    None where they have neither, or the run's validation cases were not evaluated (``evaluation_validation``), also
    since its weights were written; and where several answers were averaged, of which those cases say nothing.

    Args:
        folder: of the predictions.
        run_dir: the run that predicted them, or those of an ensemble.
        image: a volume that the cases have.

    Raises:
        DataError: the evaluation cannot be read, or the table cannot be written.
    """
    (folder / CONFORMAL_FILE).unlink(missing_ok=True)
    runs = run_dirs(run_dir)
    of_cases = runs[0] / "evaluation_validation" / PER_CASE_FILE
    if len(runs) > 1 or (folder / SPREAD_FILE).is_file() or not of_cases.is_file():
        return None
    if (runs[0] / MODEL_FILE).stat().st_mtime > of_cases.stat().st_mtime:
        _logger.warning("%s is older than the weights, so there are no conformal sets: evaluate again.", of_cases)
        return None
    validation, index = read_evaluated(of_cases.parent), read_index(folder)
    lines: list[dict[str, Any]] = []
    intervals, too_few = _new_interval_rows(of_cases.parent, folder, image, lines)
    rows = _set_rows(validation, _as_evaluated(index), index.tasks, lines)
    words = [_too_few(too_few)] if too_few else []
    if not (rows or intervals):
        return Section("Conformal intervals", words) if words else None
    write_text(case_csv(lines), folder / CONFORMAL_FILE)
    words = [*([_SET_WORDS] if rows else []), *([_DOSE_WORDS] if intervals else []), *words]
    head = ("case", "of", "low (Gy)", "answer (Gy)", "high (Gy)", "validation cases")
    tables = [Table(head, intervals[:_MOST_ROWS], dense=True)] if intervals else []
    tables += [_sets_table(rows, lines)] if rows else []
    title = " and ".join([*(["intervals"] if intervals else []), *(["class sets"] if rows else [])])
    return Section(f"Conformal {title}", [_NEW_WORDS.format(level=100 * _LEVEL, file=CONFORMAL_FILE), *words], tables)


def _sets_table(rows: Sequence[Sequence[Any]], lines: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate the class sets of new cases, a row each."""
    sets: dict[str, dict[str, str]] = {}
    for line in lines:
        if "set" in line:
            sets.setdefault(line["case"], {})[line["of"]] = line["set"]
    of = [row[0] for row in rows]
    head = ("case", *(f"{name}, from {count} validation cases" for name, count, *_ in rows))
    return Table(head, [[case, *(found.get(name, "") for name in of)] for case, found in sets.items()], dense=True)


def _new_interval_rows(
    validation: Path, folder: Path, image: str, lines: list[dict[str, Any]]
) -> tuple[list[list[Any]], int]:
    """Return a row for each dose statistic of each new case, and how many statistics have none; append to lines."""
    bounds = dose_bounds(read_answered_doses(validation))
    rows: list[list[Any]] = []
    for case, statistics in answered_doses(folder, image).items() if bounds else ():
        for of, (value, _) in statistics.items():
            bound, count = bounds.get(of, (math.inf, 0))
            if not math.isnan(value) and math.isfinite(bound):
                lines.append(_interval(case, of, value, bound))
                rows.append([case, of, *(lines[-1][name] for name in ("low", "value", "high")), str(count)])
    return rows, sum(math.isinf(bound) for bound, _ in bounds.values())


def dose_bounds(known: Answers, level: float = _LEVEL) -> dict[str, tuple[float, int]]:
    """Return how far the planned dose statistics of new cases lie from the answers at most, and from how many cases.

    Args:
        known: answered and planned statistics of the validation cases. One whose planned statistic is known, and in
            which the network found nothing, is infinitely far off.
        level: with which probability.
    """
    scores: dict[str, list[float]] = {}
    for statistics in known.values():
        for of, (answered, planned) in statistics.items():
            missed = math.isnan(answered) and not math.isnan(planned)
            scores.setdefault(of, []).append(math.inf if missed else abs(answered - planned))
    found = {of: np.array(values) for of, values in scores.items()}
    return {of: (conformal_quantile(each, level), int(np.sum(~np.isnan(each)))) for of, each in found.items()}


def _interval(case: str, of: str, value: float, bound: float) -> dict[str, Any]:
    entry = {"low": max(0.0, value - bound), "value": value, "high": value + bound}
    return {"case": case, "of": of, "level": _LEVEL, **{k: round(float(v), 4) for k, v in entry.items()}}


def _too_few(count: int) -> str:
    least = int(np.ceil(round(_LEVEL / (1 - _LEVEL), 9)))
    return _TOO_FEW.format(count=count, level=100 * _LEVEL, least=least)


def _as_evaluated(index: PredictionsIndex) -> Evaluated:
    """Return the probabilities of new cases as an evaluation has them, without truth."""
    columns: dict[str, Floats] = {}
    for task in (each for each in index.tasks if each.classifies):
        for name in task.answer_names:
            probs = [case.answers.get(task.name, {}).get(name, np.nan) for case in index.cases]
            columns[f"{task.name}_prob_{name}"] = np.array(probs)
            label = f"{task.name}_label" + ("" if task.exclusive else f"_{name}")
            columns[label] = np.full(len(probs), np.nan)
    return Evaluated((), tuple(case.case for case in index.cases), columns, {})


def _interval_rows(validation: Evaluated, test: Evaluated, lines: list[dict[str, Any]]) -> tuple[list[list[Any]], int]:
    """Return a row for each statistic of a dose, and how many have none; append each test case's interval to lines."""
    rows, too_few = [], 0
    for column in test.columns:
        if not column.endswith(_PREDICTED):
            continue
        name = column.removesuffix(_PREDICTED)
        reference = f"{name}{_REFERENCE}"
        if not all(each in found.columns for found in (validation, test) for each in (column, reference)):
            continue
        scores = abs(validation.columns[column] - validation.columns[reference])
        bound = conformal_quantile(scores, _LEVEL)
        if not np.isfinite(bound):
            too_few += 1
            continue
        value, truth = test.columns[column], test.columns[reference]
        for case, middle in zip(test.cases, value, strict=True):
            if not np.isnan(middle):
                lines.append(_interval(case, name, middle, bound))
        known = ~np.isnan(value) & ~np.isnan(truth)
        rows.append(_row(name, scores, bound, None, abs(value - truth)[known] <= bound))
    return rows, too_few


def _set_rows(
    validation: Evaluated, test: Evaluated, tasks: Sequence[Task], lines: list[dict[str, Any]]
) -> list[list[Any]]:
    """Return a row for each classification whose classes exclude each other, or finding, and append sets to lines."""
    rows = []
    for task in tasks:
        for name, classes in _classifications(task):
            one, other = _probs_of(validation.columns, task, name), _probs_of(test.columns, task, name)
            if one is None or other is None:
                continue
            scores = class_scores(one[0][~np.isnan(one[1])], one[1][~np.isnan(one[1])].astype(np.int64))
            bound = conformal_quantile(scores, _LEVEL)
            sets = class_sets(other[0], bound)
            for case, chosen in zip(test.cases, sets, strict=True):
                words = " | ".join(label for label, here in zip(classes, chosen, strict=True) if here) or "none"
                lines.append({"case": case, "of": name, "level": _LEVEL, "set": words})
            known = ~np.isnan(other[1])
            held = sets[known][np.arange(int(known.sum())), other[1][known].astype(int)]
            rows.append(_row(name, scores, bound, float(sets.sum(1).mean()), held))
    return rows


def _classifications(task: Task) -> list[tuple[str, tuple[str, ...]]]:
    if not task.classifies:
        return []
    if task.exclusive:
        return [(task.name, tuple(task.answer_names))]
    return [(f"{task.name}: {name}", ("no", "yes")) for name in task.answer_names]


def _probs_of(columns: Mapping[str, Floats], task: Task, name: str) -> tuple[Floats, Floats] | None:
    """Return probabilities (n, K) and true classes (n,), nan where unknown; None where a column is missing."""
    finding = name.removeprefix(f"{task.name}: ") if name != task.name else None
    names = list(task.answer_names) if finding is None else [finding]
    label = f"{task.name}_label" + ("" if finding is None else f"_{finding}")
    wanted = [*(f"{task.name}_prob_{each}" for each in names), label]
    if not all(column in columns for column in wanted):
        return None
    probs = np.stack([columns[column] for column in wanted[:-1]], 1)
    return (probs if finding is None else np.concatenate([1 - probs, probs], 1)), columns[label]


def _row(name: str, scores: Floats, bound: float, size: float | None, held: Any) -> list[Any]:
    width = bound if size is None else ""
    return [name, str(int((~np.isnan(scores)).sum())), width, "" if size is None else size, str(len(held)),
            100 * float(np.mean(held)) if len(held) else None]  # fmt: skip
