from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import RandPatchLabelsd

TASKS = (Segmentation("organ", ["a", "b"]), Regression("dose", "Gy", 70.0), Classification("grade", ["x", "y"]))


def sample(shape):
    """Make a sample whose every voxel says where it was, in image, labels and region alike."""
    place = torch.arange(1, 1 + int(np.prod(shape)), dtype=torch.float32).reshape(1, *shape)
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    return {
        "image": MetaTensor(place.clone(), affine=affine, meta={"case": "p"}),
        "organ": torch.cat([place % 2, place % 3 == 0]).to(torch.uint8),
        "organ_present": torch.tensor([True, False]),
        "dose": place * 2,
        "dose_present": torch.tensor(True),
        "dose_region": (place % 5 == 0).to(torch.uint8),
        "grade": torch.tensor(1),
        "grade_present": torch.tensor(True),
        "case": "p",
    }


def cut(size, shape, seed=0):
    transform = RandPatchLabelsd(TASKS, size)
    transform.set_random_state(seed)
    given = sample(shape)
    return given, transform(given)


@pytest.mark.parametrize(("size", "shape"), [([32, 40], (50, 60)), ([32, 33, 34], (40, 40, 40)), ([32, 48], (20, 50))])
def test_image_and_labels_are_cut_at_the_same_place(size, shape):
    given, patch = cut(size, shape)
    image = patch["image"]
    assert image.shape == (1, *size)
    inside = image.as_tensor() > 0
    for key in ("organ", "dose", "dose_region"):
        assert patch[key].dtype == given[key].dtype
        assert not isinstance(patch[key], MetaTensor)
    torch.testing.assert_close(patch["dose"], image.as_tensor() * 2)
    assert torch.equal(patch["organ"][0], (image.as_tensor() % 2)[0].to(torch.uint8))
    assert torch.equal(patch["dose_region"], ((image.as_tensor() % 5 == 0) & inside).to(torch.uint8))
    for key in ("organ_present", "dose_present", "grade", "grade_present", "case"):
        assert patch[key] is given[key]


def test_the_affine_follows():
    given, patch = cut([32, 32, 32], (40, 44, 48), seed=3)
    index = int(patch["image"][0, 4, 5, 6].item()) - 1
    there = np.array([*np.unravel_index(index, (40, 44, 48)), 1.0])
    np.testing.assert_allclose(patch["image"].affine @ np.array([4.0, 5, 6, 1]), given["image"].affine @ there)


def test_the_seed_decides_and_all_of_an_image_is_seen():
    _, first = cut([32, 32], (64, 64), seed=1)
    _, again = cut([32, 32], (64, 64), seed=1)
    assert torch.equal(first["image"], again["image"])
    corners = {int(cut([32, 32], (34, 34), seed=seed)[1]["image"][0, 0, 0]) for seed in range(60)}
    assert corners == {1, 2, 3, 35, 36, 37, 69, 70, 71}


@pytest.mark.parametrize("size", [32, [32], [16, 32], "big", [32.0, 32]])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(ConfigError, match="patch_size"):
        RandPatchLabelsd(TASKS, size)


def test_a_size_of_other_dimensions_is_refused():
    with pytest.raises(ConfigError, match="Give 3 numbers"):
        cut([32, 32], (40, 40, 40))
