from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ctan_monai.losses import loss_for
from ctan_monai.tasks import Classification

SKIN = Classification("diagnosis", ["nv", "mel", "bkl"])
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
INDEX = torch.tensor([0, 2, 1, 1, 0, 2])
KNOWN = torch.ones(6, dtype=torch.bool)


def mean(task, logits, label, present, **options) -> torch.Tensor:
    total, count = loss_for(task, **options)(logits, label, present)
    return total / count


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0], [1.0, 6.0, 0.5]])
def test_exclusive_equals_torch_cross_entropy_with_weights_and_smoothing(weight, smoothing):
    expected = F.cross_entropy(LOGITS, INDEX, torch.tensor(weight), label_smoothing=smoothing)
    torch.testing.assert_close(
        mean(SKIN, LOGITS, INDEX, KNOWN, class_weight=weight, label_smoothing=smoothing), expected
    )


def test_class_weights_by_name_are_one_for_the_rest():
    by_name = mean(SKIN, LOGITS, INDEX, KNOWN, class_weight={"mel": 6.0})
    assert by_name == mean(SKIN, LOGITS, INDEX, KNOWN, class_weight=[1.0, 6.0, 1.0])


def test_weighted_mean_over_known_cases_by_hand():
    # equal logits: log 3 in every case, whatever the weights
    present = torch.tensor([True, False, True, False, False, False])
    total, count = loss_for(SKIN, class_weight=[1.0, 6.0, 0.5])(torch.zeros(6, 3), INDEX, present)
    assert count == 1 + 6
    assert (total / count).item() == pytest.approx(math.log(3))


def test_focal_factor_by_hand():
    # p_true = 0.8: (1 - 0.8)^2 * -log 0.8
    task = Classification("severe", ["no", "yes"])
    logits = torch.tensor([[math.log(0.2), math.log(0.8)]])
    found = mean(task, logits, torch.tensor([1]), torch.tensor([True]), focal_gamma=2.0)
    assert found.item() == pytest.approx(0.04 * -math.log(0.8), rel=1e-5)


@pytest.mark.parametrize("classes", [1, 3])
def test_binary_and_multilabel_equal_torch_bce_with_pos_weight(classes):
    task = Classification("findings", [f"f{k}" for k in range(classes)], multilabel=True)
    logits = LOGITS[:, :classes]
    label = (torch.rand(6, classes, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    weight = torch.tensor([3.0, 1.0, 2.0])[:classes]
    expected = F.binary_cross_entropy_with_logits(logits, label, pos_weight=weight)
    torch.testing.assert_close(mean(task, logits, label, KNOWN, positive_weight=weight.tolist()), expected)


def test_severity_of_negative_cases_is_unknown_not_negative():
    task = Classification("severe", ["severe"])
    label, present = torch.tensor([[1.0], [0.0], [0.0]]), torch.tensor([True, True, False])
    logits = torch.tensor([[2.0], [-1.0], [5.0]])
    expected = F.binary_cross_entropy_with_logits(logits[:2], label[:2])
    torch.testing.assert_close(mean(task, logits, label, present), expected)
