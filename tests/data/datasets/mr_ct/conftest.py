"""Boxes of tissue that an MR and a CT show alike, as NIfTI files of a patient, and synthetic patients."""

from pathlib import Path

import numpy as np
import pytest

from ctan_monai.data.datasets.mr_ct.synthetic import write_pelvis_pairs
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.data.phantom import PhantomGrid

GRID = PhantomGrid(rows=60, columns=80, slices=16, row_mm=5.6, column_mm=5.8, slice_mm=6.0)
SHAPE = (24, 20, 6)
LPS = np.diag([-2.0, -2.0, 3.0, 1.0])  # as NIfTI of a scanner often has it, 2 x 2 x 3 mm


class Drawn:
    """A patient whose files a test may change before they are written.

    The body is a box of fat and muscle with a rod of bone in it; MR and CT lie on one grid.
    """

    def __init__(self, root: Path, name: str = "P1") -> None:
        random = np.random.default_rng(0)
        self.folder, self.affine = root / name, LPS.copy()
        body = np.zeros(SHAPE, bool)
        body[4:20, 4:16] = True
        bone = np.zeros(SHAPE, bool)
        bone[10:14, 8:11] = True
        texture = random.normal(0, 5, SHAPE)
        self.ct = np.where(bone, 700, np.where(body, 40, -1000)) + texture
        self.mr = np.abs(np.where(bone, 30, np.where(body, 400, 0)) + texture)
        self.bone = bone

    def write(self, name, values, affine=None):
        """Write a file, on the patient's grid unless another affine is given."""
        write_nifti(values, self.affine if affine is None else affine, self.folder / f"{name}.nii.gz")

    def pair(self):
        """Write MR, CT and one mask, and return the folder."""
        self.write("mr", np.rint(self.mr).astype(np.int16))
        self.write("ct", np.rint(self.ct).astype(np.int16))
        self.write("masks/femur_left", self.bone.astype(np.uint8))
        return self.folder


@pytest.fixture
def drawn(tmp_path):
    return Drawn(tmp_path)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Four synthetic patients."""
    return write_pelvis_pairs(tmp_path_factory.mktemp("mr_ct") / "synthetic", 4, grid=GRID)
