"""An answer in numbers, against cases that are computed by hand."""

import math

import numpy as np
import pytest
import torch

from ctan_monai.serve.answer import Answer, answer_values, label_map, predictive_entropy
from ctan_monai.tasks import Classification, Regression, Segmentation

OAR = Segmentation("oar", ["a", "b"], overlapping=True)
DOSE = Regression("dose", "Gy", 80.0)


def masks(*rows):
    return {label: np.array([row], bool) for label, row in zip("ab", rows, strict=True)}


def test_in_a_label_map_the_later_label_covers_the_earlier_and_shared_voxels_are_counted():
    found, shared = label_map(OAR, masks([1, 1, 1, 0], [0, 1, 1, 1]))
    assert found.tolist() == [[1, 2, 2, 2]]
    assert shared == 2


def test_structures_have_their_volume_and_the_dose_in_them():
    dose_gy = np.array([[2.0, 4.0, 10.0, 0.0]], np.float32)
    affine_ras = np.diag([10.0, 10, 10, 1])  # voxels of 1 cc
    answer = Answer("x", {"oar": masks([1, 1, 0, 0], [0, 0, 0, 0])}, {"dose": dose_gy}, {}, {"oar": 0.5}, affine_ras)
    found = answer_values((OAR, DOSE), answer)
    first, second = found["structures"]
    assert (first["volume_cc"], first["mean_gy"], first["max_gy"]) == (2.0, 3.0, 4.0)
    assert (second["status"], second["volume_cc"], second["mean_gy"]) == ("empty", 0.0, None)
    assert found["values"]["dose"] == {"unit": "Gy", "min": 0.0, "mean": 4.0, "max": 10.0}
    assert answer.uncertainty == 0.5


def test_of_classes_that_exclude_each_other_the_most_probable_is_named():
    grade, age = Classification("grade", ["low", "high"]), Regression("age", "years", 50, level="image")
    given = {"grade": {"low": 0.25, "high": 0.75}, "age": {"years": 61.5}}
    found = answer_values((grade, age), Answer("x", {}, {}, given, {}, None))["answers"]
    assert found["grade"] == {"probabilities": {"low": 0.25, "high": 0.75}, "class": "high"}
    assert found["age"] == {"value": 61.5, "unit": "years"}


def test_an_image_has_pixels_and_no_volumes():
    found = answer_values((OAR,), Answer("x", {"oar": masks([1, 0], [1, 1])}, {}, {}, {}, None))
    assert found["structures"] == [{"structure": "a", "pixels": 1}, {"structure": "b", "pixels": 2}]


def test_doubt_is_the_entropy_of_the_prediction():
    even = torch.zeros(2, 3, 1)  # probability 1/2: one bit a voxel, 1.5 voxels expected inside
    assert predictive_entropy(OAR, even) == pytest.approx(3 / 2.5, rel=1e-6)
    assert predictive_entropy(OAR, torch.full((2, 3, 1), 30.0)) < 1e-4
    grade = Classification("grade", ["low", "middle", "high"])
    assert predictive_entropy(grade, torch.zeros(3)) == pytest.approx(1)
    half = torch.log(torch.tensor([0.5, 0.25, 0.25]))
    assert predictive_entropy(grade, half) == pytest.approx(1.5 / math.log2(3))
    assert predictive_entropy(DOSE, torch.zeros(1, 3, 1)) is None


def test_the_background_of_labels_that_exclude_each_other_is_no_structure():
    task = Segmentation("organ", ["a"])
    logits = torch.tensor([[[0.0]], [[0.0]]])  # background and a, a half each, in one voxel
    assert predictive_entropy(task, logits) == pytest.approx(1 / 1.5)


def test_a_label_of_two_tasks_is_listed_for_each():
    doctor = Segmentation("doctor", ["b"], overlapping=True)
    both = {"oar": masks([1, 0], [1, 1]), "doctor": {"b": np.ones((1, 5), bool)}}
    found = answer_values((OAR, doctor), Answer("x", both, {}, {}, {}, None))
    pixels = {entry["structure"]: entry["pixels"] for entry in found["structures"]}
    assert pixels == {"a": 1, "b (oar)": 2, "b (doctor)": 5}
