from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ctan_monai.data.cases.cache import read_case_file, read_header, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.openkbp.datalist import openkbp_datalist
from ctan_monai.data.lists.datalist import read_choice, slices_to_use
from ctan_monai.errors import ConfigError, DataError


@pytest.fixture
def dataset_dir(tmp_path, write_patient):
    """Four small patients in OpenKBP's folders: pt_1, pt_2 to train, pt_3 to validate, pt_4 to test."""
    root = tmp_path / "open-kbp"
    for split, names in {"train": ["pt_1", "pt_2"], "validation": ["pt_3"], "test": ["pt_4"]}.items():
        for name in names:
            # Voxels 0 to 5 of the first row lie in slices 0 to 5: CT in 2 to 5, mask in 3 and 4, dose in 4.
            folder = write_patient(
                name,
                ct=",data\n2,1024.0\n3,1024.0\n4,1024.0\n5,1024.0\n",
                possible_dose_mask=",data\n3,\n4,\n",
                dose=",data\n3,0.0\n4,9.0\n",
            )
            shutil.move(folder, root / "provided-data" / f"{split}-pats" / name)
    return root


@pytest.fixture
def listed(dataset_dir, sample_dir, tmp_path):
    def call(**settings):
        arguments = {"dataset_dir": dataset_dir, "workers": 1, "progress": False, **settings}
        return openkbp_datalist(sample_dir=sample_dir, cache_dir=tmp_path / "cache", **arguments)

    return call


def names_of(items):
    return [item["case"] for item in items]


def test_official_splits_are_the_default_and_test_is_left_alone(listed, tmp_path):
    found = listed()
    assert {split: names_of(items) for split, items in found.items()} == {
        "train": ["pt_1", "pt_2"],
        "validation": ["pt_3"],
    }
    assert read_case_file(found["train"][1]["file"]).case == "pt_2"
    assert not list((tmp_path / "cache").glob("pt_4*"))
    assert names_of(listed(splits=["test"])["test"]) == ["pt_4"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_dataset_the_sample_is_used_and_the_log_says_so(listed, caplog, nothing):
    with caplog.at_level(logging.WARNING):
        found = listed(dataset_dir=nothing)
    assert names_of(found["train"]) == ["pt_25", "pt_31", "pt_74", "pt_84"]
    assert names_of(found["validation"]) == ["pt_226"]
    assert "sample data in use: 5 real OpenKBP patients" in caplog.text
    assert "slice" not in found["train"][0]


@pytest.mark.parametrize(
    ("slices", "expected"),
    [("body", [2, 3, 4, 5]), ("dose", [3, 4]), ("all", list(range(128)))],
)
def test_train_patients_become_slices_and_others_do_not(listed, slices, expected):
    found = listed(slices=slices)
    assert [(item["case"], item["slice"]) for item in found["train"]] == [
        (name, index) for name in ("pt_1", "pt_2") for index in expected
    ]
    assert "slice" not in found["validation"][0]


def test_a_share_of_other_slices_is_spread_over_the_patient(listed):
    chosen = [item["slice"] for item in listed(slices="body", empty_fraction=0.5)["train"] if item["case"] == "pt_1"]
    assert chosen == [0, 2, 3, 4, 5, 127]  # half of four, from both ends


def test_without_a_region_the_dose_tells_where_dose_is(tmp_path):
    dose_gy = np.zeros((2, 2, 6), np.float32)
    dose_gy[0, 0, 4] = 1
    write_case(tmp_path / "a.case", Case("a", {"dose": dose_gy}, {}, np.eye(4)))
    header = read_header(tmp_path / "a.case")
    assert slices_to_use(header, "dose") == [4]
    with pytest.raises(DataError, match="needs one of"):
        slices_to_use(header, "body")


def test_real_slices_are_those_with_voxels(sample_dir):
    path = sample_dir / "train" / "pt_25.case"
    case, header = read_case_file(path), read_header(path)
    in_body = np.flatnonzero((case.volumes["ct"] > -1024).any(axis=(0, 1)))
    in_mask = np.flatnonzero(case.masks["dose_region"].any(axis=(0, 1)))
    assert slices_to_use(header, "body") == in_body.tolist()
    assert slices_to_use(header, "dose") == in_mask.tolist()


def test_patients_can_be_chosen_by_name_from_all_splits(listed, tmp_path, caplog):
    (tmp_path / "mine.json").write_text(json.dumps({"train": ["pt_3", "pt_1"], "validation": ["pt_4"]}))
    found = listed(datalist=tmp_path / "mine.json")
    assert names_of(found["train"]) == ["pt_3", "pt_1"]
    assert names_of(found["validation"]) == ["pt_4"]
    assert "same patients" not in caplog.text


@pytest.mark.parametrize("dataset", ["given", None])
def test_training_and_validating_on_the_same_patients_is_allowed_but_said(listed, tmp_path, caplog, dataset):
    name = "pt_1" if dataset else "pt_74"
    (tmp_path / "mine.json").write_text(json.dumps({"train": [name], "validation": [name]}))
    found = listed(datalist=tmp_path / "mine.json", **({} if dataset else {"dataset_dir": None}))
    assert names_of(found["train"]) == names_of(found["validation"]) == [name]
    assert f"same patients in train and validation: ['{name}']" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": ["pt_1", "pt_99"], "validation": ["pt_3"]}', r"\['pt_99'\] are not among the 4 patients"),
        ('{"train": ["pt_1"]}', r"no patient was found for \['validation'\]"),
        ('{"train": [], "validation": ["pt_3"]}', r"no patient was found for \['train'\]"),
        ('{"train": ["pt_1", "pt_1"], "validation": ["pt_3"]}', "twice"),
        ('{"train": "pt_1"}', "not a list of names"),
        ('{"train": [1]}', "not a list of names"),
        ('{"training": ["pt_1"]}', "dictionary of the splits"),
        ('["pt_1"]', "dictionary of the splits"),
        ("{", "cannot be read"),
        ('{"train": ["pt_1"], "train": ["pt_2"]}', "'train' stands there twice"),
    ],
)
def test_a_choice_that_cannot_be_followed_is_refused(listed, tmp_path, content, message):
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(DataError, match=message):
        listed(datalist=tmp_path / "mine.json")


def test_a_choice_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"mine\.json"):
        read_choice(tmp_path / "mine.json")


def test_an_empty_split_is_refused(listed, dataset_dir):
    shutil.rmtree(dataset_dir / "provided-data" / "validation-pats")
    with pytest.raises(DataError, match=r"no patient was found for \['validation'\].*'train': 2"):
        listed()


def test_a_missing_sample_is_refused_with_its_place(listed, tmp_path):
    with pytest.raises(DataError, match="--bundle_root") as caught:
        openkbp_datalist(None, tmp_path / "sample", tmp_path / "cache")
    assert caught.value.path == tmp_path / "sample"


def test_what_an_interrupted_writer_left_is_no_patient(listed, sample_dir, tmp_path):
    shutil.copytree(sample_dir, tmp_path / "sample")
    (tmp_path / "sample" / "train" / ".pt_25.case.x1.case").write_bytes(b"half")
    found = openkbp_datalist(None, tmp_path / "sample", tmp_path / "cache")
    assert len(found["train"]) == 4


def test_a_patient_that_cannot_be_read_stops_or_is_left_out(listed, dataset_dir, caplog):
    (dataset_dir / "provided-data" / "train-pats" / "pt_2" / "ct.csv").write_text(",data\n1,x\n")
    with pytest.raises(DataError, match="1 of 3 cases"):
        listed()
    with pytest.raises(DataError, match="1 of 3 cases"):  # a third is more than the tenth that may be skipped
        listed(on_error="skip")


@pytest.mark.parametrize(
    "settings",
    [{"slices": "some"}, {"splits": ["holdout"]}, {"splits": []}, {"splits": "train"}, {"empty_fraction": -0.1}],
)
def test_an_unknown_setting_is_refused_by_name(listed, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        listed(**settings)


def test_listing_loads_no_heavy_library():
    heavy = {"torch", "monai", "pandas", "nibabel", "itk", "SimpleITK", "matplotlib"}
    code = "import sys, ctan_monai.data.lists.datalist; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "ctan_monai.data.lists.datalist" in loaded
    assert not heavy & set(loaded)


def test_folds_are_of_all_patients_whatever_their_official_split_unless_a_file_chooses(listed, tmp_path, caplog):
    every = ("train", "validation", "test")
    folds = [listed(splits=every, folds=4, fold=fold) for fold in range(4)]
    found = [{split: names_of(items) for split, items in fold.items()} for fold in folds]
    assert sorted(name for fold in found for name in fold["test"]) == ["pt_1", "pt_2", "pt_3", "pt_4"]
    assert all(len(fold["train"]) == 2 and len(fold["validation"]) == 1 for fold in found)
    assert "the official splits are left aside" in caplog.text
    (tmp_path / "mine.json").write_text('{"train": ["pt_4"], "validation": ["pt_1"]}')
    assert names_of(listed(folds=4, fold=1, datalist=tmp_path / "mine.json")["train"]) == ["pt_4"]
    with pytest.raises(ConfigError, match="fold: 4 of 4 folds was found"):
        listed(folds=4, fold=4)
