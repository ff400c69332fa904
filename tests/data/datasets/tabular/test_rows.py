from __future__ import annotations

import pytest
from tabular_data import TASKS, TUMOUR, full_case, label_map, ramp, save_volume, volume_layout, write_csv, write_json

from ctan_monai.data.datasets.tabular.rows import read_rows
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification, Regression, Segmentation


def test_a_row_has_the_files_and_labels_of_its_case(tmp_path):
    rows = [full_case(tmp_path, "p1", group="anna", split="Training"), full_case(tmp_path, "p2")]
    first, second = read_rows(write_csv(tmp_path / "cases.csv", rows), None, volume_layout())
    assert (first.case, first.group, first.split, first.where) == ("p1", "anna", "train", "line 2")
    assert first.images == (tmp_path / "p1_ct.nii.gz",)
    assert first.maps == {"tumour": tmp_path / "p1_tumour.nii.gz"}
    assert first.volumes == {"dose": tmp_path / "p1_dose.nii.gz"}
    assert first.values == {"grade": 1, "age": 61.5}
    assert (second.group, second.split, second.fold) == (None, None, None)


def test_a_patient_written_in_two_ways_is_one_group(tmp_path):
    rows = [full_case(tmp_path, f"p{at}", patient=name) for at, name in enumerate(["Anna", "ANNA ", "anna", "Berta"])]
    found = read_rows(write_csv(tmp_path / "cases.csv", rows), None, volume_layout())
    assert [row.group for row in found] == ["Anna", "Anna", "Anna", "Berta"]


def test_every_label_may_be_unknown(tmp_path):
    row = full_case(tmp_path, "p1", tumour="", grade="nan", dose="N/A", age=" ")
    (found,) = read_rows(write_csv(tmp_path / "cases.csv", [row]), None, volume_layout())
    assert (found.masks, found.maps, found.volumes, found.values) == ({}, {}, {}, {})


def test_a_class_may_be_called_like_an_empty_cell(tmp_path):
    tasks = [Classification("smoker", ["yes", "NA"])]
    row = {"case": "p1", "image": save_volume(tmp_path / "a.nii.gz", ramp()), "smoker": "NA"}
    (found,) = read_rows(write_csv(tmp_path / "cases.csv", [row]), None, volume_layout(tasks))
    assert found.values == {"smoker": 1}


def test_masks_of_single_labels_are_columns_of_their_names(tmp_path):
    mask = save_volume(tmp_path / "core.nii.gz", label_map(edema=0))
    image = save_volume(tmp_path / "p1.nii.gz", ramp())
    path = write_csv(tmp_path / "cases.csv", [{"image": image, "core": mask, "edema": ""}])
    (found,) = read_rows(path, None, volume_layout([TUMOUR]))
    assert found.case == "p1"  # called like the file
    assert found.masks == {"core": tmp_path / "core.nii.gz"}


def test_several_channels_are_columns_a_list_or_a_dictionary(tmp_path):
    for name in ("t1", "t2"):
        save_volume(tmp_path / f"{name}.nii", ramp())
    layout = volume_layout([TUMOUR], ("t1", "t2"))
    expected = (tmp_path / "t1.nii", tmp_path / "t2.nii")
    as_columns = write_csv(tmp_path / "a.csv", [{"case": "p1", "t1": "t1.nii", "t2": "t2.nii", "tumour": ""}])
    images = [["t1.nii", "t2.nii"], {"t2": "t2.nii", "t1": "t1.nii"}]
    as_json = [
        write_json(tmp_path / f"{at}.json", [{"case": "p1", "image": image, "tumour": None}])
        for at, image in enumerate(images)
    ]
    for path in (as_columns, *as_json):
        assert read_rows(path, None, layout)[0].images == expected


def test_the_decathlons_label_is_the_map_of_the_only_segmentation(tmp_path):
    save_volume(tmp_path / "i.nii.gz", ramp())
    save_volume(tmp_path / "l.nii.gz", label_map())
    path = write_json(tmp_path / "d.json", {"training": [{"image": "./i.nii.gz", "label": "./l.nii.gz"}]})
    (found,) = read_rows(path, None, volume_layout([TUMOUR]))
    assert found.maps == {"tumour": tmp_path / "l.nii.gz"}
    assert found.split == "train"


def test_of_one_label_a_map_and_a_mask_are_the_same(tmp_path):
    save_volume(tmp_path / "i.nii.gz", ramp())
    save_volume(tmp_path / "l.nii.gz", label_map() > 0)
    for column, task in (("lesion", "lesion"), ("lesion", "core"), ("label", "lesion")):
        path = write_csv(tmp_path / "a.csv", [{"image": "i.nii.gz", column: "l.nii.gz"}])
        (found,) = read_rows(path, None, volume_layout([Segmentation("lesion", [task], overlapping=True)]))
        assert (found.masks, found.maps) == ({task: tmp_path / "l.nii.gz"}, {})


def test_paths_start_from_the_dataset_dir(tmp_path):
    (tmp_path / "images").mkdir()
    row = full_case(tmp_path / "images", "p1")
    path = write_csv(tmp_path / "cases.csv", [row])
    assert read_rows(path, tmp_path / "images", volume_layout())[0].images == (tmp_path / "images" / "p1_ct.nii.gz",)
    with pytest.raises(DataError, match=r"line 2: there is no file .*p1_ct.nii.gz and 2 more"):
        read_rows(path, None, volume_layout())
    with pytest.raises(DataError, match="there is no such folder"):
        read_rows(path, tmp_path / "nowhere", volume_layout())


@pytest.mark.promise(6, "a relative path in a table of data does not leave its folder")
def test_a_whole_path_may_lead_anywhere_but_a_relative_one_does_not_leave_its_folder(tmp_path):
    (tmp_path / "lists").mkdir()
    row = full_case(tmp_path, "p1")
    whole = {name: str(tmp_path / cell) if str(cell).endswith(".gz") else cell for name, cell in row.items()}
    assert read_rows(write_csv(tmp_path / "lists" / "a.csv", [whole]), None, volume_layout())
    up = row | {"image": "../p1_ct.nii.gz"}
    with pytest.raises(DataError, match=r"line 2: image is '../p1_ct.nii.gz', which leaves the data's folder"):
        read_rows(write_csv(tmp_path / "lists" / "b.csv", [up]), tmp_path, volume_layout())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grade": "medium"}, "line 3: grade: 'medium' is no class; expected one of low, high"),
        ({"age": "61,5"}, "line 3: age: '61,5' is no number in years; write a point, not a comma"),
        ({"case": "p1"}, "line 3: this case is in line 2 already"),
        ({"case": "P1"}, "line 3: this case is in line 2 already"),
        ({"case": "p/2"}, "line 3: 'p/2' cannot be a case's name"),
        ({"image": ""}, "line 3: there is no file for image"),
        ({"image": "none.nii.gz"}, "line 3: there is no file"),
        ({"image": 300 * "a" + ".nii.gz"}, "line 3: there is no file"),
        ({"split": "trian"}, "line 3: the split 'trian' is unknown"),
        ({"fold": "first"}, "line 3: the fold 'first' is no number"),
        ({"fold": "²"}, "line 3: the fold '²' is no number"),
        ({"grade": "²"}, "line 3: grade: '²' is no class"),
        ({"core": "p1_tumour.nii.gz"}, "line 3: tumour has a label map and masks of core"),
    ],
)
def test_what_is_wrong_with_a_case_is_one_line_with_its_place(tmp_path, changes, message):
    first = full_case(tmp_path, "p1") | dict.fromkeys(changes.keys() - full_case(tmp_path, "p1").keys(), "")
    second = full_case(tmp_path, "p2", **changes)
    with pytest.raises(DataError) as caught:
        read_rows(write_csv(tmp_path / "cases.csv", [first, second]), None, volume_layout())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "cases.csv") in str(caught.value)


def test_all_problems_can_be_collected_and_the_good_cases_are_kept(tmp_path):
    rows = [full_case(tmp_path, "p1"), full_case(tmp_path, "p2", grade="medium"), full_case(tmp_path, "p3", age="x")]
    problems = []
    found = read_rows(write_csv(tmp_path / "cases.csv", rows), None, volume_layout(), problems=problems)
    assert [row.case for row in found] == ["p1"]
    assert [(where, error.case) for where, error in problems] == [("line 3", "p2"), ("line 4", "p3")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("grade", "garde", "there is no column grade; .* Did you mean 'grade' by 'garde'?"),
        ("tumour", "tumor", r"there is no column core, edema \(or tumour\); .* Did you mean 'tumour' by 'tumor'"),
        ("image", "imgae", r"there is no column ct \(or image\)"),
        ("dose", "dosis", "there is no column dose"),
        ("age", "Age", "there is no column age; .* Did you mean 'age' by 'Age'?"),
        ("case", "cases", "the column 'cases' is unknown; did you mean 'case'?"),
    ],
)
def test_a_misspelt_column_is_named(tmp_path, old, new, message):
    row = {new if name == old else name: cell for name, cell in full_case(tmp_path, "p1").items()}
    with pytest.raises(DataError, match=message):
        read_rows(write_csv(tmp_path / "cases.csv", [row]), None, volume_layout())


def test_other_columns_are_ignored_aloud(tmp_path, caplog):
    caplog.set_level("INFO")
    row = full_case(tmp_path, "p1", hospital="north")
    assert len(read_rows(write_csv(tmp_path / "cases.csv", [row]), None, volume_layout())) == 1
    assert "columns that are not used: hospital" in caplog.text


def test_for_inference_no_label_is_needed(tmp_path):
    row = {"image": save_volume(tmp_path / "a.nii.gz", ramp())}
    assert read_rows(write_csv(tmp_path / "a.csv", [row]), None, volume_layout(), labels_needed=False)[0].case == "a"


@pytest.mark.parametrize(
    ("tasks", "channels"),
    [
        ([Segmentation("lesion", ["ct"])], ("ct",)),
        ([Segmentation("lesion", ["lesion", "rim"])], ("ct",)),
        ([Classification("split", ["a", "b"])], ("ct",)),
        ([Regression("dose", "Gy", 70.0), Segmentation("x", ["Dose"])], ("ct",)),
        (TASKS, ()),
    ],
)
def test_names_that_would_be_one_column_are_refused(tasks, channels):
    with pytest.raises(ConfigError, match="each needs a column name of its own"):
        volume_layout(tasks, channels)


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"size": [16, 16]}, "size"),
        ({"size": 256}, "size"),
        ({"spacing_mm": [1.0, 1.0]}, "spacing_mm"),
        ({"spacing_mm": [1.0, 0, 1.0]}, "spacing_mm"),
        ({"axes": "RLS"}, "axes"),
        ({"spatial_dims": 4}, "spatial_dims"),
        ({"label_values": {"tumour": {"core": 1}}}, "label_values: tumour"),
        ({"label_values": {"tumour": {"core": 1, "edema": 1}}}, "label_values: tumour"),
        ({"label_values": {"lesion": {"core": 1}}}, "label_values: lesion"),
    ],
)
def test_settings_that_cannot_be_are_named(options, setting):
    with pytest.raises(ConfigError) as caught:
        volume_layout(**options)
    assert caught.value.setting == setting
