from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandSpatialCropd, SpatialPadd

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


@pytest.mark.parametrize(("size", "shape"), [([32, 40], (50, 60)), ([40, 33, 34], (31, 40, 40)), ([64, 48], (21, 50))])
def test_patches_are_monais(size, shape):
    """Values, affine and draws, also where the image is smaller than the patch."""
    keys = ["image", "organ", "dose", "dose_region"]
    pad, crop = SpatialPadd(keys, size, mode="constant"), RandSpatialCropd(keys, size, random_size=False)
    for seed in range(5):
        crop.set_random_state(seed)
        given, patch = cut(size, shape, seed)
        expected = crop(pad(given))
        for key in keys:
            assert torch.equal(torch.as_tensor(patch[key]), torch.as_tensor(expected[key]))
        assert torch.equal(patch["image"].affine, expected["image"].affine)
        assert patch["image"].meta["case"] == "p"


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


@pytest.mark.parametrize("around", ["dose_region", "image"])
def test_a_patch_lies_around_what_it_is_to_show(around):
    """The box is rows 40 to 49, columns 0 to 3 of 90 x 60 voxels, and slice 30 of 31, fewer than the patch has."""
    given = sample((90, 60, 31))
    given[around] = torch.zeros_like(given[around])
    given[around][0, 40, 3, 30] = given[around][0, 49, 0, 30] = 1
    given["dose"] = sample((90, 60, 31))["image"].as_tensor()
    transform, corners = RandPatchLabelsd(TASKS, [32, 32, 40], around), set()
    for seed in range(100):
        patch = transform.set_random_state(seed)(given)["dose"]
        shown = (patch[0] > 0).any(0).any(0).nonzero().flatten()
        assert shown.tolist() == [*range(4, 35)], "slices are padded by four and five"
        corners.add(np.unravel_index(int(patch[0, 0, 0, 4]) - 1, (90, 60, 31)))
    assert corners == {(row, 0, 0) for row in range(24, 34)}, "rows 40 to 49 less 16; columns end at the image"


def test_what_is_not_there_to_be_shown_leaves_the_choice_free():
    for around in ("dose_region", "nothing"):
        given = sample((64, 64))
        given["dose_region"] *= 0
        transform = RandPatchLabelsd(TASKS, [32, 32], around).set_random_state(1)
        expected = RandPatchLabelsd(TASKS, [32, 32]).set_random_state(1)
        assert torch.equal(transform(given)["image"], expected(given)["image"])


@pytest.mark.parametrize("size", [32, [32], [16, 32], "big", [32.0, 32]])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(ConfigError, match="patch_size"):
        RandPatchLabelsd(TASKS, size)


def test_a_size_of_other_dimensions_is_refused():
    with pytest.raises(ConfigError, match="Give 3 numbers"):
        cut([32, 32], (40, 40, 40))
