"""The encoder's sizes, and torchvision's weights in it."""

import hashlib

import pytest
import torch
from monai.networks.nets import resnet50
from torch.utils.flop_counter import FlopCounterMode

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.networks import create_network
from ctan_monai.networks.encoder import ResNetEncoder
from ctan_monai.networks.weights import load_imagenet_weights
from ctan_monai.tasks import Regression, Segmentation

TWO = (Segmentation("oar", ["a", "b", "c", "d"], overlapping=True), Regression("dose", "Gy", 70.0))


def torchvision_layout(layers=(3, 4, 6, 3), seed=0):
    """Generate a state dict in torchvision's documented resnet50 layout, with random values."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    width = 64
    for stage, (blocks, plane) in enumerate(zip(layers, (64, 128, 256, 512), strict=True), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes |= {f"{name}.conv1.weight": (plane, width, 1, 1), **norm(f"{name}.bn1", plane)}
            shapes |= {f"{name}.conv2.weight": (plane, plane, 3, 3), **norm(f"{name}.bn2", plane)}
            shapes |= {f"{name}.conv3.weight": (plane * 4, plane, 1, 1), **norm(f"{name}.bn3", plane * 4)}
            if block == 0:
                shapes |= {f"{name}.downsample.0.weight": (plane * 4, width, 1, 1)}
                shapes |= norm(f"{name}.downsample.1", plane * 4)
            width = plane * 4
    shapes |= {"fc.weight": (1000, 2048), "fc.bias": (1000,)}
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
        else:
            values = torch.rand(shape, generator=generator)
            state[name] = values + 0.5 if len(shape) == 1 else (values - 0.5) * (2.0 / values[0].numel()) ** 0.5
    return state


def norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": ()
    }


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    state = torchvision_layout()
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(state, path)
    return path, state


@pytest.mark.parametrize("split", ["one", "two"])
def test_the_stages_have_the_sizes_of_the_specification(split):
    features = ResNetEncoder("resnet50", in_channels=3, split=split).eval()(torch.zeros(1, 3, 128, 128))
    expected = [(1, 256, 32, 32), (1, 512, 16, 16), (1, 1024, 8, 8), (1, 2048, 4, 4)]
    assert [tuple(value.shape) for value in features.u] == expected
    assert [tuple(value.shape) for value in features.p] == expected
    assert [tuple(value.shape) for value in features.shallow] == [(1, 64, 64, 64), (1, 3, 128, 128)]


@pytest.mark.parametrize(
    ("stride", "size", "shallow"), [(1, 64, []), (2, 32, [(1, 1, 64, 64)]), (4, 16, [(1, 64, 32, 32), (1, 1, 64, 64)])]
)
def test_the_3x3_stem_starts_at_the_asked_resolution(stride, size, shallow):
    features = ResNetEncoder("resnet18", stem="conv3x3", stem_stride=stride)(torch.zeros(1, 1, 64, 64))
    assert features.u[0].shape[2:] == (size, size)
    assert [tuple(value.shape) for value in features.shallow] == shallow


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_decoders_reach_the_image_size_from_every_stem(stride):
    for full_resolution in (True, False):
        network = create_network(
            "ctan",
            TWO,
            "resnet18",
            encoder_options={"stem": "conv3x3", "stem_stride": stride},
            decoder_options={"full_resolution": full_resolution},
        ).eval()
        assert network(torch.zeros(1, 1, 40, 48))["dose"].shape == (1, 1, 40, 48)


def test_split_two_needs_three_blocks_in_a_stage():
    with pytest.raises(ConfigError, match=r"'two' leaves nothing of resnet18.*split 'one'"):
        ResNetEncoder("resnet18", split="two")
    for name, blocks in (("resnet18", [1, 1, 1, 1]), ("resnet50", [1, 2, 4, 1])):
        assert [len(stage.first) for stage in ResNetEncoder(name).stages] == blocks


@pytest.mark.parametrize(
    ("method", "join", "millions", "gflops"),
    [
        ("hps", "wide", 38.55, 5.97),
        ("ctan", "wide", 52.59, 9.75),
        ("hps", "project", 35.65, 4.85),
        ("ctan", "project", 49.69, 8.63),
        ("mtan", "project", 51.92, 10.22),
    ],
)
def test_parameters_and_operations_are_those_of_the_specification(method, join, millions, gflops):
    """CTAN: 49.96 M and 9.70 GFLOPs, 1.3 M and 0.04 for each task's U^4 skip, 0.03 less for bracketing.

    Projected, each decoder has 1,451,136 weights fewer: 768 x 256 x 9 + 384 x 128 x 9 + 192 x 64 x 9 go from its up
    blocks, 1x1 convolutions of 1024 x 256 + 512 x 128 + 256 x 64 and of 1024 x 512 come, with 2 x (256 + 128 + 64) and
    2 x 2 x 512 of batch norm.
    """
    network = create_network(method, TWO, "resnet50", in_channels=3, decoder_options={"join": join}).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 128, 128))
    assert sum(value.numel() for value in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=0.01)


def test_mtan_has_the_parts_of_its_sources():
    """LibMTL's encoder and attention of two tasks, counted with its code: 39.79 M, of which 9,600 are biases."""
    network = create_network("mtan", TWO, "resnet50", in_channels=3)
    own = sum(value.numel() for name, value in network.named_parameters() if not name.startswith("decoders"))
    assert (own + 9600) / 1e6 == pytest.approx(39.79, abs=0.005)


@pytest.mark.parametrize("split", ["one", "two"])
def test_torchvision_weights_load_completely_and_give_the_outputs_of_monais_resnet(official, split):
    path, state = official
    encoder = ResNetEncoder("resnet50", in_channels=3, split=split).eval()
    load_imagenet_weights(encoder, str(path))
    reference = resnet50(
        spatial_dims=2, n_input_channels=3, bias_downsample=False, conv1_t_stride=2, num_classes=1000
    ).eval()
    reference.load_state_dict(state, strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x = reference.maxpool(reference.act(reference.bn1(reference.conv1(image))))
        expected = reference.layer4(reference.layer3(reference.layer2(reference.layer1(x))))
        assert torch.allclose(encoder(image).p[3], expected, rtol=1e-4, atol=1e-4)


def test_a_single_channel_sees_the_sum_of_the_rgb_kernels(official):
    path, _ = official
    gray, color = ResNetEncoder("resnet50", in_channels=1).eval(), ResNetEncoder("resnet50", in_channels=3).eval()
    for encoder in (gray, color):
        load_imagenet_weights(encoder, str(path))
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(gray(image).p[0], color(image.repeat(1, 3, 1, 1)).p[0], rtol=1e-3, atol=1e-4)


def test_weights_come_from_a_url_with_their_hash_checked(official, tmp_path, monkeypatch):
    path, _ = official
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    good, bad = tmp_path / f"resnet50-{digest}.pth", tmp_path / "resnet50-00000000.pth"
    for target in (good, bad):
        target.write_bytes(path.read_bytes())
    encoder = ResNetEncoder("resnet50", in_channels=3)
    load_imagenet_weights(encoder, good.as_uri())
    load_imagenet_weights(encoder, str(good))
    with pytest.raises(DataError, match="invalid hash value"):
        load_imagenet_weights(encoder, bad.as_uri())
    with pytest.raises(DataError, match=r"does not have the SHA-256 00000000"):
        load_imagenet_weights(encoder, str(bad))


def test_weights_that_cannot_be_had_are_explained(tmp_path, official):
    encoder = ResNetEncoder("resnet18", in_channels=3)
    with pytest.raises(DataError, match=r"there is no such file.*pretrained: null"):
        load_imagenet_weights(encoder, str(tmp_path / "none.pth"))
    with pytest.raises(DataError, match=r"cannot be loaded.*local file"):
        load_imagenet_weights(encoder, (tmp_path / "resnet18-12345678.pth").as_uri())
    (tmp_path / "text.pth").write_text("not a network")
    with pytest.raises(DataError, match="no readable PyTorch file"):
        load_imagenet_weights(encoder, str(tmp_path / "text.pth"))
    with pytest.raises(DataError, match=r"layer1.0.conv1.weight is \(64, 64, 1, 1\), expected \(64, 64, 3, 3\)"):
        load_imagenet_weights(encoder, str(official[0]))
    with pytest.raises(ConfigError, match="2D encoders only"):
        load_imagenet_weights(ResNetEncoder("resnet18", spatial_dims=3), "imagenet")


def test_a_3x3_stem_keeps_its_own_first_layer(official):
    path, state = official
    encoder = ResNetEncoder("resnet50", in_channels=3, stem="conv3x3", stem_stride=4)
    before = encoder.stem[0].weight.clone()
    load_imagenet_weights(encoder, str(path))
    assert torch.equal(encoder.stem[0].weight, before)
    assert torch.equal(encoder.stages[0].first[0].conv1.weight, state["layer1.0.conv1.weight"])


def test_unknown_names_are_listed_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'resnet20' is unknown.*resnet18"):
        create_network("ctan", TWO, "resnet20")
    with pytest.raises(ConfigError, match=r"'cta' is unknown.*ctan"):
        create_network("cta", TWO)
    with pytest.raises(ConfigError, match=r"encoder_options: \['stm'\] is unknown"):
        create_network("ctan", TWO, encoder_options={"stm": "conv3x3"})
