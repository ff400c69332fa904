"""The page of a patient: planned and predicted dose in images and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from ctan_monai.errors import CtanError
from ctan_monai.metrics.gamma import Gamma
from ctan_monai.metrics.goals import Judgment
from ctan_monai.report.canvas import png_of
from ctan_monai.report.dose_results import DOSE_METRICS, CaseResult, GoalResult, StructureResult, without_outline
from ctan_monai.report.dvh_plot import dvh_figure
from ctan_monai.report.gamma_figure import gamma_figure
from ctan_monai.report.html import Cell, Entry, Section, Table, page
from ctan_monai.report.layout import CaseView
from ctan_monai.report.overlay import CT_WINDOW_HU
from ctan_monai.report.plan_figure import plan_figure, point_of

NOTE = "For research only, not for clinical use. Nothing on this page is loaded from elsewhere."
SYNTHETIC = "SYNTHETIC data: image, contours and planned dose were computed from random numbers. No patient was imaged."
_T = TypeVar("_T")
_DOTS_PER_INCH = 100
_TELL_PERCENT = 0.5  # less than this of a structure outside of the dose grid is not worth a line
_HEADS = ("Structure", "Goal", "Source", "Planned", "Predicted", "Predicted - planned", "Plan", "Prediction", "Same")
_HEADS_WITHOUT_PLAN = ("Structure", "Goal", "Source", "Predicted", "Prediction")


def patient_page(
    view: CaseView,
    result: CaseResult,
    gamma: Gamma | None = None,
    window: tuple[float, float] = CT_WINDOW_HU,
    learned: str = "",
) -> str:
    """Create the page.

    Args:
        view: the case.
        result: what `assess` found of it.
        gamma: as it was given to `assess`; the map is drawn with it.
        window: gray values that are black and white.
        learned: what the network was trained on, in words.
    """
    shown = replace(without_outline(view), plan=result.plan)
    sections = [_summary(result, learned), _planes(shown, window), *_dvh(shown, result)]
    sections += [_goals(result)] if result.goals else []
    sections += [_structures(result)]
    sections += [_gamma(shown, result, gamma)] if result.has_plan or gamma is not None else []
    warning = SYNTHETIC if result.synthetic else ""
    return page(f"Dose report: {result.case}", sections, NOTE, warning, [("All patients", "../cohort.html")])


def plan_text(result: CaseResult) -> str:
    """Describe the prescription."""
    if result.plan.prescription_gy is None:
        return "unknown"
    per_fraction = result.plan.fraction_gy
    return f"{result.plan.prescription_gy:g} Gy" + (f", {per_fraction:.3g} Gy per fraction" if per_fraction else "")


def agreement_text(goals: Sequence[GoalResult]) -> str:
    """Describe the number of goals on which plan and prediction agree."""
    judged = [goal for goal in goals if goal.agree is not None]
    if not judged:
        return "none could be judged for both"
    return f"{sum(bool(goal.agree) for goal in judged)} of {len(judged)}"


def signed(value: float, digits: int = 2) -> str:
    """Format a difference with its sign."""
    return "-" if math.isnan(value) else f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0: no -0.00


def _summary(result: CaseResult, learned: str) -> Section:
    origin = f" ({result.prescription_from})" if result.prescription_from else ""
    rows: list[list[Entry]] = [["Prescription", plan_text(result) + origin]]
    rows += [["Prediction", learned]] if learned else []
    if result.has_plan:
        mean, absolute = result.error_gy
        found = f"mean {signed(mean)} Gy, mean absolute {absolute:.2f} Gy, {result.error_where}"
        rows.append(["Dose error (predicted - planned)", found])
    for rate in result.gamma:
        rows.append([f"Gamma {rate.name}", f"{rate.percent:.1f} % of the voxels pass"])
    if result.goals and result.has_plan:
        text = f"the prediction gives the same answer as the plan for {agreement_text(result.goals)}"
        rows.append(["Clinical goals", text])
    paragraphs = []
    if not result.has_plan:
        contours = {structure.planned_contour for structure in result.structures}
        inside = {True: "in the given contours", False: "in predicted contours"}
        where = " and ".join(inside[kind] for kind in sorted(contours, reverse=True))
        paragraphs = [
            "There is no planned dose for this case, so nothing can be compared: the page shows the predicted dose"
            + (f", and its metrics {where}." if where else "; no structure was given or predicted, so no metrics.")
        ]
    return Section("Summary", paragraphs, [Table(("What", "Found"), rows)])


def _planes(view: CaseView, window: tuple[float, float]) -> Section:
    point, reason = point_of(view)
    words = f"Axial, coronal and sagittal plane {reason}, with contours"
    parts = "planned dose, predicted dose and their difference" if view.dose_reference is not None else "predicted dose"
    note = (
        f"Planes {reason} (voxel {point[0]}, {point[1]}, {point[2]}), in radiological convention: the patient's right "
        "is on the left of the image. Doses under 10 % of the highest one are not colored."
    )
    if view.dose_reference is not None:
        note += (
            " In the difference, blue is too little dose, orange too much; where the plan is unknown, none is shown."
        )
    image = png_of(plan_figure(view, window), _DOTS_PER_INCH)
    return Section("Dose on three planes", images=[(image, f"{words}: {parts}, in Gy")], notes=[note])


def _dvh(view: CaseView, result: CaseResult) -> list[Section]:
    if not result.structures:
        return []
    image = png_of(dvh_figure(view, words=("planned", "predicted")), _DOTS_PER_INCH)
    means = "; ".join(f"{each.name} {_mean_words(each)}" for each in result.structures)
    words = f"Cumulative dose-volume histograms, planned solid and predicted dashed. Mean doses: {means}"
    note = (
        "Both curves of a structure are read in the same voxels: those of the planned contour, or of the predicted one "
        "where there is no planned contour."
    )
    own = [each.name for each in result.structures if not each.planned_contour]
    notes = [note, *([f"Predicted contours were used for {', '.join(own)}."] if own else [])]
    return [Section("Dose-volume histograms", images=[(image, words)], notes=notes)]


def _mean_words(structure: StructureResult) -> str:
    predicted = f"{structure.predicted['Dmean']:.1f} Gy predicted"
    return predicted if structure.planned is None else f"{structure.planned['Dmean']:.1f} Gy planned, {predicted}"


def _goals(result: CaseResult) -> Section:
    shown = [goal for goal in result.goals if goal.planned.met is not None or goal.predicted.met is not None]
    rows = goal_rows(shown, lambda each: each.goal.structure, lambda each: _goal(each, result.has_plan))
    others: dict[str, list[str]] = {}
    for each in result.goals:
        if each not in shown:
            reason = each.predicted.reason or each.planned.reason
            others.setdefault(reason, []).append(f"{each.goal.structure} {each.goal}")
    notes = [f"Not judged, {reason}: {'; '.join(names)}." for reason, names in others.items()]
    if shown and result.has_plan:
        notes.insert(0, "Plan, Prediction: whether the dose meets the goal. Same: whether both give the same answer.")
    if result.plan.fraction_gy is None and any(each.goal.fraction_gy for each in shown):
        notes.append("The dose per fraction is not known: goals for a certain one are judged as if it were that.")
    tables = [Table(_HEADS if result.has_plan else _HEADS_WITHOUT_PLAN, rows, dense=True)] if rows else []
    return Section("Clinical goals", [] if rows else ["None of the goals can be judged."], tables, notes=notes)


def goal_rows(
    results: Sequence[_T], structure_of: Callable[[_T], str], cells: Callable[[_T], list[Entry]]
) -> list[list[Entry]]:
    """Format goals as rows, grouped by structure."""
    by_structure: dict[str, list[_T]] = {}
    for result in results:
        by_structure.setdefault(structure_of(result), []).append(result)
    rows: list[list[Entry]] = []
    for name, members in by_structure.items():
        first, *others = [cells(member) for member in members]
        rows += [[Cell(name, "head", rows=len(members)), *first], *others]
    return rows


def _goal(result: GoalResult, has_plan: bool) -> list[Entry]:
    goal, planned, predicted = result.goal, result.planned, result.predicted
    if not has_plan:
        return [str(goal), goal.source, _value(predicted, goal.unit_text), met_cell(predicted)]
    difference = math.nan
    if planned.value is not None and predicted.value is not None:
        difference = predicted.value - planned.value
    unit = goal.unit_text
    return [
        str(goal),
        goal.source,
        _value(planned, unit),
        _value(predicted, unit),
        Cell(f"{signed(difference)} {unit}" if not math.isnan(difference) else "-", "n"),
        met_cell(planned),
        met_cell(predicted),
        Cell("-", "na") if result.agree is None else Cell("yes", "yes") if result.agree else Cell("NO", "no"),
    ]


def met_cell(judgment: Judgment) -> Cell:
    """Format whether a goal is met."""
    if judgment.met is None:
        return Cell(judgment.reason, "na")
    return Cell("met", "yes") if judgment.met else Cell("NOT met", "no")


def _value(judgment: Judgment, unit: str) -> Cell:
    return Cell("-" if judgment.value is None else f"{judgment.value:.2f} {unit}", "n")


def _structures(result: CaseResult) -> Section:
    rows: list[list[Entry]] = []
    for structure in result.structures:
        lines = {"predicted": structure.predicted}
        if structure.planned is not None:
            lines = {"planned": structure.planned, **lines}
        head = Cell(_structure_words(structure), "head", rows=len(lines) + (structure.planned is not None))
        for number, (name, values) in enumerate(lines.items()):
            row: list[Entry] = [name, *(Cell(f"{values[metric.name]:.2f}", "n") for metric in DOSE_METRICS)]
            rows.append([head, *row] if number == 0 else row)
        if structure.planned is not None:
            rows.append(["error", *(Cell(signed(structure.error(metric.name)), "n") for metric in DOSE_METRICS)])
    head_row = ("Structure", "Dose", *(f"{metric.name} / Gy" for metric in DOSE_METRICS))
    notes = [
        "Error: predicted - planned. D x % and D x cc: the dose that the hottest x % or x cc of the structure receive "
        "at least; volumes in cc are rounded to whole voxels, at least one. Dice: predicted against planned contour.",
        *(
            f"{each.name}: {each.unknown_percent:.1f} % of its volume lie where the planned dose is not known, and are "
            "left out."
            for each in result.structures
            if each.unknown_percent > _TELL_PERCENT
        ),
    ]
    tables = [Table(head_row, rows, dense=True)] if rows else []
    return Section("Dose in each structure", [] if rows else ["No structure is contoured."], tables, notes=notes)


def _structure_words(structure: StructureResult) -> str:
    dice = "" if math.isnan(structure.dice) else f", Dice {structure.dice:.3f}"
    contour = "" if structure.planned_contour else ", predicted contour"
    return f"{structure.name} ({structure.volume_cc:.1f} cc{dice}{contour})"


def _gamma(view: CaseView, result: CaseResult, gamma: Gamma | None) -> Section:
    if not result.gamma or gamma is None:
        return Section("Gamma", [f"Gamma was not computed: {result.gamma_note}"])
    rows: list[list[Entry]] = [
        [
            Cell(rate.name, "head"),
            Cell(f"{rate.percent:.1f} %", "n"),
            Cell(f"± {rate.interval:.1f} %" if rate.interval else "none: all voxels", "n"),
            Cell(f"{rate.points:,}", "n"),
            Cell(f"{rate.eligible:,}", "n"),
        ]
        for rate in result.gamma
    ]
    head = ("Criterion", "Pass rate", "95 % interval of the draw", "Voxels examined", "Voxels above the cutoff")
    image = []
    try:
        words = "Gamma on the axial plane; what fails is orange to red"
        image = [(png_of(gamma_figure(view, gamma), _DOTS_PER_INCH), words)]
    except CtanError as error:  # the metrics are worth a page without the map
        rows.append([f"no map: {error}"])
    return Section("Gamma", [gamma_words(gamma, result.gamma[0].normalization_gy)], [Table(head, rows)], image)


def gamma_words(gamma: Gamma, highest_gy: float | None = None) -> str:
    """Describe how gamma was computed."""
    of = "" if highest_gy is None else f" ({highest_gy:.1f} Gy)"
    return (
        f"Global gamma in three dimensions (pymedphys): percent of the highest planned dose{of}; reference: planned "
        "dose, evaluated: predicted dose, interpolated linearly. Region: voxels whose planned dose is known and at "
        f"least {gamma.cutoff_percent:g} % of the highest. A voxel passes if gamma is at most 1."
    )
