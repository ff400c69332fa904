"""Checks for a truncated CT: structure set or dose reach beyond its slices, or refer to more images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from ctan_monai.data.dicom.read.contours import Roi, read_rois
from ctan_monai.data.dicom.read.dose_file import DoseGrid, read_dose
from ctan_monai.data.dicom.read.geometry import Floats, Grid
from ctan_monai.data.dicom.read.header import Header
from ctan_monai.errors import DataError

_SLICE_REACH = 0.6  # slices; a contour stands for half a slice on either side, and positions are rounded
_HIGH = 0.1  # of the highest dose; planning systems fill up their grid with lower ones, and zeros
_RELATIVE_TO_GY = 1.0  # where a dose lies does not depend on what a relative one refers to
_REMEDY = "Add the missing images, or accept a CT that ends there with --repair."


def check_images(structure_set: Header, images: Iterable[Header], repair: bool) -> list[str]:
    """Check that the images that a structure set refers to exist.

    Args:
        structure_set: drawn on the series.
        images: of the series.
        repair: accept that some are missing.

    Returns:
        A note on what was accepted.

    Raises:
        DataError: some are missing.
    """
    images = list(images)
    present = {each.sop_uid for each in images}
    groups = [group for group in structure_set.images.values() if group & present]
    named = structure_set.images.get(images[0].series_uid) or frozenset[str]().union(*groups)
    missing = len(named - present) if named & present else 0
    if not missing:
        return []
    reason = f"{missing} of the {len(named)} images that the structure set refers to are missing."
    if not repair:
        raise DataError(structure_set.path, None, reason, _REMEDY)
    return [f"accepted although {reason.rstrip('.')}"]


def check_contours(path: Path, rois: Mapping[str, Roi], grid: Grid, repair: bool) -> None:
    """Check that contours do not lie beyond a CT's first or last slice.

    Args:
        path: of the structure set.
        rois: structures by name.
        grid: of the CT.
        repair: accept it.

    Raises:
        DataError: some do.
    """
    found = []
    for name, roi in rois.items():
        depths = np.array([np.median(grid.to_index(contour)[:, 2]) for contour in roi.contours])
        if beyond := int((_slices_beyond(depths, grid) > _SLICE_REACH).sum()):
            found.append(f"{name} ({beyond} of {len(depths)})")
    if found and not repair:
        reason = f"contours lie beyond the CT's first or last slice: {', '.join(found)}; the CT may have been cut."
        raise DataError(path, None, reason, _REMEDY)


def check_dose(path: Path, dose: DoseGrid, grid: Grid, repair: bool) -> list[str]:
    """Check that a dose does not continue where a CT ends.

    It may by a frame and a slice, as planning systems round their grids up, and where it is below a tenth.

    Args:
        path: of the dose.
        dose: on its own grid.
        grid: of the CT.
        repair: accept it.

    Returns:
        A note on what was accepted.

    Raises:
        DataError: it does.
    """
    normal = dose.affine_lps[:3, 2]
    if abs(float(normal @ grid.normal)) < np.cos(np.radians(5)):
        return []  # frames across the slices: how far they reach says nothing
    frames, rows, columns = dose.dose_gy.shape
    middle = dose.affine_lps[:3, :2] @ [(rows - 1) / 2, (columns - 1) / 2] + dose.affine_lps[:3, 3]
    depths = grid.to_index(middle + dose.offsets_mm[:, None] * normal)[:, 2]
    high = dose.dose_gy.reshape(frames, -1).max(axis=1) > _HIGH * float(dose.dose_gy.max())
    beyond_mm = float((_slices_beyond(depths, grid) * high).max()) * grid.spacing_mm[2]
    if beyond_mm <= float(np.diff(dose.offsets_mm).max()) + grid.spacing_mm[2]:
        return []
    reason = f"the dose goes on {beyond_mm:.1f} mm beyond the CT's first or last slice; the CT may have been cut."
    if not repair:
        raise DataError(path, None, reason, _REMEDY)
    return [f"accepted although {reason.rstrip('.')}"]


def _slices_beyond(depths: Floats, grid: Grid) -> Floats:
    return np.asarray(np.maximum(-depths, depths - (grid.shape[2] - 1)))


def check_whole_ct(
    images: Iterable[Header], others: Iterable[Header], grid: Grid, frame_uid: str, repair: bool
) -> list[str]:
    """Check a CT that is read alone against the structure sets and doses that lie beside it.

    Args:
        images: of the CT.
        others: structure sets and doses that belong to it.
        grid: of the CT.
        frame_uid: its frame of reference.
        repair: accept a CT that was cut.

    Returns:
        Notes on what was accepted, or could not be compared.

    Raises:
        DataError: the CT was cut.
    """
    images, notes = list(images), []
    for other in others:
        if other.kind == "RTSTRUCT":
            notes += check_images(other, images, repair)
        try:
            rois = read_rois(other.path) if other.kind == "RTSTRUCT" else []
            dose = read_dose(other.path, _RELATIVE_TO_GY) if other.kind == "RTDOSE" else None
        except DataError as error:
            notes.append(f"whether the CT is whole was not checked by its {other.kind}: {error.reason}")
            continue
        check_contours(other.path, _of_frame(rois, (frame_uid, "")), grid, repair)
        notes += check_dose(other.path, dose, grid, repair) if dose and dose.frame_uid == frame_uid else []
    return notes


def _of_frame(rois: Iterable[Roi], frames: Collection[str]) -> dict[str, Roi]:
    return {f"{roi.name} (number {roi.number})": roi for roi in rois if roi.frame_uid in frames}
