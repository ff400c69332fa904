import math

import pytest
import torch
from monai.metrics import SSIMMetric

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics import SyntheticCTErrors, VoxelError
from ctan_monai.tasks import Regression, Segmentation

CT = Regression("ct", "HU", 300.0, region="mask")
ORGANS = Segmentation("organs", ["Bladder", "Rectum"])


def target_of(real, body, masks, present=(True, True)):
    return {
        "ct": real, "ct_present": torch.tensor(True), "ct_region": body, "organs": masks,
        "organs_present": torch.tensor(present),
    }  # fmt: skip


@pytest.fixture
def target():
    """Air, then a column of muscle, of bone and of urine: two voxels each in the body, bladder where the urine is."""
    real = torch.tensor([-1000.0, 50.0, 700.0, 10.0]).reshape(1, 1, 4, 1).expand(1, 2, 4, 1)
    body = (real > -500).to(torch.uint8)
    masks = torch.zeros(2, 2, 4, 1, dtype=torch.uint8)
    masks[0, :, 3] = 1
    return target_of(real, body, masks)


def measured(metric, predicted, target, case="a"):
    metric.update(case, {"ct": predicted, "organs": target["organs"] > 0}, target, (1, 1, 1))
    return metric.compute()


def test_errors_of_each_part_are_those_worked_out_by_hand(target):
    predicted = target["ct"].clone()
    predicted[..., 0, :] += 5000  # outside: counts nowhere
    predicted[..., 1, :] += 10
    predicted[..., 2, :] -= 100
    predicted[..., 3, :] += 20
    found = measured(SyntheticCTErrors(CT, ORGANS), predicted, target)
    assert found["ct_mae_body"] == pytest.approx((10 + 100 + 20) / 3)
    assert found["ct_mae_bones"] == pytest.approx(100)
    assert found["ct_mae_organs"] == found["ct_mae_Bladder"] == pytest.approx(20)
    assert math.isnan(found["ct_mae_Rectum"])  # known to be empty here: there is nothing to average
    square = (10**2 + 100**2 + 20**2) / 3
    assert found["ct_psnr_body"] == pytest.approx(10 * math.log10(4095**2 / square), abs=1e-4)
    assert found["ct_psnr_bones"] == pytest.approx(10 * math.log10(4095**2 / 100**2), abs=1e-4)
    assert found["ct_psnr_range"] == 4095


def test_the_error_of_the_body_is_that_by_which_networks_are_chosen(target):
    predicted = target["ct"] + torch.arange(8.0).reshape(1, 2, 4, 1)
    ours, chosen = SyntheticCTErrors(CT, ORGANS), VoxelError(CT)
    assert measured(ours, predicted, target)["ct_mae_body"] == measured(chosen, predicted, target)["ct_mae_region"]


def test_the_published_psnr_needs_a_large_range(target):
    """Ten decibels for a range three times and a bit as large, whatever the error."""
    predicted = target["ct"] + 30
    small, large = (SyntheticCTErrors(CT, ORGANS, range_hu=r) for r in (1000, 1000 * math.sqrt(10)))
    apart = measured(large, predicted, target)["ct_psnr_body"] - measured(small, predicted, target)["ct_psnr_body"]
    assert apart == pytest.approx(10, abs=1e-6)


def test_what_is_bone_can_be_chosen(target):
    predicted = target["ct"] + target["ct"].sign()
    found = measured(SyntheticCTErrors(CT, ORGANS, bone_hu=20), predicted, target)
    assert found["ct_mae_bones"] == 1
    assert math.isnan(measured(SyntheticCTErrors(CT, ORGANS, bone_hu=2000), predicted, target)["ct_mae_bones"])


def test_an_unknown_organ_counts_nowhere(target):
    target["organs_present"] = torch.tensor([False, True])
    found = measured(SyntheticCTErrors(CT, ORGANS), target["ct"] + 1, target)
    assert math.isnan(found["ct_mae_Bladder"])
    assert math.isnan(found["ct_mae_organs"])
    assert found["ct_mae_body"] == 1


def test_the_similarity_is_monai_s_where_the_body_fills_the_image():
    random = torch.Generator().manual_seed(0)
    real = torch.rand(1, 24, 20, 3, generator=random) * 1500 - 200
    predicted = real + torch.randn(1, 24, 20, 3, generator=random) * 300
    target = target_of(real, torch.ones_like(real), torch.zeros(2, 24, 20, 3))
    inner = torch.zeros_like(real)
    inner[:, 5:-5, 5:-5] = 1  # where a window fits in, as MONAI averages
    found = measured(SyntheticCTErrors(CT, ORGANS), predicted, {**target, "ct_region": inner})
    whole = measured(SyntheticCTErrors(CT, ORGANS), predicted, target)
    slices = [image.movedim(-1, 0) for image in (predicted, real)]
    expected = SSIMMetric(2, data_range=4095.0)(*slices).mean().item()
    masked = [torch.where(inner.movedim(-1, 0) > 0, image, -1000.0) for image in slices]
    assert found["ct_ssim_body"] == pytest.approx(SSIMMetric(2, data_range=4095.0)(*masked).mean().item(), abs=1e-5)
    assert whole["ct_ssim_body"] == pytest.approx(expected, abs=0.05)


def test_a_perfect_ct_has_no_psnr_and_the_similarity_of_1(target):
    found = measured(SyntheticCTErrors(CT, ORGANS), target["ct"].clone(), target)
    assert (found["ct_mae_body"], found["ct_ssim_body"]) == (0, pytest.approx(1))
    assert math.isnan(found["ct_psnr_body"])


def test_cases_weigh_the_same(target):
    metric = SyntheticCTErrors(CT, ORGANS)
    measured(metric, target["ct"] + 10, target, "a")
    assert measured(metric, target["ct"] + 30, target, "b")["ct_mae_body"] == pytest.approx(20)
    target["ct_present"] = torch.tensor(False)
    assert measured(metric, target["ct"] + 90, target, "c")["ct_mae_body"] == pytest.approx(20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ct": Regression("dose", "Gy", 70.0)}, "the task 'dose' is in Gy per voxel, expected HU"),
        ({"ct": Regression("ct", "HU", 70.0, level="image")}, "HU per image, expected HU per voxel"),
        ({"organs": Segmentation("organs", ["bones"])}, r"\['bones'\] is a part of its own"),
        ({"range_hu": 0}, "range_hu: 0 is not positive"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticCTErrors(**{"ct": CT, "organs": ORGANS, **options})


def test_what_does_not_fit_is_refused(target):
    metric = SyntheticCTErrors(CT, ORGANS)
    with pytest.raises(DataError, match="expected the label's"):
        measured(metric, target["ct"][..., :1, :], target)
    with pytest.raises(DataError, match="not finite"):
        measured(metric, target["ct"] * math.nan, target)
