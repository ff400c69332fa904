"""Bring the slices of a CT series into order, and refuse or repair what does not make a volume.

Every function takes slices and returns slices with a note on each repair. Without ``repair`` a fault is a DataError
that names it; with it, what can be put right without guessing is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ctan_monai.data.dicom.ct_slice import CtSlice
from ctan_monai.errors import DataError

Slices = list[CtSlice]
Outcome = tuple[Slices, list[str]]

_SAME_MM = 0.01  # two slices closer than this lie at one place
_PARALLEL = 1e-3  # difference of direction cosines that are still the same
_FILLED_MAX = 2  # neighbouring slices that may be missing and interpolated
_REPAIR = "Export the CT series again, or repair it with --repair."


def refuse(slices: Sequence[CtSlice], reason: str, remedy: str = _REPAIR) -> DataError:
    """Return the error for a series, naming the folder of its first file."""
    return DataError(slices[0].path.parent, None, reason, remedy)


def same_kind(slices: Slices, repair: bool) -> Outcome:
    """Keep images of one orientation, size, pixel spacing and frame of reference.

    A slice whose rows or columns run the other way is turned if its pixels then lie where the others' do. Of mixed
    images the largest kind is kept if it is more than half of them.

    Raises:
        DataError: slices differ, and repair is off or impossible.
    """
    groups = _groups(slices)
    if len(groups) == 1:
        return slices, []
    main = max(groups, key=len)
    rest = [each for group in groups if group is not main for each in group]
    turned = [_turned_like(main[0], each) for each in rest]
    flipped = [each for each in turned if each is not None]
    others = len(rest) - len(flipped)
    if not repair:
        found = f"{len(flipped)} slices are flipped" if flipped else ""
        mixed = f"{others} of {len(slices)} images have another {_difference(groups)}" if others else ""
        raise refuse(slices, f"in the CT series {' and '.join(part for part in (found, mixed) if part)}.")
    if others >= len(slices) / 2:
        raise refuse(
            slices, f"the CT series is a mixture of {len(groups)} kinds of images.", "Export the series alone."
        )
    notes = [f"{len(flipped)} flipped slices were turned"] if flipped else []
    notes += [f"{others} images of another kind were left out of the CT series"] if others else []
    return main + flipped, notes


def _groups(slices: Slices) -> list[Slices]:
    groups: list[Slices] = []
    for each in slices:
        for group in groups:
            if _alike(group[0], each):
                group.append(each)
                break
        else:
            groups.append([each])
    return groups


def _alike(one: CtSlice, other: CtSlice) -> bool:
    return not _differences(one, other)


def _differences(one: CtSlice, other: CtSlice) -> list[str]:
    turn = max(
        np.abs(one.row_cosines - other.row_cosines).max(), np.abs(one.column_cosines - other.column_cosines).max()
    )
    tests = {
        "orientation": turn > _PARALLEL,
        "size": one.hu.shape != other.hu.shape,
        "pixel spacing": not np.allclose(one.pixel_mm, other.pixel_mm, rtol=1e-4),
        "frame of reference": one.frame_uid != other.frame_uid,
    }
    return [name for name, differs in tests.items() if differs]


def _difference(groups: list[Slices]) -> str:
    main = max(groups, key=len)[0]
    names = {name for group in groups for name in _differences(main, group[0])}
    return " and ".join(sorted(names))


def _turned_like(model: CtSlice, each: CtSlice) -> CtSlice | None:
    """Return a slice with its rows and columns reversed so that they run as the model's, None if that does not fit."""
    along = float(model.row_cosines @ each.row_cosines), float(model.column_cosines @ each.column_cosines)
    if min(abs(along[0]), abs(along[1])) < 1 - _PARALLEL or min(along) > 0:
        return None
    rows, columns = each.hu.shape
    position, hu = each.position_lps, each.hu
    if along[0] < 0:
        position, hu = position + each.row_cosines * each.pixel_mm[1] * (columns - 1), hu[:, ::-1]
    if along[1] < 0:
        position, hu = position + each.column_cosines * each.pixel_mm[0] * (rows - 1), hu[::-1]
    turned = dataclasses.replace(
        each,
        hu=hu,
        position_lps=position,
        row_cosines=each.row_cosines * np.sign(along[0]),
        column_cosines=each.column_cosines * np.sign(along[1]),
    )
    offset = turned.position_lps - model.position_lps
    in_plane = offset - (offset @ model.normal) * model.normal
    on_grid = float(np.abs(in_plane).max()) < min(model.pixel_mm) / 2
    return turned if _alike(model, turned) and on_grid else None


def in_order(slices: Slices) -> Slices:
    """Sort along the normal of the first slice; names and InstanceNumber count for nothing."""
    normal = slices[0].normal
    return sorted(slices, key=lambda each: float(each.position_lps @ normal))


def positions_mm(slices: Slices) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the position of each slice along the normal of the first."""
    return np.array([float(each.position_lps @ slices[0].normal) for each in slices])


def without_duplicates(slices: Slices, repair: bool) -> Outcome:
    """Keep one of the slices that lie at one place, in slices that are in order.

    Raises:
        DataError: there are some, and repair is off or their pixels differ.
    """
    kept, copies = [slices[0]], 0
    for at, each in zip(np.diff(positions_mm(slices)), slices[1:], strict=True):
        if at > _SAME_MM:
            kept.append(each)
            continue
        copies += 1
        if not np.array_equal(each.hu, kept[-1].hu):
            reason = "two slices at the same place have different pixels; the series mixes two scans."
            raise refuse(slices, reason, "Keep the files of one scan only.")
    if copies and not repair:
        raise refuse(slices, f"{copies} of the {len(slices)} slices of the CT series are duplicates of others.")
    return kept, [f"{copies} duplicate slices were left out"] if copies else []


def without_gaps(slices: Slices, repair: bool) -> Outcome:
    """Fill gaps of one or two slices by linear interpolation, in slices that are in order.

    Raises:
        DataError: slices are missing and repair is off or too many are missing, or the spacing changes.
    """
    gaps = np.diff(positions_mm(slices))
    spacing = float(np.median(gaps))
    steps = np.rint(gaps / spacing).astype(int)
    tolerance = 2 * tolerance_mm(spacing)
    irregular = np.abs(gaps - steps * spacing) > tolerance
    if (irregular | (steps < 1)).any():
        found = f"slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart, expected one spacing ({spacing:.2f} mm)."
        raise refuse(slices, found, "Export the CT series again, or resample it to one spacing.")
    missing = int((steps - 1).sum())
    if not missing:
        return slices, []
    if not repair or steps.max() > _FILLED_MAX + 1:
        places = int((steps > 1).sum())
        remedy = _REPAIR if steps.max() <= _FILLED_MAX + 1 else "Export the CT series again."
        raise refuse(slices, f"{missing} slices of the CT series are missing, in {places} places.", remedy)
    filled = [slices[0]]
    for step, each in zip(steps, slices[1:], strict=True):
        filled += [_between(filled[-1], each, number / step) for number in range(1, step)] if step > 1 else []
        filled.append(each)
    return filled, [f"{missing} missing slices were interpolated"]


def tolerance_mm(spacing: float) -> float:
    """Return how far a slice may lie from its place: positions are written with one decimal by some scanners."""
    return min(0.101, 0.2 * spacing)


def _between(low: CtSlice, high: CtSlice, share: float) -> CtSlice:
    hu = np.rint(low.hu + share * (high.hu.astype(np.float32) - low.hu)).astype(np.int16)
    position = low.position_lps + share * (high.position_lps - low.position_lps)
    return dataclasses.replace(low, hu=hu, position_lps=position, sop_uid="", padded=0)
