from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from tabular_data import (
    AGE,
    DOSE,
    GRADE,
    SHAPE,
    TASKS,
    TUMOUR,
    full_case,
    label_map,
    ramp,
    save_volume,
    write_csv,
    write_json,
)

from ctan_monai.data.cases.cache import read_case_file, read_header
from ctan_monai.data.datasets.tabular import tabular_datalist
from ctan_monai.data.lists.leakage import check_leakage
from ctan_monai.errors import ConfigError, DataError


def lists(path, folder, tasks=TASKS, channels=("ct",), **options):
    return tabular_datalist(
        str(path), folder / "cache", list(tasks), list(channels), progress=False, workers=0, **options
    )


def names(found):
    return {split: [item["case"] for item in items] for split, items in found.items()}


def images(folder, count, **columns):
    """Write different images without any label but a class, and return their rows."""
    rows = []
    for number in range(count):
        image = save_volume(folder / f"c{number:02d}.nii.gz", ramp() + number)
        rows.append({"image": image, "grade": "", **{name: of(number) for name, of in columns.items()}})
    return rows


def test_splits_are_those_of_the_table(tmp_path):
    splits = ["train", "validation", "test", "train"]
    rows = [full_case(tmp_path, f"p{number}", split=split) for number, split in enumerate(splits)]
    found = lists(write_csv(tmp_path / "cases.csv", rows), tmp_path)
    assert names(found) == {"train": ["p0", "p3"], "validation": ["p1"], "test": ["p2"]}
    case = read_case_file(found["train"][0]["file"])
    np.testing.assert_array_equal(case.masks["core"], label_map() == 1)
    assert case.values == {"grade": 1, "age": 61.5}


@pytest.mark.parametrize(("fold", "held_out"), [(0, ["c00", "c02"]), (1, ["c01"])])
def test_a_fold_validates_and_test_cases_stay_out_of_it(tmp_path, fold, held_out):
    entries = [{"image": row["image"], "fold": number % 2} for number, row in enumerate(images(tmp_path, 4))]
    content = {"training": entries[:3], "test": [{"image": entries[3]["image"]}]}
    path = write_json(tmp_path / "cases.json", content | {"training": [e | {"grade": "low"} for e in entries[:3]]})
    found = lists(path, tmp_path, [GRADE], fold=fold)
    assert names(found)["validation"] == held_out
    assert names(found)["test"] == ["c03"]
    with pytest.raises(DataError, match=r"there is no fold 2 among \[0, 1\]"):
        lists(path, tmp_path, [GRADE], fold=2)


def test_without_splits_groups_stay_together_and_classes_are_spread(tmp_path):
    rows = images(tmp_path, 40, group=lambda n: f"g{n // 2}", grade=lambda n: ["low", "high"][n // 2 % 2])
    found = lists(write_csv(tmp_path / "cases.csv", rows), tmp_path, [GRADE], split_fractions=(0.5, 0.25, 0.25), seed=3)
    for split, share in (("train", 20), ("validation", 10), ("test", 10)):
        assert abs(len(found[split]) - share) <= 2  # a group of each class
    group = {f"c{number:02d}": number // 2 for number in range(40)}
    groups = [{group[case] for case in cases} for cases in names(found).values()]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    for items in found.values():
        classes = [read_header(item["file"]).values["grade"] for item in items]
        assert abs(classes.count(0) - classes.count(1)) <= 2
    again = lists(
        write_csv(tmp_path / "cases.csv", rows[::-1]), tmp_path, [GRADE], split_fractions=(0.5, 0.25, 0.25), seed=3
    )
    assert {split: set(cases) for split, cases in names(again).items()} == {
        split: set(cases) for split, cases in names(found).items()
    }


@pytest.mark.promise(4, "one image under two names is kept in one split, and found where it is not")
def test_one_image_under_two_names_is_kept_in_one_split_and_found_where_it_is_not(tmp_path):
    rows = images(tmp_path, 12, grade=lambda _: "low")
    save_volume(tmp_path / "copy.nii", ramp())  # what c00 holds, stored otherwise
    rows.append({"image": "copy.nii", "grade": "low"})
    divided = names(lists(write_csv(tmp_path / "a.csv", rows), tmp_path, [GRADE]))
    assert any({"c00", "copy"} <= set(cases) for cases in divided.values())
    given = [row | {"split": "test" if row["image"] == "copy.nii" else "train"} for row in rows]
    found = lists(write_csv(tmp_path / "b.csv", given), tmp_path, [GRADE])
    with pytest.raises(DataError, match=r"same file: c00 \(train\) and copy \(test\)"):
        check_leakage({"train": [*found["train"], *found["validation"]], "test": found["test"]})


def test_a_group_in_two_splits_is_found(tmp_path):
    rows = images(tmp_path, 3, group=lambda n: "anna" if n != 1 else "bert")
    rows = [row | {"split": split} for row, split in zip(rows, ["train", "validation", "test"], strict=True)]
    found = lists(write_csv(tmp_path / "a.csv", rows), tmp_path, [GRADE])
    with pytest.raises(DataError, match=r"same patient: c00 \(train\) and c02 \(test\)"):
        check_leakage(found)


def test_a_training_set_without_validation_gives_some_of_its_cases(tmp_path, caplog):
    rows = [row | {"split": "train"} for row in images(tmp_path, 10)]
    found = lists(write_csv(tmp_path / "a.csv", rows), tmp_path, [GRADE])
    assert (len(found["train"]), len(found["validation"]), len(found["test"])) == (9, 1, 0)
    assert "has no validation set: 1 training cases serve" in caplog.text
    assert "has no test set" in caplog.text
    with pytest.raises(DataError, match=r"no case was found for \['test'\]"):
        lists(tmp_path / "a.csv", tmp_path, [GRADE], required=["test"])


def test_an_evaluation_tests_on_what_was_held_out_though_the_table_has_changed(tmp_path, caplog):
    rows = images(tmp_path, 24)
    before = names(lists(write_csv(tmp_path / "a.csv", rows[4:]), tmp_path, [GRADE]))
    kept = write_json(tmp_path / "datalist.json", before)
    grown = write_csv(tmp_path / "a.csv", [*rows[:4], *rows[5:]])
    assert names(lists(grown, tmp_path, [GRADE]))["test"] != before["test"]  # else this would show nothing
    found = names(lists(grown, tmp_path, [GRADE], split_as=str(kept), required=["test"]))
    assert found == {split: [case for case in cases if case != "c04"] for split, cases in before.items()}
    assert "1 cases have left the table and 4 were added" in caplog.text


@pytest.mark.parametrize("splits", [None, ["train"] * 22 + ["test"] * 2])
def test_cases_of_an_earlier_run_keep_their_split_whether_the_table_divides_or_not(tmp_path, caplog, splits):
    rows = images(tmp_path, 24)
    before = names(lists(write_csv(tmp_path / "a.csv", rows[:22]), tmp_path, [GRADE]))
    kept = write_json(tmp_path / "datalist.json", before)
    grown = rows if splits is None else [row | {"split": each} for row, each in zip(rows, splits, strict=True)]
    with caplog.at_level(logging.INFO):
        after = names(lists(write_csv(tmp_path / "a.csv", grown), tmp_path, [GRADE], seed=4, add_data=kept))
    assert all(set(cases) <= set(after[split]) for split, cases in before.items())
    assert sum(map(len, after.values())) == 24
    assert splits is None or {"c22", "c23"} <= set(after["test"])
    assert "the other 22 keep their split" in caplog.text
    with pytest.raises(ConfigError, match="add_data: 3 folds deal all cases anew"):
        lists(tmp_path / "a.csv", tmp_path, [GRADE], folds=3, add_data=kept)


def test_an_evaluation_takes_other_test_cases_that_a_table_calls_so(tmp_path):
    rows = [row | {"split": "test"} for row in images(tmp_path, 4)]
    kept = write_json(tmp_path / "datalist.json", {"train": ["c01"], "validation": ["x"], "test": ["y"]})
    found = names(lists(write_csv(tmp_path / "a.csv", rows), tmp_path, [GRADE], split_as=kept, required=["test"]))
    assert found == {"train": ["c01"], "validation": [], "test": ["c00", "c02", "c03"]}


def test_some_cases_without_a_split_are_refused(tmp_path):
    rows = [row | {"split": split} for row, split in zip(images(tmp_path, 3), ["train", "", "test"], strict=True)]
    with pytest.raises(DataError, match="line 3 has no split, but other lines have one"):
        lists(write_csv(tmp_path / "a.csv", rows), tmp_path, [GRADE])


def test_slices_that_a_label_crosses_are_trained_on(tmp_path, caplog):
    """label_map marks slices 1 and 2 of 4; the dose, where it is known, the last one."""
    dose = np.zeros(SHAPE, np.float32)
    dose[..., 3] = 2.5
    rows = [
        full_case(tmp_path, "labeled", split="train", dose=""),
        full_case(tmp_path, "dosed", split="train"),
        full_case(tmp_path, "unlabeled", split="train", tumour="", dose=""),
        full_case(tmp_path, "held", split="validation"),
    ]
    save_volume(tmp_path / "dosed_dose.nii.gz", dose)
    path = write_csv(tmp_path / "cases.csv", rows)
    found = lists(path, tmp_path, slices="labeled")
    slices = {name: [i["slice"] for i in found["train"] if i["case"] == name] for name in names(found)["train"]}
    assert slices == {"labeled": [1, 2], "dosed": [1, 2, 3], "unlabeled": [0, 1, 2, 3]}
    assert "slice" not in found["validation"][0]
    caplog.set_level(logging.INFO)
    check_leakage({"train": found["train"]})
    assert "(3 in train)" in caplog.text  # cases, not slices
    more = lists(path, tmp_path, slices="labeled", empty_fraction=0.5)
    assert len([item for item in more["train"] if item["case"] == "labeled"]) == 3
    assert len(lists(path, tmp_path, slices="all")["train"]) == 3 * SHAPE[2]


@pytest.mark.promise(5, "a case of a tabular dataset is read again when a label, a file or the way of reading changes")
def test_a_case_is_read_again_when_a_label_a_file_or_the_way_of_reading_changes(tmp_path):
    rows = [full_case(tmp_path, f"p{at}", split=split) for at, split in enumerate(["train", "validation"])]
    path = write_csv(tmp_path / "cases.csv", rows)
    first = lists(path, tmp_path)["train"][0]["file"]
    before = read_header(first).fingerprint
    assert read_header(lists(path, tmp_path)["train"][0]["file"]).fingerprint == before
    write_csv(path, [rows[0] | {"grade": "low"}, rows[1]])
    assert read_case_file(lists(path, tmp_path)["train"][0]["file"]).values["grade"] == 0
    save_volume(tmp_path / "p0_dose.nii.gz", np.full(SHAPE, 9.5, np.float32))
    assert read_case_file(lists(path, tmp_path)["train"][0]["file"]).volumes["dose"].max() == 9.5
    coarse = lists(path, tmp_path, spacing_mm=[2.0, 2.0, 3.0])["train"][0]["file"]
    assert coarse != first  # two ways of reading can stand beside each other
    assert read_header(coarse).shape == (3, 5, 4)


def test_the_cache_is_all_that_training_needs(tmp_path):
    rows = [full_case(tmp_path / "data", f"p{at}", split=split) for at, split in enumerate(["train", "validation"])]
    found = lists(write_csv(tmp_path / "data" / "cases.csv", rows), tmp_path)
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    assert read_case_file(found["train"][0]["file"]).case == "p0"


def test_a_copy_elsewhere_finds_the_copied_cache(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    rows = [full_case(here, f"p{at}", split=split) for at, split in enumerate(["train", "validation"])]
    relative = [{key: str(value).replace(f"{here}/", "") for key, value in row.items()} for row in rows]
    write_csv(here / "cases.csv", relative)
    found = lists(here / "cases.csv", here)
    shutil.copytree(here, there, copy_function=shutil.copyfile)  # with other times
    monkeypatch.setattr("ctan_monai.data.datasets.tabular.cache.read_case", None)  # nothing is read
    moved = lists(there / "cases.csv", there)
    assert names(moved) == names(found)
    cases = [read_case_file(entry["train"][0]["file"]) for entry in (found, moved)]
    np.testing.assert_array_equal(cases[1].volumes["dose"], cases[0].volumes["dose"])
    assert Path(moved["train"][0]["file"]).is_relative_to(there)


def test_several_processes_read_what_one_reads(tmp_path):
    rows = [full_case(tmp_path, f"p{at}", split=split) for at, split in enumerate(["train", "train", "validation"])]
    path = write_csv(tmp_path / "cases.csv", rows)
    found = tabular_datalist(path, tmp_path / "two", list(TASKS), ["ct"], progress=False, workers=2)
    assert names(found) == names(lists(path, tmp_path))


def test_cases_that_cannot_be_read_are_all_listed_or_left_out(tmp_path):
    rows = [full_case(tmp_path, f"p{at:02d}") for at in range(12)]
    for at, row in enumerate(rows):
        save_volume(tmp_path / row["image"], ramp() + at)
    (tmp_path / "p03_ct.nii.gz").write_bytes(b"damaged")
    path = write_csv(tmp_path / "cases.csv", rows)
    with pytest.raises(DataError, match="1 of 12 cases cannot be used") as caught:
        lists(path, tmp_path)
    assert "p03_ct.nii.gz (case p03)" in str(caught.value)
    found = lists(path, tmp_path, on_error="skip")
    assert sorted(case for cases in names(found).values() for case in cases) == [
        f"p{at:02d}" for at in range(12) if at != 3
    ]


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"slices": "body"}, "slices"),
        ({"empty_fraction": 2}, "empty_fraction"),
        ({"sample": "rgb", "datalist": None}, "sample"),
        ({"sample": "pet", "datalist": None}, "sample"),
        ({"datalist": None, "dataset_dir": "somewhere"}, "datalist"),
    ],
)
def test_settings_that_cannot_be_are_named(tmp_path, options, setting):
    given = {"datalist": str(tmp_path / "cases.csv")} | options
    with pytest.raises(ConfigError) as caught:
        tabular_datalist(cache_dir=tmp_path, tasks=[TUMOUR], image_channels=["ct"], **given)
    assert caught.value.setting == setting


def test_without_a_table_synthetic_cases_with_missing_labels_are_made_once_and_called_so(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    tasks = [TUMOUR, DOSE, GRADE, AGE]
    found = tabular_datalist(None, tmp_path, tasks, ["t1", "t2"], sample="mr", spatial_dims=3, progress=False)
    assert {split: len(items) for split, items in found.items()} == {"train": 12, "validation": 4, "test": 4}
    assert "synthetic cases in use" in caplog.text
    headers = [read_header(item["file"]) for item in found["train"]]
    for name, held in (("core", "occupied"), ("dose", "occupied"), ("grade", "values"), ("age", "values")):
        known = sum(name in getattr(header, held) for header in headers)
        assert 3 <= known < 12, name
    for item in found["validation"] + found["test"]:
        header = read_header(item["file"])
        assert {"core", "edema", "dose", "t1", "t2"} <= set(header.occupied)
        assert set(header.values) == {"grade", "age"}
    (folder,) = tmp_path.glob("synthetic-*")
    assert "show no patient" in (folder / "SYNTHETIC.txt").read_text()
    made = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    tabular_datalist(None, tmp_path, tasks, ["t1", "t2"], sample="mr", spatial_dims=3, progress=False)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == made


def test_folds_test_every_case_once_whatever_its_split_and_by_the_column_where_there_is_one(tmp_path):
    rows = [{**row, "split": "train"} for row in images(tmp_path, 7)]
    path = write_csv(tmp_path / "cases.csv", rows)
    found = [names(lists(path, tmp_path, [GRADE], folds=3, fold=fold)) for fold in range(3)]
    cases = sorted(case for fold in found for case in fold["test"])
    assert cases == [f"c{number:02d}" for number in range(7)]
    assert all(sorted(case for part in fold.values() for case in part) == cases for fold in found)
    numbered = [{**row, "fold": number % 3} for number, row in enumerate(rows)]
    path = write_json(tmp_path / "numbered.json", numbered)
    assert names(lists(path, tmp_path, [GRADE], folds=3, fold=1))["test"] == ["c01", "c04"]
    with pytest.raises(DataError, match=r"its column fold has \[0, 1, 2\] .* expected 0 to 3 for --folds 4"):
        lists(path, tmp_path, [GRADE], folds=4, fold=1)
