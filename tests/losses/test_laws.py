"""What every loss must obey, whatever it computes."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from ctan_monai.errors import ConfigError
from ctan_monai.losses import loss_for


def run(example, present=None):
    """Return total, count and the total's gradient with respect to the logits."""
    logits = example.logits.clone().requires_grad_()
    present = example.present if present is None else present
    total, count = loss_for(example.task, **example.options)(logits, example.label, present, example.region)
    (grad,) = torch.autograd.grad(total, logits)
    return total.detach(), count, grad


def test_marking_a_case_absent_is_the_same_as_leaving_it_out(example):
    present = example.present.clone()
    present[1] = False
    total, count, grad = run(example, present)
    rest = [0, 2, 3]
    expected_total, expected_count, expected_grad = run(example.pick(rest))
    torch.testing.assert_close(total, expected_total)
    assert count == expected_count
    torch.testing.assert_close(grad[rest], expected_grad)
    assert not grad[1].any()


def test_labels_of_absent_cases_are_never_read(example):
    present = example.present.clone()
    present[2] = False
    before = run(example, present)
    example.label[2] = 1 - example.label[2] if example.label[2].max() <= 1 else 7.0
    for one, other in zip(before, run(example, present), strict=True):
        assert torch.equal(one, other)


def test_nothing_known_gives_zero_with_a_graph_and_no_gradient(example):
    total, count, grad = run(example, torch.zeros_like(example.present))
    assert total == 0
    assert count == 0
    assert torch.equal(grad, torch.zeros_like(grad))


def test_order_of_cases_does_not_matter(example):
    total, count, grad = run(example)
    order = [2, 0, 3, 1]
    shuffled = run(example.pick(order))
    torch.testing.assert_close(shuffled[0], total)
    torch.testing.assert_close(shuffled[1], count)
    torch.testing.assert_close(shuffled[2], grad[order])


def test_a_batch_twice_has_twice_the_total_and_the_same_mean(example):
    total, count, _ = run(example)
    double, double_count, _ = run(example.pick([0, 1, 2, 3, 0, 1, 2, 3]))
    torch.testing.assert_close(double_count, 2 * count)
    torch.testing.assert_close(double / double_count, total / count)


def test_better_logits_have_a_lower_loss(example):
    total, _, grad = run(example)
    example.logits.sub_(grad / grad.norm() * 0.05)
    assert run(example)[0] < total


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_extreme_half_precision_logits_stay_finite_under_autocast(example, dtype):
    logits = (example.logits * 1e4).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        total, count = loss_for(example.task, **example.options)(logits, example.label, example.present, example.region)
    assert total.dtype == torch.float32
    (total / count).backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()


def test_autocast_changes_nothing_for_float32_logits(example):
    plain = run(example)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run(example)
    for one, other in zip(plain, cast, strict=True):
        assert torch.equal(one, other)


def test_gradient_equals_finite_differences_in_double_precision(example):
    loss = loss_for(example.task, **example.options)
    logits = example.logits.double().requires_grad_()
    label = example.label.double() if example.label.is_floating_point() else example.label
    assert torch.autograd.gradcheck(lambda x: loss(x, label, example.present, example.region)[0], [logits])


def test_meta_tensors_give_a_plain_tensor(example):
    loss = loss_for(example.task, **example.options)
    expected, _ = loss(example.logits, example.label, example.present, example.region)
    total, _ = loss(MetaTensor(example.logits), MetaTensor(example.label), example.present, example.region)
    assert type(total) is torch.Tensor
    assert total == expected


def test_wrong_shape_is_named_with_the_task(example):
    loss = loss_for(example.task, **example.options)
    with pytest.raises(ConfigError, match=f"{example.task.name}.*label has shape.*expected"):
        loss(example.logits, example.label[:2], example.present, example.region)
