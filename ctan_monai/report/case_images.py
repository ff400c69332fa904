"""Draw predicted cases from the files of `WritePredictions`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.predictions.prediction_files import CT_UNIT
from ctan_monai.engines.predictions.predictions_index import PredictedCase, read_index
from ctan_monai.errors import DataError
from ctan_monai.report.canvas import save_figure
from ctan_monai.report.case_view import load_view
from ctan_monai.report.ct_figure import ct_figure, hu_figure
from ctan_monai.report.dvh_plot import dvh_figure
from ctan_monai.report.findings_view import draw_findings, is_findings
from ctan_monai.report.image_view import draw_2d_image, is_2d_image
from ctan_monai.report.layout import CaseView
from ctan_monai.report.overlay import CT_WINDOW_HU, overlay_figure
from ctan_monai.report.planes import PlaneRule
from ctan_monai.tasks import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseImages:
    """Images of one case.

    Args:
        case: id.
        caption: metrics of the case.
        files: the images.
    """

    case: str
    caption: str
    files: tuple[Path, ...]


def draw_cases(
    predictions_dir: str | Path,
    max_cases: int | None = 8,
    targets: Sequence[str] = (),
    structures: Sequence[str] | None = None,
    planes: PlaneRule = "dose",
    image: str | Sequence[str] = "ct",
    window: Sequence[float] | None = CT_WINDOW_HU,
) -> list[CaseImages]:
    """Draw ``<predictions_dir>/<case>/overlay.png``, and ``dvh.png`` where there is a dose and a structure.

    Of a task in HU, `overlay.png` shows MR, CT, synthetic CT and difference, and ``histogram.png`` their HU.

    A case that cannot be drawn is named in the log and left out: an image is no reason for a finished training to
    fail. Under several processes only the first draws.

    Args:
        predictions_dir: the folder of `WritePredictions`.
        max_cases: draw so many, from all over the list (whose names often begin with a class); None for all.
        targets: structures that are drawn in white, such as PTVs.
        structures: reference structures to show, None for all that a case has.
        planes: where to cut (`planes.choose_point`).
        image: volume to show; for images, three channels that are shown as red, green and blue.
        window: gray values that are black and white; None chooses them for each case, as MR needs.

    Raises:
        DataError: there are no predictions.
        ConfigError: the planes are no rule, or lie outside.
    """
    if rank() != 0:
        return []
    folder = Path(str(predictions_dir))
    index = read_index(folder)
    drawn = []
    for predicted in _spread(index.cases, max_cases):
        try:
            if is_2d_image(predicted) or is_findings(predicted, index.tasks):
                drawn.append(_draw_flat(folder, predicted, index.tasks, image))
                continue
            view, caption = load_view(predicted, index.tasks, str(image), targets, structures)
            ends = window_of(view) if window is None else (float(window[0]), float(window[1]))
            drawn.append(_draw(folder, view, caption, planes, ends))
        except DataError as error:
            logger.warning("No image of %s: %s", predicted.case, error)
    logger.info("Images of %d of %d cases are in %s.", len(drawn), len(index.cases), folder)
    return drawn


def _spread(cases: Sequence[PredictedCase], most: int | None) -> list[PredictedCase]:
    """Choose cases at equal distances."""
    count = len(cases) if most is None else min(most, len(cases))
    return [cases[at * len(cases) // count] for at in range(count)]


def _draw_flat(folder: Path, predicted: PredictedCase, tasks: Sequence[Task], image: str | Sequence[str]) -> CaseImages:
    """Draw a case without planes to choose: a 2D image, or a volume with image-level predictions."""
    if is_2d_image(predicted):
        caption, figure = draw_2d_image(predicted, tasks, [image] if isinstance(image, str) else image)
    else:
        caption, figure = draw_findings(predicted, tasks, folder, str(image))
    return CaseImages(predicted.case, caption, (save_figure(figure, folder / predicted.case / "overlay.png"),))


def window_of(view: CaseView) -> tuple[float, float]:
    """Return the 1st and 99th percentile of the intensities that are not 0."""
    shown = view.image[view.image != 0]
    low, high = np.percentile(shown, [1, 99]) if shown.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-3))


def _draw(folder: Path, view: CaseView, caption: str, planes: PlaneRule, window: tuple[float, float]) -> CaseImages:
    if view.dose_predicted is not None and view.dose_unit == CT_UNIT:
        files = [save_figure(ct_figure(view, planes, window, caption), folder / view.case / "overlay.png")]
        if view.dose_reference is not None:
            files.append(save_figure(hu_figure(view), folder / view.case / "histogram.png"))
        return CaseImages(view.case, caption, tuple(files))
    files = [save_figure(overlay_figure(view, planes, window, caption), folder / view.case / "overlay.png")]
    has_dose = view.dose_reference is not None or view.dose_predicted is not None
    if has_dose and any(mask.any() for mask in (*view.reference.values(), *view.predicted.values())):
        files.append(save_figure(dvh_figure(view, caption), folder / view.case / "dvh.png"))
    return CaseImages(view.case, caption, tuple(files))
