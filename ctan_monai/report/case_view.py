"""Read predictions and their cases for images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.aliases import current_record
from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_grid import Grid, native_grid_of, resample_to
from ctan_monai.engines.predictions.prediction_files import is_ct, is_dose
from ctan_monai.engines.predictions.predictions_index import PredictedCase
from ctan_monai.errors import DataError
from ctan_monai.metrics.goals import Plan
from ctan_monai.report.agreement import caption_of, measured, outlines_of, said_of
from ctan_monai.report.layout import CaseView
from ctan_monai.tasks import Task, region_key

Array = NDArray[Any]
_REGION_ENDING = "_region"


def load_view(
    predicted: PredictedCase,
    tasks: Sequence[Task],
    image: str = "ct",
    targets: Sequence[str] = (),
    structures: Sequence[str] | None = None,
    caption: bool = True,
) -> tuple[CaseView, str]:
    """Read a predicted case and its source, with a caption of their agreement.

    Args:
        predicted: entry of the index.
        tasks: the index's tasks.
        image: name of the volume to show.
        targets: names of structures that are drawn in white.
        structures: names of reference structures to show, None for all that the case has.
        caption: measure the agreement, which takes as long as reading; else the line is empty.

    Returns:
        What to draw, and a line of metrics (`metrics_for`) to write beside it.

    Raises:
        DataError: a file is missing or damaged, lies on another grid, or the case has no such volume.
    """
    if predicted.source is None:
        raise DataError("cases.json", predicted.case, "the source of the case is not known.", "Predict again.")
    case = read_case_file(predicted.source)
    if image not in case.volumes:
        found = f"it has no volume {image!r}, only {list(case.volumes)}."
        raise DataError(predicted.source, case.case, found, "Name the volume that images show.")
    arrays = {
        task: {name: _read_nifti(path, case) for name, path in files.items()} for task, files in predicted.files.items()
    }
    masks = {name: mask for name, mask in case.masks.items() if not name.endswith(_REGION_ENDING)}
    doses = [task for task in tasks if (is_dose(task) or is_ct(task)) and task.name in arrays]
    dose = doses[0] if doses else None
    reference_dose = case.volumes.get(dose.name) if dose else None
    view = CaseView(
        case.case,
        case.volumes[image],
        case.affine_ras,
        {name: mask for name, mask in masks.items() if structures is None or name in (*structures, *targets)},
        {
            label: outline
            for task in tasks
            if task.name in arrays
            for label, outline in outlines_of(task, arrays[task.name]).items()
        },
        reference_dose,
        arrays[dose.name][dose.name] if dose else None,
        dose.answer_unit if dose else "Gy",
        tuple(targets),
        _known_region(case, dose) if reference_dose is not None else None,
        plan_of(case.meta),
        bool(case.meta.get("synthetic")),
    )
    metrics = _metrics(case, predicted, tasks, arrays) if caption else ""
    return view, caption_of(case, [metrics])


def _known_region(case: Case, dose: Task | None) -> Array | None:
    """Return the region in which the planned dose is known, None for everywhere.

    A task says whether voxels outside its region are unknown (region: mask). OpenKBP's possible_dose_mask is a region,
    too, but outside it the dose is known to be 0.
    """
    return None if dose is None or dose.region != "mask" else case.masks.get(region_key(dose))


def plan_of(meta: Mapping[str, Any]) -> Plan:
    """Read prescription and dose per fraction from a case's meta, also of scaled doses.

    >>> plan_of({"prescription_gy": 60.0, "fractions": 20})
    Plan(prescription_gy=60.0, fraction_gy=3.0)
    >>> plan_of({"prescription_gy": 60.0, "fractions": 20, "dose_normalised_to_gy": 78.0})  # an old key is read too
    Plan(prescription_gy=78.0, fraction_gy=3.0)
    """
    prescribed_gy, fractions = meta.get("prescription_gy"), meta.get("fractions")
    fraction_gy = prescribed_gy / fractions if prescribed_gy and fractions else None
    return Plan(current_record(meta).get("dose_normalized_to_gy") or prescribed_gy, fraction_gy)


def _read_nifti(path: Path, case: Case) -> Array:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        loaded = nib.load(path)
        array: Array = np.asarray(loaded.dataobj)
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise DataError(path, case.case, f"it cannot be read as NIfTI ({error}).", "Predict again.") from error
    own = native_grid_of(case.meta)
    if own is not None and own.is_at(array.shape, loaded.affine):
        return resample_to(array, own, Grid(case.shape, case.affine_ras))
    if array.shape != case.shape or not np.allclose(loaded.affine, case.affine_ras, atol=1e-3):
        raise DataError(path, case.case, "it lies on another grid than its case.", "Predict again from this case.")
    return array


def _metrics(
    case: Case, predicted: PredictedCase, tasks: Sequence[Task], arrays: Mapping[str, Mapping[str, Array]]
) -> str:
    """Describe the agreement of a prediction with the labels in one line."""
    parts = []
    for task in tasks:
        if task.name in arrays:
            found = said_of(task, measured(task, case, arrays[task.name]))
            parts += found
            if found and task.name in predicted.masked:
                around = "set to 0" if is_dose(task) else "not shown"
                parts.append(f"prediction {around} outside {region_key(task)}")
        for name, value in predicted.answers.get(task.name, {}).items():
            parts.append(f"{task.name}: {name} {value:.3g}")
    return "; ".join(parts)
