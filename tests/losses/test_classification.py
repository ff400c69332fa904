from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, FocalLoss

from ctan_monai.errors import ConfigError
from ctan_monai.losses import MultiTaskLoss, create_weighting, loss_for
from ctan_monai.tasks import Classification, Segmentation

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


@pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 2.0), (0.25, 2.0), (0.8, 0.0), (0.5, 0.5)])
@pytest.mark.parametrize("classes", [1, 3])
def test_binary_focal_loss_is_the_formula_and_monais(classes, alpha, gamma):
    task = Classification("findings", [f"f{k}" for k in range(classes)], multilabel=True)
    logits = 3 * LOGITS[:, :classes]
    label = (torch.rand(6, classes, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    p, t = logits.double().sigmoid(), label.double()
    formula = alpha * t * (1 - p) ** gamma * p.log() + (1 - alpha) * (1 - t) * p**gamma * (1 - p).log()
    found = mean(task, logits, label, KNOWN, focal_alpha=alpha, focal_gamma=gamma)
    torch.testing.assert_close(found, -formula.mean().float())
    torch.testing.assert_close(found, FocalLoss(gamma=gamma, alpha=alpha)(logits, label))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_exclusive_focal_loss_is_the_formula_and_monais(gamma):
    true = LOGITS.double().softmax(1)[torch.arange(6), INDEX]
    found = mean(SKIN, LOGITS, INDEX, KNOWN, focal_gamma=gamma)
    torch.testing.assert_close(found, -((1 - true) ** gamma * true.log()).mean().float())
    reference = FocalLoss(gamma=gamma, use_softmax=True, to_onehot_y=True)(LOGITS, INDEX[:, None])
    torch.testing.assert_close(found, 3 * reference)  # MONAI averages over the three classes too, two of which are 0


def test_focal_loss_of_certain_and_wrong_logits_is_finite():
    task = Classification("severe", ["severe"])
    logits = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    loss = mean(task, logits, torch.tensor([[0.0], [1.0]]), KNOWN[:2], focal_alpha=0.5, focal_gamma=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(100.0)
    assert logits.grad.flatten().tolist() == pytest.approx([0.25, -0.25])


def test_loss_of_hybrid_mt_estan_is_three_times_focal_for_the_class_and_dice_for_the_lesion():
    tasks = (Segmentation("lesion", ["lesion"], overlapping=True), Classification("malignant", ["malignant"]))
    generator = torch.Generator().manual_seed(2)
    outputs = {"lesion": torch.randn(6, 1, 5, 4, generator=generator), "malignant": LOGITS[:, :1]}
    mask = (torch.rand(6, 1, 5, 4, generator=generator) > 0.6).float()
    grade = torch.tensor([[1.0], [0.0], [0.0], [1.0], [1.0], [0.0]])
    targets = {"image": mask, "lesion": mask, "lesion_present": KNOWN[:, None]}
    targets |= {"malignant": grade, "malignant_present": KNOWN}
    loss = MultiTaskLoss(
        tasks,
        create_weighting("static", tasks, weights={"lesion": 1.0, "malignant": 3.0}),
        {"lesion": {"dice_weight": 1.0, "ce_weight": 0.0}, "malignant": {"focal_alpha": 0.5, "focal_gamma": 2.0}},
    )
    focal = FocalLoss(gamma=2.0, alpha=0.5)(outputs["malignant"], grade)
    dice = DiceLoss(sigmoid=True, batch=True)(outputs["lesion"], mask)
    torch.testing.assert_close(loss(outputs, targets), 3 * focal + dice)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, float("nan"), True, "0.5"])
def test_a_focal_alpha_that_is_no_share_is_refused(alpha):
    with pytest.raises(ConfigError, match=r"losses: severe\.focal_alpha"):
        loss_for(Classification("severe", ["severe"]), focal_alpha=alpha)


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
