"""Synthetic patients: CT, structures and dose from one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from ctan_monai.data.dicom.write.rtplan import Prescription
from ctan_monai.data.phantom import thorax
from ctan_monai.data.phantom.anatomy import Anatomy, draw_anatomy
from ctan_monai.data.phantom.body import draw_body
from ctan_monai.data.phantom.dose import Axes, plan_dose
from ctan_monai.data.phantom.grid import Canvas, PhantomGrid, scan
from ctan_monai.data.phantom.organs import Surfaces, draw_organs, targets, whole
from ctan_monai.data.phantom.shapes import Floats, smooth_field
from ctan_monai.data.phantom.skeleton import draw_skeleton
from ctan_monai.data.phantom.thorax import Thorax, draw_measures, draw_others, draw_thorax
from ctan_monai.errors import ConfigError

PHANTOM_VERSION = 1  # raise it when the same seed gives another patient
STRUCTURES = ("External", "Rectum", "Bladder", "Femur_L", "Femur_R", "Prostate", "SeminalVes", "CTV", "PTV")
_SHOULDERS_MM = 150.0  # from the middle of a chest


@dataclass(frozen=True)
class Site:
    """What differs between regions.

    Args:
        structures: that are contoured.
        spared: organs at risk of the dose.
        prescriptions: of the patients of a cohort, in turn.
        body_part: BodyPartExamined.
        sex: PatientSex.
    """

    structures: tuple[str, ...]
    spared: tuple[str, ...]
    prescriptions: tuple[Prescription, ...]
    body_part: str
    sex: str


SITES: Mapping[str, Site] = {
    "pelvis": Site(STRUCTURES, ("Rectum", "Bladder"), (Prescription(),), "PELVIS", "M"),
    "thorax": Site(
        thorax.STRUCTURES,
        ("Heart", "Lung_L", "Lung_R", "SpinalCord"),
        (Prescription(50.0, 25), Prescription(40.05, 15)),
        "CHEST",
        "F",
    ),
}
# of the simulated MR
_BLUR_MM = 1.0
_BRIGHTEST = 1000.0  # stored value of urine; MR has no unit
_NOISE = 0.03  # of that, in both channels of the complex image
_BIAS, _BIAS_KNOT_MM = 0.12, 150.0  # standard deviation of the logarithm of the coils' sensitivity, and its scale


@dataclass(frozen=True, eq=False)
class Patient:
    """A synthetic patient, standard position HFS. Arrays are indexed (column, row, slice), as nibabel shows a CT.

    Made by ``make_patient``.

    Attributes:
        anatomy: what was drawn.
        grid: voxels of the CT.
        ct_hu: (C, R, K) int16.
        mr: (C, R, K) int16, T2-weighted, where the grid is an MR's; else None.
        dose_gy: (c, r, k) float32 on a grid of its own, which holds the body but not the CT's outermost slices.
        surfaces: by structure, a part of the grid (slices, rows, columns) and distances to the surface there, mm.
        prescription: dose and fractions.
        ct_axes_mm: z, y, x of the CT's voxels from the prostate's usual center.
        dose_axes_mm: z, y, x of the dose's.
        origin_lps_mm: where that center lies in the frame of reference.
    """

    anatomy: Anatomy | Thorax
    grid: PhantomGrid
    ct_hu: npt.NDArray[np.int16]
    dose_gy: npt.NDArray[np.float32]
    surfaces: Mapping[str, tuple[tuple[slice, slice, slice], npt.NDArray[np.float32]]] = field(repr=False)
    prescription: Prescription
    ct_axes_mm: Axes = field(repr=False)
    dose_axes_mm: Axes = field(repr=False)
    origin_lps_mm: tuple[float, float, float]
    mr: npt.NDArray[np.int16] | None = field(default=None, repr=False)

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
class Body:
    """The drawn anatomy of a patient, before simulation of a scanner.

    Args:
        anatomy: sizes and filling.
        canvas: what each voxel is made of.
        surfaces: by structure, a part of the grid (slices, rows, columns) and distances to the surface there, mm.
        dense_z_mm: height where a scanner's noise is strongest.
        noise_random: of the CT's noise.
        dose_random: of the dose.
        mr_random: of the MR's noise and coils.
        random: of what is left.
    """

    anatomy: Anatomy | Thorax
    canvas: Canvas
    surfaces: Surfaces = field(repr=False)
    dense_z_mm: float
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
        return scan(canvas.ct_hu, canvas.axes_mm, canvas.grid, self.dense_z_mm, self.noise_random)

    def t2_weighted(self) -> npt.NDArray[np.int16]:
        """Simulate a T2-weighted MR (contrast, blur, bias field, Rician noise); once, as it draws from the noise.

        The magnitude of a complex signal with noise in both channels is distributed as Rice found; in air that is
        Rayleigh noise, whose mean is not 0. The bias field is smooth and positive, another for each patient.

        Returns:
            (K, R, C) int16, without unit.

        Source: Gudbjartsson and Patz, Magn Reson Med 34(6), 1995 (noise).
        """
        grid, random = self.canvas.grid, self.mr_random
        signal: Floats = self.canvas.t2
        for axis, spacing_mm in ((1, grid.row_mm), (2, grid.column_mm)):
            signal = gaussian_filter1d(signal, _BLUR_MM / spacing_mm, axis=axis, truncate=3)
        bias = np.exp(np.float32(_BIAS) * smooth_field(random, self.canvas.axes_mm, (_BIAS_KNOT_MM,) * 3))
        real = signal * bias + np.float32(_NOISE) * random.standard_normal(signal.shape, dtype=np.float32)
        imaginary = np.float32(_NOISE) * random.standard_normal(signal.shape, dtype=np.float32)
        found: npt.NDArray[np.int16] = np.rint(np.float32(_BRIGHTEST) * np.hypot(real, imaginary)).astype(np.int16)
        return found


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


def draw_body_of(seed: int | Sequence[int], grid: PhantomGrid) -> Body:
    """Draw a synthetic patient; arguments as for `make_patient`, whose anatomy it has, targets included."""
    body_random, bones_random, organs_random, noise_random, dose_random, space_random, random, mr_random = (
        np.random.default_rng(seed).spawn(8)
    )
    anatomy: Anatomy | Thorax
    if grid.region == "thorax":
        anatomy, canvas = draw_measures(random), Canvas(grid, space_random)
        surfaces, dense_z_mm = draw_thorax(canvas, anatomy, organs_random), _SHOULDERS_MM
    else:
        anatomy, canvas = draw_anatomy(random), Canvas(grid, space_random)
        surfaces = {"External": draw_body(canvas, anatomy, body_random)}
        surfaces |= draw_skeleton(canvas, anatomy, bones_random)
        surfaces |= draw_organs(canvas, anatomy, organs_random)
        surfaces |= targets(surfaces, grid)
        dense_z_mm = anatomy.head_mm[2]
    numbers = [seed] if isinstance(seed, int) else list(seed)
    surfaces |= draw_others(canvas, grid.others, numbers, surfaces["External"])
    return Body(anatomy, canvas, surfaces, dense_z_mm, noise_random, dose_random, mr_random, random)


def make_patient(
    seed: int | Sequence[int],
    grid: PhantomGrid | None = None,
    *,
    prescription: Prescription | None = None,
    dose_mm: float = 3.0,
) -> Patient:
    """Create a synthetic patient.

    The anatomy is plausible, not that of anybody: common sizes, shapes put together from ellipsoids and tubes and
    bent smoothly, HU with texture, noise, partial volume and beam hardening. The dose follows the PTV, nine fields
    and the depth of each ray, and spares organs: rectum and bladder, or heart, lungs and cord.

    Args:
        seed: the same seed and arguments give the same patient on the same machine.
        grid: voxels of the CT; 256 x 256 x 64 of 1.9 x 1.9 x 3 mm by default, finer is slower.
        prescription: by default 60 Gy in 20 fractions to a prostate, 50 Gy in 25 to a breast.
        dose_mm: in-plane voxel size of the dose.

    Raises:
        ConfigError: a dose grid or prescription that makes no sense.
    """
    grid = grid or PhantomGrid()
    site = SITES[grid.region]
    prescription = prescription or site.prescriptions[0]
    if not 1 <= dose_mm <= 8:
        raise ConfigError("dose_mm", f"{dose_mm} mm.", "Use 1 to 8 mm.")
    if not 0 < prescription.dose_gy <= 200 or (prescription.fractions or 0) < 1:
        raise ConfigError("prescription", f"{prescription}.", "Give Gy and fractions that exist.")
    body = draw_body_of(seed, grid)
    canvas, surfaces, random = body.canvas, body.surfaces, body.random
    mr = body.t2_weighted().transpose(2, 1, 0) if grid.modality == "MR" else None
    ct_hu = body.scan()
    dose_gy, dose_axes_mm = plan_dose(
        surfaces, grid, canvas.axes_mm, dose_mm, prescription.dose_gy, body.dose_random, site.spared
    )
    shift = random.uniform((-15, -180, -900), (15, -60, 300))  # where a scanner's couch and table may put it
    return Patient(
        anatomy=body.anatomy,
        grid=grid,
        ct_hu=ct_hu.transpose(2, 1, 0),
        dose_gy=dose_gy.transpose(2, 1, 0),
        surfaces={name: surfaces[name] for name in (*site.structures, *grid.others)},
        prescription=prescription,
        ct_axes_mm=canvas.axes_mm,
        dose_axes_mm=dose_axes_mm,
        origin_lps_mm=(round(shift[0], 1), round(shift[1], 1), round(shift[2], 1)),
        mr=mr,
    )
