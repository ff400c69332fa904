from __future__ import annotations

import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.losses import MultiTaskLoss, create_weighting, loss_for
from ctan_monai.tasks import Classification, Regression, Segmentation

TASKS = (
    Segmentation("oar", ["Cord", "Stem"], overlapping=True),
    Regression("dose", unit="Gy", scale=80.0, region="mask"),
    Classification("severe", ["severe"]),
)
NAMES = tuple(task.name for task in TASKS)


def batch() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    outputs = {
        "oar": torch.randn(3, 2, 4, 4, generator=generator, requires_grad=True),
        "dose": torch.randn(3, 1, 4, 4, generator=generator, requires_grad=True),
        "severe": torch.randn(3, 1, generator=generator, requires_grad=True),
    }
    targets = {
        "image": torch.zeros(3, 1, 4, 4),
        "oar": (torch.rand(3, 2, 4, 4, generator=generator) > 0.5).to(torch.uint8),
        "oar_present": torch.tensor([[True, True], [True, False], [False, False]]),
        "dose": 80 * torch.rand(3, 1, 4, 4, generator=generator),
        "dose_present": torch.tensor([True, True, False]),
        "dose_region": torch.rand(3, 1, 4, 4, generator=generator) > 0.3,
        "severe": torch.tensor([[1.0], [0.0], [0.0]]),
        "severe_present": torch.tensor([True, False, True]),
    }
    return outputs, targets


def criterion(name="equal", tasks=TASKS, options=None, **weighting) -> MultiTaskLoss:
    return MultiTaskLoss(tasks, create_weighting(name, tasks, **weighting), options)


def test_total_is_the_weighted_sum_of_each_tasks_mean():
    outputs, targets = batch()
    weights = {"oar": 1.0, "dose": 3.0, "severe": 0.5}
    loss = criterion("static", options={"oar": {"positive_weight": 20.0}, "severe": None}, weights=weights)
    total = loss(outputs, targets)
    expected = {}
    for task, options in zip(TASKS, ({"positive_weight": 20.0}, {}, {}), strict=True):
        name = task.name
        part, count = loss_for(task, **options)(
            outputs[name], targets[name], targets[f"{name}_present"], targets.get(f"{name}_region")
        )
        expected[name] = part / count
    torch.testing.assert_close(total, sum(weights[name] * expected[name] for name in NAMES))
    for name in NAMES:
        torch.testing.assert_close(loss.latest[name], expected[name].detach())
        assert not loss.latest[name].requires_grad
    assert loss.observed == dict.fromkeys(NAMES, True)


@pytest.mark.parametrize("missing", NAMES)
@pytest.mark.parametrize("weighting", ["equal", "dwa", "uncertainty"])
def test_a_task_without_labels_leaves_the_others_gradients_alone(missing, weighting):
    gradients = []
    for absent in (False, True):
        outputs, targets = batch()
        if absent:
            targets[f"{missing}_present"] = torch.zeros_like(targets[f"{missing}_present"])
        loss = criterion(weighting)
        loss(outputs, targets).backward()
        gradients.append({name: output.grad for name, output in outputs.items()})
    assert loss.observed == {name: name != missing for name in NAMES}
    assert loss.latest[missing] == 0
    assert not gradients[1][missing].any()
    for name in set(NAMES) - {missing}:
        assert torch.equal(gradients[0][name], gradients[1][name])


def test_a_region_that_is_empty_everywhere_makes_the_task_unobserved():
    outputs, targets = batch()
    targets["dose_region"] = torch.zeros_like(targets["dose_region"])
    loss = criterion()
    assert torch.isfinite(loss(outputs, targets))
    assert loss.observed == {"oar": True, "dose": False, "severe": True}


@pytest.mark.parametrize("weighting", ["equal", "dwa", "uncertainty"])
def test_no_label_at_all_gives_zero_and_zero_gradients(weighting):
    outputs, targets = batch()
    targets.update({key: torch.zeros_like(value) for key, value in targets.items() if key.endswith("_present")})
    total = criterion(weighting)(outputs, targets)
    assert total == 0
    total.backward()
    for output in outputs.values():
        assert torch.equal(output.grad, torch.zeros_like(output))


def test_order_of_tasks_does_not_matter():
    outputs, targets = batch()
    forward, backward = criterion("uncertainty"), criterion("uncertainty", tasks=TASKS[::-1])
    torch.testing.assert_close(forward(outputs, targets), backward(outputs, targets))
    assert forward.latest == backward.latest


def test_one_task_alone_is_its_own_loss():
    outputs, targets = batch()
    loss = criterion("dwa", tasks=TASKS[:1])
    total, count = loss_for(TASKS[0])(outputs["oar"], targets["oar"], targets["oar_present"])
    assert loss(outputs, targets) == total / count


def test_labels_that_are_known_halfway_through_training_train_the_network():
    # two heads on one shared layer; 'severe' has labels in every second step only
    torch.manual_seed(0)
    shared, heads = (
        torch.nn.Linear(6, 4),
        torch.nn.ModuleDict({name: torch.nn.Linear(4, 1) for name in ("age", "sick")}),
    )
    tasks = (Regression("age", unit="year", scale=50.0, level="image"), Classification("sick", ["sick"]))
    loss = criterion("dwa", tasks=tasks)
    optimizer = torch.optim.Adam([*shared.parameters(), *heads.parameters()], lr=0.05)
    image = torch.randn(16, 6)
    age, sick = 50 * image[:, :1], (image[:, 1:2] > 0).float()
    history = []
    for step in range(60):
        known = torch.full((16,), step % 2 == 0)
        targets = {"age": age, "age_present": torch.ones(16), "sick": sick * known[:, None], "sick_present": known}
        outputs = {name: head(shared(image).tanh()) for name, head in heads.items()}
        optimizer.zero_grad()
        loss(outputs, targets).backward()
        optimizer.step()
        history.append(dict(loss.latest))
        if step % 10 == 9:
            loss.weighting.end_epoch()
    for name in ("age", "sick"):
        assert history[58][name] < 0.5 * history[0][name]


def test_state_is_that_of_the_weighting():
    loss, other = criterion("dwa"), criterion("dwa")
    for _ in range(2):
        loss(*batch())
        loss.weighting.end_epoch()
    loss(*batch())
    other.load_state_dict(loss.state_dict())
    for each in (loss, other):
        each.weighting.end_epoch()
    assert other.weighting.weights() == loss.weighting.weights()


@pytest.mark.parametrize(("where", "key"), [("outputs", "dose"), ("targets", "oar"), ("targets", "severe_present")])
def test_a_missing_entry_is_named_with_its_task(where, key):
    outputs, targets = batch()
    del {"outputs": outputs, "targets": targets}[where][key]
    with pytest.raises(ConfigError, match=rf"tasks: {key.removesuffix('_present')}: '{key}' is not in the {where}"):
        criterion()(outputs, targets)


def test_options_of_an_unknown_task_are_refused():
    with pytest.raises(ConfigError, match=r"losses: organ: there is no such task.*'oar', 'dose', 'severe'"):
        criterion(options={"organ": {}})


def test_a_weighting_of_other_tasks_is_refused():
    with pytest.raises(ConfigError, match="Give both the same tasks"):
        MultiTaskLoss(TASKS, create_weighting("equal", TASKS[:2]))
