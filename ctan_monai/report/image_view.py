"""Overlays of 2D images: outlines of reference and prediction, and the probability of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.data.cases.cache import read_case_file, read_header
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_grid import native_grid_of
from ctan_monai.data.formats.image_masks import MASK_THRESHOLD, padded_mask, shrunk_mask
from ctan_monai.engines.predictions.predictions_index import PredictedCase
from ctan_monai.errors import DataError
from ctan_monai.report.agreement import caption_of, measured, said_of
from ctan_monai.report.canvas import GRID, ON_WHITE, TEXT, colors_of, new_figure
from ctan_monai.report.panels import DASHED, SOLID, Style
from ctan_monai.tasks import Task
from ctan_monai.transforms.labels import read_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
_HEIGHT, _BARS = 4.6, 3.4  # inches: the image's height, the width of a panel of probabilities
_HEAD = 0.9
_LEAST_BARS = 5  # that a panel of probabilities has place for


def is_2d_image(predicted: PredictedCase) -> bool:
    """Tell whether a predicted case is a 2D image.

    Raises:
        DataError: its file cannot be read.
    """
    return predicted.source is not None and len(read_header(predicted.source).shape) == 2


def draw_2d_image(
    predicted: PredictedCase, tasks: Sequence[Task], channels: Sequence[str], title: str | None = None
) -> tuple[str, Figure]:
    """Draw a 2D image with its predictions.

    Args:
        predicted: entry of the index.
        tasks: the index's tasks.
        channels: volumes to show: three as red, green and blue, or one as gray.
        title: first line above the image; None: the case.

    Returns:
        A line of metrics, and the image.

    Raises:
        DataError: a file is missing or damaged, or the case has no such volumes.
    """
    if predicted.source is None:
        raise DataError("cases.json", predicted.case, "the source of the case is not known.", "Predict again.")
    case = read_case_file(predicted.source)
    image = _shown(case, channels, predicted.source)
    masks = {
        label: _over_padding(_read_mask(path, case.case), case)
        for task in tasks
        if task.masks
        for label, path in predicted.files.get(task.name, {}).items()
        if label in task.answer_names
    }
    answers = [task for task in tasks if task.classifies and task.name in predicted.answers]
    caption = caption_of(case, [part for task in tasks for part in _agreement(task, case, masks, predicted.answers)])
    sides = (image.shape[0] * case.spacing_mm[0], image.shape[1] * case.spacing_mm[1])  # as the file has it
    width = _HEIGHT * sides[1] / sides[0]
    figure = new_figure(width + _BARS * len(answers), _HEIGHT + _HEAD)
    panels = figure.subplots(1, 1 + len(answers), width_ratios=[width] + [_BARS] * len(answers), squeeze=False)[0]
    reference = {label: case.masks[label] for label in masks if label in case.masks}
    _draw_outlines(panels[0], image, sides, reference, masks)
    for panel, task in zip(panels[1:], answers, strict=True):
        _draw_probabilities(panel, task, predicted.answers[task.name], _truth(task, case))
    figure.suptitle(f"{title or case.case}\n{caption}", x=0.01, ha="left", fontsize=11, color=TEXT)
    return caption, figure


def _shown(case: Case, channels: Sequence[str], source: Path) -> Array:
    missing = [name for name in channels if name not in case.volumes]
    if missing or len(channels) not in (1, 3):
        found = f"{list(channels)} cannot be shown; the case has the volumes {list(case.volumes)}."
        raise DataError(source, case.case, found, "Name one volume, or three for red, green and blue.")
    return np.stack([case.volumes[name] for name in channels], -1)


def _over_padding(mask: Array, case: Case) -> Array:
    """Return a mask over all that a case covers, where its image was cut or padded."""
    full, padded, own = case.meta.get("full_shape"), case.meta.get("padded_shape"), native_grid_of(case.meta)
    if padded is None or list(mask.shape) != list(full or ()):
        return mask
    return padded_mask(mask if own is None else own.cut(mask), (int(padded[0]), int(padded[1])))


def _read_mask(path: Path, case: str) -> Array:
    """Read a predicted mask, PNG or NIfTI, on a grid of any size over the whole image."""
    if path.suffix == ".png":
        from PIL import Image

        try:
            return np.array(Image.open(path).convert("L")) > MASK_THRESHOLD
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(path, case, f"it cannot be read ({error}).", "Predict again.") from error
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        return np.asarray(nib.load(path).dataobj) > 0
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise DataError(path, case, f"it cannot be read as NIfTI ({error}).", "Predict again.") from error


def _draw_outlines(
    panel: Axes,
    image: Array,
    sides: Sequence[float],
    reference: Mapping[str, Array],
    predicted: Mapping[str, Array],
) -> None:
    from matplotlib.lines import Line2D

    extent = (0.0, sides[1], sides[0], 0.0)  # every grid covers the whole image
    shown = image[..., 0] if image.shape[2] == 1 else image  # the color map is for one channel
    panel.imshow(shown, cmap="gray", extent=extent, interpolation="bilinear")
    colors = colors_of(list(predicted))
    for masks, style in ((reference, SOLID), (predicted, DASHED)):
        for label, mask in masks.items():
            _outline(panel, mask, sides, colors[label], style)
    panel.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    handles = [Line2D([], [], color=ON_WHITE.get(color, color), label=label) for label, color in colors.items()]
    if reference:
        handles.append(Line2D([], [], color=TEXT, linestyle="-", label="reference"))
    handles.append(Line2D([], [], color=TEXT, linestyle=DASHED, label="prediction"))
    if predicted:
        panel.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, frameon=False, fontsize=9)


def _outline(panel: Axes, mask: Array, sides: Sequence[float], color: str, style: Style) -> None:
    from matplotlib.patheffects import withStroke

    if not mask.any():
        return
    padded = np.pad(mask.astype(float), 1)  # a lesion that touches the border is closed there
    rows, columns = ((np.arange(-1, n + 1) + 0.5) * side / n for n, side in zip(mask.shape, sides, strict=True))
    lines = panel.contour(columns, rows, padded, levels=[0.5], colors=color, linewidths=1.8, linestyles=[style])
    lines.set_path_effects([withStroke(linewidth=3.2, foreground="black", alpha=0.6)])


def _draw_probabilities(panel: Axes, task: Task, answer: Mapping[str, float], truth: Sequence[str] | None) -> None:
    names = list(answer)
    colors = ["#0072B2" if name in (truth or ()) else "#9A9A9A" for name in names]
    panel.barh(names, [answer[name] for name in names], color=colors)
    around = 0.5 + max(_LEAST_BARS - len(names), 0) / 2  # so that few bars are not as thick as the panel
    panel.set(ylim=(len(names) - 1 + around, -around), xlim=(0, 1))
    panel.grid(axis="x", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    known = "reference not known" if truth is None else f"reference: {_none_of(task)}"
    known = f"blue: reference ({', '.join(truth)})" if truth else known
    panel.set_title(f"{task.name}: probability\n{known}", fontsize=10, color=TEXT, loc="left")
    panel.tick_params(labelsize=9)


def _none_of(task: Task) -> str:
    """Say in words that no class holds."""
    return f"not {task.answer_names[0]}" if len(task.answer_names) == 1 else "none"


def _truth(task: Task, case: Case) -> list[str] | None:
    """Return the names of the true classes, of which a finding may have none; None if they are not known."""
    label, present = read_label(task, case, Path(case.case))
    if not bool(present):
        return None
    if task.exclusive:
        return [task.answer_names[int(label)]]
    return [name for name, holds in zip(task.answer_names, label.tolist(), strict=True) if holds]


def _agreement(
    task: Task, case: Case, masks: Mapping[str, Array], answers: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Describe the prediction and its agreement with the label in a few words."""
    if task.classifies and task.name in answers:
        name = max(answers[task.name], key=lambda each: answers[task.name][each])
        truth = _truth(task, case)
        known = "" if truth is None else f" (reference: {', '.join(truth) or _none_of(task)})"
        return [f"{task.name}: {name} {answers[task.name][name]:.0%}{known}"]
    if not task.pixel_level:
        return [f"{task.name}: {value:.3g} {name}" for name, value in answers.get(task.name, {}).items()]
    if not task.masks or not set(task.answer_names) <= masks.keys():
        return []
    on_grid = {name: shrunk_mask(masks[name], (case.shape[0], case.shape[1])) for name in task.answer_names}
    if said := said_of(task, measured(task, case, on_grid)):
        return said
    found = {name: float(masks[name].mean()) for name in task.answer_names if masks[name].any()}
    return [f"{name}: {share:.0%} of the image" for name, share in found.items()] or [f"{task.name}: none found"]
