import json
import logging
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from ctan_monai.data.cases.cache import read_case_file, read_header
from ctan_monai.data.datasets.stoic.datalist import chest_inference_list, stoic_datalist, stoic_record
from ctan_monai.data.datasets.stoic.reader import Row, find_stoic, read_reference
from ctan_monai.data.datasets.stoic.synthetic import write_chest_phantoms
from ctan_monai.data.lists.leakage import check_leakage
from ctan_monai.errors import ConfigError, DataError

SIZE = [64, 64]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Twelve synthetic patients: six negative, three positive, three severe."""
    folder = tmp_path_factory.mktemp("stoic")
    patients = {"negative": 6, "mild": 3, "severe": 3}
    return write_chest_phantoms(folder / "drawn", patients=patients, shape=(64, 64, 12))


@pytest.fixture
def published(drawn, tmp_path):
    """A copy of them that a test may change."""
    return shutil.copytree(drawn, tmp_path / "stoic")


def table_of(root):
    return read_reference(root / "metadata" / "reference.csv")


def write_table(tmp_path, *lines, head="PatientID,probCOVID,probSevere"):
    path = tmp_path / "reference.csv"
    path.write_text("\n".join([head, *lines]))
    return path


# ---- the table


def test_severity_of_a_negative_is_unknown_not_negative(tmp_path):
    rows = read_reference(write_table(tmp_path, "1,0,0", "2,1,0", "3,1,1", "4,0,"))
    assert rows == {"1": Row(0, None), "2": Row(1, 0), "3": Row(1, 1), "4": Row(0, None)}
    assert [row.labels for row in rows.values()] == [
        {"covid": 0},
        {"covid": 1, "severe": 0},
        {"covid": 1, "severe": 1},
        {"covid": 0},
    ]
    assert [row.stratum for row in rows.values()] == ["negative", "positive", "severe", "negative"]


def test_empty_cells_are_unknown(tmp_path):
    rows = read_reference(write_table(tmp_path, "1,,", "2,1,nan", "3,,1", "4,,0", "5,1.0,0.0"))
    assert rows == {"1": Row(None, None), "2": Row(1, None), "3": Row(None, 1), "4": Row(None, None), "5": Row(1, 0)}
    assert rows["1"].stratum is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["7,0,1"], r"case 7.*line 2 has severe COVID-19 without COVID-19"),
        (["7,1,0", "7,1,0"], r"line 3 lists this patient again"),
        (["7,2,0"], r"line 2 has probCOVID '2', expected 0 or 1"),
        (["7,1,maybe"], r"line 2 has probSevere 'maybe'"),
        (["7,0.3,0"], r"probCOVID '0\.3'"),
        (["../7,1,0"], r"a case id is"),
    ],
)
def test_rows_that_cannot_be_are_refused(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_reference(write_table(tmp_path, *lines))


def test_another_table_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"the columns \['PatientID', 'probSevere'\] are missing"):
        read_reference(write_table(tmp_path, "1,0", head="id,probCOVID"))
    with pytest.raises(DataError, match=r"the header has \['probSevere'\] twice"):
        read_reference(write_table(tmp_path, "1,0,0,1", head="PatientID,probCOVID,probSevere,probSevere"))
    with pytest.raises(DataError, match="it cannot be read"):
        read_reference(tmp_path / "none.csv")


# ---- the folder


def test_cts_without_a_row_and_rows_without_a_ct_are_listed(published, caplog):
    (published / "data" / "mha" / "SYN_0003.mha").unlink()
    shutil.copy(published / "data" / "mha" / "SYN_0004.mha", published / "data" / "mha" / "900.mha")
    with caplog.at_level(logging.WARNING):
        found = find_stoic(published)
    assert "1 CTs have no row in reference.csv and are left out: 900" in caplog.text
    assert "1 rows of reference.csv have no CT and are left out: SYN_0003" in caplog.text
    assert sorted(found.scans) == [f"SYN_{number:04d}" for number in range(12) if number != 3]


def test_the_data_are_found_from_the_folder_above_too(published):
    assert find_stoic(published.parent).scans == find_stoic(published).scans
    assert len(find_stoic(published).scans) == 12


def test_nothing_and_two_tables_and_two_cts_of_one_name_are_refused(published, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there are 0 CTs and 0 tables"):
        find_stoic(tmp_path / "empty")
    (published / "data" / "nifti").mkdir()
    sitk.WriteImage(
        sitk.ReadImage(str(published / "data" / "mha" / "SYN_0001.mha")),
        str(published / "data" / "nifti" / "SYN_0001.nii.gz"),
    )
    with pytest.raises(DataError, match=r"SYN_0001\.mha and SYN_0001\.nii\.gz would both be called SYN_0001"):
        find_stoic(published)
    shutil.rmtree(published / "data" / "nifti")
    shutil.copy(published / "metadata" / "reference.csv", published / "reference.csv")
    with pytest.raises(DataError, match="12 CTs and 2 tables"):
        find_stoic(published)


# ---- lists


def test_cases_hold_the_labels_of_the_table(drawn, tmp_path):
    lists = stoic_datalist(drawn, tmp_path, SIZE, progress=False, workers=0)
    rows = table_of(drawn)
    cases = {item["case"]: read_case_file(item["file"]) for items in lists.values() for item in items}
    assert cases.keys() == rows.keys()
    for name, case in cases.items():
        assert case.values == rows[name].labels
        assert case.shape[:2] == (64, 64)
        assert case.masks["lungs"].any()
        assert case.meta["synthetic"]
        assert case.meta["PatientAge"].endswith("Y")


def test_the_split_is_by_patient_spread_over_the_labels_and_the_seed_decides(drawn, tmp_path):
    def listed(seed, **options):
        found = stoic_datalist(drawn, tmp_path, SIZE, seed=seed, progress=False, workers=0, **options)
        return {split: [item["case"] for item in items] for split, items in found.items()}

    one = listed(0, split_fractions=(0.34, 0.33, 0.33))
    rows = table_of(drawn)
    assert sorted(case for cases in one.values() for case in cases) == sorted(rows)
    for cases in one.values():
        assert sorted(rows[case].stratum for case in cases) == ["negative", "negative", "positive", "severe"]
    assert listed(0, split_fractions=(0.34, 0.33, 0.33)) == one
    assert listed(1, split_fractions=(0.34, 0.33, 0.33)) != one


def test_the_lungs_of_a_patient_are_divided_into_parts_that_cover_them(drawn, tmp_path):
    lists = stoic_datalist(drawn, tmp_path, SIZE, slices=4, progress=False, workers=0)
    header = read_header(lists["train"][0]["file"])
    lungs = header.slices_with("lungs")
    parts = [item["slices"] for item in lists["train"] if item["case"] == lists["train"][0]["case"]]
    assert [k for first, stop in parts for k in range(first, stop)] == lungs
    assert len(parts) == 4
    assert all("slices" not in item for item in lists["validation"])


def test_more_parts_than_slices_repeat_some(drawn, tmp_path):
    lists = stoic_datalist(drawn, tmp_path, SIZE, slices=20, progress=False, workers=0)
    parts = [item["slices"] for item in lists["train"]][:20]
    assert all(stop - first == 1 for first, stop in parts)
    assert {first for first, _ in parts} == set(read_header(lists["train"][0]["file"]).slices_with("lungs"))


def test_the_same_ct_under_two_names_stays_in_one_split_however_it_is_packed(published, tmp_path):
    scans = published / "data" / "mha"
    image = sitk.ReadImage(str(scans / "SYN_0002.mha"))
    with (published / "metadata" / "reference.csv").open("a") as table:
        for copy in range(6):
            sitk.WriteImage(image, str(scans / f"{900 + copy}.mha"), useCompression=bool(copy % 2))
            table.write(f"{900 + copy},1,1\n")
    lists = stoic_datalist(published, tmp_path / "cache", SIZE, progress=False, workers=0)
    copies = {"SYN_0002", *(str(900 + copy) for copy in range(6))}
    holds = {split for split, items in lists.items() for item in items if item["case"] in copies}
    assert len(holds) == 1
    assert check_leakage(lists) == []
    planted = {"train": ["SYN_0001", "900"], "validation": ["SYN_0003"], "test": ["SYN_0002", "SYN_0004"]}
    (tmp_path / "list.json").write_text(json.dumps(planted))
    lists = stoic_datalist(
        published, tmp_path / "cache", SIZE, progress=False, workers=0, datalist=tmp_path / "list.json"
    )
    with pytest.raises(DataError, match=r"same file: 900 \(train\) and SYN_0002 \(test\)"):
        check_leakage(lists)


def test_a_changed_row_and_another_grid_are_read_again(published, tmp_path):
    def case(**options):
        lists = stoic_datalist(published, tmp_path / "cache", SIZE, progress=False, workers=0, **options)
        items = {item["case"]: item for items in lists.values() for item in items}
        return read_case_file(items["SYN_0000"]["file"])

    before = case()
    table = published / "metadata" / "reference.csv"
    lines = table.read_text().splitlines()
    lines[1] = "SYN_0000,,"
    table.write_text("\n".join(lines))
    assert before.values
    assert case().values == {}
    assert case(slice_mm=None).shape[2] == before.shape[2]  # slices are 27 mm apart: none are made up


def test_a_ct_that_cannot_be_read_stops_or_is_left_out(published, tmp_path, caplog):
    broken = published / "data" / "mha" / "SYN_0005.mha"
    broken.write_bytes(broken.read_bytes()[:-1000])
    options = {"progress": False, "workers": 0}
    with pytest.raises(DataError, match=r"SYN_0005\.mha.*cannot be read"):
        stoic_datalist(published, tmp_path / "cache", SIZE, **options)
    lists = stoic_datalist(published, tmp_path / "cache", SIZE, on_error="skip", **options)
    assert "They are left out" in caplog.text
    assert "SYN_0005" not in [item["case"] for items in lists.values() for item in items]


def test_several_processes_read_the_same(drawn, tmp_path):
    one, two = (stoic_datalist(drawn, tmp_path / str(count), SIZE, workers=count, progress=False) for count in (0, 2))
    for mine, other in zip(one["test"], two["test"], strict=True):
        assert np.array_equal(read_case_file(mine["file"]).volumes["ct"], read_case_file(other["file"]).volumes["ct"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": 0}, "slices: 0 was found"),
        ({"splits": ["training"]}, "splits"),
        ({"image_size": 64}, "image_size: 64"),
        ({"split_fractions": (0.5, 0.5)}, "split_fractions"),
    ],
)
def test_settings_that_are_none_are_refused(drawn, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        stoic_datalist(drawn, tmp_path, **{"image_size": SIZE, "progress": False, "workers": 0, **options})


def test_unknown_names_and_empty_splits_are_refused(drawn, tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"train": ["SYN_0001", "8622"], "validation": [], "test": []}))
    with pytest.raises(DataError, match=r"\['8622'\] are not among the 12 patients"):
        stoic_datalist(drawn, tmp_path, SIZE, datalist=path, progress=False, workers=0)
    path.write_text(json.dumps({"train": ["SYN_0001"], "validation": [], "test": ["SYN_0002"]}))
    with pytest.raises(DataError, match=r"no patient was found for \['validation'\]"):
        stoic_datalist(drawn, tmp_path, SIZE, datalist=path, progress=False, workers=0)


def test_the_record_of_a_run_says_whether_the_data_were_synthetic(drawn, tmp_path):
    lists = stoic_datalist(drawn, tmp_path, SIZE, slices=3, progress=False, workers=0)
    record = stoic_record(drawn, lists)
    assert record["synthetic"]
    assert record["cases"] == {split: len({item["case"] for item in items}) for split, items in lists.items()}


# ---- inference


def test_cts_of_any_name_are_listed_for_inference(drawn, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(drawn / "data" / "mha" / "SYN_0001.mha", folder / "Chest of A.mha")
    image = sitk.ReadImage(str(drawn / "data" / "mha" / "SYN_0002.mha"))
    sitk.WriteImage(image, str(folder / "b.nii.gz"))
    (folder / "notes.txt").write_text("no CT")
    items = chest_inference_list(folder, tmp_path / "cache", SIZE)
    assert [item["case"] for item in items] == ["Chest_of_A", "b"]
    cases = [read_case_file(item["file"]) for item in items]
    assert [case.values for case in cases] == [{}, {}]
    trained = stoic_datalist(drawn, tmp_path / "cache", SIZE, progress=False, workers=0)
    same = {item["case"]: item["file"] for found in trained.values() for item in found}
    assert np.array_equal(cases[1].volumes["ct"], read_case_file(same["SYN_0002"]).volumes["ct"])
    (one,) = chest_inference_list(folder / "b.nii.gz", tmp_path / "cache", SIZE)
    assert one == items[1]


def test_what_inference_cannot_read_stops_or_is_left_out(drawn, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    with pytest.raises(DataError, match="no CT was found"):
        chest_inference_list(folder, tmp_path / "cache", SIZE)
    shutil.copy(drawn / "data" / "mha" / "SYN_0001.mha", folder / "a.mha")
    (folder / "b.mha").write_text("nothing")
    with pytest.raises(DataError, match=r"b\.mha"):
        chest_inference_list(folder, tmp_path / "cache", SIZE)
    (item,) = chest_inference_list(folder, tmp_path / "cache", SIZE, on_error="skip")
    assert item["case"] == "a"
    shutil.copy(folder / "a.mha", folder / "c d.mha")
    shutil.copy(folder / "a.mha", folder / "c_d.mha")
    with pytest.raises(DataError, match=r"c d.mha and c_d.mha would both be called c_d"):
        chest_inference_list(folder, tmp_path / "cache", SIZE)
