"""Planted duplicates of every kind are found; clean splits, drawn or real, are not accused."""

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.ham10000.datalist import ham10000_datalist
from ctan_monai.data.datasets.ham10000.synthetic import LOOKS, draw_lesion
from ctan_monai.data.formats.images import read_image_file
from ctan_monai.data.lists.leakage import (
    ImageFingerprint,
    check_leakage,
    find_leaks,
    fingerprint_meta,
    group_related,
    read_fingerprints,
    same_images,
)
from ctan_monai.errors import ConfigError, DataError

REAL = Path(os.environ.get("CTAN_TEST_DATA", Path(__file__).parents[4] / "shared" / "data")) / "ham10000"


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer)


# what people and programs do to an image on its way into a second data set
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 50": lambda image: encoded(image, quality=50),
    "JPEG of quality 20": lambda image: encoded(image, quality=20),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "half the size, JPEG of quality 75": lambda image: encoded(image.resize((image.width // 2, image.height // 2))),
    "square": lambda image: image.resize((64, 64)),
    "gray": lambda image: image.convert("L"),
    "palette": lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE, colors=64),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by a quarter": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned upside down and mirrored": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
}


def fingerprint(
    case: str, image: Image.Image, folder: Path, lesion: str | None = None, patient: str | None = None
) -> ImageFingerprint:
    image.save(folder / f"{case}.png")
    image = read_image_file(folder / f"{case}.png", case)
    return ImageFingerprint(case, lesion, patient, image.sha256, image.thumbnail, image.mean_rgb)


@pytest.fixture
def images() -> list[Image.Image]:
    """Three lesions of each class."""
    names = [name for name in LOOKS for _ in range(3)]
    return [Image.fromarray(draw_lesion(name, number, 0)[0]) for number, name in enumerate(names)]


def test_clean_splits_have_no_leak(images, tmp_path):
    fingerprints = [fingerprint(f"p{n}", image, tmp_path, f"l{n}", f"q{n}") for n, image in enumerate(images)]
    assert find_leaks({"train": fingerprints[::3], "validation": fingerprints[1::3], "test": fingerprints[2::3]}) == []


@pytest.mark.promise(4, "the same image in two splits is found, however it was saved again")
@pytest.mark.parametrize("copy", COPIES)
def test_the_same_image_is_found_however_it_was_saved_again(images, tmp_path, copy):
    train = [fingerprint(f"p{n}", image, tmp_path) for n, image in enumerate(images)]
    planted = [fingerprint(f"c{n}", COPIES[copy](image), tmp_path) for n, image in enumerate(images)]
    leaks = find_leaks({"train": train, "test": planted})
    assert {(leak.first, leak.second) for leak in leaks} == {(f"p{n}", f"c{n}") for n in range(len(images))}
    assert {leak.kind for leak in leaks} == {"same image"}


@pytest.mark.promise(4, "a lesion, patient, file or case in two splits is found before training")
def test_lesion_patient_file_and_case_are_found_and_named(images, tmp_path):
    a, b, c, d, e, f = images[::3][:6]
    train = [
        fingerprint("a", a, tmp_path, "l1", "q1"),
        fingerprint("b", b, tmp_path, "l2", "q2"),
        fingerprint("c", c, tmp_path, None, None),
    ]
    test = [
        fingerprint("d", d, tmp_path, "l1", "q8"),
        fingerprint("e", e, tmp_path, "l9", "q2"),
        fingerprint("c2", c, tmp_path, None, None),
        fingerprint("f", f, tmp_path, "", None),
    ]
    assert [str(leak) for leak in find_leaks({"train": train, "test": test})] == [
        "same lesion: a (train) and d (test)",
        "same patient: b (train) and e (test)",
        "same file: c (train) and c2 (test)",
    ]
    assert {leak.kind for leak in find_leaks({"train": train[:1], "validation": train[:1]})} == {
        "same case",
        "same lesion",
        "same patient",
        "same file",
    }


def test_what_is_in_one_split_twice_is_no_leak(images, tmp_path):
    twice = [fingerprint("a", images[0], tmp_path, "l1"), fingerprint("b", images[0], tmp_path, "l1")]
    assert find_leaks({"train": twice, "test": [fingerprint("c", images[5], tmp_path, "l2")]}) == []


def test_thumbnails_that_are_a_little_less_alike_need_the_same_color_too():
    random = np.random.default_rng(0)
    first = random.normal(0, 20, (16, 16))
    second = first + random.normal(0, 3.5, (16, 16))
    assert 0.975 < np.corrcoef(first.round().ravel(), second.round().ravel())[0, 1] < 0.993

    def pair(one: object, other: object) -> list[tuple[int, int]]:
        fingerprints = [ImageFingerprint("a", None, None, "1", first.astype(np.int8), one)]
        return same_images(fingerprints, [ImageFingerprint("b", None, None, "2", second.astype(np.int8), other)])

    assert pair((200.0, 150.0, 140.0), (201.5, 149.0, 140.0)) == [(0, 0)]
    assert pair((200.0, 150.0, 140.0), (200.0, 153.0, 140.0)) == []
    assert pair((200.0, 150.0, 140.0), None) == []
    assert pair(None, None) == []


def test_images_without_contrast_are_not_taken_for_each_other(tmp_path):
    images = [Image.new("RGB", (32, 32), (gray,) * 3) for gray in (0, 90, 255)]
    for image in images:
        image.putpixel((9, 9), (image.getpixel((9, 9))[0] ^ 1,) * 3)  # of one color only, they are refused
    flat = [fingerprint(f"f{number}", image, tmp_path) for number, image in enumerate(images)]
    assert same_images(flat, flat) == []


def test_links_join_whatever_is_connected_over_any_number_of_steps(images, tmp_path):
    a, b, c, d = images[::5][:4]
    fingerprints = [
        fingerprint("z", a, tmp_path, lesion="l1"),
        fingerprint("y", b, tmp_path, lesion="l1", patient="q"),
        fingerprint("x", c, tmp_path, patient="q"),
        fingerprint("w", COPIES["JPEG of quality 50"](c), tmp_path),
        fingerprint("v", d, tmp_path),
    ]
    assert group_related(fingerprints) == {"z": "w", "y": "w", "x": "w", "w": "w", "v": "v"}


def test_the_check_lists_the_pairs_and_says_what_to_do(images, tmp_path):
    items = {}
    for split, lesion in (("train", "l7"), ("test", "l7")):
        found = fingerprint(split, images[0 if split == "train" else 4], tmp_path)
        meta = {"lesion_id": lesion, "patient_id": None, "file_sha256": found.sha256}
        meta["thumbnail"] = found.thumbnail.tobytes().hex()
        path = tmp_path / f"{split}.case"
        write_case(path, Case(f"ISIC_{split}", {"red": np.ones((4, 4), np.uint8)}, {}, np.eye(4), {}, meta))
        items[split] = [{"case": f"ISIC_{split}", "file": str(path)}]
    with pytest.raises(DataError, match=r"same lesion: ISIC_train \(train\) and ISIC_test \(test\)(.|\n)*one split"):
        check_leakage(items)
    assert len(check_leakage(items, on_leak="warn")) == 1
    with pytest.raises(ConfigError, match="on_leak"):
        check_leakage(items, on_leak="ignore")


def test_what_a_reader_keeps_of_an_image_is_read_again(images, tmp_path):
    made = fingerprint("a", images[0], tmp_path, "l1", "q1")
    meta = fingerprint_meta(made.lesion, made.patient, made.sha256, made.thumbnail, made.mean_rgb)
    write_case(tmp_path / "a.case", Case("a", {"red": np.ones((4, 4), np.uint8)}, {}, np.eye(4), {}, meta))
    (found,) = read_fingerprints([{"case": "a", "file": str(tmp_path / "a.case")}])
    assert found.mean_rgb == pytest.approx(made.mean_rgb, abs=0.01)
    assert np.array_equal(found.thumbnail, made.thumbnail)
    assert (found.case, found.lesion, found.patient, found.sha256) == ("a", "l1", "q1", made.sha256)


def test_a_case_that_was_prepared_without_traces_is_named(tmp_path):
    write_case(tmp_path / "a.case", Case("a", {"red": np.ones((4, 4), np.uint8)}, {}, np.eye(4)))
    with pytest.raises(DataError, match=r"case a\): it does not say what image it came from"):
        read_fingerprints([{"case": "a", "file": str(tmp_path / "a.case")}])


@pytest.mark.data
def test_280_real_images_of_as_many_lesions_are_all_different(tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"no real HAM10000 images in {REAL}; set CTAN_TEST_DATA")
    datalists = ham10000_datalist(REAL, tmp_path, [96, 128], workers=0, progress=False)
    fingerprints = [found for items in datalists.values() for found in read_fingerprints(items)]
    assert len(fingerprints) == 280
    assert set(group_related(fingerprints).items()) == {(found.case, found.case) for found in fingerprints}
    assert check_leakage(datalists) == []
    with (REAL / "HAM10000_metadata.csv").open() as file:
        diagnosis = {row["image_id"]: row["dx"] for row in csv.DictReader(file)}
    for split, number in (("train", 28), ("validation", 4), ("test", 8)):
        found = [diagnosis[item["case"]] for item in datalists[split]]
        assert {name: found.count(name) for name in set(found)} == dict.fromkeys(LOOKS, number)
