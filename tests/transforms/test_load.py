from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from ctan_monai.data.cases.cache import write_case
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled

FILE = Path("pt_1.case")


def test_a_sample_holds_image_labels_presence_and_region(sample, patient):
    assert sample["image"].shape == (2, 12, 16, 6)
    assert sample["image"].dtype == torch.float32
    np.testing.assert_array_equal(sample["image"][0], patient.volumes["ct"])
    np.testing.assert_array_equal(sample["image"][1], patient.masks["PTV70"])
    assert sample["oar"].dtype == torch.uint8
    np.testing.assert_array_equal(sample["oar"][1], patient.masks["LeftParotid"])
    np.testing.assert_array_equal(sample["dose"][0], patient.volumes["dose"])
    np.testing.assert_array_equal(sample["dose_region"][0], patient.masks["dose_region"])
    assert sample["stage"].item() == 2
    assert sample["stage"].dtype == torch.int64
    assert (sample["case"], sample["file"]) == ("pt_1", "pt_1.case")


def test_a_structure_that_nobody_drew_is_unknown_not_empty(sample):
    assert sample["oar_present"].tolist() == [True, True, False, False]
    assert sample["oar"][2:].sum() == 0


def test_labels_of_the_whole_volume_may_be_missing_too(patient, organs, dose, finding):
    bare = dataclasses.replace(patient, volumes={"ct": patient.volumes["ct"]}, masks={}, values={})
    findings = Classification("signs", ["a", "b"], multilabel=True)
    score = Regression("score", unit="points", scale=10, level="image")
    found = LoadCaseFiled([organs, dose, finding, findings, score]).sample(bare, FILE)
    for name, shape in {
        "oar": (4, 12, 16, 6),
        "dose": (1, 12, 16, 6),
        "stage": (),
        "signs": (2,),
        "score": (1,),
    }.items():
        assert found[name].shape == shape
        assert not found[name].any()
        assert not found[f"{name}_present"].any()
    assert "dose_region" not in found


def test_meta_data_are_the_affine_and_the_case_and_nothing_that_names_a_file(sample, patient):
    image = sample["image"]
    np.testing.assert_array_equal(image.affine, patient.affine_ras)
    assert set(image.meta) == {"affine", "case", "space"}
    # (i, j, k) = (2, 3, 1): 3 * 4 mm from right to left is -12 in RAS, 2 * 4 mm backwards is -8, 2.5 mm down is -2.5
    np.testing.assert_allclose(image.affine @ torch.tensor([2.0, 3, 1, 1], dtype=torch.float64), [-12, -8, -2.5, 1])


def test_samples_collate_into_the_batch_of_the_contract(sample):
    batch = list_data_collate([sample, sample])
    assert isinstance(batch["image"], MetaTensor)
    assert batch["image"].shape == (2, 2, 12, 16, 6)
    assert batch["image"].affine.shape == (2, 4, 4)
    assert batch["oar_present"].shape == (2, 4)
    assert batch["dose_present"].shape == batch["stage"].shape == (2,)
    assert batch["case"] == ["pt_1", "pt_1"]


def test_an_exclusive_task_gives_an_overlap_to_the_later_label(patient):
    first = LoadCaseFiled([Segmentation("roi", ["PTV70", "LeftParotid"])]).sample(patient, FILE)["roi"]
    assert int((first.sum(0) > 1).sum()) == 0
    np.testing.assert_array_equal(first[1], patient.masks["LeftParotid"])
    np.testing.assert_array_equal(first[0], patient.masks["PTV70"] & ~patient.masks["LeftParotid"])
    both = LoadCaseFiled([Segmentation("roi", ["PTV70", "LeftParotid"], overlapping=True)]).sample(patient, FILE)["roi"]
    np.testing.assert_array_equal(both[0], patient.masks["PTV70"])


def test_a_contour_channel_that_the_case_lacks_is_zeros(patient, dose):
    image = LoadCaseFiled([dose], ["ct", "PTV63"]).sample(patient, FILE)["image"]
    assert image[1].sum() == 0


def test_a_case_without_contours_is_refused_where_the_image_has_some(patient, dose):
    bare = dataclasses.replace(patient, masks={})
    with pytest.raises(DataError, match=r"'PTV63'.*is in the case.*add the contours"):
        LoadCaseFiled([dose], ["ct", "PTV63"]).sample(bare, FILE)


def test_what_is_prescribed_is_a_channel_in_units_of_100_gy(patient, dose):
    target = patient.masks["PTV70"]
    given = dataclasses.replace(patient, masks={"PTV": target}, meta={"prescription_gy": 35.0})
    image = LoadCaseFiled([dose], ["ct", "prescription"]).sample(given, FILE)["image"]
    np.testing.assert_allclose(image[1], target * 0.35)


def test_a_dose_level_in_a_target_s_name_comes_before_the_case_s_prescription(patient, dose):
    given = dataclasses.replace(patient, meta={"prescription_gy": 35.0})
    image = LoadCaseFiled([dose], ["ct", "prescription"]).sample(given, FILE)["image"]
    np.testing.assert_allclose(image[1], patient.masks["PTV70"] * 0.7, rtol=1e-6)


def test_a_case_without_any_channel_of_the_image_is_refused(patient, dose):
    with pytest.raises(DataError, match=r"pt_1.case \(case pt_1\).*'mr'.*Correct image_channels"):
        LoadCaseFiled([dose], ["mr"]).sample(patient, FILE)


@pytest.mark.parametrize("channels", [[], ["ct", "ct"], "ct"])
def test_channels_must_be_a_list_of_different_names(dose, channels):
    with pytest.raises(ConfigError, match="image_channels"):
        LoadCaseFiled([dose], channels)


@pytest.mark.parametrize(
    ("task", "value", "expected"),
    [
        (Classification("x", ["a", "b", "c"]), 1, torch.tensor(1)),
        (Classification("x", ["a"]), 1, torch.tensor([1.0])),
        (Classification("x", ["a", "b"], multilabel=True), [0, 1], torch.tensor([0.0, 1.0])),
        (Regression("x", unit="points", scale=1, level="image"), 3.5, torch.tensor([3.5])),
    ],
)
def test_labels_of_the_whole_image_become_tensors_of_their_kind(patient, task, value, expected):
    found = LoadCaseFiled([task]).sample(dataclasses.replace(patient, values={"x": value}), FILE)
    assert found["x_present"].item() is True
    assert found["x"].dtype == expected.dtype
    torch.testing.assert_close(found["x"], expected)


@pytest.mark.parametrize(
    ("task", "value"),
    [
        (Classification("x", ["a", "b", "c"]), 3),
        (Classification("x", ["a", "b", "c"]), -1),
        (Classification("x", ["a", "b", "c"]), 0.5),
        (Classification("x", ["a", "b"], multilabel=True), [1]),
        (Classification("x", ["a"]), 0.7),
        (Classification("x", ["a", "b", "c"]), [1.0]),
    ],
)
def test_a_label_that_the_task_cannot_have_is_an_error(patient, task, value):
    with pytest.raises(DataError, match=r"case pt_1.*the label of x is .*leave it out"):
        LoadCaseFiled([task]).sample(dataclasses.replace(patient, values={"x": value}), FILE)


def test_a_slice_of_a_file_is_that_slice_of_the_volume_and_lies_in_its_place(patient, organs, dose, finding, tmp_path):
    write_case(tmp_path / "pt_1.case", patient)
    load = LoadCaseFiled([organs, dose, finding], ["ct", "PTV70"])
    volume = load({"case": "pt_1", "file": tmp_path / "pt_1.case"})
    for index in (0, 2, 5):  # the brainstem is in slices 1 to 3: in slice 0 and 5 it is empty, but known
        piece = load({"case": "pt_1", "file": str(tmp_path / "pt_1.case"), "slice": index})
        for key in ("image", "oar", "dose", "dose_region"):
            assert torch.equal(torch.as_tensor(piece[key]), torch.as_tensor(volume[key])[..., index]), key
        assert torch.equal(piece["oar_present"], volume["oar_present"])
        corner = torch.tensor([3.0, 4, 0, 1], dtype=torch.float64)
        in_volume = torch.tensor([3.0, 4, index, 1], dtype=torch.float64)
        torch.testing.assert_close(piece["image"].affine @ corner, volume["image"].affine @ in_volume)
        assert piece["case"] == "pt_1"
