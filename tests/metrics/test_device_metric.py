"""What is computed on the device is what NumPy and MONAI compute, and is read at once."""

import numpy as np
import pytest
import torch
from device_waits import Waits
from monai.metrics import compute_dice

from ctan_monai.errors import DataError
from ctan_monai.metrics.device_metric import check_finite, finite_counts, masked_mean, read_numbers
from ctan_monai.metrics.segmentation import dice_scores


@pytest.mark.parametrize("shape", [(1, 9), (3, 7, 5), (2, 8, 9, 4)])
def test_dice_is_that_of_monai_to_the_bit(shape):
    random = torch.Generator().manual_seed(0)
    predicted, label = (torch.rand(60, *shape, generator=random) > 0.6 for _ in range(2))
    predicted[::3, 0], label[::2, 0] = False, False  # one or both are empty
    expected = compute_dice(predicted, label, ignore_empty=False)
    for ours, theirs in zip(map(dice_scores, predicted, label), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_mean_inside_a_mask_is_that_of_its_voxels():
    random = torch.Generator().manual_seed(0)
    values, mask = torch.randn(3, 40, 50, generator=random), torch.rand(1, 40, 50, generator=random) > 0.9
    inside = values.numpy()[mask.expand_as(values).numpy()].astype(np.float64)
    assert masked_mean(values, mask).item() == pytest.approx(inside.mean(), rel=1e-12)
    assert masked_mean(values, mask & False).isnan()


def test_a_single_transfer_reads_numbers_of_all_types_exactly():
    found = [
        {"a": torch.tensor([2**31 + 1, 3]), "b": torch.tensor(True)},
        {"c": torch.tensor([[0.1]]), "d": torch.ones(0)},
    ]
    with Waits() as waits:
        read = read_numbers(found)
    assert read == [{"a": [2.0**31 + 1, 3.0], "b": [1.0]}, {"c": [float(np.float32(0.1))], "d": []}]
    assert waits.found == []
    assert read_numbers([]) == []


def test_values_that_are_not_finite_are_counted_and_named():
    values = torch.tensor([1.0, torch.nan, torch.inf, -torch.inf])
    with pytest.raises(DataError, match=r"dose of x.*case pt_1.*3 of 4 values"):
        check_finite("dose of x", "pt_1", finite_counts(values).tolist())
    check_finite("dose", "pt_1", finite_counts(values[:1]).tolist())
