"""Tables of what was written for CTs: written.csv for people, written.json for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.engines.handlers.case_metrics_writer import case_csv
from ctan_monai.engines.predictions.prediction_files import WRITTEN_JSON
from ctan_monai.files.json_files import write_json, write_text
from ctan_monai.metrics.dvh import MM3_PER_CC

WRITTEN_CSV = "written.csv"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class StructureValues:
    """Volume and dose of a predicted structure.

    Args:
        structure: its name.
        status: 'found', or 'empty': nothing was predicted, and nothing written.
        volume_cc: of its voxels on the CT's grid.
        mean_gy: mean of the predicted dose in it; None where there is no dose, or no voxel.
        min_gy: lowest.
        max_gy: highest.
    """

    structure: str
    status: str
    volume_cc: float
    mean_gy: float | None = None
    min_gy: float | None = None
    max_gy: float | None = None


@dataclass(frozen=True)
class WrittenCase:
    """The files and structures written for one CT.

    Args:
        case: pseudonym.
        files: by kind, relative to the folder of predictions.
        structures: in numbers.
        dose_max_gy: highest predicted dose anywhere in the CT; None without a dose.
        synthetic: the CT is.
        problems: what could not be written, and why.
    """

    case: str
    files: Mapping[str, str] = field(default_factory=dict)
    structures: tuple[StructureValues, ...] = ()
    dose_max_gy: float | None = None
    synthetic: bool = False
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Serialize to JSON values."""
        return asdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table: one per structure, or one for a CT without any."""
        last = {
            "dose_max_in_ct_gy": self.dose_max_gy,
            "synthetic_ct": "yes" if self.synthetic else "no",
            "problems": "; ".join(self.problems),
        }
        values = [asdict(each) for each in self.structures] or [asdict(StructureValues("", "nothing", 0.0))]
        return [{"case": self.case, **each, **last} for each in values]


def structure_values(structures: Mapping[str, Array], dose_gy: Array | None, voxel_mm3: float) -> list[StructureValues]:
    """Compute volume and dose of structures.

    Args:
        structures: masks (*S) by name.
        dose_gy: (*S), or None.
        voxel_mm3: volume of a voxel.
    """
    found = []
    for name, mask in structures.items():
        count = int(np.count_nonzero(mask))
        volume_cc = round(count * voxel_mm3 / MM3_PER_CC, 3)
        if not count or dose_gy is None:
            found.append(StructureValues(name, "found" if count else "empty", volume_cc))
            continue
        inside = dose_gy[mask].astype(np.float64)
        low, mean, high = (round(float(value), 3) for value in (inside.min(), inside.mean(), inside.max()))
        found.append(StructureValues(name, "found", volume_cc, mean, low, high))
    return found


def write_tables(folder: Path, about: Mapping[str, Any], cases: Iterable[Mapping[str, Any]]) -> None:
    """Write both tables.

    Args:
        folder: of the predictions.
        about: the head of written.json.
        cases: as `WrittenCase.to_json` gives them.

    Raises:
        CheckpointError: they cannot be written.
    """
    entries = [dict(case) for case in cases]
    rows = [row for entry in entries for row in _from_json(entry).rows()]
    write_text(case_csv(rows), folder / WRITTEN_CSV)
    write_json({**about, "complete": True, "cases": entries}, folder / WRITTEN_JSON)


def _from_json(entry: Mapping[str, Any]) -> WrittenCase:
    structures = tuple(StructureValues(**each) for each in entry["structures"])
    return WrittenCase(**{**entry, "structures": structures, "problems": tuple(entry["problems"])})
