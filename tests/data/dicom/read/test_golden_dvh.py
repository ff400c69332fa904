"""Masks and doses against a planning system: its own DVHs of a breast boost (dicompyler-core's test data).

The set has one CT slice only, so the grid is made of the contours' own planes, 3 mm apart: 1 mm pixels in the plane,
each plane three 1 mm layers thick.
"""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ctan_monai.data.dicom.read.contours import read_rois
from ctan_monai.data.dicom.read.dose_file import read_dose
from ctan_monai.data.dicom.read.dose_sum import dose_on_grid
from ctan_monai.data.dicom.read.geometry import Grid
from ctan_monai.data.dicom.read.masks import mask_of
from ctan_monai.data.dicom.read.plan import read_plan

pytestmark = pytest.mark.data

SPACING_MM = 3.0
LAYERS = 3
LARGE = ("Breast", "Heart", "Lt Lung", "Tumor Bed", "Tumor Bed Block")  # over 10 cc; BODY is clipped by the TPS


@pytest.fixture(scope="module")
def breast(tmp_path_factory):
    repository = Path(__file__).parents[4]
    golden = Path(os.environ.get("CTAN_TEST_GOLDEN", repository.parent / "shared" / "golden"))
    archive = golden / "dvh" / "dicompyler_breast.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no {archive}; set CTAN_TEST_GOLDEN")
    folder = tmp_path_factory.mktemp("dvh")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    rois = {roi.name: roi for roi in read_rois(folder / "rtss.dcm")}
    return rois, read_dose(folder / "rtdose.dcm"), json.loads((folder / "tps_dvh.json").read_text()), folder


def grid_of(points, slice_mm, first_mm, slices):
    """Return an axial grid of 1 mm pixels around points."""
    low, high = np.floor(points.min(axis=0)) - 2, np.ceil(points.max(axis=0)) + 2
    affine = np.eye(4)
    affine[:3, :3] = [[0, 1, 0], [1, 0, 0], [0, 0, slice_mm]]
    affine[:3, 3] = [low[0], low[1], first_mm]
    columns, rows = (high - low)[:2].astype(int) + 1
    return Grid((int(rows), int(columns), slices), affine)


@pytest.mark.parametrize("name", LARGE)
def test_dvhs_agree_with_the_planning_systems(breast, name):
    rois, dose, tps, _ = breast
    points = np.concatenate(rois[name].contours)
    first, last = points[:, 2].min(), points[:, 2].max()
    planes = round((last - first) / SPACING_MM) + 1
    found = mask_of(rois[name], grid_of(points, SPACING_MM, first, planes))
    assert found.notes == ()
    mask = np.repeat(found.mask, LAYERS, axis=2)
    layer_mm = SPACING_MM / LAYERS
    dose_gy, known = dose_on_grid(dose, grid_of(points, layer_mm, first - layer_mm, planes * LAYERS))
    assert known[mask].all()
    volume_cc = mask.sum() * layer_mm / 1000
    assert tps[name]["volume_cc"] > 10
    assert volume_cc == pytest.approx(tps[name]["volume_cc"], rel=0.035)
    assert dose_gy[mask].mean() == pytest.approx(tps[name]["mean_Gy"], abs=0.05)


def test_a_structure_without_contours_and_the_plan_are_read(breast):
    rois, dose, _, folder = breast
    assert rois["Areola"].contours == ()
    plan = read_plan(folder / "rtplan.dcm")
    assert (plan.prescription_gy, plan.targets_gy, plan.fractions) == (14.0, (14.0,), 7)
    assert plan.beams == {1, 2, 3, 4}
    assert dose.dose_gy.max() == pytest.approx(14.680764, abs=1e-5)
