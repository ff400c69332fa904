"""SFG: its limits are networks written independently, its gradients those of finite differences."""

import copy
import json

import pytest
import torch
from monai.networks.nets import HighResBlock
from network_cases import DOSE, OAR, TASKS, spread, wave
from torch import nn
from torch.func import functional_call

from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.engines.runs.run_record import describe
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network
from ctan_monai.networks.filter_groups import SHARED
from ctan_monai.networks.sfg_pruned import PrunedPath
from ctan_monai.share.export import export_network

TWO = (OAR, DOSE)  # sorted: dose, oar


def make(tasks=TWO, spatial_dims=2, decoder_options=None, **options):
    torch.manual_seed(0)
    options = {"layer_scale": 0.15, **options}
    return create_network(
        "sfg", tasks, spatial_dims=spatial_dims, decoder_options=decoder_options, network_options={"sfg": options}
    )


class Plain(nn.Module):
    """HighResNet's trunk for one group, written independently: conv, BN, PReLU, blocks, and what joins layers."""

    def __init__(self, widths, joins):
        super().__init__()
        self.convs, self.norms, self.acts, self.blocks = (nn.ModuleList() for _ in range(4))
        self.joins = nn.ModuleList()
        incoming = 1
        for index, width in enumerate(widths):
            self.convs.append(nn.Conv2d(incoming, width, 3, padding=1, bias=False))
            self.norms.append(nn.BatchNorm2d(width))
            self.acts.append(nn.PReLU())
            blocks = [HighResBlock(2, width, width, dilation=2**index, acti_type="prelu") for _ in range(2)]
            self.blocks.append(nn.Sequential(*(blocks if index < 3 else [])))
            self.joins.append(nn.Conv2d(width, width, 1, bias=False) if joins and index < 3 else nn.Identity())
            incoming = width

    def forward(self, x):
        for parts in zip(self.convs, self.norms, self.acts, self.blocks, self.joins, strict=True):
            for part in parts:
                x = part(x)
        return x


def plain_copy(network, group):
    """Copy a group's weights of a network into an independent one."""
    layers = network.trunk.layers
    plain = Plain([layer.convolve.out_channels for layer in layers], joins=group != SHARED)
    for index, layer in enumerate(layers):
        path = layer.groups[group]
        plain.convs[index].load_state_dict(layer.convolve.state_dict())
        plain.norms[index].load_state_dict(path.head.N.state_dict())
        plain.acts[index].load_state_dict(path.head.A.state_dict())
        if index < 3:
            plain.blocks[index].load_state_dict(path.residual.state_dict())
            if group != SHARED:
                own = layer.merging.merges[group].join.weight[:, : layer.convolve.out_channels]
                plain.joins[index].load_state_dict({"weight": own})
    return plain


@pytest.mark.parametrize("training", [True, False])
def test_with_all_kernels_shared_it_is_a_shared_trunk_with_a_head_for_each_task(training):
    network = spread(make(grouping="constant", initial=[0, 0, 1])).train(training)
    trunk = plain_copy(network, SHARED).train(training)
    image = wave(2, 1, 24, 20)
    found, features = network(image), trunk(image)
    for task in TWO:
        torch.testing.assert_close(found[task.name], network.decoders[task.name].head(features), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("task", ["oar", "dose"])
def test_with_all_kernels_of_one_task_it_is_that_tasks_network_and_the_other_is_silent(task, training):
    one = [float(name == task) for name in ("oar", "dose")]
    network = spread(make(grouping="constant", initial=[*one, 0])).train(training)
    trunk = plain_copy(network, task).train(training)
    image = wave(2, 1, 24, 20)
    found = network(image)
    torch.testing.assert_close(found[task], network.decoders[task].head(trunk(image)), atol=1e-5, rtol=1e-4)
    other = "dose" if task == "oar" else "oar"
    bias = network.decoders[other].head.bias.reshape(1, -1, 1, 1)
    assert torch.equal(found[other], bias.expand_as(found[other]))  # its stacks give exact zeros


def test_single_is_one_full_network_for_each_task_and_shares_nothing():
    network = make(grouping="single")
    assert network.independent_tasks
    assert not list(network.shared_parameters())
    alone = make((DOSE,), grouping="single")
    assert sum(v.numel() for v in network.task_parameters("dose")) == sum(v.numel() for v in alone.parameters())
    network(torch.randn(2, 1, 16, 16))["dose"].sum().backward()
    assert all(value.grad is None for value in network.task_parameters("oar"))


def test_shared_has_one_trunk_and_learns_no_grouping():
    network = make(grouping="shared")
    assert set(network.penalty()) == {"l2"}
    assert [name for name, _ in network.named_parameters() if "logits" in name or "merges" in name] == []


def sampled_loss(network, image, seed, relaxation):
    for module in network.modules():
        if hasattr(module, "hard"):
            module.hard = relaxation == "hard"

    def loss(values):
        torch.manual_seed(seed)
        outputs = functional_call(network, values, (image,))
        return sum(value.sin().mean() for value in outputs.values())

    return loss


def test_the_soft_samples_gradient_equals_finite_differences_end_to_end():
    network = make(layer_scale=0.13, repeats=1, rate=0).double().train()
    image = wave(2, 1, 12, 12).double()
    loss = sampled_loss(network, image, 7, "soft")
    start = {name: value.detach().clone() for name, value in network.named_parameters()}
    names = [name for name in start if "logits" in name] + ["trunk.layers.1.convolve.weight"]
    for name in names:
        value = start[name].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss({**start, name: value}), value)
        direction = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        step = 1e-7 * direction  # small: PReLU has kinks
        with torch.no_grad():
            slope = (loss({**start, name: start[name] + step}) - loss({**start, name: start[name] - step})) / 2e-7
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-8)


def test_the_straight_through_gradient_is_that_at_the_hard_sample_times_the_soft_samples_jacobian(monkeypatch):
    network = make(layer_scale=0.13, repeats=1, rate=0).double().train()
    image = wave(2, 1, 12, 12).double()
    loss = sampled_loss(network, image, 7, "hard")
    layer = network.trunk.layers[1]
    drawn, plain = [], layer.assign.draw
    monkeypatch.setattr(layer.assign, "draw", lambda *given: drawn.append(plain(*given)) or drawn[-1])
    value = loss({})
    (at_hard,) = torch.autograd.grad(value, drawn[0], retain_graph=True)  # (1, K, G)
    (found,) = torch.autograd.grad(value, layer.assign.logits)
    monkeypatch.undo()
    state, logits = torch.random.get_rng_state(), layer.assign.logits.detach().clone()

    def soft(values):  # the noise of the second layer follows that of the first
        torch.manual_seed(7)
        network.trunk.layers[0].assign.draw(torch.ones(()), 1)
        layer.assign.hard, layer.assign.logits.data = False, values
        return plain(torch.ones((), dtype=torch.float64), 1).detach()

    expected = torch.zeros_like(logits)
    for place in range(logits.numel()):
        step = torch.zeros(logits.numel(), dtype=torch.float64)
        step[place] = 1e-6
        difference = (soft(logits + step.view_as(logits)) - soft(logits - step.view_as(logits))) / 2e-6
        expected.view(-1)[place] = (at_hard * difference).sum()
    torch.random.set_rng_state(state)
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-10)


def test_the_penalty_is_the_squared_norm_and_the_entropy_of_torchs_distributions():
    network = make(initial=[0.2, 0.3, 0.5], l2=2.0, entropy=3.0)
    terms = network.penalty()
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert terms["l2"].item() == pytest.approx(2.0 * sum((w.double() ** 2).sum().item() for w in kernels), rel=1e-5)
    entropy = torch.distributions.Categorical(torch.tensor([0.2, 0.3, 0.5])).entropy()
    assert terms["entropy"].item() == pytest.approx(-3.0 * 5 * entropy.item(), rel=1e-5)  # equal in all five layers
    uniform = torch.distributions.Categorical(torch.ones(3) / 3)
    kl = torch.distributions.kl_divergence(torch.distributions.Categorical(torch.tensor([0.2, 0.3, 0.5])), uniform)
    assert kl.item() == pytest.approx(torch.log(torch.tensor(3.0)).item() + terms["entropy"].item() / 15, rel=1e-5)
    assert make(l2=0, entropy=0).penalty() == {}


def test_entropy_pulls_probabilities_together():
    network = make(initial=[0.2, 0.3, 0.5], l2=0, entropy=1.0)
    network.penalty()["entropy"].backward()
    gradient = network.trunk.layers[0].assign.logits.grad[0]
    assert gradient[2] > 0 > gradient[0]  # a descent step lowers the likely group and raises the unlikely one


def test_the_temperature_falls_with_the_training_iterations_and_is_in_the_checkpoint():
    network = make(temperature=2.0, rate=0.5, min_temperature=0.6)
    image = wave(2, 1, 16, 16)
    found = []
    for _ in range(4):
        found.append(network.trunk.temperature().item())
        network.train()(image)
        network.eval()(image)  # does not count
    assert found == pytest.approx([2.0, 2.0 * 0.60653, 2.0 * 0.36788, 0.6], rel=1e-4)
    other = make(temperature=2.0, rate=0.5, min_temperature=0.6)
    other.load_state_dict(network.state_dict())
    assert other.trunk.iteration.item() == 4
    assert torch.equal(other.groupings()["conv_2"], network.groupings()["conv_2"])


@pytest.mark.parametrize(
    ("grouping", "dims", "options"),
    [
        ("learned", 2, {}),
        ("learned", 2, {"repeats": 1, "activation": "relu"}),
        ("learned", 2, {"repeats": 0}),
        ("learned", 3, {"layer_scale": 0.1}),
        ("mask", 2, {}),
        ("shared", 2, {}),
        ("single", 2, {}),
    ],
)
def test_pruned_and_masked_inference_are_equal(grouping, dims, options):
    network = spread(make(TASKS, dims, grouping=grouping, **options)).eval()
    for module in network.modules():
        if getattr(module, "learned", False):
            module.logits.data = torch.randn(module.logits.shape)
    image = wave(2, 1, 21, 30) if dims == 2 else wave(1, 1, 11, 9, 10)
    with torch.no_grad():
        expected, pruned = network(image), network.for_inference()
        for name, value in pruned(image).items():
            torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5)


def test_the_pruned_form_is_what_torchscript_and_onnx_get(tmp_path):
    network = spread(make(grouping="mask", repeats=0, layer_scale=0.25)).eval()
    written = export_network(network, tmp_path, ["torchscript", "onnx"], (32, 32))
    assert [each.format for each in written] == ["torchscript", "onnx"]  # each was checked to answer as the network
    assert sum(isinstance(module, PrunedPath) for module in network.for_inference().modules()) == 5 * 3
    names = [name for name, _ in torch.jit.load(tmp_path / "model.ts").named_modules()]
    assert "trunk.layers.4.paths.2.own" in names


def test_a_pruned_network_leaves_empty_branches_out():
    network = spread(make(grouping="constant", initial=[0, 0, 1], answer="map")).eval()
    pruned = network.for_inference()
    image = wave(1, 1, 16, 16)
    with torch.no_grad():
        for name, value in network(image).items():
            torch.testing.assert_close(pruned(image)[name], value, atol=1e-5, rtol=1e-5)
    assert sum(isinstance(module, HighResBlock) for module in pruned.modules()) == 6  # of 18


def test_a_network_that_averages_or_samples_is_not_pruned():
    network = make(grouping="constant").eval()
    assert network.for_inference() is network
    learned = make().eval()
    learned.answer_by("sample")
    assert learned.for_inference() is learned
    torch.manual_seed(0)
    first, second = learned(wave(1, 1, 16, 16)), learned(wave(1, 1, 16, 16))
    assert not torch.equal(first["dose"], second["dose"])


def test_volumes_and_images_of_any_size_keep_their_size():
    assert make(spatial_dims=3).eval()(torch.randn(1, 1, 9, 8, 7))["dose"].shape == (1, 1, 9, 8, 7)
    assert make()(torch.randn(2, 1, 13, 9))["oar"].shape == (2, 3, 13, 9)


def test_a_slice_score_is_one_channel_more():
    network = make(TASKS, decoder_options={"slice_score": True})
    assert network(torch.randn(2, 1, 16, 16))["grade"].shape == (2, 4)


def test_probabilities_of_the_tasks_are_given_in_the_tasks_order():
    first = make((OAR, DOSE), initial=[0.7, 0.1, 0.2])
    second = make((DOSE, OAR), initial=[0.1, 0.7, 0.2])
    assert first.group_names() == ["dose", "oar", "shared"]
    assert torch.equal(first.groupings()["conv_0"], second.groupings()["conv_0"])
    torch.testing.assert_close(first.groupings()["conv_0"][0], torch.tensor([0.1, 0.7, 0.2]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoder": "resnet50"}, r"encoder: 'resnet50' cannot be used with sfg, .*\(highresnet\)\..*Leave it out"),
        ({"pretrained": "imagenet"}, r"pretrained: 'imagenet' cannot be used with sfg"),
        ({"encoder_options": {"stem": "conv3x3"}}, r"encoder_options: .*'conv3x3'.* cannot be used with sfg"),
        ({"decoder_options": {"skips": "p"}}, r"decoder_options: \['skips'\] cannot be used with sfg"),
        ({"network_options": {"sfg": {"widths": 3}}}, r"\['widths'\] is unknown.*'layer_scale'"),
        ({"network_options": {"sfg": {"grouping": "x"}}}, r"sfg: grouping: 'x' is unknown"),
        ({"network_options": {"sfg": {"layer_scale": 0}}}, r"sfg: layer_scale: 0 is out of range"),
        ({"network_options": {"sfg": {"min_temperature": 2}}}, r"sfg: min_temperature: 2 is out of range"),
    ],
)
def test_what_it_would_ignore_or_does_not_know_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        create_network("sfg", TWO, **given)


def test_its_own_backbone_may_be_named_and_a_run_builds_it_again(tmp_path):
    network = make()
    record = describe(network)
    assert record["encoder"] == "highresnet"
    (tmp_path / "run.json").write_text(json.dumps(record))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    image = wave(1, 1, 16, 16)
    again = network_of_run(tmp_path)
    assert torch.equal(again(image)["dose"], copy.deepcopy(network).eval()(image)["dose"])
