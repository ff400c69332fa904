"""Write the report of a comparison: per_case.csv, summary.json, table.md, report.html."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctan_monai.engines.handlers.case_metrics_writer import PER_CASE_FILE, SUMMARY_FILE, case_csv
from ctan_monai.files.atomic import replace_text
from ctan_monai.files.json_files import write_json
from ctan_monai.metrics.statistics import SEEDS_FOR_VERDICTS
from ctan_monai.report.canvas import save_figure
from ctan_monai.report.compare_analysis import analyze
from ctan_monai.report.compare_cases import draw_chosen
from ctan_monai.report.compare_diagnosis import diagnosis_section
from ctan_monai.report.compare_files import COMMANDS_FILE, Comparison, read_comparison
from ctan_monai.report.compare_groupings import groupings_images, groupings_section
from ctan_monai.report.compare_plots import boxes_figure, curves_figure, forest_figure, weights_figure
from ctan_monai.report.compare_tables import (
    baseline_table,
    complete_table,
    cost_table,
    epoch_table,
    markdown,
    other_table,
    paper_table,
    published_table,
    seed_table,
    seed_words,
    test_table,
)
from ctan_monai.report.html import Section, Table, page

_logger = logging.getLogger(__name__)
TABLE_FILE, REPORT_FILE = "table.md", "report.html"
_NOTE = "For research only. Made from the files in this folder; nothing is loaded from elsewhere."
_METHOD = (
    "Intervals: 95 %. Given these seeds: expanded percentiles of a bootstrap that draws {clusters} clusters of cases"
    " (patients, lesions) with replacement {draws} times; metrics that are no mean over cases are computed anew in each"
    " draw, and all rows see the same draws. Other cases and seeds: t interval with the variance that seeds, cases and"
    " the rest of their table add (crossed: every seed answers the same cases). {tests} P-values are corrected by Holm"
    " within each table. {rule}"
)
_FOLDS = (
    "{folds}-fold cross-validation: every case is answered by the network of the fold that held it out, and all cases"
    " are pooled, for each seed anew. Intervals are about these networks and other cases, and about other seeds; that"
    " the folds' training sets overlap, and would differ with another sample of patients, is in none of them. Under All"
    " metrics, what is no mean over cases is the mean over folds, by their numbers of cases."
)
_TESTS_OVER = "Tests: t, of the same variance."
_RULE_OVER = (
    "A difference is called better or worse only if its interval over cases and seeds leaves out 0 and Holm's p is"
    " below 0.05."
)
_TESTS_GIVEN = (
    "Tests are given these seeds too: Wilcoxon's signed ranks of seed-averaged values (clusters averaged first),"
    " DeLong's for one AUROC, else the bootstrap."
)
_RULE_GIVEN = (
    "With fewer than {least} seeds no difference is called one: networks of the same method differ from seed to seed,"
    " and another seed may turn the order round."
)


def report_comparison(folder: str | Path) -> Path:
    """Write tables, images and the page of a comparison from its finished runs.

    Args:
        folder: of `ctan-monai compare`.

    Returns:
        The page.

    Raises:
        DataError: nothing that can be compared is finished, or a file cannot be read or written.
    """
    root = Path(str(folder))
    comparison = read_comparison(root)
    summary = analyze(comparison)
    replace_text(root / PER_CASE_FILE, case_csv(_case_rows(comparison)))
    write_json(summary, root / SUMMARY_FILE)
    tables = _tables(comparison, summary)
    title = f"Comparison on {Path(comparison.plan['bundle']).name}"
    replace_text(root / TABLE_FILE, _markdown(title, tables))
    sections = [*tables, *_images(comparison, summary), _commands(comparison)]
    replace_text(root / REPORT_FILE, page(title, sections, _NOTE))
    _logger.info("Tables: %s. Everything on one page: %s", root / TABLE_FILE, root / REPORT_FILE)
    return root / REPORT_FILE


def _case_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a line for each row, seed and case, with its cluster and metrics."""
    lines = []
    for row in comparison.rows:
        for run in row.runs:
            found = run.evaluated
            for index, (case, group) in enumerate(zip(found.cases, comparison.groups, strict=True)):
                cells = {name: float(column[index]) for name, column in found.columns.items()}
                lines.append({"row": row.name, "seed": run.seed, "case": case, "cluster": group, **cells})
    return lines


def _tables(comparison: Comparison, summary: Mapping[str, Any]) -> list[Section]:
    counts = f"{summary['cases']} test cases in {summary['clusters']} clusters, {len(summary['seeds'])} seeds."
    folds = [] if comparison.folds is None else [_FOLDS.format(folds=comparison.folds)]
    sections = [Section("Results", [*_warnings(comparison, summary), counts, *folds], [paper_table(summary)])]
    method = _method_words(summary)
    parts: tuple[tuple[str, list[str], Table | None], ...] = (
        (f"Against {summary['reference']}", [method], test_table(summary, "against_reference")),
        ("Against the best baseline", [_best_words(summary)], test_table(summary, "against_best_baseline")),
        ("Without looking at the image", [], baseline_table(summary)),
        ("The paper", [_paper_words(comparison)], published_table(Path(comparison.plan["bundle"]).name)),
        ("Seeds", [seed_words(summary)], seed_table(summary)),
        ("Epochs", [], epoch_table(summary)),
        ("Complete cases", [], complete_table(summary)),
        ("Cost", [_cost_words(comparison)], cost_table(summary)),
        ("All metrics", [], other_table(summary)),
    )
    sections += [Section(head, words, [table]) for head, words, table in parts if table is not None]
    further = (groupings_section(comparison), diagnosis_section(comparison))
    return sections + [section for section in further if section is not None]


def _method_words(summary: Mapping[str, Any]) -> str:
    over = len(summary["seeds"]) >= SEEDS_FOR_VERDICTS
    tests, rule = (_TESTS_OVER, _RULE_OVER) if over else (_TESTS_GIVEN, _RULE_GIVEN.format(least=SEEDS_FOR_VERDICTS))
    return _METHOD.format(clusters=summary["clusters"], draws=summary["draws"], tests=tests, rule=rule)


def _warnings(comparison: Comparison, summary: Mapping[str, Any]) -> list[str]:
    found = []
    if comparison.missing:
        found.append(f"Not finished, left out: {'; '.join(comparison.missing)}.")
    if summary["clusters"] < 2:
        found.append("There is a single independent test case: no interval, no test, nothing to conclude.")
    return found


def _best_words(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['best_baseline']} has the highest Delta mean of the rows that are not {summary['candidate']}, on"
        " these same cases, which favors it a little."
    )


def _paper_words(comparison: Comparison) -> str:
    given = " ".join(comparison.plan["overrides"]) or "none"
    return (
        "The paper's networks started from ImageNet weights and had other splits, sizes and schedules, which it does"
        f" not all give: these are not the same experiment. Settings given here beside the bundle's: {given}."
    )


def _cost_words(comparison: Comparison) -> str:
    batches = sorted({int(cost["batch"] or 0) for cost in comparison.costs.values()})
    size = ", ".join(map(str, batches)) or "unknown"
    return (
        f"Measured one after the other on one batch ({size} images), {comparison.plan['threads']} threads, the fastest"
        " of five; other programs on the machine may still have made them slower."
    )


def _images(comparison: Comparison, summary: Mapping[str, Any]) -> list[Section]:
    folder = comparison.folder / "images"
    figures = (
        ("forest", "improvement of each row over the reference with intervals", forest_figure(summary)),
        ("boxes", "distribution over test cases", boxes_figure(comparison)),
        ("curves", "learning curves in validation", curves_figure(comparison)),
        ("weights", "weights of the losses over epochs", weights_figure(comparison)),
    )
    drawn = [(save_figure(figure, folder / f"{name}.png"), words) for name, words, figure in figures if figure]
    drawn += groupings_images(comparison, folder)
    return [Section("Images", images=drawn), draw_chosen(comparison, folder)]


def _commands(comparison: Comparison) -> Section:
    files = [
        [f"{row.name}, {training.name}", (training.folder / COMMANDS_FILE).as_posix()]
        for row in comparison.rows
        for run in row.runs
        for training in run.trainings
    ]
    words = "Each run can be repeated by hand with the script in its folder."
    return Section("Commands", [words], [Table(("run", "script"), files)])


def _markdown(title: str, sections: list[Section]) -> str:
    parts = [f"# {title}\n"]
    for section in sections:
        words = [f"{text}\n" for text in section.paragraphs]
        parts += [f"## {section.heading}\n", *words, *(markdown(table) for table in section.tables)]
    return "\n".join(parts)
