"""Splits of BUSI: images that show the same stay together, classes are spread, folds partition."""

import json
import logging

import numpy as np
import pytest
from PIL import Image
from ultrasound_files import region, write_us

from ctan_monai.data.cases.cache import read_case_file, read_header
from ctan_monai.data.cases.file_grid import native_grid_of
from ctan_monai.data.datasets.busi.datalist import busi_datalist, busi_inference_list
from ctan_monai.data.datasets.busi.synthetic import draw_ultrasound, write_ultrasound_phantoms
from ctan_monai.data.lists.leakage import check_leakage
from ctan_monai.engines.predictions.predictions_index import write_index
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
    with caplog.at_level(logging.INFO):
        found = listed()
    assert check_leakage(found) == []
    where = {case: split for split, cases in names(found).items() for case in cases}
    assert len(where) == 32
    assert where["benign__15_"] == where["benign__16_"]
    assert where["malignant__15_"] == where["malignant__16_"]
    assert "2 of 32 cases belong to another" in caplog.text
    assert all({case.split("__")[0] for case in cases} == {"benign", "malignant"} for cases in names(found).values())


def test_normal_images_are_listed_if_they_are_asked_for(listed):
    cases = [case for found in names(listed(use_normal=True)).values() for case in found]
    assert sum(case.startswith("normal") for case in cases) == 3


def test_images_of_an_earlier_run_keep_their_split_when_others_are_added(listed, tmp_path, caplog):
    before = names(listed(seed=3))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "datalist.json").write_text(json.dumps(before))
    with caplog.at_level(logging.INFO):
        after = names(listed(seed=5, use_normal=True, add_data=tmp_path / "run"))
    assert all(set(cases) <= set(after[split]) for split, cases in before.items())
    assert {case.split("__")[0] for split in before for case in set(after[split]) - set(before[split])} == {"normal"}
    assert "cases added: 1 train, 1 validation, 1 test; the other 32 keep their split" in caplog.text
    (tmp_path / "twice.json").write_text(json.dumps({"train": ["benign__1_"], "test": ["benign__1_"]}))
    with pytest.raises(DataError, match=r"benign__1_.*it stands in train and in test"):
        listed(add_data=tmp_path / "twice.json")
    with pytest.raises(DataError, match="the list of cases cannot be read"):
        listed(add_data=tmp_path)


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


def test_folders_below_are_read_masks_and_earlier_predictions_left_out_and_shared_names_told_apart(tmp_path, caplog):
    root = tmp_path / "BUSI"
    gray, (mask,) = draw_ultrasound("benign", 77)
    for name in ("benign/a (1).png", "malignant/a (1).png", "normal/deep/b.png", "benign/.hidden.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gray).save(root / name)
    Image.fromarray(mask.astype(np.uint8) * 255).save(root / "benign" / "a (1)_mask_1.png")
    for name in ("p1", "p2"):
        dicom(root / name / "cine.dcm", 40, frames=2)
    (root / "runs").mkdir()
    Image.fromarray(gray).save(root / "runs" / "overlay.png")
    write_index(root / "runs", [], [])
    with caplog.at_level(logging.INFO):
        items = busi_inference_list(root, tmp_path / "cache", [64, 64])
    cases = ["benign_a__1_", "malignant_a__1_", "b", "p1_cine_f001", "p1_cine_f002", "p2_cine_f001", "p2_cine_f002"]
    assert [item["case"] for item in items] == cases
    assert [read_case_file(item["file"]).case for item in items] == cases
    assert [item.get("cine") for item in items] == [None] * 3 + ["p1_cine"] * 2 + ["p2_cine"] * 2
    for said in (
        "1 masks are left out, such as ",
        f"{root / 'runs'} is left out: it holds predictions",
        f"names in the results are not those of the files, such as: {root / 'benign' / 'a (1).png'} is benign_a__1_",
    ):
        assert said in caplog.text
    Image.fromarray(gray).save(root / "p1" / "cine.png")
    with pytest.raises(DataError, match=r"would both be called p1_cine"):
        busi_inference_list(root, tmp_path / "cache", [64, 64])


def test_a_folder_without_an_image_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        busi_inference_list(tmp_path / "gone", tmp_path / "cache", [64, 64])
    (tmp_path / "in" / "benign").mkdir(parents=True)
    Image.new("L", (64, 64)).save(tmp_path / "in" / "benign" / "a_mask.png")
    with pytest.raises(DataError, match=r"no image was found but 1 masks; looked for .* and below it.*DICOM"):
        busi_inference_list(tmp_path / "in", tmp_path / "cache", [64, 64])


def test_without_a_folder_synthetic_images_are_used_and_called_so(tmp_path, caplog):
    items = busi_inference_list(None, tmp_path, [32, 32])
    assert [item["case"].split("__")[0] for item in items] == ["benign", "benign", "malignant", "malignant"]
    assert "they show no patients" in caplog.text
    assert read_header(items[0]["file"]).meta["synthetic"] is True


def dicom(path, seed, frames=0, **about):
    """Write ultrasound with letters burnt in above a region of rows 20 to 119, columns 30 to 149."""
    drawn = [draw_ultrasound("benign", seed + number, shape=(100, 120))[0] for number in range(frames or 1)]
    whole = np.zeros((len(drawn), 140, 170), np.uint8)
    whole[:, 20:120, 30:150] = np.stack(drawn)
    whole[:, 4:14, 4:100:3] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    write_us(path, whole if frames else whole[0], regions=[region((30, 149), (20, 119))], **about)
    return drawn


def test_dicom_images_are_cut_to_their_regions_and_each_frame_of_a_cine_is_a_case(tmp_path, caplog):
    folder = tmp_path / "new"
    drawn = dicom(folder / "cine.dcm", 40, frames=3)
    dicom(folder / "1.2.840.113.7", 50)
    with caplog.at_level(logging.INFO):
        items = busi_inference_list(folder, tmp_path / "cache", [120, 120])
    assert [item["case"] for item in items] == ["1.2.840.113.7", "cine_f001", "cine_f002", "cine_f003"]
    assert [(item["dicom"], item["frame"]) for item in items[:2]] == [
        (str(folder / "1.2.840.113.7"), 0),
        (str(folder / "cine.dcm"), 1),
    ]
    assert "1 DICOM files have several frames: 3 frames are cases (option frame)" in caplog.text
    assert "4 DICOM images are cut to their B-mode regions" in caplog.text
    case = read_case_file(items[2]["file"])
    assert np.array_equal(case.volumes["red"][:100], drawn[1])
    assert not case.volumes["red"][100:].any()
    own = native_grid_of(case.meta)
    assert (own.shape, own.box) == ((140, 170), (20, 30, 100, 120))
    place = np.linalg.solve(own.affine_ras, case.affine_ras @ [5, 7, 0, 1])  # of a pixel of the case in the file
    assert np.allclose(place, [25, 37, 0, 1])
    (one,) = busi_inference_list(folder / "cine.dcm", tmp_path / "cache", [120, 120], frame=2)
    assert (one["case"], one["frame"]) == ("cine_f002", 2)


def test_a_frame_that_is_not_there_and_what_is_no_ultrasound_are_refused_or_left_out(tmp_path, caplog):
    folder = tmp_path / "new"
    dicom(folder / "cine.dcm", 40, frames=3)
    dicom(folder / "ct.dcm", 41, SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")
    flat = np.full((140, 170), 90, np.uint8)
    flat[:19] = np.random.default_rng(0).integers(0, 255, (19, 170))  # annotations vary, the region does not
    write_us(folder / "flat.dcm", flat, regions=[region((30, 149), (20, 119))])
    with pytest.raises(DataError) as caught:
        busi_inference_list(folder, tmp_path / "cache", [64, 64], frame=7)
    for said in (
        "cine.dcm (case cine_f007): it has 3 frames, and no frame 7",
        "ct.dcm (case ct): it is no ultrasound image, but CT Image Storage, Modality CT",
        "flat.dcm (case flat): each of its pixels inside of its ultrasound region is (90, 90, 90)",
    ):
        assert said in str(caught.value)
    assert len(busi_inference_list(folder, tmp_path / "cache", [64, 64], on_error="skip")) == 3
    for frame in (0, "first", True):
        with pytest.raises(ConfigError, match=r"frame: .* was found. Remedy: Use all"):
            busi_inference_list(folder, tmp_path / "cache", [64, 64], frame=frame)


def test_dicom_is_trained_on_beside_masks_and_a_table_and_patients_stay_together(tmp_path, caplog):
    root = tmp_path / "data"
    for number in range(8):
        label = ("benign", "malignant")[number % 2]
        dicom(root / label / f"im{number}.dcm", 10 * number, PatientID=f"p{number // 2}")
    dicom(root / "cine.dcm", 200, frames=2, PatientID="p9")
    (root / "labels.csv").write_text("image,class\ncine.dcm,malignant\n")
    mask = np.zeros((140, 170), np.uint8)
    mask[50:70, 60:100] = 255
    for name in ("benign/im0_mask", "cine_f002_mask"):
        Image.fromarray(mask).save(root / f"{name}.png")
    found = busi_datalist(root, tmp_path / "cache", [120, 120], workers=0, split_fractions=[0.4, 0.3, 0.3])
    where = {case: split for split, cases in names(found).items() for case in cases}
    assert set(where) == {*(f"im{number}" for number in range(8)), "cine_f001", "cine_f002"}
    assert where["cine_f001"] == where["cine_f002"]
    assert all(where[f"im{number}"] == where[f"im{number + 1}"] for number in range(0, 8, 2))
    cases = {item["case"]: read_case_file(item["file"]) for items in found.values() for item in items}
    expected = np.zeros((120, 120), bool)
    expected[30:50, 30:70] = True
    for name in ("im0", "cine_f002"):
        assert np.array_equal(cases[name].masks["tumor"], expected)
    assert cases["cine_f001"].masks == {}
    assert cases["cine_f001"].values["diagnosis"] == [1.0]
    kept = [case.meta["patient_id"] for case in cases.values()]
    assert len(set(kept)) == 5
    assert all(patient.startswith("pt_") for patient in kept)


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("cine_mask", (140, 170), r"cine_mask.png: cine has several frames.*cine_f003_mask.png"),
        ("cine_f001_mask", (100, 120), r"cine_f001_mask.png .*it has 100 rows and 120 columns, its image 140 and 170"),
    ],
)
def test_a_mask_of_no_frame_or_of_the_region_alone_is_refused(tmp_path, name, shape, reason):
    dicom(tmp_path / "data" / "benign" / "cine.dcm", 1, frames=3)
    Image.fromarray(np.eye(*shape).astype(np.uint8) * 255).save(tmp_path / "data" / "benign" / f"{name}.png")
    with pytest.raises(DataError, match=reason):
        busi_datalist(tmp_path / "data", tmp_path / "cache", [64, 64], workers=0)
