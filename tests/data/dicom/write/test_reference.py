from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from ctan_monai.data.dicom.write import CtReference
from ctan_monai.errors import DataError


@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP", "HFDL", "oblique"])
def test_images_are_sorted_by_place_and_itk_sees_the_same_geometry(write_ct, position):
    folder = write_ct(position)
    reference = CtReference.read(folder)
    assert (np.diff(reference.along_mm) > 2.49).all()
    assert reference.spacing_mm == pytest.approx((2.5, 1.5, 1.1))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ reference.affine_ras
    for index in ((0, 0, 0), (22, 3, 8), (5, 18, 2)):
        place = image.TransformIndexToPhysicalPoint(index)
        assert (lps @ (*index, 1))[:3] == pytest.approx(place, abs=1e-4)


def test_files_in_a_list_and_folders_with_other_files_are_read(write_ct, tmp_path):
    folder = write_ct()
    (folder / "notes.txt").write_text("no DICOM")
    assert len(CtReference.read(folder).headers) == 9
    assert len(CtReference.read(sorted(folder.glob("*.dcm"))[:4]).headers) == 4


def test_two_series_need_a_choice(write_ct, tmp_path):
    first, second = write_ct(), write_ct("HFP")
    shutil.copytree(first, tmp_path / "a")
    shutil.copytree(second, tmp_path / "b")
    with pytest.raises(DataError, match="2 series"):
        CtReference.read(tmp_path)
    wanted = CtReference.read(second).first.SeriesInstanceUID
    assert CtReference.read(tmp_path, wanted).axes[0] == pytest.approx([-1, 0, 0])


def test_no_ct_is_said(tmp_path):
    with pytest.raises(DataError, match="0 series"):
        CtReference.read(tmp_path)


@pytest.mark.parametrize("name", ["ImagePositionPatient", "FrameOfReferenceUID", "PixelSpacing"])
def test_what_is_needed_and_missing_is_named(write_ct, name):
    with pytest.raises(DataError, match=f"has no {name}"):
        CtReference.read(write_ct(**{name: None}))


def test_images_that_do_not_fit_together_are_refused(write_ct):
    headers = list(CtReference.read(write_ct()).headers)
    others = CtReference.read(write_ct("oblique")).headers
    with pytest.raises(DataError, match="StudyInstanceUID has 2 values"):
        CtReference.from_headers([*headers, others[0]])
    with pytest.raises(DataError, match="same place"):
        CtReference.from_headers([*headers, headers[3]])
    turned = others[0]
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(turned, name, headers[0].get(name))
    with pytest.raises(DataError, match="orientation"):
        CtReference.from_headers([*headers, turned])


def test_a_tilted_gantry_gives_a_sheared_affine(references):
    reference = references("HFS", 12.0)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ reference.affine_ras
    assert lps[:3, 2] == pytest.approx([0, 0, 2.5], abs=1e-6)
    assert reference.spacing_mm[0] == pytest.approx(2.5 * np.cos(np.deg2rad(12)), abs=1e-4)
