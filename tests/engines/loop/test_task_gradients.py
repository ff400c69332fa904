"""Gradients joined where decoders begin: by hand, against a reference made of autograd alone, and in whole runs."""

import copy

import pytest
import torch
from engine_kit import SeparateNetworks, SmallNetwork, assert_same_weights, make_trainer, weights
from network_cases import wave
from run_kit import Run, TinyNetwork, same, without_seconds
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ctan_monai.engines import PrepareMultiTaskBatch
from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.engines.loop.task_gradients import TaskGradients
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.errors import ConfigError
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.losses.weighting.gradient import GradientWeighting, add_up
from ctan_monai.networks import create_network
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.encoder import Features
from ctan_monai.tasks import Classification, Regression, Segmentation

LEFT, RIGHT = Regression("left", "mm", 1.0, level="image"), Regression("right", "mm", 1.0, level="image")
OAR, DOSE = Segmentation("oar", ["Cord", "Stem"]), Regression("dose", "Gy", 70.0)
HEAT = Regression("heat", "K", 70.0)
GRADE = Classification("grade", ["low", "high"])
METHODS = ("hps", "mtan", "ctan")


class Added(GradientWeighting):
    """Adds up, which is what one backward pass through everything does."""

    def join(self, gradients, names):
        return [add_up(parts, {}) for parts in gradients]


class Plane(MultiTaskNetwork):
    """Two shared features z = w x, of which each task takes a linear function; small enough to be computed by hand."""

    method = "plane"

    def __init__(self):
        super().__init__((LEFT, RIGHT), 2)
        self.body = nn.Conv2d(1, 2, 1, bias=False)
        self.decoders = nn.ModuleDict({name: nn.Linear(2, 1, bias=False) for name in ("left", "right")})
        with torch.no_grad():
            self.body.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
            self.decoders["left"].weight.copy_(torch.tensor([[1.0, 0.0]]))
            self.decoders["right"].weight.copy_(torch.tensor([[-1.0, 1.0]]))

    def forward(self, image):
        features = self.body(image).flatten(1)  # (B, 2)
        return {name: decoder(features) for name, decoder in self.decoders.items()}


def ones(present=(True, True), left=0.0):
    """Make a batch of one image whose only pixel is 1, and whose answers are 0."""
    batch = {"case": ["pt_0"], "image": torch.ones(1, 1, 1, 1)}
    for task, known, value in zip((LEFT, RIGHT), present, (left, 0.0), strict=True):
        batch[task.name], batch[f"{task.name}_present"] = torch.full((1, 1), value), torch.tensor([known])
    return batch


def trained(network, batches, weighting="pcgrad", **options):
    """Train for an epoch with plain SGD at 0.1, each task's loss the absolute error."""
    losses = {task.name: {"error": "mae"} for task in network.tasks}
    loss = MultiTaskLoss(network.tasks, create_weighting(weighting, network.tasks), losses)
    make_trainer(network, batches, loss=loss, **options).run()
    return weights(network)


def test_a_step_by_hand():
    # z = (1, 2), both errors are 1 above: g_left = (1, 0), g_right = (-1, 1), projected they add up to (0.5, 1.5)
    found = trained(Plane(), [ones()])
    torch.testing.assert_close(found["body.weight"].flatten(), torch.tensor([1 - 0.05, 2 - 0.15]))
    torch.testing.assert_close(found["decoders.left.weight"], torch.tensor([[1 - 0.1, 0 - 0.2]]))  # its own: z
    torch.testing.assert_close(found["decoders.right.weight"], torch.tensor([[-1 - 0.1, 1 - 0.2]]))


@pytest.mark.parametrize("present", [(True, False), (False, True), (False, False)])
def test_a_task_without_labels_takes_no_part(present):
    assert_same_weights(trained(Plane(), [ones(present)]), trained(Plane(), [ones(present)], "equal"), atol=0, rtol=0)


def test_without_a_conflict_it_is_equal_weighting():
    batches = [ones(left=3.0)] * 2  # the left answer is too low: g_left = (-1, 0), then (-1.1, -0.2)
    assert_same_weights(trained(Plane(), batches), trained(Plane(), batches, "equal"), atol=1e-7, rtol=1e-6)


def test_micro_batches_are_projected_each_for_itself_and_averaged():
    # projected (0.5, 1.5); then without conflict (-1, 0) + (-1, 1) = (-2, 1): the mean of both is (-0.75, 1.25)
    found = trained(Plane(), [ones(), ones(left=3.0)], accumulation_steps=2)
    torch.testing.assert_close(found["body.weight"].flatten(), torch.tensor([1 + 0.075, 2 - 0.125]))


def test_the_joint_gradient_is_what_is_clipped():
    # all gradients: (0.5, 1.5), (1, 2), (1, 2): length sqrt(12.5)
    found = trained(Plane(), [ones()], clip_norm=1.0)
    step = 0.1 / 12.5**0.5
    torch.testing.assert_close(found["body.weight"].flatten(), torch.tensor([1 - 0.5 * step, 2 - 1.5 * step]))


def batch_for(tasks, size=64):
    """Make a batch of two for tasks of all kinds, from formulas."""
    image = wave(2, 1, size, size)
    labels = {
        "oar": torch.cat([image > 0.5, image < -0.5], 1).float(),
        "dose": 70 * image.square(),
        "grade": torch.tensor([0, 1]),
    }
    batch = {"case": ["pt_0", "pt_1"], "image": image}
    for task in tasks:
        present = torch.ones(2, 2, dtype=torch.bool) if task is OAR else torch.ones(2, dtype=torch.bool)
        batch[task.name], batch[f"{task.name}_present"] = labels[task.name], present
    return batch


def gradients_of(network, weighting, batch, amp=False):
    """Return every parameter's gradient in one step, through the trainer."""
    loss = MultiTaskLoss(network.tasks, weighting)
    make_trainer(network, [batch], loss=loss, lr=0.0, amp=amp).run()
    return {name: value.grad for name, value in network.named_parameters()}


def make(method, tasks, seed=0, **options):
    torch.manual_seed(seed)
    return create_network(method, tasks, "resnet18", **options)


def assert_close_gradients(found, expected, tolerance):
    assert list(found) == list(expected)
    for name, value in expected.items():
        if value is None:
            assert found[name] is None, name
        else:
            assert (found[name] - value).norm() <= tolerance * value.norm() + 1e-8, name


@pytest.mark.parametrize(("method", "skips"), [("hps", "u"), ("hps", "p"), ("mtan", "u"), ("ctan", "u")])
def test_gradients_that_are_added_up_at_the_cut_are_those_of_one_backward_pass(method, skips):
    tasks = (OAR, DOSE, GRADE)
    plan = {"decoder_options": {"full_resolution": True, "skips": skips}}
    first, second = make(method, tasks, **plan).double(), make(method, tasks, **plan).double()
    batch = {key: value.double() if key == "image" else value for key, value in batch_for(tasks).items()}
    found = gradients_of(first, Added(tasks), batch)
    expected = gradients_of(second, create_weighting("equal", tasks), batch)
    assert_close_gradients(found, expected, 1e-6)


def reference(network, batch):
    """Compute PCGrad's gradient of two tasks with autograd alone; also the cosine between the two."""
    image, targets = PrepareMultiTaskBatch(network.tasks)(batch)
    image = image.as_subclass(torch.Tensor)
    loss = MultiTaskLoss(network.tasks, create_weighting("equal", network.tasks))
    network.train()
    features = network.encoder(image)
    queries = [features.p[3]] * 2
    if network.method != "hps":
        queries = network.attention(features)
    if network.method == "ctan":
        queries = network.bottleneck(queries)
    cut = list({id(tensor): tensor for tensor in [*queries, *features.u, features.shallow[0]]}.values())
    copies = {id(tensor): tensor.detach().requires_grad_() for tensor in cut}
    seen = Features([copies[id(features.shallow[0])], image], [copies[id(u)] for u in features.u], features.p)
    outputs = network.decode([copies[id(query)] for query in queries], seen, image)
    rows, own = [], []
    for part in each_loss(loss, outputs, targets):
        grads = torch.autograd.grad(part, list(copies.values()), retain_graph=True, materialize_grads=True)
        shared = network.method == "hps"  # else the first two tensors are each task's own
        own.append(grads[:0] if shared else grads[:2])
        rows.append(torch.cat([grad.flatten() for grad in (grads if shared else grads[2:])]))
    one, other = rows
    inner = one @ other
    assert inner < 0
    joint = one + other - inner / (other @ other) * other - inner / (one @ one) * one
    parts = [a + b for a, b in zip(*own, strict=True)]
    rest = cut[len(parts) :]
    parts += [piece.view_as(t) for piece, t in zip(joint.split([t.numel() for t in rest]), rest, strict=True)]
    names, shared = zip(*[(k, v) for k, v in network.named_parameters() if not k.startswith("decoders")], strict=True)
    found = torch.autograd.grad(cut, shared, parts, allow_unused=True)
    return dict(zip(names, found, strict=True)), (inner / one.norm() / other.norm()).item()


def each_loss(loss, outputs, targets):
    """Return the tasks' losses, one after the other."""
    for task, part in zip(loss.tasks, loss.losses, strict=True):
        total, count = part(outputs[task.name], targets[task.name], targets[f"{task.name}_present"])
        yield total / count


@pytest.mark.parametrize("method", METHODS)
def test_real_networks_learn_from_the_projected_gradients(method):
    tasks = (DOSE, HEAT)
    network = make(method, tasks, decoder_options={"full_resolution": True}).double()
    network.decoders["heat"].load_state_dict(network.decoders["dose"].state_dict())
    image = wave(2, 1, 64, 64).double()
    present = torch.ones(2, dtype=torch.bool)
    batch = {"case": ["pt_0", "pt_1"], "image": image, "dose_present": present, "heat_present": present}
    batch["dose"] = torch.full_like(image, 500.0)  # one wants more everywhere, the other less, but for a corner
    batch["heat"] = torch.full_like(image, -500.0)
    batch["heat"][..., :16, :20] = 500.0
    expected, cosine = reference(copy.deepcopy(network), batch)
    assert cosine < -0.01, f"no conflict: {cosine}"
    found = gradients_of(network, create_weighting("pcgrad", tasks), batch)
    assert_close_gradients({name: found[name] for name in expected}, expected, 1e-6)
    assert all(found[name] is not None for name in found if name.startswith("decoders"))


@pytest.mark.parametrize("method", METHODS)
def test_in_bfloat16_too_they_are_those_of_one_backward_pass_and_decoders_learn_as_under_equal_weighting(method):
    tasks = (OAR, DOSE)
    added, equal, projected = (
        gradients_of(make(method, tasks), weighting, batch_for(tasks), amp=True)
        for weighting in (Added(tasks), create_weighting("equal", tasks), create_weighting("pcgrad", tasks))
    )
    assert_close_gradients(added, equal, 0.02)
    assert all(torch.equal(projected[name], equal[name]) for name in equal if name.startswith("decoders"))
    assert all(projected[name].isfinite().all() for name in equal if equal[name] is not None)


@pytest.mark.parametrize("weighting", ["pcgrad", "graddrop"])
def test_a_run_that_was_interrupted_ends_like_one_that_was_not(tmp_path, weighting):
    if weighting != "pcgrad":
        pytest.importorskip("torchjd")
    Run(tmp_path / "whole", epochs=3, schedule="step", weighting=weighting).go()
    Run(tmp_path / "part", epochs=2, schedule="step", weighting=weighting).go()
    Run(tmp_path / "part", epochs=3, schedule="step", weighting=weighting, resume=True).go()
    Run(tmp_path / "equal", epochs=3, schedule="step", weighting="equal").go()
    whole, part, equal = (
        without_seconds(load_checked(tmp_path / name / "last.pt")) for name in ("whole", "part", "equal")
    )
    assert whole["states"]["loss"]["weighting._extra_state"]["step"] == 9
    assert same(part, whole) is None
    if weighting == "graddrop":  # in this run pcgrad finds no conflict, and is equal weighting to the bit
        assert same(equal["network"], whole["network"]) is not None
    else:
        assert same(equal["network"], whole["network"]) is None


def test_validation_and_later_forward_passes_are_not_cut():
    network = Plane()
    trained(network, [ones()])
    network.zero_grad()
    network(torch.ones(1, 1, 1, 1))["left"].sum().backward()
    assert network.body.weight.grad.flatten().tolist() == pytest.approx([0.9, -0.2])  # w_left after the step by hand


def test_frozen_shared_features_need_no_joining():
    network = Plane()
    network.body.requires_grad_(False)
    found = trained(network, [ones()])
    assert found["body.weight"].flatten().tolist() == [1.0, 2.0]
    torch.testing.assert_close(found["decoders.left.weight"], torch.tensor([[0.9, -0.2]]))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: SeparateNetworks(), "share nothing.*--weighting equal"),
        (lambda: SmallNetwork(), r"a decoder for each of \['oar', 'dose', 'grade'\].*SmallNetwork has \[\]"),
        (lambda: nn.DataParallel(TinyNetwork()), "one process.*not compiled.*dwa"),
    ],
    ids=["independent", "no decoders", "wrapped"],
)
def test_what_cannot_be_joined_is_refused(network, message):
    made = network()
    with pytest.raises(ConfigError, match=message):
        TaskGradients(made, create_weighting("pcgrad", unwrap(made).tasks))


def test_several_processes_are_refused_by_the_trainer(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(Plane())
        loss = MultiTaskLoss(wrapped.module.tasks, create_weighting("pcgrad", wrapped.module.tasks))
        with pytest.raises(ConfigError, match=r"weighting: PCGrad joins the gradients of one process.*--weighting"):
            make_trainer(wrapped, [ones()], loss=loss)
    finally:
        torch.distributed.destroy_process_group()
