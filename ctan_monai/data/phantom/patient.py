"""Synthetic patients: CT, structures and dose from one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.write.rtplan import Prescription
from ctan_monai.data.phantom.anatomy import Anatomy, draw_anatomy
from ctan_monai.data.phantom.body import draw_body
from ctan_monai.data.phantom.dose import Axes, plan_dose
from ctan_monai.data.phantom.grid import Canvas, PhantomGrid, scan
from ctan_monai.data.phantom.organs import Surfaces, draw_organs, targets, whole
from ctan_monai.data.phantom.skeleton import draw_skeleton
from ctan_monai.errors import ConfigError

PHANTOM_VERSION = 1  # raise it when the same seed gives another patient
STRUCTURES = ("External", "Rectum", "Bladder", "Femur_L", "Femur_R", "Prostate", "SeminalVes", "CTV", "PTV")


@dataclass(frozen=True, eq=False)
class Patient:
    """A synthetic patient, standard position HFS. Arrays are indexed (column, row, slice), as nibabel shows a CT.

    Made by ``make_patient``.

    Attributes:
        anatomy: what was drawn.
        grid: voxels of the CT.
        ct_hu: (C, R, K) int16.
        dose_gy: (c, r, k) float32 on a grid of its own, which holds the body but not the CT's outermost slices.
        surfaces: by structure, a part of the grid (slices, rows, columns) and distances to the surface there, mm.
        structures: names of those that were contoured.
        prescription: dose and fractions.
        ct_axes_mm: z, y, x of the CT's voxels from the prostate's usual center.
        dose_axes_mm: z, y, x of the dose's.
        origin_lps_mm: where that center lies in the frame of reference.
    """

    anatomy: Anatomy
    grid: PhantomGrid
    ct_hu: npt.NDArray[np.int16]
    dose_gy: npt.NDArray[np.float32]
    surfaces: Mapping[str, tuple[tuple[slice, slice, slice], npt.NDArray[np.float32]]] = field(repr=False)
    structures: tuple[str, ...]
    prescription: Prescription
    ct_axes_mm: Axes = field(repr=False)
    dose_axes_mm: Axes = field(repr=False)
    origin_lps_mm: tuple[float, float, float]

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """(4, 4) from (column, row, slice) of the CT to RAS mm."""
        return affine_ras_of(self.ct_axes_mm, self.origin_lps_mm)

    @property
    def dose_affine_ras(self) -> npt.NDArray[np.float64]:
        """(4, 4) from (column, row, slice) of the dose to RAS mm."""
        return affine_ras_of(self.dose_axes_mm, self.origin_lps_mm)

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """Return (C, R, K) bool: voxels whose center lies in a structure, contoured or not."""
        return whole(self.surfaces[name], self.grid).transpose(2, 1, 0)


@dataclass(frozen=True, eq=False)
class Pelvis:
    """The drawn anatomy of a patient, before simulation of a scanner.

    Args:
        anatomy: sizes and filling.
        canvas: what each voxel is made of.
        surfaces: by structure, a part of the grid (slices, rows, columns) and distances to the surface there, mm.
        noise_random: of the CT's noise.
        dose_random: of the dose.
        mr_random: of the MR's noise and coils.
        random: of what is left.
    """

    anatomy: Anatomy
    canvas: Canvas
    surfaces: Surfaces = field(repr=False)
    noise_random: np.random.Generator
    dose_random: np.random.Generator
    mr_random: np.random.Generator
    random: np.random.Generator

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """(4, 4) from (column, row, slice) to RAS mm from the prostate's usual center."""
        return affine_ras_of(self.canvas.axes_mm, (0.0, 0.0, 0.0))

    def scan(self) -> npt.NDArray[np.int16]:
        """Return the CT (K, R, C), in HU; once, as it draws from the noise."""
        canvas = self.canvas
        return scan(canvas.ct_hu, canvas.axes_mm, canvas.grid, self.anatomy.head_mm[2], self.noise_random)


def affine_ras_of(axes_mm: Axes, origin_lps_mm: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return (4, 4) from (column, row, slice) to RAS mm.

    Args:
        axes_mm: z, y, x of the voxels from an origin.
        origin_lps_mm: where that lies.
    """
    affine = np.eye(4)
    for axis, (places, origin) in enumerate(zip(reversed(axes_mm), origin_lps_mm, strict=True)):
        affine[axis, axis] = (float(places[-1]) - float(places[0])) / (len(places) - 1)
        affine[axis, 3] = float(places[0]) + origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def draw_pelvis(seed: int | Sequence[int], grid: PhantomGrid) -> Pelvis:
    """Draw a synthetic patient; arguments as for `make_patient`, whose anatomy it has."""
    body_random, bones_random, organs_random, noise_random, dose_random, space_random, random, mr_random = (
        np.random.default_rng(seed).spawn(8)
    )
    anatomy = draw_anatomy(random)
    canvas = Canvas(grid, space_random)
    surfaces: Surfaces = {"External": draw_body(canvas, anatomy, body_random)}
    surfaces |= draw_skeleton(canvas, anatomy, bones_random)
    surfaces |= draw_organs(canvas, anatomy, organs_random)
    return Pelvis(anatomy, canvas, surfaces, noise_random, dose_random, mr_random, random)


def make_patient(
    seed: int | Sequence[int],
    grid: PhantomGrid | None = None,
    *,
    prescription: Prescription | None = None,
    dose_mm: float = 3.0,
    without: Sequence[str] = (),
) -> Patient:
    """Create a synthetic patient.

    The anatomy is plausible, not that of anybody: common sizes, shapes put together from ellipsoids and tubes and
    bent smoothly, HU with texture, noise, partial volume and beam hardening. The dose follows the PTV, nine fields
    and the depth of each ray, and spares rectum and bladder.

    Args:
        seed: the same seed and arguments give the same patient on the same machine.
        grid: voxels of the CT; 256 x 256 x 64 of 1.9 x 1.9 x 3 mm by default, finer is slower.
        prescription: 60 Gy in 20 fractions by default.
        dose_mm: in-plane voxel size of the dose.
        without: structures that are not contoured, although they are there.

    Raises:
        ConfigError: an unknown structure, a dose grid or prescription that makes no sense.
    """
    grid, prescription = grid or PhantomGrid(), prescription or Prescription()
    _check(prescription, dose_mm, without)
    pelvis = draw_pelvis(seed, grid)
    canvas, surfaces, random = pelvis.canvas, pelvis.surfaces, pelvis.random
    surfaces |= targets(surfaces, grid)
    ct_hu = pelvis.scan()
    dose_gy, dose_axes_mm = plan_dose(surfaces, grid, canvas.axes_mm, dose_mm, prescription.dose_gy, pelvis.dose_random)
    shift = random.uniform((-15, -180, -900), (15, -60, 300))  # where a scanner's couch and table may put it
    return Patient(
        anatomy=pelvis.anatomy,
        grid=grid,
        ct_hu=ct_hu.transpose(2, 1, 0),
        dose_gy=dose_gy.transpose(2, 1, 0),
        surfaces={name: surfaces[name] for name in STRUCTURES},
        structures=tuple(name for name in STRUCTURES if name not in without),
        prescription=prescription,
        ct_axes_mm=canvas.axes_mm,
        dose_axes_mm=dose_axes_mm,
        origin_lps_mm=(round(shift[0], 1), round(shift[1], 1), round(shift[2], 1)),
    )


def _check(prescription: Prescription, dose_mm: float, without: Sequence[str]) -> None:
    unknown = sorted(set(without) - set(STRUCTURES))
    if unknown or len(set(without)) == len(STRUCTURES):
        raise ConfigError("without", f"{unknown or list(without)}.", f"Leave out some of {STRUCTURES}, not all.")
    if not 1 <= dose_mm <= 8:
        raise ConfigError("dose_mm", f"{dose_mm} mm.", "Use 1 to 8 mm.")
    if not 0 < prescription.dose_gy <= 200 or (prescription.fractions or 0) < 1:
        raise ConfigError("prescription", f"{prescription}.", "Give Gy and fractions that exist.")
