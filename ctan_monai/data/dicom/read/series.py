"""Volumes of CT and MR series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.ct_slice import AIR_HU, CtSlice, instance_of, read_ct_slice, read_mr_slice
from ctan_monai.data.dicom.read.geometry import Grid, plane_affine
from ctan_monai.data.dicom.read.order import (
    Slices,
    check_uids,
    in_order,
    refuse,
    same_kind,
    tolerance_mm,
    without_duplicates,
    without_gaps,
)
from ctan_monai.data.dicom.read.reading import of_modality
from ctan_monai.data.dicom.read.shear import straighten
from ctan_monai.errors import DataError

_VOXELS_MAX = 2**30


@dataclass(frozen=True, eq=False)
class CtSeries:
    """A CT volume.

    Args:
        hu: (rows, columns, slices) int16, slices in the order of their positions along the normal.
        grid: where its voxels lie.
        sop_uids: UID of the image of each slice; empty for one that was interpolated.
        frame_uid: frame of reference.
        patient_position: HFS and the like; empty if not said.
        notes: what was repaired or is remarkable.
    """

    hu: npt.NDArray[np.int16]
    grid: Grid
    sop_uids: tuple[str, ...]
    frame_uid: str
    patient_position: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MrSeries:
    """An MR volume.

    Args:
        signal: (rows, columns, slices) float32, slices in the order of their positions along the normal.
        grid: where its voxels lie.
        sop_uids: UID of the image of each slice.
        frame_uid: frame of reference.
        patient_position: HFS and the like; empty if not said.
        notes: what is remarkable.
    """

    signal: npt.NDArray[np.float32]
    grid: Grid
    sop_uids: tuple[str, ...]
    frame_uid: str
    patient_position: str = ""
    notes: tuple[str, ...] = ()


def read_mr_series(files: Iterable[str | Path]) -> MrSeries:
    """Read the images of an MR series as a volume, in any order and under any names.

    Args:
        files: the series' images, one volume: no echoes, phases or directions of the field beside each other.

    Raises:
        DataError: a file cannot be read, or the images do not make one volume.
    """
    with of_modality("MR"), _unrepaired():
        slices, _ = _in_stack([read_mr_slice(path) for path in files], repair=False)
        return MrSeries(
            np.moveaxis(_stack(slices, np.float32), 0, -1),
            _grid(slices),
            tuple(each.sop_uid for each in slices),
            slices[0].frame_uid,
            slices[0].patient_position,
        )


@contextmanager
def _unrepaired() -> Iterator[None]:
    """Take a repair that there is for CT alone out of the remedies."""
    try:
        yield
    except DataError as error:
        remedy = error.remedy.replace(", or repair it with --repair", "")
        raise DataError(error.path, error.case, error.reason, remedy) from error


def read_ct_series(files: Iterable[str | Path], repair: bool = False) -> CtSeries:
    """Read the images of a series as a volume, in any order and under any names.

    Right for every patient position, for oblique stacks and tilted gantries, because only the images' own position
    and orientation count.

    Args:
        files: the series' images.
        repair: turn flipped slices, leave out duplicates and images of another kind, interpolate up to two missing
            slices, instead of refusing the series.

    Returns:
        The volume.

    Raises:
        DataError: a file cannot be read, or the images do not make a volume.
    """
    slices, notes = _in_stack([read_ct_slice(path) for path in files], repair)
    grid = _grid(slices)
    stack = _stack(slices, np.int16)
    if stack.min() == stack.max():
        raise refuse(slices, f"each voxel of the CT series is {stack.min()} HU.", "Give the CT that was scanned.")
    stack, grid, note = straighten(stack, grid)
    notes += [note] if note else []
    notes += _remarks(stack, slices)
    return CtSeries(
        hu=np.moveaxis(stack, 0, -1),
        grid=grid,
        sop_uids=tuple(each.sop_uid for each in slices),
        frame_uid=slices[0].frame_uid,
        patient_position=slices[0].patient_position,
        notes=tuple(notes),
    )


def _in_stack(slices: Slices, repair: bool) -> tuple[Slices, list[str]]:
    """Return the slices of one whole volume in order, and what was repaired."""
    if len(slices) < 2:
        where = slices[0].path.parent if slices else Path("CT series")
        raise DataError(where, None, f"the CT series has {len(slices)} slices, expected at least 2.", "Add the others.")
    check_uids(slices)
    slices, notes = same_kind(slices, repair)
    slices, more = without_duplicates(in_order(slices), repair)
    notes += more
    if len(slices) < 2:
        raise refuse(slices, "all slices of the CT series lie at one place.", "Export the CT series again.")
    slices, more = without_gaps(slices, repair)
    return slices, notes + more


def _grid(slices: Slices) -> Grid:
    first = slices[0]
    positions = np.stack([each.position_lps for each in slices])
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    expected = positions[0] + np.arange(len(slices))[:, None] * step
    beside = np.linalg.norm(positions - expected, axis=1)
    away_mm = float(beside.max())
    if away_mm > 2 * tolerance_mm(float(np.linalg.norm(step))):
        found = f"slices lie up to {away_mm:.2f} mm beside a straight, evenly spaced stack."
        odd = slices[int(beside.argmax())]
        raise refuse(slices, found, "Export the CT series again, or resample it to one grid.", [odd])
    rows, columns = first.hu.shape
    if rows * columns * len(slices) > _VOXELS_MAX:
        found = f"the CT series has {rows} x {columns} x {len(slices)} voxels."
        raise refuse(slices, found, f"Give a CT of at most {_VOXELS_MAX} voxels.")
    affine = plane_affine(first.row_cosines, first.column_cosines, np.array(first.pixel_mm), first.position_lps, step)
    return Grid((rows, columns, len(slices)), affine)


def _stack(slices: Slices, dtype: type[np.generic]) -> npt.NDArray[Any]:
    stack = np.empty((len(slices), *slices[0].hu.shape), dtype)
    for number, each in enumerate(slices):
        stack[number] = each.hu
    return stack


def _remarks(stack: npt.NDArray[np.int16], slices: list[CtSlice]) -> list[str]:
    notes = []
    if int(stack.min()) >= 0:
        notes.append("no voxel lies below 0 HU; is this a CT in HU?")
    usual, count = Counter(each.rescale for each in slices).most_common(1)[0]
    odd = [each for each in slices if each.rescale != usual]
    if odd and count > len(slices) / 2:  # each its own is what some scanners write; one alone may have been edited
        notes.append(
            f"{len(odd)} of {len(slices)} images have another RescaleSlope or RescaleIntercept"
            f" ({odd[0].rescale[0]:g} and {odd[0].rescale[1]:g}; the others {usual[0]:g} and {usual[1]:g});"
            f" are they in HU?{instance_of(odd[0].path)}"
        )
    padded = sum(each.padded for each in slices)
    if padded:
        notes.append(f"{padded} voxels below {AIR_HU} HU (padding) were set to air")
    return notes
