"""A table of images, masks and classes instead of BUSI's folders, and what is refused in one."""

import json
import logging

import numpy as np
import pytest
from PIL import Image
from ultrasound_files import write_us

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.busi.datalist import busi_datalist
from ctan_monai.data.datasets.busi.table import find_images
from ctan_monai.errors import DataError


@pytest.fixture
def root(tmp_path):
    """Four images in folders of any name, one in a folder that names its class, with masks, and a cine."""
    for number, folder in enumerate(("scans", "scans", "scans", "other", "malignant")):
        (tmp_path / folder).mkdir(exist_ok=True)
        values = np.random.default_rng(number).integers(10, 200, (40, 50)).astype(np.uint8)
        Image.fromarray(values).save(tmp_path / folder / f"i{number}.png")
    for name, rows in (("m0", slice(0, 9)), ("m0b", slice(20, 25)), ("m1", slice(5, 7))):
        mask = np.zeros((40, 50), np.uint8)
        mask[rows, 4:8] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    write_us(tmp_path / "cine.dcm", np.random.default_rng(9).integers(10, 200, (3, 40, 50)).astype(np.uint8))
    return tmp_path


def write(root, text, name="cases.csv"):
    (root / name).write_text(text)
    return root / name


def test_masks_classes_and_patients_are_read_by_column(root, caplog):
    rows = [
        "image;mask;mask_1;class;patient_id;split",
        "scans/i0.png;m0.png;m0b.png;Benign;p1;train",
        "scans/i1.png;m1.png;;;p1;",
        "scans/i2.png;;;malignant;;",
        "other/i3.png;;;;;",
        "malignant/i4.png;;;;p2;",
    ]
    found = find_images(write(root, "\n".join(rows))).images
    assert {name: (each.label, [mask.name for mask in each.masks], each.patient) for name, each in found.items()} == {
        "i0": ("benign", ["m0.png", "m0b.png"], "p1"),
        "i1": (None, ["m1.png"], "p1"),
        "i2": ("malignant", [], None),
        "i4": ("malignant", [], "p2"),  # by its folder
    }
    assert "1 images have neither a class nor a mask" in caplog.text
    assert "columns that are not used: split" in caplog.text


def test_the_tasks_names_numbers_and_json_are_read_too(root):
    entries = [
        {"image": "scans/i0.png", "tumor": "m0.png", "diagnosis": 1},
        {"image": "scans/i1.png", "diagnosis": 0},
        {"image": "cine.dcm", "diagnosis": 1, "frame": 2, "tumor": "m1.png"},
    ]
    found = find_images(write(root, json.dumps(entries), "cases.json")).images
    assert {name: (each.label, len(each.masks)) for name, each in found.items()} == {
        "i0": ("malignant", 1),
        "i1": ("benign", 0),
        "cine_f002": ("malignant", 1),
    }


def test_a_table_is_listed_and_cached_with_the_frames_of_a_cine(root, tmp_path, caplog):
    rows = ["image,mask,class", "scans/i0.png,m0.png,benign", "scans/i1.png,,benign", "scans/i2.png,,malignant"]
    rows += ["other/i3.png,,malignant", "cine.dcm,,benign", "malignant/i4.png,,malignant"]
    with caplog.at_level(logging.INFO):
        found = busi_datalist(write(root, "\n".join(rows)), tmp_path / "cache", [50, 50], workers=0)
    files = {item["case"]: item["file"] for items in found.values() for item in items}
    assert set(files) == {"i0", "i1", "i2", "i3", "i4", "cine_f001", "cine_f002", "cine_f003"}
    assert "1 DICOM files have several frames: 3 frames are cases" in caplog.text
    case = read_case_file(files["i0"])
    expected = np.zeros((50, 50), bool)
    expected[:9, 4:8] = True
    assert np.array_equal(case.masks["tumor"], expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image,class\nmalignant/i4.png,benign\n", "line 2: it says that i4.png is benign, its folder says malignant"),
        ("image,diagnosis\nmalignant/i4.png,0\n", "line 2: it says that i4.png is benign, its folder says malignant"),
        ("image,class\nscans/i0.png,cancer\n", "line 2: the class 'cancer' is unknown, expected one of benign"),
        ("image,class\nscans/i9.png,benign\n", "line 2: there is no file .*i9.png"),
        ("image,class\nscans/../m0.png,benign\n", "line 2: image is .* leaves the table's folder"),
        ("image,class\nscans/i0.png,benign\nscans/i0.png,benign\n", "line 3 lists 'i0.png' again"),
        ("image,kind\nscans/i0.png,benign\n", "there is no column for a class or a mask; it has image, kind"),
        ("file,class\nscans/i0.png,benign\n", "there is no column for image"),
        ("image,mask\ncine.dcm,m0.png\n", "line 2: cine.dcm has 3 frames, and the row does not say whose masks"),
        ("image,class,frame\ncine.dcm,benign,zero\n", "line 2: the frame 'zero' is no number from 1 on"),
        ("image,class\nscans/i0.png,\n", "no image has a class or a mask"),
    ],
)
def test_what_a_table_cannot_say_is_refused_by_line(root, text, reason):
    with pytest.raises(DataError, match=rf"cases.csv.*{reason}"):
        find_images(write(root, text))


def test_a_mask_of_another_size_is_refused_by_name(root, tmp_path):
    Image.fromarray(np.eye(50, 40).astype(np.uint8) * 255).save(root / "turned.png")
    path = write(root, "image,mask,class\nscans/i0.png,turned.png,benign\nscans/i1.png,,malignant\n")
    with pytest.raises(DataError, match=r"turned.png .*it has 50 rows and 40 columns, its image 40 and 50"):
        busi_datalist(path, tmp_path / "cache", [50, 50], workers=0)
