from __future__ import annotations

import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.losses import BinaryClassLoss, ExclusiveClassLoss, ExclusiveComboLoss, OverlappingComboLoss, loss_for
from ctan_monai.tasks import Classification, Regression, Segmentation

OAR = Segmentation("oar", ["Cord", "Stem"])
DOSE = Regression("dose", unit="Gy", scale=80.0)
SKIN = Classification("diagnosis", ["nv", "mel"])


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (OAR, ExclusiveComboLoss),
        (Segmentation("oar", ["Cord"], overlapping=True), OverlappingComboLoss),
        (SKIN, ExclusiveClassLoss),
        (Classification("severe", ["severe"]), BinaryClassLoss),
        (Classification("findings", ["a", "b"], multilabel=True), BinaryClassLoss),
    ],
)
def test_the_form_of_the_loss_follows_the_task(task, kind):
    assert type(loss_for(task)) is kind


@pytest.mark.parametrize("task", [OAR, DOSE, SKIN], ids=lambda task: task.name)
def test_unknown_option_names_task_option_and_those_that_exist(task):
    with pytest.raises(ConfigError, match=rf"losses: {task.name}\.gamma: .*unknown.*Use one of \['"):
        loss_for(task, gamma=2.0)


@pytest.mark.parametrize(
    ("task", "option", "value"),
    [
        (OAR, "dice_weight", -0.1),
        (OAR, "positive_weight", [1.0]),
        (OAR, "positive_weight", {"Chord": 2.0}),
        (OAR, "positive_weight", 0.0),
        (OAR, "positive_weight", "20"),
        (OAR, "focal_gamma", float("nan")),
        (DOSE, "error", "l1"),
        (DOSE, "huber_delta", 0),
        (SKIN, "class_weight", [1.0, -2.0]),
        (SKIN, "label_smoothing", 1.0),
    ],
)
def test_option_out_of_range_names_task_and_option(task, option, value):
    with pytest.raises(ConfigError, match=rf"losses: {task.name}\.{option}: "):
        loss_for(task, **{option: value})


def test_both_parts_of_the_combo_switched_off_is_an_error():
    with pytest.raises(ConfigError, match="both 0"):
        loss_for(OAR, dice_weight=0.0, ce_weight=0.0)


def test_something_that_is_no_task_has_no_loss():
    with pytest.raises(ConfigError, match="str has no loss"):
        loss_for("oar")  # type: ignore[arg-type]


def test_a_loss_has_no_state_so_that_options_come_from_the_config():
    assert loss_for(OAR, positive_weight=20.0).state_dict() == {}
    assert not list(loss_for(SKIN, class_weight=[1.0, 2.0]).parameters())


def test_options_move_with_the_module():
    loss = loss_for(OAR, positive_weight=20.0).to(torch.float64)
    assert loss.positive_weight.dtype == torch.float64
