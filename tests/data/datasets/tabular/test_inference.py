from __future__ import annotations

import numpy as np
import pytest
from tabular_data import GRADE, TUMOUR, full_case, ramp, save_image, save_volume, write_csv

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.tabular import tabular_inference_list
from ctan_monai.errors import DataError


def listed(source, folder, channels=("ct",), **options):
    return tabular_inference_list(source, folder / "cache", [TUMOUR], list(channels), progress=False, **options)


def test_an_image_a_folder_and_a_table_are_listed(tmp_path):
    save_volume(tmp_path / "in" / "b (2).nii.gz", ramp())
    save_volume(tmp_path / "in" / "a.nii", ramp() + 1)
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    items = listed(str(tmp_path / "in"), tmp_path)
    assert [item["case"] for item in items] == ["a", "b__2_"]
    np.testing.assert_array_equal(read_case_file(items[0]["file"]).volumes["ct"], ramp() + 1)
    assert [item["case"] for item in listed(str(tmp_path / "in" / "a.nii"), tmp_path)] == ["a"]
    table = write_csv(tmp_path / "cases.csv", [full_case(tmp_path, "p1")])
    (item,) = listed(str(table), tmp_path)
    assert item["case"] == "p1"
    assert read_case_file(item["file"]).masks == {}  # labels are none of inference's business


def test_channels_are_found_by_file_name_and_by_folder(tmp_path):
    for name in ("p1_t1.nii.gz", "p1_flair.nii.gz", "p2/t1.nii.gz", "p2/flair.nii.gz"):
        save_volume(tmp_path / "in" / name, ramp() + name.count("flair"))
    items = listed(str(tmp_path / "in"), tmp_path, ("t1", "flair"))
    assert [item["case"] for item in items] == ["p1", "p2"]
    for item in items:
        np.testing.assert_array_equal(read_case_file(item["file"]).volumes["flair"], ramp() + 1)
    (tmp_path / "in" / "p1_flair.nii.gz").unlink()
    with pytest.raises(DataError, match="there is no file for flair"):
        listed(str(tmp_path / "in"), tmp_path, ("t1", "flair"))


def test_images_are_brought_to_the_size_that_was_trained_on(tmp_path):
    save_image(tmp_path / "a.png", np.indices((3, 40, 50))[2].transpose(1, 2, 0))
    (item,) = listed(str(tmp_path / "a.png"), tmp_path, ("red", "green", "blue"), size=[32, 48])
    assert read_case_file(item["file"]).shape == (32, 48)


def test_nothing_to_do_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image was found"):
        listed(str(tmp_path / "empty"), tmp_path)
    with pytest.raises(DataError, match="no image was found"):
        listed(str(tmp_path / "none.nii"), tmp_path)
    save_volume(tmp_path / "a.nii", ramp())
    with pytest.raises(DataError, match="no image of the channels t1, flair was found"):
        listed(str(tmp_path), tmp_path, ("t1", "flair"))


def test_two_images_of_one_name_are_refused(tmp_path):
    save_volume(tmp_path / "a.nii", ramp())
    save_volume(tmp_path / "a.nii.gz", ramp())
    with pytest.raises(DataError, match=r"a.nii and a.nii.gz would both be called a"):
        listed(str(tmp_path), tmp_path)
    (tmp_path / "a.nii.gz").rename(tmp_path / "A.nii.gz")
    with pytest.raises(DataError, match=r"A.nii.gz and a.nii would both be called a"):
        listed(str(tmp_path), tmp_path)


@pytest.mark.parametrize("other", ["p1_t1.nii", "p1/t1.nii.gz", "P1_t1.nii"])
def test_two_files_for_one_channel_are_refused(tmp_path, other):
    for name in ("p1_t1.nii.gz", "p1_flair.nii.gz", other, other.replace("t1.", "flair.")):
        save_volume(tmp_path / "in" / name, ramp())
    with pytest.raises(DataError, match=r"would both be (its (t1|flair)|called p1)"):
        listed(str(tmp_path / "in"), tmp_path, ("t1", "flair"))


def test_without_a_source_some_synthetic_cases_are_shown(tmp_path):
    items = tabular_inference_list(None, tmp_path, [TUMOUR, GRADE], ["gray"], sample="gray", progress=False)
    assert len(items) == 4
    assert all(item["case"].startswith("synthetic_") for item in items)
