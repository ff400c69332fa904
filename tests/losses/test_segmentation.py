from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss, FocalLoss

from ctan_monai.losses import loss_for
from ctan_monai.tasks import Segmentation

OVERLAPPING = Segmentation("oar", ["Cord", "Stem", "Parotid"], overlapping=True)
EXCLUSIVE = Segmentation("oar", ["Cord", "Stem", "Parotid"])
SHAPES = [(6, 5), (4, 3, 5)]
KNOWN = torch.ones(4, 3, dtype=torch.bool)


def overlapping_batch(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 3, *shape, generator=generator)
    return logits, (torch.rand(4, 3, *shape, generator=generator) > 0.7).float()


def exclusive_batch(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    index = torch.randint(0, 4, (4, *shape), generator=generator)
    label = F.one_hot(index, 4).movedim(-1, 1)[:, 1:]
    return torch.randn(4, 4, *shape, generator=generator), label.to(torch.uint8), index


def mean(task, logits, label, present, **options) -> torch.Tensor:
    total, count = loss_for(task, **options)(logits, label, present)
    return total / count


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [True, False])
def test_overlapping_equals_monai_dice_and_torch_bce_when_all_is_known(shape, batch):
    logits, label = overlapping_batch(shape)
    expected = 0.3 * DiceLoss(sigmoid=True, batch=batch)(logits, label)
    expected += 0.7 * F.binary_cross_entropy_with_logits(logits, label)
    torch.testing.assert_close(mean(OVERLAPPING, logits, label, KNOWN, batch=batch), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [True, False])
def test_exclusive_equals_monai_dice_ce_when_all_is_known(shape, batch):
    logits, label, index = exclusive_batch(shape)
    reference = DiceCELoss(
        to_onehot_y=True, softmax=True, include_background=False, batch=batch, lambda_dice=0.3, lambda_ce=0.7
    )
    torch.testing.assert_close(mean(EXCLUSIVE, logits, label, KNOWN, batch=batch), reference(logits, index[:, None]))


def test_overlapping_focal_equals_monai():
    logits, label = overlapping_batch((6, 5))
    options = {"dice_weight": 0.0, "ce_weight": 1.0, "focal_gamma": 2.0}
    torch.testing.assert_close(
        mean(OVERLAPPING, logits, label, KNOWN, **options), FocalLoss(gamma=2.0, alpha=None)(logits, label)
    )


def test_exclusive_focal_equals_monai():
    logits, label, index = exclusive_batch((6, 5))
    options = {"dice_weight": 0.0, "ce_weight": 1.0, "focal_gamma": 2.0}
    reference = FocalLoss(gamma=2.0, use_softmax=True, to_onehot_y=True)(logits, index[:, None])
    # MONAI averages over the four channels too, of which only the true one is not zero
    torch.testing.assert_close(mean(EXCLUSIVE, logits, label, KNOWN, **options), 4 * reference)


def test_positive_weight_per_label_equals_torch_pos_weight():
    logits, label = overlapping_batch((6, 5))
    weight = torch.tensor([1.0, 20.0, 5.0])
    expected = F.binary_cross_entropy_with_logits(logits, label, pos_weight=weight[:, None, None])
    options = {"dice_weight": 0.0, "ce_weight": 1.0}
    by_order = mean(OVERLAPPING, logits, label, KNOWN, positive_weight=weight.tolist(), **options)
    by_name = mean(OVERLAPPING, logits, label, KNOWN, positive_weight={"Parotid": 5.0, "Stem": 20.0}, **options)
    torch.testing.assert_close(by_order, expected)
    assert by_name == by_order


def test_exclusive_positive_weight_equals_weighted_cross_entropy_per_voxel():
    logits, label, index = exclusive_batch((6, 5))
    weight = torch.tensor([1.0, 3.0, 3.0, 3.0])
    expected = F.cross_entropy(logits, index, weight, reduction="none").mean()
    found = mean(EXCLUSIVE, logits, label, KNOWN, positive_weight=3.0, dice_weight=0.0, ce_weight=1.0)
    torch.testing.assert_close(found, expected)


def test_perfect_prediction_of_two_voxels_by_hand():
    # p = (1, 1/2), t = (1, 0): Dice loss 1 - 2/2.5 = 0.2; BCE (0 + log 2)/2
    task = Segmentation("oar", ["Cord"], overlapping=True)
    logits = torch.tensor([[[[40.0, 0.0]]]])
    found = mean(task, logits, torch.tensor([[[[1, 0]]]]), torch.tensor([[True]]))
    assert found.item() == pytest.approx(0.3 * 0.2 + 0.7 * math.log(2) / 2, abs=1e-5)


def test_dice_over_the_batch_pools_only_the_known_cases_by_hand():
    # p = 1/2 everywhere; the label fills both voxels of case 0, none of case 1, and is unknown for case 2
    task = Segmentation("oar", ["Cord"], overlapping=True)
    label = torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 1.0]]])
    present = torch.tensor([[True], [True], [False]])
    total, count = loss_for(task, dice_weight=1.0, ce_weight=0.0)(torch.zeros(3, 1, 2), label, present)
    assert count == 2
    assert (total / count).item() == pytest.approx(1 - 2 * 1 / (2 + 2), abs=1e-5)  # 2 sum pt / (sum p + sum t)


def test_unknown_label_leaves_the_gradients_of_the_other_labels_alone():
    logits, label = overlapping_batch((6, 5))
    present = KNOWN.clone()
    present[1, 2] = False
    grads = []
    for known in (KNOWN, present):
        leaf = logits.clone().requires_grad_()
        loss_for(OVERLAPPING)(leaf, label, known)[0].backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[0][:, :2], grads[1][:, :2])
    assert not grads[1][1, 2].any()
    assert grads[0][1, 2].any()


def test_marginal_loss_does_not_care_how_background_and_unknown_labels_share_their_probability():
    logits, label, _ = exclusive_batch((6, 5))
    present = torch.tensor([[True, False, True]]).expand(4, 3)
    label = label * present[:, :, None, None]
    probs = logits.softmax(1)
    pool = probs[:, 0] + probs[:, 2]
    moved = torch.stack([0.9 * pool, probs[:, 1], 0.1 * pool, probs[:, 3]], 1).log()
    torch.testing.assert_close(mean(EXCLUSIVE, moved, label, present), mean(EXCLUSIVE, logits, label, present))


@pytest.mark.parametrize("unknown", [0, 1, 2])
def test_marginal_loss_equals_the_loss_of_a_network_without_the_unknown_label(unknown):
    # probabilities of background and unknown label added by hand, in a task that never had the label
    logits, label, _ = exclusive_batch((6, 5))
    present = KNOWN.clone()
    present[:, unknown] = False
    kept = [entry for entry in range(3) if entry != unknown]
    probs = logits.double().softmax(1)
    smaller = torch.stack([probs[:, 0] + probs[:, unknown + 1], *(probs[:, entry + 1] for entry in kept)], 1).log()
    task = Segmentation("oar", [EXCLUSIVE.labels[entry] for entry in kept])
    expected = mean(task, smaller, label[:, kept], KNOWN[:, kept])
    torch.testing.assert_close(mean(EXCLUSIVE, logits.double(), label, present), expected)


def test_marginal_loss_does_not_push_down_an_unknown_label():
    logits, label, _ = exclusive_batch((6, 5))
    present = KNOWN.clone()
    present[:, 1] = False
    leaf = torch.zeros_like(logits).requires_grad_()
    loss_for(EXCLUSIVE, dice_weight=0.0)(leaf, torch.zeros_like(label), present)[0].backward()
    torch.testing.assert_close(leaf.grad[:, 2], leaf.grad[:, 0])  # as welcome as the background
    assert (leaf.grad[:, 1] > 0).all()  # a known label is pushed down where it is not


def test_marginal_loss_is_stable_where_the_merged_probability_underflows():
    logits = torch.tensor([[[-300.0], [300.0], [-300.0], [-300.0]]]).requires_grad_()  # (1, 4, 1)
    present = torch.tensor([[True, False, True]])
    total, count = loss_for(EXCLUSIVE, dice_weight=0.0, ce_weight=1.0)(logits, torch.zeros(1, 3, 1), present)
    (total / count).backward()
    assert (total / count).item() == pytest.approx(600 - math.log(2), rel=1e-6)
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([-0.5, 1.0, -0.5, 0.0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", [OVERLAPPING, EXCLUSIVE], ids=["overlapping", "exclusive"])
def test_repeating_every_voxel_changes_nothing(task):
    logits, label, _ = exclusive_batch((6, 5))
    logits = logits[:, : task.channels]
    once = mean(task, logits, label, KNOWN)
    twice = mean(task, logits.repeat(1, 1, 2, 1), label.repeat(1, 1, 2, 1), KNOWN)
    torch.testing.assert_close(twice, once, rtol=1e-4, atol=1e-5)  # up to Dice's smoothing constant


def test_permuting_labels_permutes_gradients():
    logits, label, _ = exclusive_batch((6, 5))
    order = [2, 0, 1]
    channels = [0, *(entry + 1 for entry in order)]
    grads = []
    for one, other in ((logits, label), (logits[:, channels], label[:, order])):
        leaf = one.clone().requires_grad_()
        loss_for(EXCLUSIVE)(leaf, other, KNOWN)[0].backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[1], grads[0][:, channels])
