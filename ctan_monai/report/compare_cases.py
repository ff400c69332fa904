"""Best, median and worst test case of a comparison."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.engines.predictions.prediction_files import CT_UNIT
from ctan_monai.engines.predictions.predictions_index import PredictedCase, PredictionsIndex, read_index
from ctan_monai.errors import DataError
from ctan_monai.metrics.main_metric import main_metric_for
from ctan_monai.report.canvas import save_figure
from ctan_monai.report.case_images import window_of
from ctan_monai.report.case_view import load_view
from ctan_monai.report.compare_files import ComparedRow, Comparison
from ctan_monai.report.ct_figure import ct_figure
from ctan_monai.report.html import Section
from ctan_monai.report.image_view import draw_2d_image, is_2d_image
from ctan_monai.report.layout import CaseView
from ctan_monai.report.overlay import overlay_figure
from ctan_monai.report.planes import PlaneRule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_logger = logging.getLogger(__name__)
Floats = NDArray[np.float64]
_COLOR_CHANNELS = 3


def chosen_cases(row: ComparedRow, comparison: Comparison) -> dict[str, str]:
    """Choose cases by their mean rank over tasks, each task ranked by its seed-averaged predictions.

    Args:
        row: whose answers count.
        comparison: its files.

    Returns:
        Ids under 'best', 'median' and 'worst'; fewer where there are fewer cases. Cases of which no label is known
        are left out; of equal ones the first counts.
    """
    from scipy.stats import rankdata

    ranks = []
    for task in comparison.tasks:
        metric = main_metric_for(task)
        order = np.mean([metric.case_order(run.evaluated.values(metric)) for run in row.runs], axis=0)  # (N,)
        ranks.append(rankdata(order, nan_policy="omit") / max(1, int((~np.isnan(order)).sum())))
    table = np.stack(ranks)  # (T, N)
    known = ~np.isnan(table).all(0)
    mean = np.nanmean(table[:, known], axis=0)
    cases = [case for case, here in zip(comparison.cases, known, strict=True) if here]
    by_rank = [cases[index] for index in np.argsort(-mean, kind="stable")]
    if not by_rank:
        return {}
    found = {"best": by_rank[0], "median": by_rank[len(by_rank) // 2], "worst": by_rank[-1]}
    return {
        name: case for number, (name, case) in enumerate(found.items()) if case not in list(found.values())[:number]
    }


def draw_chosen(comparison: Comparison, folder: Path) -> Section:
    """Draw the chosen cases as predicted by candidate and reference with the first seed."""
    candidate = next(
        (row for row in comparison.rows if row.method == comparison.plan["candidate"]), comparison.rows[-1]
    )
    rows = list({row.name: row for row in (candidate, comparison.reference)}.values())
    rule = (
        f"Cases are ordered by the mean over tasks of their rank in the answers of {candidate.name}, averaged over"
        " seeds (by the task's metric, or by the probability of the right answer). Images are of the first seed."
    )
    images = []
    for name, case in chosen_cases(candidate, comparison).items():
        for row in rows:
            words = f"{name} case {case}, {row.name}"
            try:
                images.append((_draw(row, case, words, folder / f"{name}-{row.name}.png"), words))
            except DataError as error:
                _logger.warning("No image of the %s: %s", words, error)
    return Section("Best, median and worst case", [rule], images=images)


def _draw(row: ComparedRow, case: str, words: str, path: Path) -> Path:
    folder = row.runs[0].evaluated.folder_of(case)
    index: PredictionsIndex = read_index(folder)
    predicted = next((found for found in index.cases if found.case == case), None)
    if predicted is None:
        raise DataError(folder, case, "its prediction was not kept.", "Evaluate again.")
    channels = _channels(predicted, index)
    if is_2d_image(predicted):
        _, figure = draw_2d_image(predicted, index.tasks, channels[:_COLOR_CHANNELS], words)
    else:
        view, caption = load_view(predicted, index.tasks, channels[0])
        figure = volume_figure(view, f"{words}; {caption}")
    return save_figure(figure, path)


def volume_figure(view: CaseView, subtitle: str) -> Figure:
    """Draw planes of a case: a synthetic CT beside MR and CT, else dose and contours over the image."""
    if view.dose_predicted is None or view.dose_unit != CT_UNIT:
        return overlay_figure(view, subtitle=subtitle)
    rule: PlaneRule = "structures" if any(mask.any() for mask in view.reference.values()) else "dose"
    return ct_figure(view, rule, window_of(view), subtitle)


def _channels(predicted: PredictedCase, index: PredictionsIndex) -> list[str]:
    """Return the volumes of a case that are images, not labels; three or more are colors."""
    if predicted.source is None:
        raise DataError("cases.json", predicted.case, "the source of the case is not known.", "Predict again.")
    labels = {task.name for task in index.tasks}
    names = [name for name in read_case_file(predicted.source).volumes if name not in labels]
    return names if len(names) >= _COLOR_CHANNELS else names[:1]
