"""Chests to test with: an analytic one, and a real CT where there is one."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

_ROOT = Path(__file__).parents[4]


class Ellipsoids:
    """A body of water around two lungs that are ellipsoids, so that every size is known.

    Rows run to the back, columns to the left, slices to the head; lengths in mm from the corner of the array.
    """

    spacing_mm = (2.0, 1.5, 4.0)
    shape = (120, 200, 60)
    center_mm = ((118.0, 90.0, 130.0), (124.0, 205.0, 130.0))
    radii_mm = ((60.0, 45.0, 80.0), (55.0, 40.0, 70.0))

    def __init__(self, lung_hu=-820):
        y, x, z = np.meshgrid(
            *((np.arange(n) + 0.5) * s for n, s in zip(self.shape, self.spacing_mm, strict=True)), indexing="ij"
        )
        body = ((y - 120) / 105) ** 2 + ((x - 150) / 140) ** 2 < 1
        self.lungs = np.zeros(self.shape, bool)
        for center, radii in zip(self.center_mm, self.radii_mm, strict=True):
            self.lungs |= sum(((a - c) / r) ** 2 for a, c, r in zip((y, x, z), center, radii, strict=True)) < 1
        self.hu = np.where(self.lungs, lung_hu, np.where(body, 40, -1000)).astype(np.int16)
        self.hu[(y > 230) & (y < 234)] = 150  # the couch
        airway = (y - 110) ** 2 + (x - 150) ** 2 < 8**2
        self.hu[airway & (z > 190)] = -990

    @property
    def volume_ml(self):
        return sum(4 / 3 * np.pi * np.prod(radii) / 1000 for radii in self.radii_mm)

    def box_mm(self):
        """First and last edge of both lungs along each axis."""
        pairs = [
            [(c[axis] - r[axis], c[axis] + r[axis]) for c, r in zip(self.center_mm, self.radii_mm, strict=True)]
            for axis in range(3)
        ]
        return [(min(low for low, _ in ends), max(high for _, high in ends)) for ends in pairs]


@pytest.fixture(scope="session")
def ellipsoids():
    return Ellipsoids


@pytest.fixture
def write_mha(tmp_path):
    """Write an array (rows to the back, columns to the left, slices to the head) as MetaImage."""

    def write(array, spacing_mm=(2.0, 2.0, 4.0), name="7.mha", compress=True, direction=None, **header):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 0, 1)))
        image.SetSpacing((spacing_mm[1], spacing_mm[0], spacing_mm[2]))
        image.SetOrigin((-10.0, 20.0, -300.0))
        if direction is not None:
            image.SetDirection(direction)
        for key, value in header.items():
            image.SetMetaData(key, value)
        sitk.WriteImage(image, str(tmp_path / name), useCompression=compress)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def real_chest():
    """A chest CT of LIDC-IDRI, resampled; skips where it is not on this machine."""
    folder = Path(os.environ.get("CTAN_TEST_DATA", _ROOT.parent / "shared" / "data")) / "chest_ct"
    found = sorted(folder.glob("*.mha"))
    if not found:
        pytest.skip(f"no real chest CT in {folder}; set CTAN_TEST_DATA")
    return found[0]
