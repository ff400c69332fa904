"""A CT that comes as a DICOM series gives the case that the same CT as MetaImage gives."""

import numpy as np
import pytest
from mr_dicom import DicomPatient

from ctan_monai.data import chest_inference_list
from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.errors import DataError

SIZE = [64, 96]


def written(folder, chest, patient_id="MRN-77"):
    """Write a chest (rows to the back, columns to the left, slices to the head) as a series; returns its patient."""
    patient, (row, column, between) = DicomPatient(folder, patient_id), chest.spacing_mm
    affine = np.diag([-column, -row, between, 1.0])  # RAS of (columns, rows, slices)
    affine[:3, 3] = (10.0, -20.0, -300.0)
    patient.write("CT", chest.hu.transpose(1, 0, 2), affine)
    return patient


def test_a_series_gives_the_case_of_the_same_metaimage(ellipsoids, write_mha, tmp_path):
    chest = ellipsoids()
    patient = written(tmp_path / "dicom", chest)
    patient.write("CT", chest.hu.transpose(1, 0, 2)[..., :2], np.diag([2.0, 2.0, 4.0, 1.0]), name="few")
    (item,) = chest_inference_list(tmp_path / "dicom", tmp_path / "cache", SIZE)
    (expected,) = chest_inference_list(write_mha(chest.hu, chest.spacing_mm), tmp_path / "cache", SIZE)
    found, other = (read_case_file(each["file"]) for each in (item, expected))
    np.testing.assert_array_equal(found.volumes["ct"], other.volumes["ct"])
    np.testing.assert_array_equal(found.masks["lungs"], other.masks["lungs"])
    np.testing.assert_allclose(found.affine_ras, other.affine_ras, atol=1e-4)
    assert found.meta["lungs_ml"] == other.meta["lungs_ml"] > 0
    assert item["case"].startswith("pt_")
    assert "77" not in item["case"].split("_")
    assert len(item["images"]) == chest.hu.shape[2]
    assert item["dicom"] in item["images"]


def test_series_that_cannot_be_read_are_refused_or_skipped_by_name(ellipsoids, tmp_path):
    chest = ellipsoids()
    good, bad = (written(tmp_path / "all" / name, chest, name) for name in ("1", "2"))
    sorted((bad.folder / "CT").iterdir())[30].unlink()
    with pytest.raises(DataError, match="missing") as refused:
        chest_inference_list(tmp_path / "all", tmp_path / "cache", SIZE, workers=0)
    assert "--repair" not in str(refused.value)
    (item,) = chest_inference_list(tmp_path / "all", tmp_path / "cache", SIZE, on_error="skip", workers=0)
    assert item["dicom"].startswith(str(good.folder))


def test_a_folder_without_a_ct_says_what_was_looked_for(tmp_path):
    (tmp_path / "note.txt").write_text("no CT")
    with pytest.raises(DataError, match=r"no CT was found; looked for files .* and for CT series in DICOM"):
        chest_inference_list(tmp_path, tmp_path / "cache", SIZE)
