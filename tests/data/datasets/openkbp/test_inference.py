"""What inference accepts, and what it says otherwise."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.openkbp.datalist import openkbp_inference_list
from ctan_monai.errors import DataError

SAMPLE = Path(__file__).parents[4] / "bundles" / "openkbp" / "sample" / "test"


def write_ct(path, spacing_mm, shape=(64, 48, 10)):
    ct = np.full(shape, -1000, np.int16)
    ct[10:50, 10:40] = 40
    ct[12:20, 20:30] = 700  # indices run to the right here, so this is on the patient's left
    nib.Nifti1Image(ct, np.diag([*spacing_mm, 1.0])).to_filename(path)


def test_a_nifti_ct_is_turned_to_openkbps_axes_and_resampled_if_it_must_be(tmp_path):
    write_ct(tmp_path / "fine.nii.gz", (1.0, 1.0, 3.0))
    write_ct(tmp_path / "like_openkbp.nii", (3.9, 3.9, 2.5))
    items = openkbp_inference_list(tmp_path, tmp_path / "cache")
    assert [item["case"] for item in items] == ["fine", "like_openkbp"]
    fine, alike = (read_case_file(Path(item["file"])) for item in items)
    for case in (fine, alike):
        assert "".join(nib.aff2axcodes(case.affine_ras)) == "PLI"
    assert fine.spacing_mm == pytest.approx((3.906, 3.906, 3.0))
    assert alike.spacing_mm == pytest.approx((3.9, 3.9, 2.5))
    assert alike.shape == (48, 64, 10)
    bone = np.argwhere(alike.volumes["ct"] == 700).mean(0)
    assert bone[1] == pytest.approx(63 - 15.5)  # and now they run to the left


def test_cached_cases_and_folders_of_them_are_taken_as_they_are(tmp_path):
    file = next(SAMPLE.glob("*.case"))
    shutil.copy(file, tmp_path)
    for source in (tmp_path, tmp_path / file.name):
        assert openkbp_inference_list(source, tmp_path / "cache") == [
            {"case": file.stem, "file": str(tmp_path / file.name)}
        ]


@pytest.mark.parametrize("other", ["a.nii.gz", "A.nii"])
def test_two_cts_of_one_name_are_refused(tmp_path, other):
    write_ct(tmp_path / "a.nii", (3.9, 3.9, 2.5))
    write_ct(tmp_path / other, (3.9, 3.9, 2.5))
    with pytest.raises(DataError, match="would both be called"):
        openkbp_inference_list(tmp_path, tmp_path / "cache")


def test_nothing_found_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("no CT")
    for source in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"looked for an OpenKBP patient's folder \(with ct.csv\), a CT as .nii"):
            openkbp_inference_list(source, tmp_path / "cache")
