"""Synthetic patients with MR and CT as NIfTI: the drawn pelvis, no patient's, to try everything out with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.data.phantom.grid import PhantomGrid
from ctan_monai.data.phantom.organs import whole
from ctan_monai.data.phantom.patient import PHANTOM_VERSION, draw_body_of
from ctan_monai.files.whole_folder import write_synthetic

VERSION = f"{PHANTOM_VERSION}.0"
STRUCTURES = ("Prostate", "Bladder", "Rectum", "Femur_L", "Femur_R")  # of the paper; it has the femurs' heads
PATIENTS = 12
GRID = PhantomGrid(rows=80, columns=112, slices=24, row_mm=4.2, column_mm=4.2, slice_mm=5.0)


def write_pelvis_pairs(folder: str | Path, patients: int = PATIENTS, seed: int = 0, grid: PhantomGrid = GRID) -> Path:
    """Write synthetic patients, unless they are there already.

    Args:
        folder: ``<folder>-<version>-<seed>-<patients>`` is made, whole or not at all.
        patients: how many.
        seed: another seed draws others.
        grid: voxels of MR, CT and masks.

    Returns:
        The folder: in ``synthetic_001`` and so on ``T2.nii.gz``, ``CT.nii.gz`` and a mask for each of `STRUCTURES`.

    Raises:
        DataError: it cannot be written.
    """
    return write_synthetic(folder, (VERSION, seed, patients), lambda draft: _write(draft, patients, seed, grid))


def _write(folder: Path, patients: int, seed: int, grid: PhantomGrid) -> None:
    for number in range(1, patients + 1):
        place = folder / f"synthetic_{number:03d}"
        place.mkdir(parents=True)
        pelvis = draw_body_of([seed, number], grid)
        arrays = {"T2": pelvis.t2_weighted(), "CT": pelvis.scan()}
        arrays |= {name: whole(pelvis.surfaces[name], grid).astype(np.uint8) for name in STRUCTURES}
        for name, array in arrays.items():
            write_nifti(array.transpose(2, 1, 0), pelvis.affine_ras, place / f"{name}.nii.gz")
