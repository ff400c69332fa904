"""MT-ESTAN and its family: costs by the papers' model, attention by hand, weights by their published names."""

import hashlib
import itertools

import pytest
import torch
from monai.networks.nets.resnet import resnet50
from network_cases import DOSE, GRADE, OAR, OPTIONS, SMALL, TASKS, wave
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.networks import create_network
from ctan_monai.networks.estan import TappedResNet
from ctan_monai.networks.hybrid_mt_estan import AnatomyAwareAttention
from ctan_monai.networks.swin_v2 import SwinV2Encoder
from ctan_monai.share.export import export_network
from ctan_monai.share.exported_network import ExportedNetwork
from ctan_monai.tasks import Classification, Segmentation

PAPER = (Segmentation("tumor", ["tumor"], overlapping=True), Classification("malignant", ["malignant"]))


def make(method, tasks=PAPER, in_channels=1, **options):
    torch.manual_seed(0)
    options = {**SMALL[method], **options}
    return create_network(method, tasks, in_channels=in_channels, network_options={method: options})


def parameters(network):
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(
    ("method", "millions", "gflops"),
    [
        ("mt_estan", 55.9, 76.5),
        ("mt_estan_swin", 145.9, 117.5),
        ("hybrid_mt_estan", 171.0, 127.5),
        ("swin", 87.9, 41.0),
    ],
)
def test_full_networks_cost_what_the_papers_model_says(method, millions, gflops):
    """MT-ESTAN 55.9 M and 76.5 GFLOPs, SwinV2-B 87.9 M and 41, the attention 25.1 M and 10, what joins them 2.1 M."""
    with torch.device("meta"):
        network = create_network(method, PAPER, network_options={method: {"size": "base"}}).eval()
        counted = network.swin if method == "swin" else network
        with FlopCounterMode(display=False) as counter:
            counted(torch.zeros(1, 1, 256, 256))
    assert (parameters(counted) / 1e6, counter.get_total_flops() / 1e9) == pytest.approx((millions, gflops), rel=0.02)


def test_the_encoders_hand_out_what_the_papers_table_says():
    """Sizes and channels for 256 x 256: M and the ResNet's two taps of each stage, then the joined bottleneck."""
    with torch.device("meta"):
        network = create_network("mt_estan", PAPER)
        image = torch.zeros(1, 1, 256, 256)
        early, out = network.resnet(image)
        small = network.small(image)
        joined = network.bottleneck(torch.cat([out[4], early[4]], dim=1), small[4])
    assert [tuple(value.shape[1:3]) for value in small] == [(32, 256), (64, 128), (128, 64), (256, 32), (512, 16)]
    assert [tuple(value.shape[1:3]) for value in early] == [(64, 128), (64, 64), (128, 32), (256, 16), (512, 8)]
    assert [tuple(value.shape[1:3]) for value in out] == [(64, 128), (256, 64), (512, 32), (1024, 16), (2048, 8)]
    assert tuple(joined.shape[1:3]) == (1024, 16)  # with R4, 2048


def attend_by_hand(attention, features, concat):
    """Equations 5 to 7, one place at a time, for one channel in and out of each kernel."""
    _, _, height, width = features.shape
    pooled = torch.zeros(2 if concat else 1, height, width)
    for row, column in itertools.product(range(height), range(width)):
        top, left = row // 2 * 2, column // 2 * 2
        square = features[0, 0, top : top + 2, left : left + 2]
        both = torch.stack([square.max(), square.mean()])
        pooled[:, row, column] = both if concat else both.sum()

    def along(maps, kernel, bias, down):
        found = torch.full((height, width), float(bias))
        for row, column, step in itertools.product(range(height), range(width), range(9)):
            at = (row + step - 4, column) if down else (row, column + step - 4)
            if 0 <= at[0] < height and 0 <= at[1] < width:
                found[row, column] += (kernel[:, step] * maps[:, at[0], at[1]]).sum()
        return found

    rows = along(pooled, attention.rows.weight[0, :, :, 0], attention.rows.bias[0], True)
    columns = along(rows[None], attention.columns.weight[0, :, 0], attention.columns.bias[0], False)
    return features[0, 0] * torch.sigmoid(columns)


@pytest.mark.parametrize("pooled", ["sum", "concat"])
@pytest.mark.parametrize("size", [(6, 4), (5, 7)])
def test_anatomy_aware_attention_is_that_of_the_equations_and_leaves_padding_alone(size, pooled):
    torch.manual_seed(3)
    attention = AnatomyAwareAttention(1, pooled)
    features = torch.randn(1, 1, *size)
    padded = nn.functional.pad(features, [0, 1, 0, 2]).permute(0, 2, 3, 1)
    with torch.no_grad():
        expected = attend_by_hand(attention, features, pooled == "concat")
        found = attention(padded, *size)[0, ..., 0]
    torch.testing.assert_close(found[: size[0], : size[1]], expected)
    assert not found[size[0] :].any()
    assert not found[:, size[1] :].any()


def test_attention_has_the_number_of_weights_that_c5_and_c6_say():
    dense, depthwise = AnatomyAwareAttention(8), AnatomyAwareAttention(8, depthwise=True)
    joined = AnatomyAwareAttention(8, "concat")
    counts = [sum(value.numel() for value in module.parameters() if value.dim() > 1) for module in (dense, joined)]
    assert counts == [18 * 8**2, 27 * 8**2]
    assert sum(value.numel() for value in depthwise.parameters() if value.dim() > 1) == 18 * 8


@pytest.mark.parametrize(("attention", "count"), [("stage", 4), ("pair", 4), ("none", 0)])
def test_the_attention_stands_where_it_is_asked_for(attention, count):
    network = make("hybrid_mt_estan", attention=attention)
    assert sum(isinstance(module, AnatomyAwareAttention) for module in network.modules()) == count
    with torch.device("meta"):
        full = create_network("hybrid_mt_estan", PAPER, network_options={"hybrid_mt_estan": {"attention": "pair"}})
    assert sum(isinstance(module, AnatomyAwareAttention) for module in full.modules()) == 12  # C6


def test_without_attention_the_hybrid_is_mt_estan_with_swin():
    plain = make("mt_estan_swin")
    hybrid = make("hybrid_mt_estan", attention="none", classify_swin=False)
    hybrid.load_state_dict(plain.state_dict(), strict=True)
    image = wave(1, 1, 64, 64)
    with torch.no_grad():
        expected, found = plain.eval()(image), hybrid.eval()(image)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.fixture
def resnet_file(tmp_path):
    """ResNet-50's weights with torchvision's names, from MONAI's own network."""
    torch.manual_seed(2)
    options = {"conv1_t_stride": 2, "bias_downsample": False}
    network = resnet50(spatial_dims=2, n_input_channels=3, **options)
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("fc")}
    path = tmp_path / "resnet50.pth"
    torch.save(state, path)
    named = tmp_path / f"resnet50-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(named)
    return named, network


def test_imagenet_weights_make_the_tapped_resnet_the_official_one(resnet_file):
    path, official = resnet_file
    network = create_network("mt_estan", PAPER, in_channels=3, pretrained=str(path)).resnet.eval()
    gray = create_network("mt_estan", PAPER, pretrained={"resnet": str(path)}).resnet.eval()
    image = wave(1, 1, 64, 64)
    with torch.no_grad():
        x = official.eval().maxpool(official.act(official.bn1(official.conv1(image.expand(1, 3, 64, 64)))))
        for index, stage in enumerate((official.layer1, official.layer2, official.layer3, official.layer4)):
            x = stage(x)
            torch.testing.assert_close(network(image.expand(1, 3, 64, 64))[1][index + 1], x)
            torch.testing.assert_close(gray(image)[1][index + 1], x, rtol=1e-4, atol=1e-4)


def test_each_encoder_gets_its_own_file_and_wrong_ones_are_refused(tmp_path, resnet_file):
    torch.manual_seed(1)
    swin = SwinV2Encoder("tiny", 1, (64, 64), 4)
    torch.save(swin.state_dict(), tmp_path / "swin.pth")
    network = make("mt_estan_swin")
    network.load_pretrained({"swin": str(tmp_path / "swin.pth")})
    assert all(torch.equal(value, swin.state_dict()[key]) for key, value in network.swin.state_dict().items())
    alone = make("swin")
    alone.load_pretrained(str(tmp_path / "swin.pth"))
    assert torch.equal(alone.swin.norm.weight, swin.norm.weight)
    with pytest.raises(ConfigError, match=r"'swin' is unknown.*\['resnet'\]"):
        make("mt_estan").load_pretrained({"swin": "swin.pth"})
    with pytest.raises(DataError, match=r"conv1.weight is \(64, 3, 7, 7\), expected \(8, 1, 7, 7\)"):
        make("mt_estan").load_pretrained(str(resnet_file[0]))


@pytest.mark.parametrize(
    ("method", "options", "named"),
    [
        ("mt_estan", {"size": "huge"}, "'huge' is unknown.*base"),
        ("mt_estan", {"dense": "five"}, "'five' is unknown"),
        ("mt_estan", {"dropout": 1.0}, "dropout: found 1.0"),
        ("hybrid_mt_estan", {"attention": "all"}, "'all' is unknown"),
        ("hybrid_mt_estan", {"pooled": "product"}, "'product' is unknown"),
        ("swin", {"window": 1}, "window: found 1"),
    ],
)
def test_options_out_of_range_are_named(method, options, named):
    with pytest.raises(ConfigError, match=named):
        make(method, **options)


def test_an_encoder_is_refused_by_name_and_so_are_decoder_options_without_effect():
    with pytest.raises(ConfigError, match=r"encoder: 'resnet18' cannot be used with mt_estan.*resnet50\+estan"):
        create_network("mt_estan", PAPER, "resnet18", network_options=OPTIONS)
    with pytest.raises(ConfigError, match=r"decoder_options: \['skips'\] cannot be used with mt_estan"):
        create_network("mt_estan", PAPER, decoder_options={"skips": "p"}, network_options=OPTIONS)
    create_network("swin", PAPER, decoder_options={"skips": "p"}, network_options=OPTIONS)


@pytest.mark.parametrize("dense", ["four", "three"])
def test_the_classification_branch_has_three_or_four_dense_layers_and_may_score_a_slice(dense):
    network = make("mt_estan", (OAR, DOSE, GRADE), dense=dense)
    layers = [module for module in network.decoders["grade"].modules() if isinstance(module, nn.Linear)]
    assert len(layers) == {"four": 4, "three": 3}[dense]
    options = {"decoder_options": {"slice_score": True}, "network_options": OPTIONS}
    scored = create_network("mt_estan", TASKS, **options).eval()
    assert scored(wave(2, 1, 64, 64))["grade"].shape == (2, 4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mt_estan", "hybrid_mt_estan"])
def test_an_onnx_file_answers_as_the_network_for_any_batch(tmp_path, caplog, method):
    network = make(method).eval()
    with caplog.at_level("INFO", logger="ctan_monai"):
        (written,) = export_network(network, tmp_path, ["onnx"], (64, 64))
    sizes = {shape[2:] for shape in written.shapes}
    assert len(sizes) == (2 if network.open_size else 1)
    assert ("takes images of [64, 64] pixels only" in caplog.text) is not network.open_size
    file = ExportedNetwork(written.path, PAPER)
    image = wave(3, 1, 64, 64)
    with torch.no_grad():
        expected = network(image)
    for name, logits in file(image).items():
        torch.testing.assert_close(logits, expected[name], rtol=1e-4, atol=1e-4)
    if not network.open_size:
        with pytest.raises(ConfigError, match=r"\(96, 64\) was found; model.onnx takes images of \(64, 64\) only"):
            file(wave(1, 1, 96, 64))


def test_the_tapped_resnet_answers_as_its_untapped_stages():
    torch.manual_seed(4)
    tapped = TappedResNet("tiny", 1).eval()
    image = wave(1, 1, 70, 45)
    early, out = tapped(image)
    first = tapped.stages[0].first
    x = tapped.maxpool(out[0])
    torch.testing.assert_close(out[1], tapped.stages[0].rest(first(x)))  # MONAI's own forward pass of the block
    assert early[1].shape[2:] == out[1].shape[2:]
