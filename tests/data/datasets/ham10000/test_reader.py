"""HAM10000 in the layouts in which it is found, and as it goes wrong."""

import json
import logging
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.cases.cache import read_case_file, read_header
from ctan_monai.data.datasets.ham10000.datalist import ham10000_datalist
from ctan_monai.data.datasets.ham10000.reader import Ham10000Reader, find_ham10000
from ctan_monai.data.datasets.ham10000.synthetic import write_lesion_phantoms
from ctan_monai.data.datasets.ham10000.table import CLASSES, read_table
from ctan_monai.errors import ConfigError, DataError

SIZE = (48, 64)
FEW = {"nv": 5, "mel": 4, "bkl": 3, "bcc": 3, "akiec": 3, "vasc": 3, "df": 3}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A small synthetic data set; not to be changed."""
    return write_lesion_phantoms(tmp_path_factory.mktemp("ham") / "data", lesions=FEW, shape=SIZE)


@pytest.fixture
def root(drawn, tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(drawn, tmp_path / "data"))


def listed(root, cache, size=SIZE, **options):
    return ham10000_datalist(root, cache, list(size), workers=0, progress=False, **options)


def test_the_classes_are_in_the_order_that_is_documented():
    assert CLASSES == ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")


def test_a_case_has_colors_mask_and_class_and_what_the_table_says(root):
    found = find_ham10000(root)
    case = Ham10000Reader(found, None)(found.images["SYN_0000001"])
    rgb = np.array(Image.open(next(root.rglob("SYN_0000001.jpg"))))
    assert np.array_equal(np.stack([case.volumes[name] for name in ("red", "green", "blue")], -1), rgb)
    mask = np.array(Image.open(next(root.rglob("SYN_0000001_segmentation.png"))))
    assert np.array_equal(case.masks["lesion"], mask > 127)
    assert case.values == {"diagnosis": 0}
    assert {key: case.meta[key] for key in ("lesion_id", "age", "full_shape", "patient_id")} == {
        "lesion_id": "SYN_0000",
        "age": 31.0,
        "full_shape": [48, 64],
        "patient_id": None,
    }


def test_images_and_masks_are_resized_together_to_any_size(root, tmp_path):
    whole = find_ham10000(root)
    for image, path in list(whole.images.items())[:3]:
        full, small = (Ham10000Reader(whole, size)(path) for size in (None, (32, 40)))
        assert small.shape == (32, 40)
        assert abs(small.masks["lesion"].mean() - full.masks["lesion"].mean()) < 0.02, image
        assert np.allclose(small.affine_ras @ [15.5, 19.5, 0, 1], full.affine_ras @ [23.5, 31.5, 0, 1])  # centers


@pytest.mark.parametrize("layout", ["one folder", "everything at the top", "deep", "tab"])
def test_it_is_found_however_its_folders_are_arranged(root, tmp_path, layout):
    before = find_ham10000(root)
    other = tmp_path / "other"
    images, masks = {
        "one folder": (other / "images", other / "masks"),
        "everything at the top": (other, other),
        "deep": (other / "a" / "HAM10000_images_part_1", other / "a" / "masks"),
        "tab": (other / "images", other / "masks"),
    }[layout]
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for path in before.images.values():
        shutil.copy(path, images)
    for path in before.masks.values():
        shutil.copy(path, masks)
    table = (root / "HAM10000_metadata.csv").read_text()
    if layout == "tab":
        (other / "HAM10000_metadata.tab").write_text(table.replace(",", "\t"))
    else:
        (other / "HAM10000_metadata.csv").write_text("\ufeff" + table, encoding="utf-8")
    after = find_ham10000(other)
    assert list(after.images) == list(before.images)
    assert after.masks.keys() == before.masks.keys()
    assert after.rows == before.rows


def test_what_is_not_known_is_absent_and_not_negative(root, tmp_path):
    for name in ("SYN_0000002", "SYN_0000003"):
        next(root.rglob(f"{name}_segmentation.png")).unlink()
    table = root / "HAM10000_metadata.csv"
    lines = table.read_text().splitlines()
    kept = [line.replace(",mel,", ",unknown,") for line in lines if "SYN_0000004" not in line]
    table.write_text("\n".join(kept))
    items = {item["case"]: item["file"] for found in listed(root, tmp_path / "c").values() for item in found}
    assert "lesion" not in read_case_file(items["SYN_0000002"]).masks
    header = read_header(items["SYN_0000004"])  # a mask, but no row
    assert (header.values, header.meta["lesion_id"]) == ({}, None)
    assert "lesion" in header.occupied
    mel = [line.split(",")[1] for line in lines if ",mel," in line]
    assert mel
    assert all(read_header(items[image]).values == {} for image in mel)


def test_images_of_which_nothing_is_known_are_left_out_and_counted(root, caplog):
    shutil.copy(next(root.rglob("SYN_0000001.jpg")), root / "ISIC_0034321.jpg")
    part = root / "ham10000_images_part_1"  # Kaggle's copy has every image twice
    shutil.copytree(root / "HAM10000_images_part_1", part)
    next((root / "HAM10000_images_part_2").glob("*.jpg")).unlink()
    with caplog.at_level(logging.WARNING):
        found = find_ham10000(root)
    assert "ISIC_0034321" not in found.images
    text = caplog.text
    assert "1 images have neither a mask nor a row" in text
    assert "1 rows of HAM10000_metadata.csv have no image" in text
    assert f"{len(list(part.iterdir()))} images or masks are there twice" in text


def test_where_there_is_nothing_the_error_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"<image_id>\.jpg.*HAM10000_metadata\.csv.*--dataset_dir"):
        find_ham10000(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("dx,", "class,"), r"the columns \['dx'\] are missing"),
        (lambda text: text.replace(",age,", ",dx,", 1), r"the header has \['dx'\] twice"),
        (lambda text: text.replace(",df,", ",scc,", 1), r"has the diagnosis 'scc', expected one of nv, mel"),
        (lambda text: text + text.splitlines()[3] + "\n", r"SYN_0000002\): line \d+ lists this image again"),
        (lambda text: text.replace("31.0", "old"), r"SYN_0000001\): line 3 has the age 'old'"),
        (lambda text: text.replace("SYN_0000002,", "../x,"), r"a case id is 1 to 64"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_line_and_image(root, change, message):
    table = root / "HAM10000_metadata.csv"
    table.write_text(change(table.read_text()))
    with pytest.raises(DataError, match=message):
        read_table(table)


def test_an_image_that_cannot_be_read_is_named_among_all_others(root, tmp_path):
    path = next(root.rglob("SYN_0000005.jpg"))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"1 of \d+ cases cannot be used(.|\n)*SYN_0000005\.jpg \(case SYN_0000005\)"):
        listed(root, tmp_path / "c")
    kept = listed(root, tmp_path / "c", on_error="skip")
    assert "SYN_0000005" not in {item["case"] for items in kept.values() for item in items}


def test_every_image_is_in_one_split_every_lesion_too_and_the_classes_are_spread(drawn, tmp_path):
    found = listed(drawn, tmp_path)
    cases = [item["case"] for items in found.values() for item in items]
    assert sorted(cases) == list(find_ham10000(drawn).images)
    lesions = {split: {read_header(item["file"]).meta["lesion_id"] for item in found[split]} for split in found}
    assert not lesions["train"] & lesions["test"]
    assert not lesions["train"] & lesions["validation"]
    for items in found.values():
        assert {read_header(item["file"]).values["diagnosis"] for item in items} == set(range(7))


def test_another_seed_divides_otherwise_and_the_same_one_alike(drawn, tmp_path):
    names = [[item["case"] for item in listed(drawn, tmp_path, seed=seed)["test"]] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_the_cache_follows_the_mask_the_table_and_the_size(root, tmp_path):
    def state(size=SIZE):
        found = listed(root, tmp_path / "c", size)
        (file,) = [item["file"] for items in found.values() for item in items if item["case"] == "SYN_0000006"]
        return Path(file)

    first = state()
    times = [first.stat().st_mtime_ns]
    state()
    times.append(first.stat().st_mtime_ns)
    mask = next(root.rglob("SYN_0000006_segmentation.png"))
    Image.fromarray(np.full(SIZE, 255, np.uint8)).save(mask)
    os.utime(mask, ns=(1, 1))
    assert read_case_file(state()).masks["lesion"].all()
    times.append(first.stat().st_mtime_ns)
    table = root / "HAM10000_metadata.csv"
    table.write_text(table.read_text().replace("SYN_0000006,mel,", "SYN_0000006,df,"))
    assert read_header(state()).values == {"diagnosis": 6}
    assert times[0] == times[1] != times[2]
    assert read_header(state((32, 32))).shape == (32, 32)
    assert state() == first


def test_a_copy_elsewhere_finds_the_copied_cache(root, tmp_path, monkeypatch):
    before = listed(root, tmp_path / "here" / "cache")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.copytree(root, tmp_path / "there" / "data", copy_function=shutil.copyfile)  # with other times
    monkeypatch.setattr(Ham10000Reader, "__call__", None)  # nothing is read
    after = listed(tmp_path / "there" / "data", tmp_path / "there" / "cache")
    assert {split: [item["case"] for item in items] for split, items in after.items()} == {
        split: [item["case"] for item in items] for split, items in before.items()
    }
    for old, new in zip(before["train"], after["train"], strict=True):
        old_case, new_case = read_case_file(old["file"]), read_case_file(new["file"])
        np.testing.assert_array_equal(new_case.masks["lesion"], old_case.masks["lesion"])
        np.testing.assert_array_equal(new_case.volumes["red"], old_case.volumes["red"])
        assert new_case.values == old_case.values


def test_processes_read_the_same_as_one(drawn, tmp_path):
    reader = pickle.loads(pickle.dumps(Ham10000Reader(find_ham10000(drawn), SIZE)))  # noqa: S301 - our own
    assert len(pickle.dumps(reader)) < 500
    one = listed(drawn, tmp_path / "one")
    several = ham10000_datalist(drawn, tmp_path / "several", list(SIZE), workers=2, progress=False)
    for split, items in one.items():
        for item, other in zip(items, several[split], strict=True):
            assert Path(item["file"]).read_bytes() == Path(other["file"]).read_bytes()


def test_a_datalist_file_chooses_images_by_name(drawn, tmp_path):
    path = tmp_path / "few.json"
    wanted = {"train": ["SYN_0000001", "SYN_0000009"], "validation": ["SYN_0000003"], "test": ["SYN_0000004"]}
    path.write_text(json.dumps(wanted))
    found = listed(drawn, tmp_path / "c", datalist=path)
    assert {split: [item["case"] for item in items] for split, items in found.items()} == wanted
    assert len(list((tmp_path / "c").rglob("*.case"))) == 4
    path.write_text(json.dumps({**wanted, "test": ["ISIC_1"]}))
    with pytest.raises(DataError, match=r"\['ISIC_1'\] are not among the \d+ images"):
        listed(drawn, tmp_path / "c", datalist=path)
    path.write_text(json.dumps({**wanted, "test": []}))
    with pytest.raises(DataError, match=r"no image was found for \['test'\]"):
        listed(drawn, tmp_path / "c", datalist=path)


def test_without_a_folder_synthetic_images_are_made_and_called_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        first = ham10000_datalist(None, tmp_path, [32, 40], progress=False)
    assert "synthetic images in use" in caplog.text
    assert first == ham10000_datalist("", tmp_path, [32, 40], progress=False)
    items = [item for split in first.values() for item in split]
    assert len(items) == 64
    assert all(read_case_file(item["file"]).meta["synthetic"] is True for item in items)


@pytest.mark.parametrize("size", [[96], [16, 128], "96", [96.0, 128.0], None])
def test_a_size_that_is_none_is_refused(drawn, tmp_path, size):
    with pytest.raises(ConfigError, match="image_size"):
        ham10000_datalist(drawn, tmp_path, size)
    with pytest.raises(ConfigError, match="splits"):
        listed(drawn, tmp_path, splits=["training"])
