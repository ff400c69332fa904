"""Masks of a structure set by name, with a check of left and right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.grid import mask_center
from ctan_monai.data.dicom.read.contours import Roi, read_rois
from ctan_monai.data.dicom.read.ends import check_contours
from ctan_monai.data.dicom.read.geometry import Grid
from ctan_monai.data.dicom.read.masks import mask_of
from ctan_monai.data.dicom.read.names import Matched, StructureNames
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.rasterize import Mask
from ctan_monai.errors import DataError

_MARGIN_MM = 10.0  # a structure this close to the middle may lie on either side
_MIDDLES = ("External", "Prostate", "Bladder", "Rectum", "CTV", "PTV")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_TAKEN = ("ct", "mr", "dose", "case", "known", "dose_region")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file names on Windows
_NAME_MAX = 64


def wrong_sides(masks: Mapping[str, Mask], grid: Grid) -> list[str]:
    """List the structures whose names end in _L or _R and that lie on the other side.

    A pair is compared with each other, a single one with the middle of the body or of an organ in the midline.

    Args:
        masks: (rows, columns, slices) by TG-263 name.
        grid: their grid.

    Returns:
        Names, in the order of the masks.
    """
    sided = {name: mask for name, mask in masks.items() if name[-2:] in ("_L", "_R") and mask.any()}
    left_mm = {name: _left_mm(mask, grid) for name, mask in sided.items()}
    middle = _middle_mm(masks, grid)
    wrong = []
    for name, position in left_mm.items():
        other = left_mm.get(name[:-1] + ("R" if name.endswith("L") else "L"), middle)
        if other is None:
            continue
        towards_left = position - other
        if (towards_left if name.endswith("_L") else -towards_left) < -_MARGIN_MM:
            wrong.append(name)
    return wrong


def _middle_mm(masks: Mapping[str, Mask], grid: Grid) -> float | None:
    for name in _MIDDLES:
        if name in masks and masks[name].any():
            return _left_mm(masks[name], grid)
    return None


def _left_mm(mask: npt.NDArray[np.bool_], grid: Grid) -> float:
    """Return the LPS x coordinate of a structure's center, mm."""
    return float(grid.to_lps(mask_center(mask)[None])[0, 0])


@dataclass(frozen=True, eq=False)
class Structures:
    """Masks of a case's structures, with notes.

    Args:
        masks: (rows, columns, slices) by name; a structure without contours is absent.
        original: the structure set's own name of each mask.
        unknown: names in the structure set that mean nothing here.
        notes: what was left out, interpolated or cut off, and why.
    """

    masks: Mapping[str, Mask]
    original: Mapping[str, str]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """References by which structures are recognized as drawn on a CT.

    Args:
        frame_uid: frame of reference of the CT.
        images: UIDs of the CT's images.
        frame_images: images that the structure set refers to, by frame of reference.
    """

    frame_uid: str
    images: frozenset[str] = frozenset()
    frame_images: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def has(self, roi: Roi, repair: bool) -> tuple[bool, list[str]]:
        """Tell whether a structure was drawn on the CT, with a note where that is not certain.

        Its frame of reference is the CT's; or, with ``repair``, its references lead to the CT: the images that its
        contours name, or if they name none, those of its frame of reference.
        """
        if roi.frame_uid == self.frame_uid or not (roi.frame_uid or roi.images - self.images):
            return True, []
        named = roi.images or self.frame_images.get(roi.frame_uid, frozenset())
        leads = bool(named & self.images) and (not roi.images or roi.images <= self.images)
        if not roi.frame_uid and leads:
            return True, []
        what = "has another frame of reference than the CT" if roi.frame_uid else "names images of another series"
        what = what if self.frame_uid else "has a frame of reference, and the CT none"
        if not leads:
            return False, [f"left out: it {what}, and its references do not lead to the CT"]
        if not repair:
            return False, [f"left out: it {what}; --repair accepts it, as its references lead to the CT"]
        return True, [f"accepted by its references although it {what}"]


def read_structures(path: Path, grid: Grid, drawn: Drawn, options: DicomOptions, every: bool = False) -> Structures:
    """Read a structure set and convert its contours to masks.

    Args:
        path: an RTSTRUCT.
        grid: of the CT.
        drawn: what tells whether a structure was drawn on the CT; one that was not is left out.
        options: names, structures to keep, holes, between, sides, repair.
        every: keep all structures under their own names, made safe for files.

    Raises:
        DataError: it cannot be read, none of its structures can be used, contours lie beyond the CT's ends, or left
            and right are exchanged.
    """
    rois = read_rois(path)
    matched = StructureNames(options.names).match([roi.name for roi in rois])
    wanted = _own_names(rois) if every else _by_meaning(rois, matched, options.structures)
    masks: dict[str, Mask] = {}
    notes = [f"{name} left out: {' and '.join(names)} could both be it" for name, names in matched.ambiguous.items()]
    notes = [] if every else notes
    resample_to_ct: dict[str, Roi] = {}
    for name, roi in wanted.items():
        belongs, more = drawn.has(roi, options.repair)
        notes += [f"{name}: {note}" for note in more]
        resample_to_ct |= {name: roi} if belongs else {}
    check_contours(path, resample_to_ct, grid, options.repair)
    for name, roi in resample_to_ct.items():
        mask, more = _mask(roi, grid, options)
        notes += [f"{name}: {note}" for note in more]
        if mask is not None:
            masks[name] = mask
    if not masks:
        remedy = "Map its names with --names, or take it out."
        remedy = "Give the CT it was drawn on, or take it out." if wanted and not resample_to_ct else remedy
        raise DataError(path, None, _nothing(rois, matched, notes), remedy)
    if lacking := [name for name in options.required if name not in masks and not every]:
        reason = f"{', '.join(lacking)} has no contours there, and is required."
        raise DataError(path, None, reason, "Map its name with names, or take it out of what is required.")
    meanings = {name: _meaning(roi, rois, matched) for name, roi in wanted.items()}
    notes += _check_sides(path, masks, meanings, grid, options)
    original = {name: wanted[name].name for name in masks}
    return Structures(masks, original, () if every else matched.unknown, tuple(notes))


def _by_meaning(rois: Sequence[Roi], matched: Matched, structures: Sequence[str]) -> dict[str, Roi]:
    return {name: rois[at] for name, at in matched.found.items() if not structures or name in structures}


def _own_names(rois: Sequence[Roi]) -> dict[str, Roi]:
    """Return unique file-safe names of structures from those of the structure set."""
    named: dict[str, Roi] = {}
    used = set(_TAKEN)
    for roi in rois:
        safe = _UNSAFE.sub("_", roi.name).strip("._")[:_NAME_MAX].strip("._") or f"structure_{roi.number}"
        safe = f"structure_{safe}" if _DEVICES.fullmatch(safe) else safe
        name, count = safe, 1
        while name.lower() in used:  # some file systems do not tell case
            count += 1
            name = f"{safe}_{count}"
        used.add(name.lower())
        named[name] = roi
    return named


def _meaning(roi: Roi, rois: Sequence[Roi], matched: Matched) -> str:
    return next((name for name, at in matched.found.items() if rois[at] is roi), "")


def _mask(roi: Roi, grid: Grid, options: DicomOptions) -> tuple[Mask | None, list[str]]:
    """Return the mask of a structure, None with the reason if it cannot have one."""
    left_out = [f"{count} items of type {kind} passed over" for kind, count in roi.left_out.items()]
    if not roi.contours:
        return None, left_out or ["it has no contours"]
    try:
        found = mask_of(roi, grid, options.holes, options.between)
    except DataError as error:
        return None, [f"left out: {error.reason}"]
    if not found.mask.any():
        return None, [*left_out, "left out: no voxel's center lies inside it"]
    return found.mask, [*left_out, *found.notes]


def _nothing(rois: Sequence[Roi], matched: Matched, notes: Sequence[str]) -> str:
    drawn = sum(bool(roi.contours) for roi in rois)
    if matched.found:
        return f"no mask could be made of the structure set ({'; '.join(notes)})."
    listed = ", ".join(matched.unknown[:20]) or "none"
    return f"none of the {drawn} structures with contours has a name that is understood ({listed})."


def _check_sides(
    path: Path, masks: dict[str, Mask], meanings: Mapping[str, str], grid: Grid, options: DicomOptions
) -> list[str]:
    """Refuse or drop structures that lie on the other side than their names say."""
    understood = {meanings[name]: name for name in masks if meanings.get(name)}
    wrong = [understood[name] for name in wrong_sides({m: masks[n] for m, n in understood.items()}, grid)]
    if not wrong:
        return []
    if options.sides == "refuse":
        reason = f"{' and '.join(wrong)} lie on the other side than their names say."
        raise DataError(path, None, reason, "Correct the names or the image, or drop these with --sides drop.")
    for name in wrong:
        del masks[name]
    return [f"{name} left out: it lies on the other side than its name says" for name in wrong]
