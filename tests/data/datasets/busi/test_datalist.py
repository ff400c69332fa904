"""Splits of BUSI: images that show the same stay together, classes are spread, folds partition."""

import json

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.datasets.busi.datalist import busi_datalist, busi_inference_list
from ctan_monai.data.datasets.busi.synthetic import draw_ultrasound, write_ultrasound_phantoms
from ctan_monai.data.lists.leakage import check_leakage
from ctan_monai.errors import ConfigError, DataError

IMAGES = {"benign": 15, "malignant": 15, "normal": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """33 images, of which one benign and one malignant are there a second time."""
    folder = write_ultrasound_phantoms(tmp_path_factory.mktemp("busi") / "images", images=IMAGES)
    (folder / "SYNTHETIC.txt").unlink()
    return folder


@pytest.fixture(scope="module")
def listed(root, tmp_path_factory):
    """List the images with one cache for all tests."""
    cache = tmp_path_factory.mktemp("cache")

    def make(**options):
        return busi_datalist(root, cache, [32, 32], workers=0, **options)

    return make


def names(items):
    return {split: [item["case"] for item in found] for split, found in items.items()}


def test_images_that_show_the_same_are_in_one_split_and_normal_ones_are_left_out(listed, caplog):
    found = listed()
    assert check_leakage(found) == []
    where = {case: split for split, cases in names(found).items() for case in cases}
    assert len(where) == 32
    assert where["benign__15_"] == where["benign__16_"]
    assert where["malignant__15_"] == where["malignant__16_"]
    assert "2 of 32 images belong to another" in caplog.text
    assert all({case.split("__")[0] for case in cases} == {"benign", "malignant"} for cases in names(found).values())


def test_normal_images_are_listed_if_they_are_asked_for(listed):
    cases = [case for found in names(listed(use_normal=True)).values() for case in found]
    assert sum(case.startswith("normal") for case in cases) == 3


def test_each_image_is_in_the_test_set_of_one_fold_of_five(listed):
    tests = [names(listed(folds=5, fold=number, seed=3)) for number in range(5)]
    cases = sorted(case for found in tests for case in found["test"])
    assert cases == sorted(case for found in tests[0].values() for case in found)
    assert len(cases) == len(set(cases)) == 32
    for found in tests:
        assert {case.split("__")[0] for case in found["test"]} == {"benign", "malignant"}
        assert not set(found["train"]) & set(found["validation"])


def test_a_datalist_file_chooses_and_a_folds_number_or_an_unknown_name_is_refused(listed, tmp_path):
    chosen = {"train": ["benign__1_", "malignant__2_"], "validation": ["benign__3_"], "test": ["malignant__4_"]}
    path = tmp_path / "few.json"
    path.write_text(json.dumps(chosen))
    assert names(listed(datalist=path)) == chosen
    path.write_text(json.dumps({**chosen, "test": ["normal__1_"]}))
    with pytest.raises(DataError, match=r"\['normal__1_'\] are not among the 32 images"):
        listed(datalist=path)
    for options in ({"folds": 1}, {"folds": 5, "fold": 5}, {"fold": 2}, {"use_normal": "maybe"}):
        with pytest.raises(ConfigError):
            listed(**options)


def test_images_for_inference_are_padded_and_masks_left_out(root, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    gray, (mask,) = draw_ultrasound("benign", 77)
    Image.fromarray(gray).save(folder / "new (1).png")
    Image.fromarray(gray[:, ::-1]).convert("RGB").save(folder / "other.jpg")
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "new (1)_mask.png")
    items = busi_inference_list(folder, tmp_path / "cache", [64, 64])
    assert [item["case"] for item in items] == ["new__1_", "other"]
    header = read_header(items[0]["file"])
    assert header.shape == (64, 64)
    assert header.meta["padded_shape"] == [160, 160]
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "drawn.png")
    with pytest.raises(DataError, match=r"drawn.png.*it shows no ultrasound"):
        busi_inference_list(folder, tmp_path / "cache", [64, 64])
    assert len(busi_inference_list(folder, tmp_path / "cache", [64, 64], on_error="skip")) == 2


def test_without_a_folder_synthetic_images_are_used_and_called_so(tmp_path, caplog):
    items = busi_inference_list(None, tmp_path, [32, 32])
    assert [item["case"].split("__")[0] for item in items] == ["benign", "benign", "malignant", "malignant"]
    assert "they show no patients" in caplog.text
    assert read_header(items[0]["file"]).meta["synthetic"] is True
