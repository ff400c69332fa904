"""A BUSI folder as it is published, and what is refused in one."""

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.datasets.busi.layout import find_busi
from ctan_monai.errors import DataError


def noise(path, shape=(40, 50), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(10, 200, shape).astype(np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Two benign images, one with two masks and one without, and a malignant one, a folder deeper."""
    folder = tmp_path / "Dataset_BUSI_with_GT"
    for number, name in enumerate(("benign (1)", "benign (2)", "malignant (1)")):
        noise(folder / name.split()[0] / f"{name}.png", seed=number)
    for name in ("benign (1)_mask", "benign (1)_mask_1", "malignant (1)_mask"):
        noise(folder / name.split()[0] / f"{name}.png")
    return tmp_path


def table(root, text):
    (root / "labels.csv").write_text(text)


def test_classes_are_folders_and_each_image_has_the_masks_beside_it(root):
    found = find_busi(root).images
    assert {name: image.label for name, image in found.items()} == {
        "benign__1_": "benign",
        "benign__2_": "benign",
        "malignant__1_": "malignant",
    }
    assert [path.stem for path in found["benign__1_"].masks] == ["benign (1)_mask", "benign (1)_mask_1"]
    assert found["benign__2_"].masks == ()


def test_a_table_adds_patients_and_the_class_of_an_image_in_no_folder(root):
    noise(root / "other.png", seed=7)
    rows = ["image,class,patient_id", "benign (1).png,Benign,p1", "other,malignant,p2"]
    rows.append("Dataset_BUSI_with_GT/malignant/malignant (1).png,,p1")
    table(root, "\n".join(rows))
    found = find_busi(root).images
    assert (found["other"].label, found["other"].patient) == ("malignant", "p2")
    assert (found["benign__1_"].label, found["benign__1_"].patient) == ("benign", "p1")
    assert (found["malignant__1_"].label, found["malignant__1_"].patient) == ("malignant", "p1")


def test_an_image_of_which_nothing_is_known_is_left_out_aloud(root, caplog):
    noise(root / "other.png", seed=7)
    assert "other" not in find_busi(root).images
    assert "1 images have neither a class nor a mask" in caplog.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image,class\nbenign (1).png,malignant\n", r"line 2 says that benign \(1\).png is malignant, its folder says"),
        ("image,class\nbenign (9).png,benign\n", r"line 2 names 'benign \(9\).png', which is not among the 3 images"),
        ("image,class\na,benign\na,benign\n", "line 3 lists 'a' again"),
        (
            "image,class\nbenign (1),cancer\n",
            "line 2 has the class 'cancer', expected one of benign, malignant",
        ),
        ("image,label\nbenign (1),0\n", r"the columns \['class'\] are missing"),
    ],
)
def test_a_table_that_contradicts_the_folder_or_itself_is_refused(root, text, reason):
    table(root, text)
    with pytest.raises(DataError, match=rf"labels.csv.*{reason}"):
        find_busi(root)


def test_a_mask_without_its_image_two_images_of_one_id_and_an_empty_folder_are_refused(root, tmp_path):
    folder = root / "Dataset_BUSI_with_GT"
    noise(folder / "benign" / "benign (3)_mask.png")
    with pytest.raises(DataError, match=r"benign \(3\)_mask.png.*no image 'benign \(3\)' lies beside it"):
        find_busi(root)
    (folder / "benign" / "benign (3)_mask.png").unlink()
    noise(folder / "benign" / "benign_(1).png", seed=9)
    with pytest.raises(DataError, match="benign__1_"):
        find_busi(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no BUSI data were found; there are 0 images"):
        find_busi(tmp_path / "empty")
