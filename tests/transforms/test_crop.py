"""A sample of any size becomes one of the size that batches need, its parts still on each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate
from monai.transforms import ResizeWithPadOrCropd

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import CropOrPadLabelsd

TASKS = [
    Segmentation("oar", ["spot"], overlapping=True),
    Regression("dose", unit="Gy", scale=80.0, region="mask"),
    Classification("stage", ["a", "b"]),
]


def _sample(rows: int, columns: int) -> dict[str, object]:
    """Every voxel's dose is its own number, so that each can be found again."""
    numbers = torch.arange(1.0, rows * columns + 1).reshape(1, rows, columns)
    return {
        "image": MetaTensor(numbers / numbers.max(), affine=torch.diag(torch.tensor([3.0, 3.0, 5.0, 1.0]))),
        "oar": (numbers % 7 == 0).to(torch.uint8),
        "oar_present": torch.tensor([True]),
        "dose": numbers,
        "dose_region": torch.ones_like(numbers).to(torch.uint8),
        "stage": torch.tensor(1),
        "case": "pt_1",
    }


@pytest.mark.parametrize(("rows", "columns"), [(50, 60), (20, 60), (20, 24), (33, 31)])
def test_what_is_left_lies_where_it_lay(rows, columns):
    sample = _sample(rows, columns)
    found = CropOrPadLabelsd(TASKS, [32, 32])(sample)
    assert {found[key].shape for key in ("image", "oar", "dose", "dose_region")} == {(1, 32, 32)}
    inside = found["dose_region"] > 0
    assert int(inside.sum()) == min(rows, 32) * min(columns, 32)
    assert torch.equal(found["oar"], (inside & (found["dose"] % 7 == 0)).to(torch.uint8))
    assert torch.allclose(found["image"].as_tensor(), found["dose"] / (rows * columns))
    place = found["image"].affine.numpy() @ np.array([[*np.argwhere(inside[0].numpy())[0], 0, 1]]).T
    number = int(found["dose"][inside][0]) - 1
    assert np.allclose(place[:2, 0], [3 * (number // columns), 3 * (number % columns)])


@pytest.mark.parametrize("size", [[32, 32], [33, 40], [41, 34]])
@pytest.mark.parametrize(("rows", "columns"), [(50, 60), (21, 61), (20, 25), (33, 31), (32, 34)])
def test_what_is_left_is_what_monai_leaves(rows, columns, size):
    """Values and affine, of even and odd sizes."""
    keys = ["image", "oar", "dose", "dose_region"]
    sample = _sample(rows, columns)
    found = CropOrPadLabelsd(TASKS, size)(sample)
    expected = ResizeWithPadOrCropd(keys, size, mode="constant")(sample)
    for key in keys:
        assert torch.equal(torch.as_tensor(found[key]), torch.as_tensor(expected[key]))
    assert torch.equal(found["image"].affine, expected["image"].affine)


def test_the_middle_is_kept():
    found = CropOrPadLabelsd(TASKS, [32, 32])(_sample(52, 62))
    assert int(found["dose"][0, 0, 0]) == 10 * 62 + 15 + 1


def test_a_sample_keeps_its_layout_and_goes_into_a_batch():
    crop = CropOrPadLabelsd(TASKS, [32, 32])
    samples = [crop(_sample(50, 40)), crop(_sample(32, 32))]
    assert type(samples[0]["oar"]) is torch.Tensor
    assert samples[0]["oar"].dtype == torch.uint8
    assert isinstance(samples[0]["image"], MetaTensor)
    batch = list_data_collate(samples)
    assert batch["dose"].shape == (2, 1, 32, 32)
    assert batch["stage"].tolist() == [1, 1]


@pytest.mark.parametrize("size", [128, [128], [16, 128], [128.0, 128], "128", None])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ConfigError, match="image_size"):
        CropOrPadLabelsd(TASKS, size)


def test_a_size_for_another_kind_of_image_is_refused():
    with pytest.raises(ConfigError, match="Give 2 numbers"):
        CropOrPadLabelsd(TASKS, [32, 32, 32])(_sample(40, 40))
