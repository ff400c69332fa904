from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate
from monai.transforms import Compose

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import RandAffineLabelsd, spatial_modes

TASKS = [
    Segmentation("oar", ["spot", "frame"], overlapping=True),
    Regression("dose", unit="Gy", scale=70.0),
    Classification("stage", ["a", "b"]),
]


def _landmarks(shape: tuple[int, ...]) -> dict[str, object]:
    """A blob that is the same in image, mask and dose, off the center, so that a wrong axis or sign would show."""
    grids = torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij")
    center = [n * f for n, f in zip(shape, (0.35, 0.6, 0.45), strict=False)]
    squared = sum((grid - c) ** 2 for grid, c in zip(grids, center, strict=False))
    blob = torch.exp(-torch.as_tensor(squared) / 18)[None]
    return {
        "image": MetaTensor(blob, affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))),
        "oar": torch.cat([blob > 0.5, blob > 0.1]).to(torch.uint8),
        "oar_present": torch.tensor([True, False]),
        "dose": 70 * blob,
        "dose_region": (blob > 0.05).to(torch.uint8),
        "stage": torch.tensor(1),
        "case": "pt_1",
    }


def _center(volume: torch.Tensor) -> torch.Tensor:
    weights = torch.as_tensor(volume).double()
    grids = torch.meshgrid(*[torch.arange(n).double() for n in weights.shape], indexing="ij")
    return torch.stack([(grid * weights).sum() / weights.sum() for grid in grids])


@pytest.mark.parametrize("shape", [(40, 48), (32, 36, 24)], ids=["slice", "volume"])
def test_landmarks_in_image_masks_dose_and_region_move_together(shape):
    sample = _landmarks(shape)
    move = RandAffineLabelsd(TASKS, spatial_dims=len(shape), rotate_range=math.radians(20), prob=1.0)
    move.set_random_state(seed=5)
    for _ in range(3):
        moved = move(sample)
        center = _center(moved["image"][0])
        assert torch.dist(center, _center(sample["image"][0])) > 1
        for key in ("oar", "dose", "dose_region"):
            for layer in moved[key]:
                assert torch.dist(center, _center(layer)) < 0.4, key  # voxels
        torch.testing.assert_close(moved["dose"].float(), 70 * torch.as_tensor(moved["image"]))
        assert ((moved["image"][0] > 0.5) == (moved["oar"][0] > 0)).float().mean() > 0.98


def test_a_sample_keeps_its_layout(tmp_path):
    sample = _landmarks((40, 48))
    for prob in (0.0, 1.0):
        moved = RandAffineLabelsd(TASKS, prob=prob)(sample)
        assert moved.keys() == sample.keys()
        assert isinstance(moved["image"], MetaTensor)
        for key, value in sample.items():
            if isinstance(value, torch.Tensor):
                assert (moved[key].shape, moved[key].dtype, type(moved[key])) == (value.shape, value.dtype, type(value))
        assert set(np.unique(moved["oar"])) == {0, 1}
        assert moved["oar_present"].tolist() == [True, False]
    batch = list_data_collate([moved, sample])
    assert batch["oar"].shape == (2, 2, 40, 48)


def test_nothing_moves_when_the_dice_say_no():
    sample = _landmarks((40, 48))
    moved = RandAffineLabelsd(TASKS, prob=0.0)(sample)
    for key in ("image", "oar", "dose", "dose_region"):
        assert torch.equal(torch.as_tensor(moved[key]), torch.as_tensor(sample[key]))


def test_the_affine_follows_so_that_a_point_of_the_patient_stays_where_it_was():
    sample = _landmarks((40, 48))
    move = RandAffineLabelsd(TASKS, rotate_range=math.radians(15), prob=1.0)
    move.set_random_state(seed=2)
    moved = move(sample)

    def center_mm(image):
        i, j = _center(image[0])
        return image.affine @ torch.tensor([i, j, 0.0, 1.0], dtype=torch.float64)

    assert moved["image"].affine.shape == (4, 4)
    torch.testing.assert_close(center_mm(moved["image"]), center_mm(sample["image"]), atol=0.4, rtol=0)


def test_a_turn_of_a_volume_stays_within_its_axial_slices():
    sample = _landmarks((32, 36, 24))
    move = RandAffineLabelsd(
        TASKS, spatial_dims=3, rotate_range=math.radians(25), scale_range=0.0, translate_range=0.0, prob=1.0
    )
    move.set_random_state(seed=4)
    moved = _center(move(sample)["image"][0])
    before = _center(sample["image"][0])
    assert abs(moved[2] - before[2]) < 0.05
    assert torch.dist(moved[:2], before[:2]) > 1


def test_the_same_seed_moves_alike():
    sample = _landmarks((40, 48))
    results = []
    for _ in range(2):
        pipeline = Compose([RandAffineLabelsd(TASKS, prob=1.0)])
        pipeline.set_random_state(seed=9)
        results.append(torch.as_tensor(pipeline(sample)["image"]))
    assert torch.equal(*results)


def test_masks_are_interpolated_by_the_nearest_voxel_and_values_linearly():
    assert spatial_modes(TASKS) == {
        "image": "bilinear",
        "oar": "nearest",
        "oar_region": "nearest",
        "dose": "bilinear",
        "dose_region": "nearest",
    }


def test_dimensions_are_two_or_three():
    with pytest.raises(ConfigError, match="spatial_dims"):
        RandAffineLabelsd(TASKS, spatial_dims=4)


def test_images_without_background_can_be_continued_by_their_mirror_image():
    sample = {"image": MetaTensor(torch.ones(1, 40, 48)), "oar": torch.ones(2, 40, 48, dtype=torch.uint8)}
    filled = {}
    for outside in ("zeros", "reflection"):
        move = RandAffineLabelsd(TASKS[:1], rotate_range=math.radians(180), prob=1.0, outside=outside)
        move.set_random_state(seed=1)
        moved = move({**sample, "oar_present": torch.tensor([True, True])})
        assert bool((torch.as_tensor(moved["image"])[0] > 0.5).eq(moved["oar"][0] > 0).float().mean() > 0.99)
        filled[outside] = torch.as_tensor(moved["image"])
    torch.testing.assert_close(filled["reflection"], torch.ones(1, 40, 48))
    assert filled["zeros"].min() == 0
    with pytest.raises(ConfigError, match="outside"):
        RandAffineLabelsd(TASKS, outside="border")
