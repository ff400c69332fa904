"""Dose metrics, goals and gamma of a case."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.dose_values import DoseValue, parse_dose_value
from ctan_monai.metrics.dvh import MM3_PER_CC, Doses
from ctan_monai.metrics.gamma import INSTALL, Gamma, PassRate, has_gamma, pass_rates
from ctan_monai.metrics.goals import Goal, Goals, Judgment, Plan
from ctan_monai.report.layout import CaseView

logger = logging.getLogger(__name__)
Array = NDArray[Any]
DOSE_METRICS: tuple[DoseValue, ...] = tuple(
    parse_dose_value(name) for name in ("Dmean", "D2%", "D50%", "D95%", "D98%", "D0.03cc", "D1cc")
)
OUTLINE_SPELLINGS = ("External", "EXTERNAL", "Body", "BODY", "Skin", "SKIN")  # of the patient's outline
OUTLINES = {name.lower() for name in OUTLINE_SPELLINGS}  # of which no dose is reported


@dataclass(frozen=True)
class StructureResult:
    """Dose metrics of a structure.

    Args:
        name: of the structure.
        planned_contour: whether its contour is the plan's, else the predicted one.
        volume_cc: of that contour.
        unknown_percent: how much of it has no known planned dose, and is left out.
        planned: metrics of the planned dose by name, Gy; None where there is none.
        predicted: metrics of the predicted dose in the same voxels.
        dice: of predicted and planned contour, nan where one of the two is not known.
    """

    name: str
    planned_contour: bool
    volume_cc: float
    unknown_percent: float
    planned: Mapping[str, float] | None
    predicted: Mapping[str, float]
    dice: float

    def error(self, metric: str) -> float:
        """Return predicted minus planned, nan where there is no plan."""
        return math.nan if self.planned is None else self.predicted[metric] - self.planned[metric]


@dataclass(frozen=True)
class GoalResult:
    """A goal, evaluated for the planned and for the predicted dose."""

    goal: Goal
    planned: Judgment
    predicted: Judgment

    @property
    def agree(self) -> bool | None:
        """Whether both agree; None where one is not evaluated."""
        if self.planned.met is None or self.predicted.met is None:
            return None
        return self.planned.met == self.predicted.met


@dataclass(frozen=True)
class CaseResult:
    """Results of one case.

    Args:
        case: id.
        synthetic: whether the case was computed.
        plan: what was prescribed.
        has_plan: whether a planned dose is known.
        structures: dose by structure.
        goals: the goals, judged.
        gamma: pass rates, empty where there are none.
        gamma_note: why there are none, or ''.
        error_gy: mean and mean absolute error, nan without a plan.
        error_where: over which voxels that is.
        prescription_from: where the prescription was taken from where the case does not say it, or ''.
        targets: names of the targets among the structures.
    """

    case: str
    synthetic: bool
    plan: Plan
    has_plan: bool
    structures: Sequence[StructureResult]
    goals: Sequence[GoalResult]
    gamma: Sequence[PassRate]
    gamma_note: str
    error_gy: tuple[float, float]
    error_where: str
    targets: Sequence[str] = ()
    prescription_from: str = ""


def assess(
    view: CaseView, goals: Goals | None = None, gamma: Gamma | None = None, trained_gy: float | None = None
) -> CaseResult:
    """Compute the results of a case.

    Args:
        view: the case; it has a predicted dose.
        goals: to judge, None for none.
        gamma: how to compute gamma, None to leave it out.
        trained_gy: the prescription that the network was trained on, which stands in for an unknown one.

    Raises:
        DataError: it has no predicted dose.
    """
    if view.dose_predicted is None:
        raise DataError("report", view.case, "no dose is predicted.", "Report a case with a dose.")
    plan, origin = _plan(view, goals, trained_gy)
    names = [*without_outline(view).names, *view.targets_here]
    found = [result for name in names if (result := _structure(view, name)) is not None]
    judged = [_goal(view, goal, plan) for goal in goals.goals] if goals else []
    rates, note = _gamma(view, gamma)
    error = _error(view)
    has_plan = view.dose_reference is not None
    targets = tuple(name for name in view.targets if name in view.reference)
    return CaseResult(view.case, view.synthetic, plan, has_plan, found, judged, rates, note, *error, targets, origin)


def _plan(view: CaseView, goals: Goals | None, trained_gy: float | None) -> tuple[Plan, str]:
    """Choose the prescription, with a note if it is not from the case."""
    named_gy = goals.prescription_gy if goals else None
    for dose_gy, origin in (
        (view.plan.prescription_gy, ""),
        (trained_gy, "that of the doses which the network was trained on; the case does not say its own"),
        (named_gy, "from the file of goals; the case does not say its own"),
    ):
        if dose_gy is not None:
            return Plan(dose_gy, view.plan.fraction_gy), origin
    return Plan(), ""


def without_outline(view: CaseView) -> CaseView:
    """Remove the patient's outline from a case, whose dose is not reported and whose contour hides others."""

    def inner(masks: Mapping[str, Array]) -> dict[str, Array]:
        return {name: mask for name, mask in masks.items() if name.lower() not in OUTLINES}

    return replace(view, reference=inner(view.reference), predicted=inner(view.predicted))


def spacing_mm(view: CaseView) -> tuple[float, ...]:
    """Return the distance of neighboring voxels along each axis."""
    return tuple(float(length) for length in np.linalg.norm(view.affine_ras[:3, :3], axis=0))


def _voxel_mm3(view: CaseView) -> float:
    return float(abs(np.linalg.det(view.affine_ras[:3, :3])))


def _contour(view: CaseView, name: str) -> Array | None:
    """Return the planned contour of a structure, else the predicted one."""
    return view.reference.get(name, view.predicted.get(name))


def _known(view: CaseView, mask: Array) -> Array:
    return mask if view.dose_region is None else mask & view.dose_region


def _doses(view: CaseView, name: str) -> tuple[Doses | None, Doses | None]:
    """Return planned and predicted dose of a structure's voxels, (n,) each, None where unknown."""
    mask = _contour(view, name)
    if mask is None:
        return None, None
    inside = _known(view, mask)
    planned = None if view.dose_reference is None else view.dose_reference[inside].astype(np.float64)
    predicted = None if view.dose_predicted is None else view.dose_predicted[inside].astype(np.float64)
    return (planned if name in view.reference else None), predicted


def _structure(view: CaseView, name: str) -> StructureResult | None:
    mask = _contour(view, name)
    planned, predicted = _doses(view, name)
    if mask is None or predicted is None or not predicted.size:
        return None
    voxel_mm3 = _voxel_mm3(view)

    def read(inside: Doses) -> dict[str, float]:
        return {metric.name: metric.read(inside, voxel_mm3) for metric in DOSE_METRICS}

    voxels = int(np.count_nonzero(mask))
    return StructureResult(
        name,
        name in view.reference,
        voxels * voxel_mm3 / MM3_PER_CC,
        100 * (1 - predicted.size / voxels),
        None if planned is None else read(planned),
        read(predicted),
        _dice(view, name),
    )


def _dice(view: CaseView, name: str) -> float:
    if name not in view.reference or name not in view.predicted:
        return math.nan
    one, other = view.reference[name] > 0, view.predicted[name] > 0
    both = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / both if both else 1.0


def _goal(view: CaseView, goal: Goal, plan: Plan) -> GoalResult:
    planned, predicted = _doses(view, goal.structure)
    voxel_mm3 = _voxel_mm3(view)
    of_prediction = goal.judge(predicted, voxel_mm3, plan)
    if planned is None and predicted is not None:
        return GoalResult(goal, Judgment(None, None, "no plan"), of_prediction)
    return GoalResult(goal, goal.judge(planned, voxel_mm3, plan), of_prediction)


def _gamma(view: CaseView, gamma: Gamma | None) -> tuple[list[PassRate], str]:
    if gamma is None:
        return [], "it was not asked for."
    if view.dose_reference is None or view.dose_predicted is None:
        return [], "there is no planned dose."
    if not has_gamma():
        return [], f"pymedphys is not installed; {INSTALL}."
    try:
        rates = pass_rates(view.dose_reference, view.dose_predicted, spacing_mm(view), view.dose_region, gamma)
    except (DataError, ConfigError) as error:
        logger.warning("No gamma of %s: %s", view.case, error)
        return [], error.reason
    return rates, ""


def _error(view: CaseView) -> tuple[tuple[float, float], str]:
    """Compute mean and mean absolute error, within the patient's outline where it is contoured."""
    if view.dose_reference is None or view.dose_predicted is None:
        return (math.nan, math.nan), ""
    counts = np.ones(view.dose_reference.shape, bool) if view.dose_region is None else view.dose_region > 0
    where = "over the whole volume" if view.dose_region is None else "over the voxels whose planned dose is known"
    outline = next((name for name in view.reference if name.lower() in OUTLINES), None)
    if outline is not None:
        counts, where = counts & view.reference[outline], f"{where}, inside {outline}"
    error = view.dose_predicted[counts].astype(np.float64) - view.dose_reference[counts]
    return ((float(error.mean()), float(np.abs(error).mean())) if error.size else (math.nan, math.nan)), where
