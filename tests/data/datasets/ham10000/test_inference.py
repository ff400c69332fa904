import logging

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.ham10000.datalist import image_inference_list
from ctan_monai.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Three images of different kinds among things that are none."""
    root = tmp_path / "images"
    root.mkdir()
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    for name in ("b.JPG", "a.png", "c.jpeg", "a_segmentation.png", ".hidden.png"):
        Image.fromarray(rgb).save(root / name)
    (root / "notes.txt").write_text("no image")
    return root


def test_images_of_a_folder_become_cases_without_labels(folder, tmp_path):
    items = image_inference_list(folder, tmp_path / "cache", [48, 64])
    assert [item["case"] for item in items] == ["a", "b", "c"]
    case = read_case_file(items[0]["file"])
    assert case.shape == (48, 64)
    assert (case.masks, case.values) == ({}, {})
    assert case.meta == {"full_shape": [60, 80], "gray": False}


def test_one_file_is_enough(folder, tmp_path):
    (item,) = image_inference_list(folder / "b.JPG", tmp_path / "cache", [48, 64])
    assert item["case"] == "b"


def test_stretching_and_missing_color_are_said_each_time(folder, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        image_inference_list(folder / "a.png", tmp_path / "cache", [48, 64])
        assert not caplog.records
        Image.open(folder / "a.png").convert("L").save(folder / "d.png")
        for _ in range(2):  # the second time from the cache
            caplog.clear()
            image_inference_list(folder, tmp_path / "cache", [64, 64])
            assert f"4 of 4 images are stretched to 64 x 64, for example {folder}/a.png of 80 x 60" in caplog.text
            assert f"1 of 4 images have no color, for example {folder}/d.png" in caplog.text


def test_two_images_of_one_name_are_refused(folder, tmp_path):
    Image.linear_gradient("L").resize((80, 60)).save(folder / "a.jpg")
    with pytest.raises(DataError, match=r"a.jpg and a.png would both be called a"):
        image_inference_list(folder, tmp_path / "cache", [48, 64])
    (folder / "a.jpg").rename(folder / "A.png")
    with pytest.raises(DataError, match=r"A.png and a.png would both be called a"):  # one folder on some file systems
        image_inference_list(folder, tmp_path / "cache", [48, 64])


def test_a_folder_without_images_and_an_image_that_is_none_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        image_inference_list(tmp_path / "nowhere", tmp_path / "cache", [48, 64])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image was found"):
        image_inference_list(tmp_path / "empty", tmp_path / "cache", [48, 64])
    (folder / "d.jpg").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"d\.jpg \(case d\)"):
        image_inference_list(folder, tmp_path / "cache", [48, 64])


def test_names_that_cannot_be_folders_are_changed_aloud(tmp_path, caplog):
    Image.linear_gradient("L").resize((80, 60)).save(tmp_path / "benign (1).png")
    Image.linear_gradient("L").resize((80, 60)).save(tmp_path / f"{'ü' * 70}.jpg")
    with caplog.at_level(logging.WARNING):
        items = image_inference_list(tmp_path, tmp_path / "cache", [48, 64])
    assert [item["case"] for item in items] == ["benign__1_", "_" * 64]
    assert read_case_file(items[0]["file"]).case == "benign__1_"
    assert "benign (1).png is benign__1_" in caplog.text
    Image.linear_gradient("L").resize((80, 60)).save(tmp_path / "benign [1].png")
    with pytest.raises(DataError, match=r"would both be called benign__1_"):
        image_inference_list(tmp_path, tmp_path / "cache", [48, 64])


def test_an_icon_is_no_image(folder, tmp_path):
    Image.linear_gradient("L").resize((2, 2)).save(folder / "dot.png")
    with pytest.raises(DataError, match=r"dot.png \(case dot\): it has 2 rows and 2 columns, expected 32"):
        image_inference_list(folder, tmp_path / "cache", [48, 64])


def test_unreadable_images_can_be_left_out_but_not_all_of_them(folder, tmp_path, caplog):
    for name in ("d.jpg", "e.png", "f.png", "g.png"):
        (folder / name).write_text("<html>404</html>")
    with caplog.at_level(logging.WARNING):
        items = image_inference_list(folder, tmp_path / "cache", [48, 64], on_error="skip")
    assert [item["case"] for item in items] == ["a", "b", "c"]
    assert "4 of 7 cases cannot be used" in caplog.text
    for name in ("a.png", "b.JPG", "c.jpeg"):
        (folder / name).unlink()
    with pytest.raises(DataError, match="4 of 4 cases"):
        image_inference_list(folder, tmp_path / "cache", [48, 64], on_error="skip")


def test_without_an_input_synthetic_images_are_used_and_called_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        items = image_inference_list(None, tmp_path, [48, 64])
    assert "synthetic" in caplog.text
    assert len(items) == 4
    assert all(read_case_file(item["file"]).meta["synthetic"] is True for item in items)
