"""Images of BUSI as cases: padding, masks that are united, and what is no ultrasound."""

from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.cases.cache import CaseCache
from ctan_monai.data.cases.file_grid import native_grid_of
from ctan_monai.data.datasets.busi.layout import find_busi
from ctan_monai.data.datasets.busi.reader import BusiReader
from ctan_monai.errors import DataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "benign").mkdir()
    return tmp_path


def gray(shape=(40, 80), seed=0):
    return np.random.default_rng(seed).integers(20, 200, shape).astype(np.uint8)


def save(folder, name, values):
    Image.fromarray(values).save(folder / f"{name}.png")


def box(shape, rows, columns):
    values = np.zeros(shape, np.uint8)
    values[rows, columns] = 255
    return values


def read(folder, name="benign/a", size=(40, 40)):
    reader = BusiReader(find_busi(folder), size)
    return reader(folder / f"{name}.png")


def test_an_image_is_padded_below_to_a_square_and_its_masks_are_united(folder):
    image = gray()
    save(folder, "benign/a", image)
    save(folder, "benign/a_mask", box((40, 80), slice(10, 20), slice(20, 40)))
    save(folder, "benign/a_mask_1", box((40, 80), slice(30, 40), slice(60, 80)))
    case = read(folder, size=(80, 80))
    assert np.array_equal(case.volumes["red"][:40], image)
    assert not case.volumes["green"][40:].any()
    expected = np.zeros((80, 80), bool)
    expected[10:20, 20:40] = expected[30:40, 60:80] = True
    assert np.array_equal(case.masks["tumor"], expected)
    assert case.values["diagnosis"] == [0.0]
    assert case.meta["full_shape"] == [40, 80]
    assert case.meta["padded_shape"] == [80, 80]


def test_a_place_of_the_case_is_that_of_the_file_and_the_case_knows_the_files_grid(folder):
    save(folder, "benign/a", gray())
    case = read(folder, size=(40, 40))  # each pixel covers 2 x 2 of the file
    assert np.allclose(case.affine_ras @ [0, 0, 0, 1], [-0.5, -0.5, 0, 1])
    assert np.allclose(case.affine_ras @ [10, 20, 0, 1], [-40.5, -20.5, 0, 1])
    own = native_grid_of(case.meta)
    assert own.shape == (40, 80)
    assert np.allclose(own.affine_ras @ [20, 40, 0, 1], [-40, -20, 0, 1])


def test_without_a_mask_the_outline_is_unknown_and_of_a_normal_image_it_is_known_to_be_empty(folder):
    (folder / "normal").mkdir()
    (folder / "malignant").mkdir()
    save(folder, "malignant/a", gray())
    save(folder, "normal/b", gray(seed=1))
    malignant, normal = read(folder, "malignant/a"), read(folder, "normal/b")
    assert (malignant.masks, malignant.values["diagnosis"]) == ({}, [1.0])
    assert not normal.masks["tumor"].any()
    assert normal.values["diagnosis"] == [0.0]
    save(folder, "normal/b_mask", box((40, 80), slice(0, 9), slice(0, 9)))
    with pytest.raises(DataError, match="has 81 pixels, but the image is called normal"):
        read(folder, "normal/b")


def test_an_empty_mask_of_a_tumor_is_said(folder, caplog):
    save(folder, "benign/a", gray())
    save(folder, "benign/a_mask", np.zeros((40, 80), np.uint8))
    read(folder)
    assert "a_mask.png is empty" in caplog.text


def test_a_mask_of_another_size_is_refused_by_name(folder):
    save(folder, "benign/a", gray())
    save(folder, "benign/a_mask", box((80, 40), slice(0, 9), slice(0, 9)))
    with pytest.raises(DataError, match=r"a_mask.png \(case a\): it has 80 rows and 40 columns, its image 40 and 80"):
        read(folder)


def annotation():
    values = np.zeros((40, 80, 3), np.uint8)
    values[5:12, 5:60] = 255  # letters
    values[20:25, 5:60] = (250, 220, 0)  # a ruler
    return values


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (annotation(), r"it shows no ultrasound: 7\d% of it is black, 2\d% white or colored"),
        (np.full((40, 80), 90, np.uint8), r"each of its pixels is \(90, 90, 90\)"),
        (box((40, 80), slice(10, 20), slice(20, 40)), "it shows no ultrasound"),
    ],
    ids=["letters", "constant", "a mask"],
)
def test_an_image_of_annotations_or_of_nothing_is_refused(folder, values, reason):
    save(folder, "benign/a", values)
    with pytest.raises(DataError, match=reason):
        read(folder, size=(80, 80))


def test_letters_beside_ultrasound_are_no_reason_to_refuse(folder):
    values = annotation()
    values[26:, :] = gray((14, 80))[..., None]
    save(folder, "benign/a", values)
    assert read(folder).volumes["red"].any()


def test_what_a_case_depends_on_changes_with_masks_and_table_and_the_reader_can_be_sent_to_workers(folder):
    save(folder, "benign/a", gray())
    path = folder / "benign" / "a.png"

    def state(reader):
        cache = CaseCache(folder, reader)
        return cache.fingerprint(path), cache.fingerprint(path, content=True)

    states = [state(BusiReader(find_busi(folder), (32, 32)))]
    save(folder, "benign/a_mask", box((40, 80), slice(0, 9), slice(0, 9)))
    states.append(state(BusiReader(find_busi(folder), (32, 32))))
    save(folder, "benign/a_mask", box((40, 80), slice(0, 8), slice(0, 9)))
    states.append(state(BusiReader(find_busi(folder), (32, 32))))
    (folder / "labels.csv").write_text("image,class,patient_id\na,benign,p1\n")
    reader = BusiReader(find_busi(folder), (32, 32))
    states.append(state(reader))
    assert all(len(set(kind)) == 4 for kind in zip(*states, strict=True))
    again = ForkingPickler.loads(ForkingPickler.dumps(reader))  # as a pool of workers does
    assert state(again) == states[-1]
    assert again(path).meta["patient_id"] == "p1"
