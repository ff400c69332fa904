import csv
import threading

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.datasets.ham10000.synthetic import LOOKS, draw_lesion, write_lesion_phantoms
from ctan_monai.data.datasets.ham10000.table import CLASSES
from ctan_monai.errors import DataError

FEW = {"nv": 2, "df": 1}


def test_the_layout_is_the_published_one_and_says_that_it_is_synthetic(tmp_path):
    root = write_lesion_phantoms(tmp_path / "x", lesions=FEW, shape=(40, 60))
    assert root.name == "x-1-0"
    assert sorted(path.name for path in root.iterdir()) == [
        "HAM10000_images_part_1",
        "HAM10000_images_part_2",
        "HAM10000_metadata.csv",
        "HAM10000_segmentations_lesion_tschandl",
        "SYNTHETIC.txt",
    ]
    rows = list(csv.DictReader((root / "HAM10000_metadata.csv").open()))
    assert [(row["lesion_id"], row["dx"], row["dx_type"]) for row in rows] == [
        ("SYN_0000", "nv", "synthetic"),
        ("SYN_0000", "nv", "synthetic"),
        ("SYN_0001", "nv", "synthetic"),
        ("SYN_0002", "df", "synthetic"),
    ]
    for row in rows:
        (image,) = root.rglob(f"{row['image_id']}.jpg")
        (mask,) = root.rglob(f"{row['image_id']}_segmentation.png")
        assert Image.open(image).size == Image.open(mask).size == (60, 40)
    modes = {Image.open(path).mode for path in root.rglob("*_segmentation.png")}
    assert modes == {"L", "P"}


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    roots = [write_lesion_phantoms(tmp_path / name / "d", lesions=FEW, shape=(40, 60)) for name in "ab"]
    other = write_lesion_phantoms(tmp_path / "c" / "d", seed=1, lesions=FEW, shape=(40, 60))
    for path in sorted(roots[0].rglob("*.*")):
        assert path.read_bytes() == (roots[1] / path.relative_to(roots[0])).read_bytes()
    assert next(other.rglob("*.jpg")).read_bytes() != next(roots[0].rglob("*.jpg")).read_bytes()


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_told_apart_from_its_skin_by_its_mask(name):
    for lesion in range(3):
        rgb, mask = draw_lesion(name, lesion, 0)
        assert 0.03 < mask.mean() < 0.6
        inside, outside = (rgb[where].astype(float).mean(0) for where in (mask, ~mask))
        assert np.abs(inside - outside).max() > 15
    assert set(LOOKS) == set(CLASSES)


def test_a_second_view_shows_the_same_lesion_elsewhere():
    masks = [draw_lesion("mel", 5, view)[1] for view in (0, 1)]
    assert not np.array_equal(*masks)
    assert masks[0].sum() == pytest.approx(masks[1].sum(), rel=0.1)


def test_several_that_write_at_once_do_not_disturb_each_other(tmp_path):
    found = []

    def write():
        found.append(write_lesion_phantoms(tmp_path / "x", lesions=FEW, shape=(32, 32)))

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["x-1-0"]


def test_something_else_in_their_place_is_not_overwritten(tmp_path):
    (tmp_path / "x-1-0").mkdir()
    (tmp_path / "x-1-0" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"it is there already, without SYNTHETIC\.txt"):
        write_lesion_phantoms(tmp_path / "x", lesions=FEW, shape=(32, 32))
    assert (tmp_path / "x-1-0" / "thesis.txt").read_text() == "mine"
