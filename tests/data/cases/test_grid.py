"""Orientation and pixel size: every voxel stays where it was in the patient."""

import numpy as np
import pytest

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.grid import reorient, resample_in_plane

LPS_LIKE = np.array([[0, -0.9, 0, 80], [-1.1, 0, 0, 60], [0, 0, 3.0, -40], [0, 0, 0, 1]], dtype=float)


def bump(shape=(40, 36, 12), at=(13, 22, 5), affine=LPS_LIKE):
    """Make a smooth bright spot, and a mask around it."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    distance = np.sqrt(((index - np.array(at)[:, None, None, None]) ** 2).sum(0))
    ct = (1000 * np.exp(-((distance / 5) ** 2)) - 1000).astype(np.int16)
    return Case("spot", {"ct": ct}, {"spot": distance < 6}, affine)


def place_mm(case, weights):
    """Return the center of mass in RAS mm."""
    index = np.stack(np.meshgrid(*map(np.arange, case.shape), indexing="ij")).reshape(3, -1)
    center = (index * weights.ravel()).sum(1) / weights.sum()
    return case.affine_ras[:3, :3] @ center + case.affine_ras[:3, 3]


@pytest.mark.parametrize("axcodes", ["PLI", "RAS", "LPS", "SAR"])
def test_turning_moves_nothing_in_the_patient(axcodes):
    import nibabel as nib

    case = bump()
    turned = reorient(case, axcodes)
    assert "".join(nib.aff2axcodes(turned.affine_ras)) == axcodes
    assert np.array_equal(np.sort(turned.volumes["ct"].ravel()), np.sort(case.volumes["ct"].ravel()))
    assert place_mm(turned, turned.masks["spot"]) == pytest.approx(place_mm(case, case.masks["spot"]), abs=1e-9)
    back = reorient(turned, "".join(nib.aff2axcodes(case.affine_ras)))
    assert np.array_equal(back.volumes["ct"], case.volumes["ct"])
    assert np.allclose(back.affine_ras, case.affine_ras)


@pytest.mark.parametrize("pixel_mm", [0.5, 2.0, 3.906])
def test_resampling_moves_nothing_in_the_patient_and_keeps_the_slices(pixel_mm):
    case = bump()
    found = resample_in_plane(case, pixel_mm)
    assert found.spacing_mm == pytest.approx((pixel_mm, pixel_mm, 3.0))
    assert found.volumes["ct"].dtype == np.int16
    assert found.shape[2] == case.shape[2]
    brightness = [np.clip(one.volumes["ct"].astype(float) + 1000, 0, None) for one in (case, found)]
    assert place_mm(found, brightness[1]) == pytest.approx(place_mm(case, brightness[0]), abs=0.05)
    assert place_mm(found, found.masks["spot"]) == pytest.approx(place_mm(case, case.masks["spot"]), abs=0.3 * pixel_mm)
    extent = [np.array(one.shape[:2]) * one.spacing_mm[:2] for one in (case, found)]
    assert np.abs(extent[0] - extent[1]).max() <= pixel_mm / 2 + 1e-9
