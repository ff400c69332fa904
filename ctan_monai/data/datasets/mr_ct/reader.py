"""Read a patient's MR, CT and masks onto one grid, that of the MR."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.body import TISSUE_HU, body_of_ct, body_of_mr
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_grid import NATIVE_GRID, Grid, reorient_to, resample
from ctan_monai.data.datasets.mr_ct.checks import (
    check_bodies,
    check_finite,
    check_hu,
    check_lesion,
    check_meeting,
    check_mr,
    check_told,
)
from ctan_monai.data.datasets.mr_ct.layout import TUMOR, files_of, label_numbers, stem_of
from ctan_monai.data.formats.images import THUMBNAIL_SIDE
from ctan_monai.data.formats.nifti import load_nifti
from ctan_monai.data.lists.leakage import fingerprint_meta
from ctan_monai.errors import DataError
from ctan_monai.files.whole_folder import SYNTHETIC_MARK

READER_VERSION = "mr_ct-1"  # raise it when the same files give another case: caches are rebuilt
MR, CT, REGION = "mr", "ct", "ct_region"  # names in a case
NOTES = "notes"  # in a case's meta
PERCENTILES = "percentiles"  # in a case's meta: by channel the two that become 0 and 1
AXES = "PLS"  # axial slices along the last axis, rows to the back, columns to the left
_WINDOW = (0.5, 99.5)  # percentiles of the MR inside the body
_AIR_HU, _HIGHEST_HU = -1024, 3071  # 12 bits, as scanners store
_HALF = 0.5
_SHOWN = 5  # values in a message
_SHRINK = 4  # voxels that N4 looks at, along each axis one in so many
_BLANK = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.int8)  # bodies look too much alike to be told apart by it

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PairReader:
    """Reads a patient's folder.

    Args:
        pixel_mm: pixel size within axial slices that all is resampled to; None for the MR's own.
        names: the data's own names of structures, see `layout.files_of`.
        mr: name of the MR's file, likewise.
        bias_field: whether to take the MR's bias field out by N4 (SimpleITK).
    """

    pixel_mm: float | None = None
    names: Mapping[str, Sequence[str]] | None = None
    mr: str | None = None
    bias_field: bool = False

    def state(self, source: Path) -> str:
        """Return what a case depends on beside its files."""
        return f"{self} {(source.parent / SYNTHETIC_MARK).exists()}"

    def __call__(self, folder: Path) -> Case:
        """Read a patient with MR and CT.

        The case has the volumes mr (int16 or float32) and ct (int16 HU, -1024 where nothing was imaged), the
        structures' masks and ct_region: the body in the CT.

        Raises:
            DataError: a file is missing or damaged, is not what it is called, or they do not belong together.
        """
        files = files_of(folder, self.names, self.mr)
        if files.ct is None:
            reason = f"there is an MR ({files.mr.name}) and no CT; training needs both."
            raise DataError(folder, files.patient, reason, "Add ct.nii.gz, or leave this patient out.")
        mr = self._read_mr(files.mr, files.patient)
        ct, body, covered = mr.with_ct(*mr.beside(files.ct), files.ct, files.ct.name)
        check_told(files.patient, files.mr, files.ct)
        check_bodies(folder, files.patient, mr.body & covered, ct > TISSUE_HU)
        masks = {name: _mask(path, mr, files.numbers.get(name)) for name, path in files.masks.items()}
        if files.mask_on_ct is not None:
            check_lesion(folder, files.patient, masks[TUMOR], _mask(files.mask_on_ct, mr))
        return mr.to_case({CT: ct}, {**masks, REGION: body & covered}, (folder.parent / SYNTHETIC_MARK).exists())

    def read_mr(self, path: Path, case: str) -> Case:
        """Read an MR alone, for inference; its region is the body in the MR.

        Raises:
            DataError: it is missing or damaged, shows nothing, or is no MR.
        """
        read = self._read_mr(path, case)
        return read.to_case({}, {REGION: read.body}, any((each / SYNTHETIC_MARK).exists() for each in path.parents[:2]))

    def _read_mr(self, path: Path, case: str) -> ReadMr:
        notes: list[str] = []
        values, affine_ras = load_nifti(path, case, notes=notes)
        return self.on_its_grid(values, affine_ras, path, case, notes)

    def on_its_grid(self, values: Array, affine_ras: Array, path: Path, case: str, notes: list[str]) -> ReadMr:
        """Turn an MR to axial slices, resample it to the pixel size, and find the body.

        Args:
            values: (*S).
            affine_ras: (4, 4) voxel index -> mm.
            path: for messages.
            case: id.
            notes: gets what is worth saying.

        Raises:
            DataError: it shows nothing, or is no MR.
        """
        check_mr(path, case, check_finite(path, case, values))
        own = Grid(tuple(values.shape), affine_ras)
        grid = own.reoriented(AXES)
        mr = reorient_to(values, own, grid)
        if self.pixel_mm is not None:
            grid = grid.with_spacing((self.pixel_mm, self.pixel_mm, float(grid.spacing_mm[2])))
        if mr is None or self.pixel_mm is not None:
            mr = resample(values, own, grid, 0.0)
        body = body_of_mr(mr, grid.spacing_mm.tolist())
        if body is None:
            raise DataError(path, case, "there is no body in the MR.", "Give an MR that shows the patient.")
        if self.bias_field:
            mr = without_bias_field(mr, body)
        digest = hashlib.sha256(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes()).hexdigest()
        whole = not self.bias_field and not (values % 1).any()
        return ReadMr(case, _compact(mr, whole), body, grid, own, digest, notes)


@dataclass(frozen=True, eq=False)
class ReadMr:
    """An MR on the network's grid.

    Args:
        case: id.
        values: (*S).
        body: (*S).
        grid: of these.
        own: grid of the file.
        digest: of the file's values.
        notes: what is worth saying about the patient's files.
    """

    case: str
    values: Array
    body: Mask
    grid: Grid
    own: Grid
    digest: str
    notes: list[str]

    def beside(self, path: Path) -> tuple[Array, Grid]:
        """Return the values of a volume of the same patient, and their grid.

        Raises:
            DataError: it is missing or damaged, or does not lie where the MR does.
        """
        values, affine_ras = load_nifti(path, self.case, notes=self.notes)
        grid = Grid(tuple(values.shape), affine_ras)
        check_meeting(path, self.case, grid, self.grid)
        if not grid.agrees(self.own):
            here, there = (" x ".join(f"{size:.3g}" for size in each.spacing_mm) for each in (grid, self.own))
            self.notes.append(
                f"{path.name}, {grid.shape} voxels of {here} mm, is resampled to the MR's grid, {self.own.shape} of "
                f"{there} mm"
            )
        return check_finite(path, self.case, values), grid

    def with_ct(self, values: Array, source: Grid, path: Path, name: str) -> tuple[npt.NDArray[np.int16], Mask, Mask]:
        """Return the CT where the MR is, the body in it, and where the CT reaches.

        Args:
            values: HU.
            source: grid of these.
            path: for messages.
            name: how notes call it.

        Raises:
            DataError: it is not in HU, or shows no body.
        """
        span = float(values.min()), float(values.max())
        if span[0] < _AIR_HU:
            low = int((values < _AIR_HU).sum())
            self.notes.append(f"{name}: {low} voxels below {_AIR_HU} HU, as scanners pad images, are set to that")
        found = resample(np.clip(values, _AIR_HU, _HIGHEST_HU), source, self.grid, _AIR_HU)
        ct = np.rint(found).astype(np.int16)
        body = check_hu(path, self.case, span, ct, body_of_ct(ct, self.grid.spacing_mm.tolist()))
        covered: Mask = resample(np.ones(values.shape, np.float32), source, self.grid, 0.0) >= _HALF
        return ct, body, covered

    def with_mask(self, mask: Array, source: Grid) -> Mask:
        """Return a mask where the MR is."""
        found: Mask = resample(mask.astype(np.float32), source, self.grid, 0.0) >= _HALF
        return found

    def to_case(self, volumes: Mapping[str, Array], masks: Mapping[str, Mask], synthetic: bool) -> Case:
        """Return the case."""
        low, high = (float(value) for value in np.percentile(self.values[self.body], _WINDOW))
        meta = {
            **fingerprint_meta(None, None, self.digest, _BLANK),
            NATIVE_GRID: self.own.to_meta(),
            PERCENTILES: {MR: [low, max(high, low + 1e-6)]},
            NOTES: list(dict.fromkeys(self.notes)),
            "synthetic": synthetic,
        }
        return Case(self.case, {MR: self.values, **volumes}, masks, self.grid.affine_ras, {}, meta)


def _mask(path: Path, mr: ReadMr, number: int | None = None) -> Mask:
    """Return the mask in a file, or of a number in a label map."""
    values, source = mr.beside(path)
    found = np.unique(values)
    if number is not None:
        known = {0, *(label_numbers(path) or {}).values()}
        if unknown := [value for value in found if value not in known][:_SHOWN]:
            shown = ", ".join(f"{value:g}" for value in unknown)
            reason = f"it holds {shown}, and {stem_of(path)}.json names {sorted(known - {0})}."
            raise DataError(path, mr.case, reason, "Name all of its numbers.")
        return mr.with_mask(values == number, source)
    if len(found) > 2 or (len(found) == 2 and found[0] != 0):
        shown = ", ".join(f"{value:g}" for value in found[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
        reason = f"its values are {shown}; a mask has 0 and one other."
        remedy = f'Give one mask for each structure, or name its numbers in {stem_of(path)}.json: {{"labels": ...}}.'
        raise DataError(path, mr.case, reason, remedy)
    return mr.with_mask(values != 0, source)


def grid_name(reader: PairReader) -> str:
    """Name the folder of a cache after what its cases depend on.

    >>> grid_name(PairReader(2.0))
    '2mm'
    """
    size = "own" if reader.pixel_mm is None else f"{reader.pixel_mm:g}mm"
    return f"{size}-n4" if reader.bias_field else size


def without_bias_field(mr: Array, body: Mask) -> npt.NDArray[np.float32]:
    """Divide an MR (*S) by its bias field, estimated in the body by N4 at a quarter of the resolution."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.asarray(mr, np.float32).T + 1)  # N4 takes the logarithm
    inside = sitk.GetImageFromArray(body.T.astype(np.uint8))
    factors = [min(_SHRINK, side) for side in image.GetSize()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.Execute(sitk.Shrink(image, factors), sitk.Shrink(inside, factors))
    field = np.exp(sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)).T)
    found: npt.NDArray[np.float32] = np.asarray(mr, np.float32) / field.astype(np.float32)
    return found


def _compact(values: Array, whole: bool) -> Array:
    """Return int16 for whole numbers that fit, float32 for others."""
    limits = np.iinfo(np.int16)
    if whole and limits.min <= values.min() and values.max() <= limits.max:
        return np.rint(values).astype(np.int16)
    return np.asarray(values, np.float32)
