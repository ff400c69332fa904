from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest

from ctan_monai.data.datasets.openkbp.reader import OARS, PTVS, affine_ras_of, find_patients, read_case
from ctan_monai.data.datasets.openkbp.sparse import read_spacing
from ctan_monai.errors import DataError


def plainly(path):
    """Read a sparse file with nothing but the csv module."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {int(index): float(value) if value else 1.0 for index, value in rows}


def check_against_plain_reading(folder):
    case = read_case(folder)
    names = {path.stem for path in folder.glob("*.csv")} - {"ct", "dose", "voxel_dimensions", "possible_dose_mask"}
    assert set(case.masks) == names | {"dose_region"}
    arrays = {"ct": case.volumes["ct"].astype(int) + 1024, "dose": case.volumes["dose"]}
    arrays |= {"possible_dose_mask": case.masks["dose_region"], **{name: case.masks[name] for name in names}}
    for name, array in arrays.items():
        entries = {index: value for index, value in plainly(folder / f"{name}.csv").items() if value != 0}
        flat = array.reshape(-1)
        assert np.flatnonzero(flat).tolist() == sorted(entries)
        np.testing.assert_array_equal(flat[list(entries)], np.array(list(entries.values()), dtype=flat.dtype))
    return case


@pytest.mark.parametrize("name", ["pt_1", "pt_2", "pt_3"])
def test_the_golden_patients_are_read_as_they_are(golden, name):
    case = check_against_plain_reading(golden / "reference" / name)
    assert case.case == name
    assert (case.volumes["ct"].dtype, case.volumes["dose"].dtype) == (np.int16, np.float32)
    assert case.shape == (128, 128, 128)


@pytest.mark.data
def test_a_real_patient_is_read_as_it_is(real_openkbp):
    case = check_against_plain_reading(real_openkbp / "provided-data" / "validation-pats" / "pt_214")
    assert "LeftParotid" not in case.masks  # unknown, so not an empty mask


def test_an_index_counts_in_c_order_and_air_fills_the_rest(write_patient):
    case = read_case(write_patient(ct=",data\n0,1023\n1,2024.0\n128,3024\n16384,32743.0\n"))
    ct_hu = case.volumes["ct"]
    assert (ct_hu[0, 0, 0], ct_hu[0, 0, 1], ct_hu[0, 1, 0], ct_hu[1, 0, 0]) == (-1, 1000, 2000, 31719)
    assert (ct_hu == -1024).sum() == 128**3 - 4


def test_axes_run_from_front_right_and_top(write_patient):
    # By hand: voxel (i, j, k) lies i*dy to the back, j*dx to the left and k*dz to the feet of voxel (0, 0, 0).
    case = read_case(write_patient(voxel_dimensions="4\n5\n2.5\n"))
    np.testing.assert_allclose(case.affine_ras @ [1, 2, 3, 1], [-2 * 4, -1 * 5, -3 * 2.5, 1])
    assert case.spacing_mm == (5, 4, 2.5)
    np.testing.assert_array_equal(case.affine_ras, affine_ras_of((4, 5, 2.5)))


def test_the_names_of_structures_differ():
    assert len({*OARS, *PTVS}) == 10


@pytest.mark.parametrize(
    "files",
    [
        {"Brainstem": None},
        {"possible_dose_mask": None},
        {"possible_dose_mask": ",data\n7,\n"},  # a voxel without CT
        {"ct": ",data\n1,32743.0\n"},
        {"Larynx": ",data\n9,\n"},
        {"Larynx": ",data\n9,1.0\n10,1.0\n"},
        {"Larynx": ",data\r\n9,\r\n10,\r\n"},
        {"dose": ",data\n"},
        {"ct": ",data\n7,1\n3,2\n5,3\n"},
        {"notes": "whatever"},
    ],
)
def test_what_occurs_in_the_official_data_or_does_no_harm_passes(write_patient, files):
    assert "ct" in read_case(write_patient(**files)).volumes


def test_a_patient_without_a_dose_is_one_to_predict(write_patient):
    assert list(read_case(write_patient(dose=None)).volumes) == ["ct"]


BAD = [
    ({"ct": None}, "ct.csv is missing", "pt_1"),
    ({"ct": ",data\n"}, "no voxel", "ct.csv"),
    ({"ct": ",data\n1,0\n2,0\n"}, "each of its voxels is air", "ct.csv"),
    ({"ct": ""}, "starts with b''", "ct.csv"),
    ({"ct": ",data\n1,1000.5\n"}, "not a whole number", "ct.csv"),
    ({"ct": ",data\n1,40000\n"}, "to 40000, expected", "ct.csv"),
    ({"ct": ",data\n1,-1000\n2,30\n"}, "from -1000", "ct.csv"),
    ({"ct": ",data\n1,nan\n"}, "line 2 has the value nan", "ct.csv"),
    ({"ct": ",data\n1,5\n2,\n"}, "line 3 has the value nan", "ct.csv"),
    ({"ct": ",data\n1,inf\n"}, "value inf", "ct.csv"),
    ({"ct": ",data\n1,12e\n"}, "not a table", "ct.csv"),
    ({"ct": ",data\n1,5\x00\n"}, "not a table", "ct.csv"),
    ({"ct": ",data\n1,\xff\n"}, "not a table", "ct.csv"),
    ({"ct": ",data\n1.5,5\n"}, "not a table", "ct.csv"),
    ({"ct": ",data\n99999999999999999999,5\n"}, "not a table", "ct.csv"),
    ({"ct": ",data\n,5\n"}, "not a table", "ct.csv"),
    ({"ct": "index,data\n1,5\n"}, "expected ',data'", "ct.csv"),
    ({"ct": "1,5\n2,6\n"}, "expected ',data'", "ct.csv"),
    ({"ct": ",data\n1,5,7\n"}, "not 'index,value'", "ct.csv"),
    ({"ct": ",data\n1,5\n2\n"}, "not 'index,value'", "ct.csv"),
    ({"ct": ",data\n1,5\n\n"}, "not 'index,value'", "ct.csv"),
    ({"ct": ",data\n1,5\n23"}, "within a line", "ct.csv"),
    ({"ct": ",data\n1,5\n2,6"}, "within a line", "ct.csv"),
    ({"ct": ",data\n2097152,5\n"}, "expected 0 to 2097151", "ct.csv"),
    ({"ct": ",data\n-1,5\n"}, "from -1", "ct.csv"),
    ({"ct": ",data\n3,5\n4,5\n3,6\n"}, "index 3 occurs more than once", "ct.csv"),
    ({"dose": ",data\n1,-0.5\n"}, "from -0.5", "dose.csv"),
    ({"dose": ",data\n1,7000\n"}, "to 7000 Gy", "dose.csv"),
    ({"dose": ",data\n1,nan\n"}, "value nan", "dose.csv"),
    ({"Brainstem": ",data\n"}, "no voxel", "Brainstem.csv"),
    ({"Brainstem": ",data\n1,0.0\n"}, "has the value 0", "Brainstem.csv"),
    ({"Brainstem": ",data\n1,\n1,\n"}, "more than once", "Brainstem.csv"),
    ({"possible_dose_mask": ",data\n5000000,\n"}, "5000000", "possible_dose_mask.csv"),
    ({"voxel_dimensions": None}, "cannot be read", "voxel_dimensions.csv"),
    ({"voxel_dimensions": "3\n3\n"}, "three positive numbers", "voxel_dimensions.csv"),
    ({"voxel_dimensions": "3\n3\n0\n"}, "three positive numbers", "voxel_dimensions.csv"),
    ({"voxel_dimensions": "3\n3\n-1\n"}, "three positive numbers", "voxel_dimensions.csv"),
    ({"voxel_dimensions": "3\n3\nnan\n"}, "three positive numbers", "voxel_dimensions.csv"),
    ({"voxel_dimensions": "3\n3\nmm\n"}, "three positive numbers", "voxel_dimensions.csv"),
]


@pytest.mark.promise(3, "faults in OpenKBP's files (NaN, cGy, repeated indices, nothing in it ...) are refused by name")
@pytest.mark.parametrize(("files", "message", "culprit"), BAD)
def test_what_is_wrong_is_refused_by_name(write_patient, files, message, culprit):
    with pytest.raises(DataError) as caught:
        read_case(write_patient(**files))
    assert message in str(caught.value)
    assert caught.value.path.name == culprit
    assert caught.value.case == "pt_1"
    assert caught.value.remedy


def test_a_folder_whose_name_cannot_be_an_id_is_refused(write_patient):
    with pytest.raises(DataError, match="case id"):
        read_case(write_patient("patient 1"))


def test_spacings_may_be_written_as_the_official_files_do(tmp_path):
    path = tmp_path / "voxel_dimensions.csv"
    path.write_text("4.187999999999999723e+00\n4.187999999999999723e+00\n2.500000000000000000e+00\n")
    assert read_spacing(path) == (4.188, 4.188, 2.5)


@pytest.mark.parametrize("inside", ["", "provided-data", "open-kbp/provided-data"])
def test_patients_are_found_from_any_of_the_usual_folders(tmp_path, write_patient, inside):
    for name in ("pt_10", "pt_9"):
        folder = tmp_path / "data" / inside / "train-pats"
        shutil.copytree(write_patient(name), folder / name)
    (folder / "readme.txt").write_text("")
    found = find_patients(tmp_path / "data")
    assert [path.name for path in found["train"]] == ["pt_9", "pt_10"]
    assert found["validation"] == found["test"] == []


def test_a_folder_without_patients_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError) as caught:
        find_patients(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere" / "provided-data" / "train-pats") in str(caught.value)
    assert "--dataset_dir" in caught.value.remedy
