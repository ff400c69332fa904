"""Order the slices of a CT series, and refuse or repair incomplete volumes.

Every function takes slices and returns slices with a note on each repair. Without ``repair`` a fault is a DataError
that names it; with it, what can be put right without guessing is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ctan_monai.data.dicom.read.ct_slice import CtSlice, instance_of
from ctan_monai.errors import DataError

Slices = list[CtSlice]
Outcome = tuple[Slices, list[str]]

_SAME_MM = 0.01  # two slices closer than this lie at one place
_PARALLEL = 1e-3  # difference of direction cosines that are still the same
_FILLED_MAX = 2  # neighboring slices that may be missing and interpolated
_REPAIR = "Export the CT series again, or repair it with --repair."


def refuse(slices: Sequence[CtSlice], reason: str, remedy: str = _REPAIR, at: Sequence[CtSlice] = ()) -> DataError:
    """Create the error for a series, naming the first slice at fault, or the series' folder."""
    if not at:
        return DataError(slices[0].path.parent, None, reason, remedy)
    first = instance_of(at[0].path).replace("It is", "The first of them is" if len(at) > 1 else "It is")
    return DataError(at[0].path, None, reason + first, remedy)


def check_uids(slices: Slices) -> None:
    """Refuse different images with one SOPInstanceUID; identical copies are allowed.

    Raises:
        DataError: there are some at different places.
    """
    first: dict[str, CtSlice] = {}
    same = [each for each in slices if not _at_one_place(first.setdefault(each.sop_uid, each), each)]
    if same:
        uids = len({each.sop_uid for each in same})
        reason = f"{len(same) + uids} of the {len(slices)} images have the SOPInstanceUID of another one, elsewhere."
        remedy = "Give each image a SOPInstanceUID of its own: whoever anonymized them gave several the same UID."
        raise refuse(slices, reason, remedy, same)


def _at_one_place(one: CtSlice, other: CtSlice) -> bool:
    return bool(np.abs(one.position_lps - other.position_lps).max() <= _SAME_MM)


def same_kind(slices: Slices, repair: bool) -> Outcome:
    """Keep images of the same orientation, size, pixel spacing and frame of reference.

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
    turned = [_reoriented_like(main[0], each) for each in rest]
    flipped = [each for each in turned if each is not None]
    others = len(rest) - len(flipped)
    if others >= len(slices) / 2:
        found = f"the CT series is a mixture of {len(groups)} kinds of images, with another {_difference(groups)}."
        raise refuse(slices, found, "Export the series alone.", rest)
    if not repair:
        found = f"{len(flipped)} slices are flipped" if flipped else ""
        mixed = f"{others} of {len(slices)} images have another {_difference(groups)}" if others else ""
        raise refuse(slices, f"in the CT series {' and '.join(part for part in (found, mixed) if part)}.", at=rest)
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
        "orientation (ImageOrientationPatient)": turn > _PARALLEL,
        "size (Rows, Columns)": one.hu.shape != other.hu.shape,
        "pixel spacing (PixelSpacing)": not np.allclose(one.pixel_mm, other.pixel_mm, rtol=1e-4),
        "frame of reference (FrameOfReferenceUID)": one.frame_uid != other.frame_uid,
    }
    return [name for name, differs in tests.items() if differs]


def _difference(groups: list[Slices]) -> str:
    main = max(groups, key=len)[0]
    names = {name for group in groups for name in _differences(main, group[0])}
    return " and ".join(sorted(names))


def _reoriented_like(model: CtSlice, each: CtSlice) -> CtSlice | None:
    """Flip a slice's rows and columns to the orientation of another; None if that does not fit."""
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
    """Sort slices along the normal of the first; file names and InstanceNumber are ignored."""
    normal = slices[0].normal
    return sorted(slices, key=lambda each: float(each.position_lps @ normal))


def positions_mm(slices: Slices) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the position of each slice along the normal of the first."""
    return np.array([float(each.position_lps @ slices[0].normal) for each in slices])


def without_duplicates(slices: Slices, repair: bool) -> Outcome:
    """Remove duplicate slices at one position from ordered slices.

    Raises:
        DataError: there are some, and repair is off or their pixels differ.
    """
    kept, copies = [slices[0]], []
    for at, each in zip(np.diff(positions_mm(slices)), slices[1:], strict=True):
        if at > _SAME_MM:
            kept.append(each)
            continue
        copies.append(each)
        if not np.array_equal(each.hu, kept[-1].hu):
            reason = "two slices at the same place have different pixels; the series mixes two scans."
            raise refuse(slices, reason, "Keep the files of one scan only.", [each])
    if copies and not repair:
        reason = f"{len(copies)} of the {len(slices)} slices of the CT series are duplicates of others."
        raise refuse(slices, reason, at=copies)
    return kept, [f"{len(copies)} duplicate slices were left out"] if copies else []


def without_gaps(slices: Slices, repair: bool) -> Outcome:
    """Fill gaps of one or two slices in ordered slices by linear interpolation.

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
        places = positions_mm(slices) - positions_mm(slices)[0]
        away = places - np.rint(places / spacing) * spacing
        odd = slices[int(np.abs(away - np.median(away)).argmax())]
        raise refuse(slices, found, "Export the CT series again, or resample it to one spacing.", [odd])
    missing = int((steps - 1).sum())
    if not missing:
        return slices, []
    if not repair or steps.max() > _FILLED_MAX + 1:
        places = int((steps > 1).sum())
        remedy = _REPAIR if steps.max() <= _FILLED_MAX + 1 else "Export the CT series again."
        above = [slices[int(number) + 1] for number in np.flatnonzero(steps > 1)]
        reason = f"{missing} slices of the CT series are missing, in {places} places; an image ends the first gap."
        raise refuse(slices, reason, remedy, above[:1])
    filled = [slices[0]]
    for step, each in zip(steps, slices[1:], strict=True):
        filled += [_between(filled[-1], each, number / step) for number in range(1, step)] if step > 1 else []
        filled.append(each)
    return filled, [f"{missing} missing slices were interpolated"]


def tolerance_mm(spacing: float) -> float:
    """Return the tolerance of slice positions, which some scanners round to one decimal."""
    return min(0.101, 0.2 * spacing)


def _between(low: CtSlice, high: CtSlice, share: float) -> CtSlice:
    hu = np.rint(low.hu + share * (high.hu.astype(np.float32) - low.hu)).astype(np.int16)
    position = low.position_lps + share * (high.position_lps - low.position_lps)
    return dataclasses.replace(low, hu=hu, position_lps=position, sop_uid="", padded=0)
