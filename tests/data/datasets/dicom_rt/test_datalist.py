"""A bundle gets its cases from a prepared folder or from DICOM."""

import json

import pytest
from dicom_phantoms import Patient

from ctan_monai.data.cases.cache import read_slice
from ctan_monai.data.datasets.dicom_rt.datalist import data_record, dicom_datalist
from ctan_monai.errors import ConfigError, DataError

SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    for number in range(4):
        Patient(patient_id=str(number), **SMALL).write(folder / str(number))
    return folder


@pytest.fixture(scope="module")
def cache(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    dicom_datalist(folder, cache, workers=1, progress=False)
    return cache


def test_dicom_and_what_was_prepared_of_it_give_the_same(folder, cache):
    lists = dicom_datalist(folder, cache, workers=1, progress=False)
    assert lists == dicom_datalist(cache, "unused", progress=False)
    assert {split: len(items) for split, items in lists.items()} == {"train": 2, "validation": 1}


def test_training_is_by_slice_on_request(cache):
    lists = dicom_datalist(cache, "unused", slices="dose", splits=("train", "test"), progress=False)
    assert set(lists) == {"train", "test"}
    assert "slice" not in lists["test"][0]
    assert all(read_slice(item["file"], item["slice"]).masks["dose_region"].any() for item in lists["train"])


def test_a_split_without_patients_and_unknown_ones_are_refused(cache, tmp_path):
    content = json.loads((cache / "datalist.json").read_text())
    (tmp_path / "datalist.json").write_text(json.dumps({**content, "test": []}))
    with pytest.raises(DataError, match=r"no patient was found for \['test'\]"):
        dicom_datalist(tmp_path, "unused", splits=("test",))
    with pytest.raises(ConfigError, match="splits"):
        dicom_datalist(cache, "unused", splits=("training",))
    with pytest.raises(ConfigError, match="slices: 'few' is unknown"):
        dicom_datalist(cache, "unused", slices="few")


@pytest.mark.parametrize("text", ["", "{}", '{"format": "nifti", "train": [], "validation": [], "test": []}'])
def test_a_list_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "datalist.json").write_text(text)
    with pytest.raises(DataError, match=r"cannot be read|does not list cached cases"):
        dicom_datalist(tmp_path, "unused")


def test_options_reach_the_reader(folder, tmp_path):
    lists = dicom_datalist(folder, tmp_path, options={"pixel_mm": 6.0}, workers=1, progress=False)
    assert read_slice(lists["train"][0]["file"], 0).spacing_mm == pytest.approx((6.0, 6.0))


def test_folds_test_each_patient_once_and_the_record_counts_those_of_the_fold(cache):
    every = ("train", "validation", "test")
    folds = [dicom_datalist(cache, "unused", splits=every, folds=4, fold=fold) for fold in range(4)]
    tested = sorted(item["case"] for fold in folds for item in fold["test"])
    assert len(tested) == len(set(tested)) == 4
    assert all(sorted(item["case"] for items in fold.values() for item in items) == tested for fold in folds)
    for fold in range(4):
        counts = {split: len({item["case"] for item in folds[fold][split]}) for split in every}
        assert data_record(cache, folds=4, fold=fold)["cases"] == counts
    assert counts["test"] == 1
