"""SFG-ResNet: its limits are hard sharing and one task's network, and the pruned form answers as the masked one."""

import copy

import pytest
import torch
from network_cases import DOSE, OAR, TASKS, spread, wave

from ctan_monai.engines.predictions.kernel_maps import write_kernel_maps
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network
from ctan_monai.networks.hps import HPS
from ctan_monai.networks.sfg_pruned import EmptyPath, PrunedPath
from ctan_monai.networks.sfg_resnet import SFGResNet
from ctan_monai.share.export import export_network

TWO = (OAR, DOSE)  # sorted: dose, oar


def make(tasks=TWO, spatial_dims=2, encoder="resnet18", encoder_options=None, **options):
    torch.manual_seed(0)
    return create_network(
        "sfg_resnet",
        tasks,
        encoder,
        spatial_dims,
        encoder_options=encoder_options,
        network_options={"sfg_resnet": options},
    )


def hard_sharing(tasks, spatial_dims=2, encoder="resnet18", encoder_options=None):
    torch.manual_seed(0)
    return spread(create_network("hps", tasks, encoder, spatial_dims, encoder_options=encoder_options))


def grouped_copy(hps, tasks, initial):
    """Make the network of filter groups with another one's weights and fixed probabilities."""
    network = SFGResNet(tasks, copy.deepcopy(hps.encoder), {}, grouping="constant", initial=initial)
    network.decoders.load_state_dict(hps.decoders.state_dict(), strict=True)
    return network


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("encoder", "dims", "options"),
    [
        ("resnet18", 2, {}),
        ("resnet18", 2, {"stem": "conv3x3", "stem_stride": 1}),
        ("resnet18", 2, {"stem": "conv3x3", "stem_stride": 2}),
        ("resnet18", 3, {}),
        ("resnet50", 2, {}),
    ],
)
def test_with_all_kernels_shared_it_is_hard_sharing(encoder, dims, options, training):
    hps = hard_sharing(TASKS, dims, encoder, options)
    network = grouped_copy(hps, TASKS, [0, 0, 0, 1]).train(training)
    image = wave(2, 1, *[33, 40, 34][:dims])
    expected = hps.train(training)(image)
    for name, found in network(image).items():
        torch.testing.assert_close(found, expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
@pytest.mark.parametrize("task", TWO)
def test_with_all_kernels_of_one_task_it_is_that_tasks_network(task, encoder, training):
    hps = hard_sharing(TWO, encoder=encoder)
    alone = HPS((task,), copy.deepcopy(hps.encoder), {})
    alone.decoders.load_state_dict(
        {key: v for key, v in hps.decoders.state_dict().items() if key.startswith(task.name)}
    )
    network = grouped_copy(hps, TWO, [float(each is task) for each in TWO] + [0.0]).train(training)
    image = wave(2, 1, 40, 36)
    expected = alone.train(training)(image)[task.name]
    torch.testing.assert_close(network(image)[task.name], expected, atol=1e-5, rtol=1e-4)


def test_a_task_without_kernels_has_what_stem_and_shortcuts_carry():
    hps = hard_sharing(TWO).eval()
    network = grouped_copy(hps, TWO, [1.0, 0.0, 0.0]).eval()
    image = wave(1, 1, 40, 36)
    x = hps.encoder.pool(hps.encoder.stem(image))
    for stage in hps.encoder.stages:
        for block in [*stage.first, *stage.last]:
            x = torch.relu(x if block.downsample is None else block.downsample(x))
    _, _, p = network.encoder(image)
    torch.testing.assert_close(p[3][0], x, atol=1e-5, rtol=1e-4)  # dose, the first by name


@pytest.mark.parametrize(("encoder", "dims"), [("resnet18", 2), ("resnet50", 2), ("resnet18", 3)])
def test_pruned_and_masked_inference_are_equal(encoder, dims):
    network = spread(make(TASKS, dims, encoder)).eval()
    torch.manual_seed(1)
    for index, module in enumerate(network._assignments()):
        module.logits.data = torch.randn(module.logits.shape)
        if index % 4 == 1:
            module.logits.data[:, 1] = -9.0  # a task without kernels here
    image = wave(1, 1, *[37, 50, 33][:dims])
    with torch.no_grad():
        expected, pruned = network(image), network.for_inference()
        for name, value in pruned(image).items():
            torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)
    assert any(isinstance(module, EmptyPath) for module in pruned.modules())


def test_the_pruned_form_computes_each_3x3_kernel_once_and_is_what_files_get(tmp_path):
    network = spread(make(grouping="mask")).eval()
    paths = [module.own for module in network.for_inference().modules() if isinstance(module, PrunedPath)]
    kernels = sum(layer.out_channels for layer in paths)
    assert kernels == sum(len(p) for p in network.groupings().values()) == 2 * 2 * (64 + 128 + 256 + 512)
    written = export_network(network, tmp_path, ["torchscript", "onnx"], (48, 48))
    assert [each.format for each in written] == ["torchscript", "onnx"]  # each was checked to answer as the network


def test_a_network_that_averages_is_not_pruned():
    network = make(grouping="constant").eval()
    assert network.for_inference() is network


def test_every_parameter_learns_and_the_temperature_falls_with_training():
    network = make(TASKS, encoder="resnet50", relaxation="soft", temperature=2.0, rate=0.5).train()
    (
        sum(value.square().mean() for value in network(wave(2, 1, 40, 40)).values()) + sum(network.penalty().values())
    ).backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
    network.eval()(wave(1, 1, 40, 40))  # does not count
    other = make(TASKS, encoder="resnet50", temperature=2.0, rate=0.5)
    other.load_state_dict(network.state_dict())
    assert other.encoder.temperature().item() == pytest.approx(2.0 * 0.60653, rel=1e-4)
    assert sorted(network.penalty()) == ["entropy", "l2"]


def test_a_tasks_own_parameters_are_its_norms_and_decoder():
    network = make(encoder="resnet50")
    own = {id(value) for task in TWO for value in network.task_parameters(task.name)}
    assert all(
        value.dim() > 1 or "_shared" in name
        for name, value in network.named_parameters()
        if name.startswith("encoder.stages") and id(value) not in own
    )
    assert own.isdisjoint(id(value) for value in network.shared_parameters())


def test_maps_of_the_most_certain_kernels_are_written(tmp_path):
    network = make(initial=[1.0, 2.0, 7.0])
    assert write_kernel_maps(network, wave(1, 1, 40, 40), tmp_path).is_file()
    assert list(network.group_sites()) == list(network.groupings()) == [f"conv_{index}" for index in range(16)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"grouping": "single"},
            "sfg_resnet: grouping: with 'single' it is the network of another method.*--method stl",
        ),
        ({"grouping": "shared"}, "sfg_resnet: grouping: .*--method hps"),
        ({"grouping": "x"}, "sfg_resnet: grouping: 'x' is unknown"),
        ({"speed": 0}, "sfg_resnet: speed: 0 is out of range"),
        ({"initial": [1, 1]}, "sfg_resnet: initial: .* is no distribution over 3 groups"),
    ],
)
def test_what_makes_no_such_network_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_an_image_of_other_dimensions_is_refused():
    with pytest.raises(ValueError, match="expected an image of 4 dimensions"):
        make()(wave(1, 1, 8, 8, 8))
