from __future__ import annotations

import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.losses import loss_for
from ctan_monai.tasks import Regression

DOSE = Regression("dose", unit="Gy", scale=80.0)
DOSE_IN_REGION = Regression("dose", unit="Gy", scale=80.0, region="mask")
KNOWN = torch.tensor([True, True])


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 4, 5, generator=generator), 80 * torch.rand(2, 1, 4, 5, generator=generator)


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({}, torch.nn.L1Loss()),
        ({"error": "mse"}, torch.nn.MSELoss()),
        ({"error": "huber", "huber_delta": 0.2}, torch.nn.HuberLoss(delta=0.2)),
    ],
    ids=["mae", "mse", "huber"],
)
def test_mean_over_all_voxels_equals_torch_in_scaled_units(options, reference):
    output, label = batch()
    total, count = loss_for(DOSE, **options)(output, label, KNOWN)
    assert count == 2
    torch.testing.assert_close(total / count, reference(output, label / 80))


def test_region_counts_voxels_by_hand():
    # errors in Gy / 80: case 0 has 0.5 in one voxel of its region, case 1 has 0.1 in three, so (0.5 + 0.3) / 4
    output = torch.tensor([[[0.5, 9.0, 9.0]], [[0.1, 0.1, 0.1]]])
    region = torch.tensor([[[1, 0, 0]], [[1, 1, 1]]], dtype=torch.uint8)
    total, count = loss_for(DOSE_IN_REGION)(output, torch.zeros(2, 1, 3), KNOWN, region)
    assert count == 4
    assert (total / count).item() == pytest.approx(0.2)


def test_a_case_with_an_empty_region_does_not_count():
    output, label = batch()
    region = torch.ones(2, 1, 4, 5, dtype=torch.bool)
    region[1] = False
    total, count = loss_for(DOSE_IN_REGION)(output, label, KNOWN, region)
    assert count == 20
    torch.testing.assert_close(total / count, (output[0] - label[0] / 80).abs().mean())


def test_region_is_ignored_where_all_voxels_count():
    output, label = batch()
    with_region = loss_for(DOSE)(output, label, KNOWN, torch.zeros(2, 1, 4, 5))
    assert with_region == loss_for(DOSE)(output, label, KNOWN)


@pytest.mark.parametrize("error", ["mae", "mse", "huber"])
def test_what_is_outside_the_region_may_be_nan(error):
    output, label = batch()
    output.requires_grad_()
    region = torch.ones(2, 1, 4, 5, dtype=torch.bool)
    region[:, :, 0] = False
    label[:, :, 0] = torch.nan
    total, count = loss_for(DOSE_IN_REGION, error=error)(output, label, KNOWN, region)
    (total / count).backward()
    assert torch.isfinite(total)
    assert torch.isfinite(output.grad).all()


def test_the_unit_of_the_label_does_not_matter():
    output, label = batch()
    in_gray = loss_for(DOSE)(output, label, KNOWN)[0]
    in_centigray = loss_for(Regression("dose", unit="cGy", scale=8000.0))(output, 100 * label, KNOWN)[0]
    torch.testing.assert_close(in_centigray, in_gray)


def test_image_level_value_by_hand():
    task = Regression("age", unit="year", scale=100.0, level="image")
    total, count = loss_for(task)(torch.tensor([[0.5], [0.2]]), torch.tensor([[60.0], [0.0]]), KNOWN)
    assert (total / count).item() == pytest.approx((0.1 + 0.2) / 2)


def test_missing_region_is_named_with_its_key_and_a_remedy():
    output, label = batch()
    with pytest.raises(ConfigError, match=r"dose\.region.*'dose_region'.*Remedy"):
        loss_for(DOSE_IN_REGION)(output, label, KNOWN)
