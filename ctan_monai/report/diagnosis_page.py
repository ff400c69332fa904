"""The page of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.files.atomic import replace_text
from ctan_monai.networks.parts import KINDS
from ctan_monai.report.canvas import save_figure
from ctan_monai.report.compare_tables import number, with_interval
from ctan_monai.report.diagnosis_plots import concerns, figures_of
from ctan_monai.report.html import Cell, Entry, Section, Table, page

PAGE_FILE = "diagnosis.html"
_NOTE = "For research only. Made from diagnosis.json in this folder; nothing is loaded from elsewhere."
_HOW = (
    "Every case is answered once as trained, and once for each part with that part's values exchanged while everything"
    " else stays as it is. If an answer hardly changes, the network does not use what the part says about this image,"
    " whatever it was built for."
)
_EXCHANGES = (
    "Another case's: each case gets the values that the network computed for one other case (a fixed permutation"
    " without a fixed point, drawn by the seed, never of the same patient or lesion where that can be; of volumes, the"
    " voxel or slice at the same relative position). The mean over cases: the part still has its usual size, and"
    " says nothing about this image. 0.5: masks that let everything through alike."
)
_INTERVALS = (
    "Intervals: 95 % over cases, paired, given this one trained network: expanded percentiles of a bootstrap over"
    " {clusters} clusters of cases (patients, lesions), {draws} draws. Worse or better: the interval leaves out 0"
    " (not corrected for the number of parts). Another seed may train another use of a part; `compare` shows several."
)
_WORDS = {
    "effects": "What each exchange changes",
    "shares": "How much of an answer each part brings",
    "ranks": "How many directions features use",
    "masks": "Masks",
    "gradients": "Where the tasks' gradients meet",
}
_TEXTS = {
    "effects": "A dot is the change of the metric, the line its interval; filled dots: the interval leaves out 0"
    " (orange: worse, green: better). Empty dots near 0 with short lines: the part is idle. A long line: these cases"
    " cannot tell. Query: the deepest features that a decoder starts from. U^j or P^j: the skip connection from stage j"
    " of the encoder, 1 is the finest. Each is exchanged for one decoder at a time.",
    "shares": "The part comes from another case: variance of the change of the logits, divided by twice the variance of"
    " the logits over cases. 0: idle. About 1: all that distinguishes images comes through it, as for the whole image,"
    " which is the first bar. Parts overlap and interact, so that shares do not add up to 1.",
    "ranks": "The effective rank (Roy and Vetterli 2007) of the channels' covariance over positions and cases, from 1"
    " (every channel says the same thing, scaled) up to the number of channels. Features with a rank near 1 carry"
    " little about an image. Standardized: each channel's scale taken out first.",
    "masks": "A mask multiplies features by values between 0 and 1. A mask that is the same for every image (SD over"
    " cases near 0) only scales channels; one that stays near its mean selects little.",
    "gradients": "Norm and direction of the gradient of each task's unweighted loss at the weights that tasks share, on"
    " a few training batches in training mode. A ratio far from 1: the larger task decides alone what is learned"
    " there. A negative cosine: what helps one task harms the other.",
}


def write_page(found: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Write diagnosis.html and its images.

    Args:
        found: diagnosis.json.
        folder: that it lies in.
        name: of the run, for the title.

    Returns:
        The page.

    Raises:
        DataError: a file cannot be written.
    """
    images = {key: save_figure(figure, folder / "images" / f"{key}.png") for key, figure in figures_of(found) if figure}
    sections = [summary_section(found)]
    for key, heading in _WORDS.items():
        tables = [table for make in _TABLES[key] if (table := make(found)) is not None]
        if key in images or tables:
            shown = [(images[key], heading)] if key in images else []
            sections.append(Section(heading, [_TEXTS[key]], tables, shown, images_first=True))
    sections.append(_words(found))
    return replace_text(folder / PAGE_FILE, page(f"Does each part act? {name}", sections, _NOTE))


def summary_section(found: Mapping[str, Any], heading: str = "In short") -> Section:
    """Summarize which parts have an effect, in sentences and a table; for this page and the run's."""
    options = found["options"]
    parts = (
        f"Method {found['method']}, encoder {found['encoder']}; {found['cases']} cases"
        f" ({found['clusters']} independent) of the {options['split']} split, seed {options['seed']}."
    )
    values = "; ".join(
        f"{task} {metric['label']} {number(metric['factor'] * _value(found['metrics'], metric), 2)} {metric['unit']}"
        for task, metric in found["main"].items()
    )
    sentences = [f"{task}: {words}" for task in found["main"] if (words := _sentence(found, task))]
    return Section(heading, [parts, f"As trained: {values}.", *sentences])


def _sentence(found: Mapping[str, Any], task: str) -> str:
    """Describe the parts that a task's predictions need."""
    tried = [entry for entry in found["experiments"] if entry["kind"] != "image" and concerns(entry, task)]
    parts = list(dict.fromkeys(entry["part"] for entry in tried))
    answers = {part: {e["answers"][task] for e in tried if e["part"] == part} for part in parts}
    said = {
        "worse when exchanged": [part for part in parts if "worse" in answers[part]],
        "better when exchanged": [part for part in parts if "better" in answers[part] and "worse" not in answers[part]],
        "no change shown": [part for part in parts if answers[part] == {"no change shown"}],
    }
    words = [f"{how}: {', '.join(which)}" for how, which in said.items() if which]
    return f"{'; '.join(words)}." if words else ""


def _effects_table(found: Mapping[str, Any]) -> Table | None:
    head, rows = ["part", "replaced by"], []
    for task, metric in found["main"].items():
        head.append(f"{task}: change of {metric['label']} ({metric['unit']}) [95 %]")
    for entry in found["experiments"]:
        cells: list[Entry] = [entry["part"], entry["replacement"]]
        for task, metric in found["main"].items():
            cells.append(_change(entry, task, metric) if concerns(entry, task) else "")
        rows.append(cells)
    return Table(head, rows, dense=True) if rows else None


def _change(entry: Mapping[str, Any], task: str, metric: Mapping[str, Any]) -> Cell:
    """Format a change with its interval, marked where that excludes 0."""
    change, factor = entry["metrics"][metric["key"]], metric["factor"]
    middle, low, high = (None if change[key] is None else factor * change[key] for key in ("change", "low", "high"))
    verdict = entry["answers"][task]
    words = verdict if verdict in ("worse", "better") else ""
    text = f"{with_interval(middle, (low, high), sign=True)} {words}".strip()
    return Cell(text, {"worse": "no", "better": "yes"}.get(verdict, ""))


def _ranks_table(found: Mapping[str, Any]) -> Table | None:
    head = ("features", "channels", "positions counted", "rank", "rank, standardized", "largest direction (%)")
    rows: list[Sequence[Entry]] = [
        [
            row["features"],
            str(row["channels"]),
            str(row["observations"]),
            number(row["rank"], 1),
            number(row["rank_standardized"], 1),
            number(None if row["largest_share"] is None else 100 * row["largest_share"], 1),
        ]
        for row in found["features"]
    ]
    return Table(head, rows, dense=True) if rows else None


def _masks_table(found: Mapping[str, Any]) -> Table | None:
    names = ("mean", "standard_deviation", "spread_over_cases", "share_below_0.1", "share_above_0.9")
    rows: list[Sequence[Entry]] = [[row["mask"], *(number(row[name], 3) for name in names)] for row in found["masks"]]
    head = ("mask", "mean", "SD over all values", "SD over cases at one place", "share below 0.1", "share above 0.9")
    return Table(head, rows, dense=True) if rows else None


def _gradients_table(found: Mapping[str, Any]) -> Table | None:
    rows = found.get("gradients") or []
    if not rows:
        return None
    tasks, pairs = list(rows[0]["norm"]), list(rows[0]["cosine"])
    head = ["layer", *(f"norm, {task}" for task in tasks), *(f"ratio, {task} to {tasks[0]}" for task in tasks[1:])]
    lines: list[Sequence[Entry]] = []
    for row in rows:
        norms = [row["norm"][task] for task in tasks]
        ratios = [None if not norms[0] or norm is None else norm / norms[0] for norm in norms[1:]]
        cosines = [row["cosine"][pair] for pair in pairs]
        lines.append([row["layer"], *norms, *ratios, *(number(value, 3, sign=True) for value in cosines)])
    return Table([*head, *(f"cosine, {pair}" for pair in pairs)], lines, dense=True)


def _words(found: Mapping[str, Any]) -> Section:
    kinds = [[kind, words] for kind, words in KINDS.items() if any(e["kind"] == kind for e in found["experiments"])]
    intervals = _INTERVALS.format(clusters=found["clusters"], draws=found["options"]["draws"])
    tables = [Table(("part", "what it is"), kinds)] if kinds else []
    return Section("How it was measured", [_HOW, _EXCHANGES, intervals], tables)


def _value(metrics: Mapping[str, Any], metric: Mapping[str, Any]) -> float:
    value = metrics.get(metric["key"])
    return float("nan") if value is None else float(value)


_TABLES: Mapping[str, Sequence[Callable[[Mapping[str, Any]], Table | None]]] = {
    "effects": (_effects_table,),
    "shares": (),
    "ranks": (_ranks_table,),
    "masks": (_masks_table,),
    "gradients": (_gradients_table,),
}
