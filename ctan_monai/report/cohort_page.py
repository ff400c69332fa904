"""The page of a cohort: dose errors by structure, clinical goals, gamma, Dice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from ctan_monai.metrics.gamma import Gamma
from ctan_monai.report.box_plots import box_figure
from ctan_monai.report.canvas import png_of
from ctan_monai.report.dose_results import DOSE_METRICS, CaseResult
from ctan_monai.report.dose_tables import (
    GAMMA_FILE,
    GOALS_FILE,
    STATISTICS_FILE,
    Agreement,
    Spread,
    agreements,
    dices_of,
    errors_of,
    spread_of,
    structure_names,
)
from ctan_monai.report.html import Cell, Entry, Section, Table, page
from ctan_monai.report.patient_page import NOTE, SYNTHETIC, agreement_text, gamma_words, goal_rows, plan_text, signed

_DOTS_PER_INCH = 100
_DRAWN = ("Dmean", "D2%", "D95%", "D98%")  # metrics whose errors are drawn as boxes


def cohort_page(
    results: Sequence[CaseResult],
    left_out: Mapping[str, str],
    gamma: Gamma | None,
    patients_folder: str,
    learned: str = "",
) -> str:
    """Create the page.

    Args:
        results: of the patients, in the order of the table.
        left_out: why a case is not among them, by case.
        gamma: how gamma was computed, None if it was not.
        patients_folder: folder of the patients' pages beside this one.
        learned: what the network was trained on, in words.
    """
    planned = [result for result in results if result.has_plan]
    sections = [_patients(results, left_out, patients_folder, learned)]
    if planned:
        sections += [*_errors(planned), *_goals(planned), _gamma(planned, gamma), *_dice(results)]
    files = [(STATISTICS_FILE, STATISTICS_FILE)] if any(result.structures for result in results) else []
    files += [(GOALS_FILE, GOALS_FILE)] if any(result.goals for result in results) else []
    files += [(GAMMA_FILE, GAMMA_FILE)] if any(result.gamma for result in results) else []
    synthetic = sum(result.synthetic for result in results)
    warning = ""
    if synthetic:
        warning = SYNTHETIC if synthetic == len(results) else f"{synthetic} of {len(results)} cases are SYNTHETIC."
    return page(
        f"Predicted dose: {len(results)} patient{'s' if len(results) > 1 else ''}", sections, NOTE, warning, files
    )


def _patients(results: Sequence[CaseResult], left_out: Mapping[str, str], folder: str, learned: str) -> Section:
    rates = list(dict.fromkeys(rate.name for result in results for rate in result.gamma))
    targets = list(dict.fromkeys(name for result in results for name in result.targets))
    head = ["Patient", "Prescription", "Mean absolute error / Gy", *(f"D98% error {name} / Gy" for name in targets)]
    head += ["Mean Dice", "Goals: same answer", *(f"Gamma {name} / %" for name in rates)]
    rows = [_patient(result, folder, targets, rates) for result in results]
    plans = Counter(plan_text(result) for result in results)
    paragraphs = [
        "Prescriptions: "
        + "; ".join(f"{text}: {count} of {len(results)} patients" for text, count in plans.items())
        + "."
    ]
    paragraphs += [f"Predictions: {learned}"] if learned else []
    without = [result.case for result in results if not result.has_plan]
    if without:
        paragraphs.append(f"{len(without)} of {len(results)} patients have no planned dose and count in no comparison.")
    paragraphs += [f"Left out: {case} ({reason})." for case, reason in left_out.items()]
    places = list(dict.fromkeys(result.error_where for result in results if result.error_where))
    notes = [f"Mean absolute error of the dose {' or '.join(places)}." if places else ""]
    return Section("Patients", paragraphs, [Table(head, rows, dense=True)], notes=[note for note in notes if note])


def _patient(result: CaseResult, folder: str, targets: Sequence[str], rates: Sequence[str]) -> list[Entry]:
    by_name = {structure.name: structure for structure in result.structures}
    passes = {rate.name: rate.percent for rate in result.gamma}
    dices = [structure.dice for structure in result.structures]
    errors = [by_name[name].error("D98%") if name in by_name else math.nan for name in targets]
    return [
        Cell(result.case, "head", link=f"{folder}/{result.case}.html"),
        plan_text(result),
        Cell(_shown(result.error_gy[1]), "n"),
        *(Cell(signed(error), "n") for error in errors),
        Cell(_shown(spread_of(dices).mean, 3), "n"),
        Cell(agreement_text(result.goals) if result.goals else "-", "n"),
        *(Cell(_shown(passes.get(name, math.nan), 1), "n") for name in rates),
    ]


def _errors(results: Sequence[CaseResult]) -> list[Section]:
    names = structure_names(results)
    rows: list[list[Entry]] = []
    for name in names:
        lines = [(metric.name, spread_of(errors_of(results, name, metric.name))) for metric in DOSE_METRICS]
        known = [(metric, spread) for metric, spread in lines if spread.count]
        for number, (metric, spread) in enumerate(known):
            head: list[Entry] = []
            if number == 0:
                head = [Cell(name, "head", rows=len(known)), Cell(str(spread.count), "n", rows=len(known))]
            rows.append([*head, metric, *_spread(spread)])
    if not rows:
        return []
    head_row = ("Structure", "Patients", "Metric", "Mean ± SD / Gy", "Median [quartiles] / Gy", "Mean absolute / Gy")
    panels = {
        f"{metric}: predicted - planned": {name: errors_of(results, name, metric) for name in names}
        for metric in _DRAWN
    }
    words = f"Boxes of the errors of {', '.join(_DRAWN)} in each structure, a dot for each patient; values in the table"
    image = png_of(box_figure(panels, "error / Gy", zero=True), _DOTS_PER_INCH)
    notes = [
        "Error: predicted - planned, in the planned contours. SD: standard deviation between patients. Boxes: "
        "quartiles and median; whiskers reach to the last patient within 1.5 boxes."
    ]
    tables = [Table(head_row, rows, dense=True)]
    return [Section("Dose errors in each structure", (), tables, [(image, words)], True, notes)]


def _spread(spread: Spread) -> list[Entry]:
    low, high = spread.quartiles
    return [
        Cell(f"{signed(spread.mean)} ± {_shown(spread.sd)}", "n"),
        Cell(f"{signed(spread.median)} [{signed(low)}, {signed(high)}]", "n"),
        Cell(_shown(spread.mean_absolute), "n"),
    ]


def _goals(results: Sequence[CaseResult]) -> list[Section]:
    if not any(result.goals for result in results):
        return []
    found = agreements(results)
    rows = goal_rows(found, lambda each: each.goal.structure, _agreement)
    judged = {each.goal for each in found}
    others = dict.fromkeys(each.goal for result in results for each in result.goals if each.goal not in judged)
    names = "; ".join(f"{goal.structure} {goal}" for goal in others)
    notes = ["Numbers of patients. Only the prediction meets it: the prediction promises what the plan does not hold."]
    notes += [f"Judged for no patient (the patients' pages say why): {names}."] if names else []
    head_row = (
        "Structure", "Goal", "Source", "Both meet it", "Neither", "Only the plan", "Only the prediction", "Same answer"
    )  # fmt: skip
    tables = [Table(head_row, rows, dense=True)] if rows else []
    return [Section("Clinical goals: plan and prediction", [] if rows else ["None was judged."], tables, notes=notes)]


def _agreement(each: Agreement) -> list[Entry]:
    same = each.both_met + each.both_missed
    counts = (each.both_met, each.both_missed, each.only_plan, each.only_prediction)
    verdict = Cell(f"{same} of {each.judged}", "yes" if same == each.judged else "no")
    return [str(each.goal), each.goal.source, *(Cell(str(number), "n") for number in counts), verdict]


def _gamma(results: Sequence[CaseResult], gamma: Gamma | None) -> Section:
    rates: dict[str, list[float]] = {}
    for result in results:
        for rate in result.gamma:
            rates.setdefault(rate.name, []).append(rate.percent)
    if not rates or gamma is None:
        notes = dict.fromkeys(result.gamma_note for result in results if result.gamma_note)
        return Section("Gamma", [f"Gamma was not computed: {' '.join(notes)}"])
    rows = [_spread_row(name, values, 1) for name, values in rates.items()]
    head = ("Criterion", "Patients", "Mean ± SD / %", "Median [quartiles] / %", "Range / %")
    image = png_of(box_figure({"Gamma pass rate": rates}, "voxels that pass / %"), _DOTS_PER_INCH)
    words = "Boxes of the gamma pass rates, a dot for each patient; values in the table"
    return Section("Gamma", [gamma_words(gamma)], [Table(head, rows)], [(image, words)])


def _dice(results: Sequence[CaseResult]) -> list[Section]:
    dices = {name: dices_of(results, name) for name in structure_names(results)}
    dices = {name: values for name, values in dices.items() if values}
    if not dices:
        return []
    rows = [_spread_row(name, values, 3) for name, values in dices.items()]
    head = ("Structure", "Patients", "Mean ± SD", "Median [quartiles]", "Range")
    image = png_of(box_figure({"Dice, predicted against planned contour": dices}, "Dice (no unit)"), _DOTS_PER_INCH)
    words = "Boxes of the Dice of each structure, a dot for each patient; values in the table"
    return [Section("Contours", (), [Table(head, rows)], [(image, words)])]


def _spread_row(name: str, values: Sequence[float], digits: int) -> list[Entry]:
    spread = spread_of(values)
    low, high = spread.quartiles
    cells = (
        str(spread.count),
        f"{spread.mean:.{digits}f} ± {_shown(spread.sd, digits)}",
        f"{spread.median:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]",
        f"{min(values):.{digits}f} to {max(values):.{digits}f}",
    )
    return [Cell(name, "head"), *(Cell(text, "n") for text in cells)]


def _shown(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
