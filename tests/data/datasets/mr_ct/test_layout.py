import pytest

from ctan_monai.data.datasets.mr_ct.layout import files_of, find_patients, is_mr
from ctan_monai.errors import DataError


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


@pytest.mark.parametrize("name", ["mr", "MR", "mri", "T1", "t2w", "MR_T1_image", "mr-t2", "T2_img"])
def test_what_is_called_as_mr(tmp_path, name):
    assert is_mr(tmp_path / f"{name}.nii.gz")
    assert is_mr(tmp_path / f"{name}.nii")
    assert not is_mr(tmp_path / f"{name}_mask.nii.gz")


def test_the_papers_layout(tmp_path):
    names = ["T2.nii.gz", "CT.nii.gz", "prostate.nii.gz", "Bladder.nii.gz", "femoral head left.nii.gz", "other.nii.gz"]
    found = files_of(make(tmp_path / "p7", *names))
    assert (found.patient, found.mr.name, found.ct.name) == ("p7", "T2.nii.gz", "CT.nii.gz")
    assert found.mask_on_ct is None
    assert {"Prostate", "Bladder", "other"} <= set(found.masks)


def test_ibsi_s_layout(tmp_path):
    names = ["CT_image.nii.gz", "CT_mask.nii.gz", "MR_T1_image.nii.gz", "MR_T1_mask.nii.gz"]
    found = files_of(make(tmp_path / "STS_008", *names))
    assert (found.mr.name, found.ct.name) == ("MR_T1_image.nii.gz", "CT_image.nii.gz")
    assert {name: path.name for name, path in found.masks.items()} == {"GTV": "MR_T1_mask.nii.gz"}
    assert found.mask_on_ct.name == "CT_mask.nii.gz"


def test_a_folder_of_masks_and_names_of_ones_own(tmp_path):
    folder = make(tmp_path / "a", "mr.nii.gz", "ct.nii.gz", "masks/Prost_final.nii.gz")
    assert list(files_of(folder).masks) == ["Prost_final"]
    assert list(files_of(folder, {"Prostate": ["prost final"]}).masks) == ["Prostate"]


def test_of_two_mr_one_has_to_be_named(tmp_path):
    folder = make(tmp_path / "a", "t1.nii.gz", "t2.nii.gz", "ct.nii.gz")
    with pytest.raises(DataError, match=r"\['t1.nii.gz', 't2.nii.gz'\] could be its MR. Remedy: Name .* --mr t2"):
        files_of(folder)
    found = files_of(folder, mr="T2")
    assert (found.mr.name, found.masks) == ("t2.nii.gz", {})


def test_two_cts_or_masks_of_one_structure_are_refused(tmp_path):
    with pytest.raises(DataError, match="could be its CT"):
        files_of(make(tmp_path / "a", "mr.nii.gz", "ct.nii.gz", "CT_image.nii.gz"))
    with pytest.raises(DataError, match="could all be Bladder"):
        files_of(make(tmp_path / "b", "mr.nii.gz", "ct.nii.gz", "BLADDER_.nii.gz", "masks/bladder.nii.gz"))


def test_patients_are_the_folders_with_an_mr_or_a_ct(tmp_path):
    make(tmp_path, "b/mr.nii.gz", "a/ct.nii.gz", "c/notes.txt", ".hidden/mr.nii.gz")
    assert [path.name for path in find_patients(tmp_path)] == ["a", "b"]
    with pytest.raises(DataError, match="no patient was found; looked for folders with an MR"):
        find_patients(tmp_path / "c")
