"""Plots of DVHs of reference and prediction."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import DataError
from ctan_monai.metrics.dvh import DvhCurve, doses_inside, dvh_curve
from ctan_monai.report.canvas import GRID, ON_WHITE, TARGETS_ON_WHITE, TEXT, colors_of, new_figure
from ctan_monai.report.layout import CaseView
from ctan_monai.report.panels import DASHED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
_STEPS = 500
_BEYOND = 1.03  # the dose axis ends a little after the highest dose and the prescription
_TITLE_LETTERS = 95  # that fit above the panel


@dataclass(frozen=True)
class Curves:
    """The two DVHs of a structure, and its mean doses; None where unknown."""

    name: str
    reference: DvhCurve | None
    predicted: DvhCurve | None
    mean_reference: float | None
    mean_predicted: float | None


def dvh_curves(view: CaseView) -> list[Curves]:
    """Compute the cumulative DVHs of a case, on one dose axis.

    The predicted dose is read inside the reference contour, so that the two curves of a structure differ by dose
    alone; inside the predicted contour where there is no reference. Voxels whose reference dose is not known count in
    neither, and structures without a voxel are left out.
    """
    voxel_mm3 = float(abs(np.linalg.det(view.affine_ras[:3, :3])))
    doses = [dose for dose in (view.dose_reference, view.dose_predicted) if dose is not None]
    top = max((float(dose.max()) for dose in doses), default=0.0)
    bins = np.linspace(0, _BEYOND * max(top, 1e-6), _STEPS).tolist()
    found = []
    for name in [*view.names, *view.targets_here]:
        mask = view.reference.get(name, view.predicted.get(name))
        if mask is not None and view.dose_region is not None:
            mask = mask & view.dose_region
        if mask is None or not mask.any():
            continue
        both = [
            None if dose is None else (dvh_curve(dose, mask, voxel_mm3, bins), float(doses_inside(dose, mask).mean()))
            for dose in (view.dose_reference if name in view.reference else None, view.dose_predicted)
        ]
        (reference, mean_reference), (predicted, mean_predicted) = (pair or (None, None) for pair in both)
        found.append(Curves(name, reference, predicted, mean_reference, mean_predicted))
    return found


def dvh_figure(view: CaseView, subtitle: str = "", words: tuple[str, str] = ("reference", "prediction")) -> Figure:
    """Draw the DVHs of a case: reference solid, prediction dashed, targets in black and gray.

    Args:
        view: the case.
        subtitle: a line under the title.
        words: what reference and prediction are called.

    Raises:
        DataError: the case has no dose, or no structure.
    """
    from matplotlib.lines import Line2D

    curves = dvh_curves(view)
    if not curves or (view.dose_reference is None and view.dose_predicted is None):
        raise DataError("image", view.case, "it has no dose or no structure.", "There is no DVH to draw.")
    colors = _colors(view)
    figure = new_figure(10.5, 5.8)
    panel = figure.subplots()
    handles = []
    for curve in curves:
        color = colors[curve.name]
        for dvh, style in ((curve.reference, "-"), (curve.predicted, DASHED)):
            if dvh is not None:
                panel.plot(dvh.dose_gy, dvh.volume_percent, color=color, linestyle=style, linewidth=1.8)
        label = f"{curve.name}   {_number(curve.mean_reference)} / {_number(curve.mean_predicted)}"
        handles.append(Line2D([], [], color=color, linewidth=3, label=label))
    panel.set_xlim(left=0)
    panel.set_ylim(0, 101)
    panel.set_xlabel(f"Dose / {view.dose_unit}", fontsize=11, color=TEXT)
    panel.set_ylabel("Volume that receives at least this dose / %", fontsize=11, color=TEXT)
    panel.grid(color=GRID, linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)
    styles = []
    if view.dose_reference is not None:
        styles.append(Line2D([], [], color=TEXT, linestyle="-", label=words[0]))
    if view.dose_predicted is not None:
        styles.append(Line2D([], [], color=TEXT, linestyle=DASHED, label=words[1]))
    if view.plan.prescription_gy is not None:
        panel.axvline(view.plan.prescription_gy, color=TEXT, linestyle=":", linewidth=1.2)
        label = f"prescription {view.plan.prescription_gy:g} {view.dose_unit}"
        styles.append(Line2D([], [], color=TEXT, linestyle=":", label=label))
        panel.set_xlim(right=max(panel.get_xlim()[1], _BEYOND * view.plan.prescription_gy))
    heading = f"mean dose / {view.dose_unit}\n{words[0]} / {words[1]}"
    figure.legend(handles=[*handles, *styles], loc="outside right upper", fontsize=10, frameon=False, title=heading)
    title = "\n".join([view.case, *textwrap.wrap(subtitle, _TITLE_LETTERS)])
    panel.set_title(title, loc="left", fontsize=11, color=TEXT)
    return figure


def _colors(view: CaseView) -> dict[str, str]:
    organs = {name: ON_WHITE.get(color, color) for name, color in colors_of(view.names).items()}
    shades = {name: TARGETS_ON_WHITE[at % len(TARGETS_ON_WHITE)] for at, name in enumerate(reversed(view.targets))}
    return {**organs, **shades}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
