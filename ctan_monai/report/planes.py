"""Axial, coronal and sagittal planes in radiological convention, for any order of axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import ConfigError, DataError

Array = NDArray[Any]
PlaneRule = Literal["dose", "structures"] | Sequence[int]
HIGH_DOSE_SHARE = 0.9  # the high-dose volume: at least this fraction of the highest dose
_DISPLAY_AXES = ("L", "P", "I")  # directions in which the axes of the reoriented volume point


@dataclass(frozen=True)
class Plane:
    """One plane through a volume in the orientation left, posterior, inferior.

    Args:
        name: axial, coronal or sagittal.
        axis: axis of the reoriented volume that the plane is perpendicular to.
        index: where on that axis.
        letters: what lies at the left, right, upper and lower edge.
        spacing_mm: (between columns, between rows).
    """

    name: str
    axis: int
    index: int
    letters: tuple[str, str, str, str]
    spacing_mm: tuple[float, float]

    def cut(self, reoriented: Array) -> Array:
        """Extract the plane from a reoriented volume: (rows, columns), row 0 at the top."""
        return np.asarray(np.moveaxis(reoriented, self.axis, 0)[self.index].T)

    def extent_mm(self, reoriented: Array) -> tuple[float, float, float, float]:
        """Return matplotlib's extent: left, right, bottom, top in mm from the upper left corner."""
        rows, columns = self.cut(reoriented).shape
        return 0.0, columns * self.spacing_mm[0], rows * self.spacing_mm[1], 0.0


def reorient_lpi(volume: Array, affine_ras: Array) -> Array:
    """Reorient a volume to the closest of left, posterior, inferior.

    Args:
        volume: (*S) with three axes.
        affine_ras: (4, 4) voxel -> RAS mm. An oblique volume keeps its planes; the letters name the nearest direction.

    Raises:
        DataError: the volume has not three axes.
    """
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    if volume.ndim != 3:
        raise DataError("image", None, f"the volume has the shape {volume.shape}.", "Only 3D cases have planes.")
    reoriented: Array = apply_orientation(
        volume, ornt_transform(io_orientation(affine_ras), axcodes2ornt(_DISPLAY_AXES))
    )
    return reoriented


def lpi_spacing_mm(affine_ras: Array) -> tuple[float, float, float]:
    """Return the voxel size along the axes of a reoriented volume."""
    from nibabel.orientations import io_orientation

    lengths = np.linalg.norm(affine_ras[:3, :3], axis=0)
    source = {int(axis): float(length) for (axis, _), length in zip(io_orientation(affine_ras), lengths, strict=True)}
    return source[0], source[1], source[2]


def choose_point(
    rule: PlaneRule, shape: Sequence[int], dose: Array | None = None, structures: Sequence[Array] = ()
) -> tuple[tuple[int, int, int], str]:
    """Choose the voxel in which the three planes intersect, and describe it.

    Args:
        rule: 'dose': the center of the high-dose volume (at least 90 % of the highest dose), or of the structures
            where there is no dose; 'structures': per axis the plane in which the structures cover the largest area;
            or the voxel itself.
        shape: (*S) of the volume.
        dose: (*S), the reference where there is one.
        structures: masks (*S).

    Returns:
        The voxel, and the reason for the caption.

    Raises:
        ConfigError: the rule is unknown or the voxel lies outside.
    """
    if not isinstance(rule, str):
        point = tuple(int(index) for index in rule)
        if len(point) != 3 or any(not 0 <= index < size for index, size in zip(point, shape, strict=True)):
            raise ConfigError("planes", f"{rule} is no voxel of a volume of {tuple(shape)}.", "Give i, j, k inside.")
        return (point[0], point[1], point[2]), "as asked for"
    if rule not in ("dose", "structures"):
        raise ConfigError("planes", f"{rule!r} is unknown.", "Use dose, structures or [i, j, k].")
    union = np.any(np.stack(structures), axis=0) if len(structures) else np.zeros(tuple(shape), bool)
    if rule == "dose" and dose is not None and float(dose.max()) > 0:
        high = dose >= HIGH_DOSE_SHARE * float(dose.max())
        return _center(
            high
        ), f"through the center of the volume with at least {HIGH_DOSE_SHARE:.0%} of the highest dose"
    if union.any():
        areas = [union.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
        i, j, k = (int(area.argmax()) for area in areas)
        return (i, j, k), "in which the structures cover the largest area"
    return (shape[0] // 2, shape[1] // 2, shape[2] // 2), "through the middle of the volume"


def planes_through(point: Sequence[int], shape: Sequence[int], affine_ras: Array) -> tuple[Plane, Plane, Plane]:
    """Return the axial, coronal and sagittal plane through a voxel of the original volume.

    The patient's right is on the left of the axial and coronal plane; the sagittal plane looks from the patient's
    left side, anterior on the left.
    """
    marker = np.zeros(tuple(shape), np.uint8)
    marker[tuple(point)] = 1
    x, y, z = (int(found[0]) for found in np.nonzero(reorient_lpi(marker, affine_ras)))
    dx, dy, dz = lpi_spacing_mm(affine_ras)
    return (
        Plane("axial", 2, z, ("R", "L", "A", "P"), (dx, dy)),
        Plane("coronal", 1, y, ("R", "L", "S", "I"), (dx, dz)),
        Plane("sagittal", 0, x, ("A", "P", "S", "I"), (dy, dz)),
    )


def _center(mask: Array) -> tuple[int, int, int]:
    i, j, k = (round(float(found.mean())) for found in np.nonzero(mask))
    return i, j, k
