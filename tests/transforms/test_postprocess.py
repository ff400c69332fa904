from __future__ import annotations

import pickle

import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import activate, postprocess_for

OVERLAPPING = Segmentation("oar", ["a", "b"], overlapping=True)
EXCLUSIVE = Segmentation("roi", ["a", "b"])
DOSE = Regression("dose", unit="Gy", scale=70.0, nonnegative=True)
KINDS = [
    (OVERLAPPING, (2, 2, 4, 5)),
    (EXCLUSIVE, (2, 3, 4, 5, 3)),
    (DOSE, (2, 1, 4, 5)),
    (Regression("score", unit="points", scale=2.0, level="image"), (2, 1)),
    (Classification("stage", ["a", "b", "c"]), (2, 3)),
    (Classification("signs", ["a", "b"], multilabel=True), (2, 2)),
    (Classification("sick", ["yes"]), (2, 1)),
]


def test_overlapping_labels_are_decided_one_by_one_at_one_half():
    logits = torch.tensor([[3.0, -0.1, 0.0], [2.0, 5.0, -7.0]]).reshape(1, 2, 3)
    masks = postprocess_for(OVERLAPPING)(logits)
    assert masks.dtype == torch.bool
    assert masks[0].int().tolist() == [[1, 0, 1], [1, 1, 0]]
    assert torch.equal(masks, activate(OVERLAPPING, logits) >= 0.5)


def test_exclusive_labels_go_to_the_largest_channel_and_the_background_is_not_returned():
    logits = torch.tensor([[5.0, 0.0, 1.0, 2.0], [1.0, 4.0, 1.0, 2.0], [0.0, 3.0, 6.0, 1.0]]).reshape(1, 3, 4)
    masks = postprocess_for(EXCLUSIVE)(logits)
    assert masks.shape == (1, 2, 4)
    assert masks[0].int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]  # at the last place background and a are equal
    torch.testing.assert_close(activate(EXCLUSIVE, logits).sum(1), torch.ones(1, 4))


def test_a_dose_is_scaled_to_gray_and_is_not_negative():
    logits = torch.tensor([[[-0.5, 0.0, 1.0]]])
    assert postprocess_for(DOSE)(logits).tolist() == [[[0.0, 0.0, 70.0]]]
    assert activate(DOSE, logits).tolist() == [[[-35.0, 0.0, 70.0]]]
    hounsfield = Regression("ct", unit="HU", scale=1000.0)
    assert postprocess_for(hounsfield)(logits).tolist() == [[[-500.0, 0.0, 1000.0]]]


def test_classes_share_a_softmax_and_findings_have_a_sigmoid_each():
    logits = torch.tensor([[0.0, 0.0, torch.log(torch.tensor(2.0))]])
    stage = postprocess_for(Classification("stage", ["a", "b", "c"]))(logits)
    torch.testing.assert_close(stage, torch.tensor([[0.25, 0.25, 0.5]]))
    signs = postprocess_for(Classification("signs", ["a", "b", "c"], multilabel=True))(logits)
    torch.testing.assert_close(signs, torch.tensor([[0.5, 0.5, 2 / 3]]))
    sick = postprocess_for(Classification("sick", ["yes"]))(torch.zeros(1, 1))
    assert sick.item() == 0.5


@pytest.mark.parametrize(("task", "shape"), KINDS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_answers_are_bool_or_float32_whatever_the_network_computed_in(task, shape, dtype):
    logits = torch.randn(shape).to(dtype)
    answer = postprocess_for(task)(logits)
    assert answer.dtype == (torch.bool if isinstance(task, Segmentation) else torch.float32)
    labels = len(task.labels) if isinstance(task, Segmentation) else task.channels
    assert answer.shape == (shape[0], labels, *shape[2:])
    assert activate(task, logits).dtype == torch.float32
    assert torch.equal(answer, postprocess_for(task)(logits.float()))


@pytest.mark.parametrize(("task", "shape"), KINDS, ids=lambda value: getattr(value, "name", ""))
def test_the_function_travels_to_another_process(task, shape):
    logits = torch.randn(shape)
    there = pickle.loads(pickle.dumps(postprocess_for(task)))  # noqa: S301 - our own bytes
    assert torch.equal(there(logits), postprocess_for(task)(logits))


@pytest.mark.parametrize(("task", "shape"), KINDS, ids=lambda value: getattr(value, "name", ""))
def test_answers_stay_on_the_device_of_the_logits(task, shape):
    logits = torch.empty(shape, device="meta")  # a device that every machine has, and that is not the CPU
    assert postprocess_for(task)(logits).device.type == "meta"
    assert activate(task, logits).device.type == "meta"


def test_a_new_kind_of_task_is_told_which_layer_it_forgot():
    with pytest.raises(ConfigError, match=r"str has no activation.*activate.register"):
        activate("dose", torch.zeros(1))
    with pytest.raises(ConfigError, match=r"postprocess_for.register"):
        postprocess_for("dose")
