"""Synthetic CTs of the chest in STOIC's published format: drawn by a program, no patient's, to try everything out.

They are not meant to look right. A chest has lungs with vessels, heart, spine and ribs, and lies on a couch. Opacities
like ground glass, denser and more of them in the severe, cover a fraction of the lungs from which the labels follow:
nothing in negatives, a few percent in positives, a third or more in the severe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ctan_monai.files.csv_cells import csv_text
from ctan_monai.files.whole_folder import write_synthetic

VERSION = 1  # raise it when other CTs are drawn
PATIENTS = {"negative": 16, "mild": 14, "severe": 10}  # of STOIC's public part 795, 904 and 301
SHAPE = (160, 160, 40)  # rows, columns, slices; STOIC's are 512 x 512 and 200 to 600 slices
FIELD_MM = (380.0, 380.0, 320.0)
EXTENTS = {"negative": (0.0, 0.0), "mild": (0.04, 0.14), "severe": (0.3, 0.5)}  # fraction of the lungs
_COLUMNS = ("PatientID", "probCOVID", "probSevere")
_NODULE_MM = 9.0

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Chest:
    """A drawn CT.

    Args:
        hu: (rows, columns, slices) int16, rows to the back, columns to the left, slices to the head.
        lungs: what is lung, opacities included.
        opacities: what is opaque.
        spacing_mm: of the voxels.
    """

    hu: npt.NDArray[np.int16]
    lungs: Mask
    opacities: Mask
    spacing_mm: tuple[float, float, float]


def write_chest_phantoms(
    folder: str | Path, seed: int = 0, patients: Mapping[str, int] | None = None, shape: tuple[int, int, int] = SHAPE
) -> Path:
    """Write a dataset of synthetic CTs, unless it exists.

    Args:
        folder: ``<folder>-<version>-<seed>`` is made, whole or not at all.
        seed: another seed draws others.
        patients: number by kind: negative, mild, severe; None: 40 in all.
        shape: rows, columns, slices.

    Returns:
        The folder, with ``data/mha/SYN_0000.mha`` and so on and ``metadata/reference.csv``.

    Raises:
        DataError: it cannot be written.
    """
    return write_synthetic(folder, (VERSION, seed), lambda draft: _write_all(draft, seed, patients or PATIENTS, shape))


def draw_chest(kind: str, number: int, shape: tuple[int, int, int] = SHAPE) -> Chest:
    """Draw a synthetic chest CT.

    Args:
        kind: negative, mild or severe.
        number: decides about everything that is drawn.
        shape: rows, columns, slices.
    """
    random = np.random.default_rng([number, VERSION])
    voxels_mm = np.array(FIELD_MM) / shape
    y, x, z = np.meshgrid(*(_centers(size, side) for size, side in zip(shape, FIELD_MM, strict=True)), indexing="ij")
    half_y, half_x = random.uniform(100, 118), random.uniform(150, 172)
    rim = np.sqrt((y / half_y) ** 2 + (x / half_x) ** 2)  # 1 on the skin
    spine = (y - 0.62 * half_y) ** 2 + x**2 < 19**2
    heart = ((y + 0.35 * half_y) / 48) ** 2 + ((x - 28) / 58) ** 2 + ((z + 40) / 62) ** 2 < 1
    lungs = _lungs(random, y, x, z, half_y, half_x) & ~spine & ~heart & (rim < 0.78)
    hu = np.where(rim < 1, np.where(rim > 0.88, -95.0, 45.0), -1000.0)
    ribs = (np.abs(rim - 0.83) < 0.03) & (np.sin(z / 4.5 + 3 * np.abs(x) / half_x) > 0.2)
    hu[ribs | (spine & (rim < 1))] = 380
    hu[lungs] = (-865 + 45 * _noise(random, shape, 25 / voxels_mm) + 0.35 * y)[lungs]
    sheets = [np.abs(_noise(random, shape, 7 / voxels_mm)) < 0.25 for _ in range(2)]
    hu[lungs & sheets[0] & sheets[1]] = -180  # vessels: where two sheets meet
    opacities, strength = _opacities(random, lungs, random.uniform(*EXTENTS[kind]), voxels_mm)
    hu[opacities] = np.maximum(hu[opacities], (-640 + (420 if kind == "severe" else 260) * strength)[opacities])
    if random.random() < 0.3:  # in any kind: small and dense, means nothing
        hu[lungs & _ball(random, lungs, y, x, z)] = 30
    hu[(y**2 + x**2 < 8.5**2) & (z > 30)] = -995  # windpipe
    hu[(np.abs(y - half_y - 14 + 0.0004 * x**2) < 2.5) & (np.abs(x) < 190)] = 120  # couch
    hu += random.normal(0, 18, shape)
    stored = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    row_mm, column_mm, slice_mm = voxels_mm.tolist()
    return Chest(stored, lungs, opacities, (row_mm, column_mm, slice_mm))


def _centers(size: int, side_mm: float) -> Array:
    return np.asarray((np.arange(size) + 0.5) * side_mm / size - side_mm / 2, np.float32)


def _lungs(random: np.random.Generator, y: Array, x: Array, z: Array, half_y: float, half_x: float) -> Mask:
    """Draw two ellipsoids above a dome."""
    found = np.zeros(y.shape, np.bool_)
    for side in (-1, 1):
        middle = side * 0.42 * half_x
        radii = random.uniform(0.66, 0.74) * half_y, random.uniform(0.31, 0.36) * half_x, random.uniform(125, 140)
        found = found | ((y / radii[0]) ** 2 + ((x - middle) / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1)
        dome = ((y + 10) / 95) ** 2 + ((x - middle) / 80) ** 2 + ((z + 150) / random.uniform(75, 95)) ** 2 < 1
        found = found & ~dome
    return found


def _opacities(
    random: np.random.Generator, lungs: Mask, extent: float, voxels_mm: npt.NDArray[np.float64]
) -> tuple[Mask, Array]:
    """Draw opacities: patches of the lungs, more of them near the pleura, with densities 0 to 1."""
    from scipy import ndimage

    depth_mm = ndimage.distance_transform_edt(lungs, sampling=voxels_mm)
    field = _noise(random, lungs.shape, 16 / voxels_mm) - 0.03 * depth_mm
    if extent == 0:
        return np.zeros_like(lungs), np.zeros(lungs.shape, np.float32)
    level = np.quantile(field[lungs], 1 - extent)
    strength = np.clip((field - level) / max(float(field[lungs].max() - level), 1e-6), 0, 1)
    return lungs & (field >= level), np.sqrt(strength).astype(np.float32)


def _ball(random: np.random.Generator, lungs: Mask, y: Array, x: Array, z: Array) -> Mask:
    places = np.argwhere(lungs)
    row, column, index = places[random.integers(len(places))]
    distance2 = (y - y.ravel()[row]) ** 2 + (x - x.ravel()[column]) ** 2 + (z - z.ravel()[index]) ** 2
    return np.asarray(distance2 < _NODULE_MM**2)


def _noise(random: np.random.Generator, shape: tuple[int, ...], widths: npt.NDArray[np.float64]) -> Array:
    """Return smooth noise with mean 0 and standard deviation 1; widths in voxels."""
    from scipy import ndimage

    rough = random.standard_normal(shape, np.float32)
    smooth: Array = ndimage.gaussian_filter(rough, widths / 2, mode="wrap")
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


def _listed(patients: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield id and kind of each patient, kinds mixed."""
    kinds = [kind for kind in PATIENTS for _ in range(patients.get(kind, 0))]
    order = np.random.default_rng(len(kinds)).permutation(len(kinds))
    for number, at in enumerate(order):
        yield f"SYN_{number:04d}", kinds[at]


def _write_all(folder: Path, seed: int, patients: Mapping[str, int], shape: tuple[int, int, int]) -> None:
    scans, table = folder / "data" / "mha", folder / "metadata" / "reference.csv"
    for place in (scans, table.parent):
        place.mkdir(parents=True)
    rows: list[tuple[str, int, int]] = []
    for number, (patient, kind) in enumerate(_listed(patients)):
        write_chest(draw_chest(kind, seed * 100_000 + number, shape), scans / f"{patient}.mha", number)
        rows.append((patient, int(kind != "negative"), int(kind == "severe")))
    table.write_text(csv_text(_COLUMNS, rows), encoding="utf-8", newline="")


def write_chest(chest: Chest, path: Path, number: int = 0, compress: bool = True) -> None:
    """Write a drawn CT as STOIC has it: compressed MetaImage, with age and sex in its header.

    Args:
        chest: what to write.
        path: ends with .mha.
        number: decides about age and sex, which mean nothing.
        compress: False for plain voxels.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(chest.hu.transpose(2, 0, 1)))  # slices, rows, columns
    row_mm, column_mm, slice_mm = chest.spacing_mm
    image.SetSpacing((column_mm, row_mm, slice_mm))
    image.SetOrigin(tuple(-side / 2 for side in (FIELD_MM[1], FIELD_MM[0], FIELD_MM[2])))
    for name, value in (
        ("Synthetic", "True"),
        ("PatientAge", f"{35 + number * 7 % 50:03d}Y"),
        ("PatientSex", "MF"[number % 2]),
    ):
        image.SetMetaData(name, value)
    sitk.WriteImage(image, str(path), useCompression=compress)
