import json
import logging
import shutil

import numpy as np
import pytest

from ctan_monai.data.cases.cache import read_case_file, read_header
from ctan_monai.data.datasets.mr_ct.datalist import mr_ct_datalist, mr_ct_record, mr_inference_list
from ctan_monai.data.datasets.mr_ct.synthetic import STRUCTURES, write_pelvis_pairs
from ctan_monai.data.lists.leakage import check_leakage
from ctan_monai.errors import ConfigError, DataError

FRACTIONS = (0.5, 0.25, 0.25)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def listed(root, cache, **options):
    return mr_ct_datalist(root, cache, **{"split_fractions": FRACTIONS, "workers": 0, **options})


def names_of(lists):
    return {split: sorted({item["case"] for item in items}) for split, items in lists.items()}


def test_patients_are_divided_once_and_said_to_be_synthetic(synthetic, cache, caplog):
    with caplog.at_level(logging.INFO):
        lists = mr_ct_datalist(synthetic, cache, split_fractions=FRACTIONS, workers=0)
    assert {split: len(items) for split, items in lists.items()} == {"train": 2, "validation": 1, "test": 1}
    assert len({name for found in names_of(lists).values() for name in found}) == 4
    assert "4 SYNTHETIC patients" in caplog.text
    assert names_of(mr_ct_datalist(synthetic, cache, split_fractions=FRACTIONS, slices="all")) == names_of(lists)
    assert check_leakage(lists) == []
    record = mr_ct_record(synthetic, lists)
    assert (record["synthetic"], record["source"]) == (True, "synthetic pelves")
    assert record["cases"] == {"train": 2, "validation": 1, "test": 1}


def test_slices_of_training_are_those_asked_for(synthetic, cache):
    for slices, wanted in (("body", "ct_region"), ("labeled", "Prostate"), ("all", None)):
        lists = mr_ct_datalist(
            synthetic, cache, labels=["Prostate"], slices=slices, split_fractions=FRACTIONS, workers=0
        )
        for name in names_of(lists)["train"]:
            items = [item for item in lists["train"] if item["case"] == name]
            header = read_header(items[0]["file"])
            expected = header.slices_with(wanted) if wanted else list(range(16))
            assert [item["slice"] for item in items] == expected
        assert "slice" not in lists["test"][0]


def test_without_data_synthetic_patients_are_drawn_alike_each_time(tmp_path, caplog):
    first, second = (write_pelvis_pairs(tmp_path / name / "synthetic", 1) for name in "ab")
    files = sorted(path.name for path in (first / "synthetic_001").iterdir())
    assert files == sorted(["T2.nii.gz", "CT.nii.gz", *(f"{name}.nii.gz" for name in STRUCTURES)])
    shutil.copytree(second / "synthetic_001", second / "again")
    lists = [
        mr_ct_datalist(root, tmp_path / "c", split_fractions=(1.0, 0, 0), splits=["train"]) for root in (first, second)
    ]
    cases = [read_case_file(found["train"][0]["file"]) for found in lists]
    for name in ("mr", "ct"):
        assert np.array_equal(*(case.volumes[name] for case in cases))


def test_the_same_mr_under_two_names_stays_in_one_split(synthetic, cache, tmp_path):
    root = shutil.copytree(synthetic, tmp_path / "data")
    shutil.copytree(root / "synthetic_001", root / "copied")
    for seed in range(4):
        found = names_of(mr_ct_datalist(root, cache, split_fractions=FRACTIONS, seed=seed, workers=0))
        assert {"copied", "synthetic_001"} in [set(names) & {"copied", "synthetic_001"} for names in found.values()]
    chosen = {"train": ["copied"], "validation": ["synthetic_002"], "test": ["synthetic_001"]}
    (tmp_path / "list.json").write_text(json.dumps(chosen))
    lists = mr_ct_datalist(root, cache, datalist=tmp_path / "list.json", workers=0)
    assert names_of(lists) == chosen
    with pytest.raises(DataError, match="same file: copied"):
        check_leakage(lists)


def test_a_patient_that_cannot_be_read_is_named_with_all_others(drawn, synthetic, cache, tmp_path):
    root = shutil.copytree(synthetic, tmp_path / "data")
    (root / "synthetic_002" / "CT.nii.gz").unlink()
    (root / "synthetic_003" / "T2.nii.gz").write_bytes(b"cut")
    with pytest.raises(DataError, match="2 of 4 cases cannot be used") as caught:
        mr_ct_datalist(root, cache, workers=0)
    assert "there is an MR (T2.nii.gz) and no CT" in str(caught.value)
    assert "it cannot be read as NIfTI" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"slices": "some"}, ConfigError, "slices: 'some' is unknown"),
        ({"pixel_mm": 0}, ConfigError, "pixel_mm: 0 was found"),
        ({"split_fractions": [1, 1, 1]}, ConfigError, "split_fractions: "),
        ({"dataset_dir": "nowhere"}, DataError, "no patient was found"),
        ({"dataset_dir": None, "phantoms": 0}, ConfigError, "phantoms: 0 was found"),
    ],
)
def test_a_wrong_option_is_named(synthetic, cache, options, error, message):
    with pytest.raises(error, match=message):
        mr_ct_datalist(**{"dataset_dir": synthetic, "cache_dir": cache, "workers": 0, **options})


def test_inference_takes_a_file_a_patient_or_a_folder_of_either(drawn, cache, tmp_path):
    folder = drawn.pair()
    assert [item["case"] for item in mr_inference_list(folder, cache)] == ["P1"]
    assert [item["case"] for item in mr_inference_list(folder.parent, cache)] == ["P1"]
    assert [item["case"] for item in mr_inference_list(folder / "mr.nii.gz", cache)] == ["P1"]
    shutil.copy(folder / "mr.nii.gz", tmp_path / "scan7.nii.gz")
    (item,) = mr_inference_list(tmp_path / "scan7.nii.gz", cache)
    assert item["case"] == "scan7"
    assert read_case_file(item["file"]).meta["synthetic"] is False
    (folder / "ct.nii.gz").unlink()
    assert len(mr_inference_list(folder, cache)) == 1  # no CT is needed
    with pytest.raises(DataError, match="no MR was found"):
        mr_inference_list(tmp_path / "nothing", cache)


def test_inference_leaves_out_what_it_may(drawn, cache, caplog):
    folder = drawn.pair()
    shutil.copytree(folder, folder.parent / "P2")
    (folder.parent / "P2" / "mr.nii.gz").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"mr.nii.gz \(case P2\): it cannot be read as NIfTI"):
        mr_inference_list(folder.parent, cache, workers=0)
    assert [item["case"] for item in mr_inference_list(folder.parent, cache, on_error="skip", workers=0)] == ["P1"]
    assert "1 of 2 cases cannot be used" in caplog.text


def test_inference_without_input_draws_an_unseen_synthetic_patient(cache, caplog):
    (item,) = mr_inference_list(None, cache)
    assert "the data are SYNTHETIC" in caplog.text
    assert read_header(item["file"]).meta["synthetic"] is True
    assert item["case"] == "synthetic_001"
