"""The section of a page on how far the answers of an ensemble lie apart."""

from __future__ import annotations

import csv
from pathlib import Path

from ctan_monai.engines.predictions.spread_writer import SPREAD_FILE
from ctan_monai.errors import DataError
from ctan_monai.report.html import Section, Table

_WORDS = (
    "Each prediction is the mean of several answers: of an ensemble's networks, of mirror images, or both. Doses and"
    " other values are read inside the mean answer's contours. The spread says how far the answers lie apart, and"
    " not how far all of them may be wrong. Per voxel it is in the files that end in _sd.nii.gz."
)
_HEAD = ("case", "task", "of", "statistic", "unit", "mean answer", "answers", "mean", "standard deviation", "lowest",
         "highest")  # fmt: skip
_MOST_ROWS = 400


def spread_section(folder: Path) -> Section | None:
    """Create the section from ``spread.csv``; None where there is none.

    Raises:
        DataError: the table cannot be read.
    """
    path = folder / SPREAD_FILE
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [[*row.values()] for row in csv.DictReader(file)]
    except (OSError, ValueError) as error:
        raise DataError(path, None, f"it cannot be read ({error}).", "Predict again.") from error
    words = [_WORDS, *([f"The first {_MOST_ROWS} of {len(rows)} rows; all are in {SPREAD_FILE}."] if
             len(rows) > _MOST_ROWS else [])]  # fmt: skip
    return Section("Spread of the answers", words, [Table(_HEAD, rows[:_MOST_ROWS], dense=True)])
