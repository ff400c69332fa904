"""Decoders: sizes, options and the head's first guess."""

import pytest
import torch
from network_cases import DOSE, GRADE, OAR, wave
from torch.nn import functional as F

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.variance_share import variance_share
from ctan_monai.networks import create_network
from ctan_monai.networks.decoders import ScoredHead
from ctan_monai.networks.sites import recording, replacing
from ctan_monai.tasks import Classification, Regression, Segmentation


def answer(task, **options):
    network = create_network("hps", (task,), "resnet18", decoder_options=options).eval()
    with torch.no_grad():
        return network(wave(1, 1, 64, 64))[task.name]


def test_a_new_head_expects_few_voxels_in_its_labels():
    two = ["a", "b"]
    independent = create_network("hps", (Segmentation("s", two, overlapping=True),), "resnet18").decoders["s"].head.bias
    exclusive = create_network("hps", (Segmentation("s", two),), "resnet18").decoders["s"].head.bias
    assert torch.sigmoid(independent).tolist() == pytest.approx([0.01, 0.01])
    assert torch.softmax(exclusive, 0).tolist() == pytest.approx([0.99, 0.005, 0.005], abs=1e-3)


def test_the_pyramid_halves_four_times_and_uses_all_skips():
    decoder = create_network("hps", (GRADE,), "resnet50").decoders["grade"]
    assert [block[0].in_channels for block in decoder.down] == [256, 64 + 512, 128 + 1024, 256 + 2048 + 2048]


def test_the_bottleneck_variant_starts_from_the_deepest_features():
    decoder = create_network("hps", (GRADE,), "resnet50", decoder_options={"image_level": "bottleneck"})
    widths = [block[0].in_channels for block in decoder.decoders["grade"].down]
    assert widths == [2048 + 2048, 64 + 1024, 128 + 512, 256 + 256]
    assert answer(GRADE, image_level="bottleneck").shape == (1, 3)


def test_a_late_query_is_joined_after_the_walk_as_wide_as_its_result():
    network = create_network("hps", (GRADE,), "resnet50", decoder_options={"image_level": "late_query"}).eval()
    decoder = network.decoders["grade"]
    assert [block[0].in_channels for block in decoder.down] == [256, 64 + 512, 128 + 1024, 256 + 2048]
    with torch.no_grad():
        features = network.encoder(wave(1, 1, 64, 64))
        logits = decoder(features.p[3], features, wave(1, 1, 64, 64))
        walked = decoder.down[0](features.u[0])
        for down, skip in zip(decoder.down[1:], features.u[1:], strict=True):
            walked = down(torch.cat([walked, skip], 1))
        both = torch.cat([walked.mean((2, 3)), decoder.query(features.p[3]).mean((2, 3))], 1)
        assert torch.allclose(logits, both @ decoder.head.weight.T + decoder.head.bias, atol=1e-5)
    assert answer(GRADE, image_level="late_query", slice_score=True).shape == (1, 4)


def test_skips_come_to_the_width_of_the_blocks_output_and_the_image_stays_as_it_is():
    decoder = create_network("hps", (DOSE,), "resnet50", decoder_options={"full_resolution": True}).decoders["dose"]
    blocks = [*decoder.up, *decoder.fine]
    widths = [(block.project[0].in_channels, block.project[0].out_channels) for block in blocks[:-1]]
    assert widths == [(1024, 256), (512, 128), (256, 64), (64, 32)]
    assert [block.convolve[0][0].in_channels for block in blocks] == [512 + 256, 256 + 128, 128 + 64, 64 + 32, 32 + 1]
    assert decoder.join[0].in_channels == 512 + 512
    wide = create_network("hps", (DOSE,), "resnet50", decoder_options={"join": "wide"}).decoders["dose"]
    assert wide.join[0].in_channels == 2048 + 2048


@pytest.mark.parametrize("options", [{}, {"image_level": "late_query"}])
def test_a_query_of_any_scale_is_projected_alike_in_training_and_after_it(options):
    decoders = create_network("hps", (DOSE, GRADE), "resnet18", decoder_options=options).decoders
    for name in ("dose", "grade") if options else ("dose",):
        project = decoders[name].query
        query = wave(2, 512, 3, 4) * 10  # far above the norm's epsilon
        expected = project.train()(query)
        for scale in (10.0, 1e3, 1.0):  # as between batches; nothing is remembered of them
            assert torch.allclose(project(scale * query), expected, atol=1e-2)
        assert torch.equal(project.eval()(query), expected)
        assert torch.allclose(project(torch.cat([query, 1e3 * query]))[:2], expected, atol=1e-6)


@pytest.mark.parametrize(("join", "least", "most"), [("project", 0.1, 1.0), ("wide", 0.0, 0.02)])
def test_with_resnet50_the_query_brings_a_tenth_of_a_new_networks_logits_if_skips_are_projected(join, least, most):
    torch.manual_seed(0)
    network = create_network("hps", (OAR, DOSE), "resnet50", decoder_options={"join": join})
    image = F.interpolate(torch.randn(16, 1, 12, 12), size=(96, 96), mode="bicubic")  # smooth, as tissue is
    sites = [site for part in network.parts() if part.kind == "query" for site in part.sites]
    with torch.no_grad(), recording(network, sites) as queries:
        own = network(image)
    with torch.no_grad(), replacing(network, {site: value.roll(1, 0) for site, value in queries.items()}):
        other = network(image)
    for name, logits in own.items():
        assert least < variance_share(other[name] - logits, logits) < most


def test_one_value_per_image_can_be_regressed():
    assert answer(Regression("age", "years", 100.0, level="image")).shape == (1, 1)


@pytest.mark.parametrize("options", [{"skips": "p"}, {"deepest_skip": False}])
def test_the_options_of_the_skips_change_the_answer_and_not_its_shape(options):
    torch.manual_seed(0)
    plain = answer(DOSE)
    torch.manual_seed(0)
    varied = answer(DOSE, **options)
    assert varied.shape == plain.shape
    assert not torch.allclose(varied, plain)


def test_unknown_options_are_refused():
    with pytest.raises(ConfigError, match=r"skips: 'x' is unknown"):
        answer(DOSE, skips="x")
    with pytest.raises(ConfigError, match=r"\['width'\] is unknown"):
        answer(DOSE, width=3)


@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
def test_a_slice_score_is_one_channel_more_of_every_image_level_task(method):
    tasks = (Classification("covid", ["covid"]), GRADE)
    network = create_network(method, tasks, "resnet18", decoder_options={"slice_score": True}).eval()
    found = network(wave(3, 1, 64, 64))
    assert {name: tuple(logits.shape) for name, logits in found.items()} == {"covid": (3, 2), GRADE.name: (3, 4)}
    found["covid"][:, -1].sum().backward()
    own = {name for name, value in network.named_parameters() if value.grad is not None and "score" in name}
    assert own
    assert all(network.belongs_to(name, "covid") for name in own)


def test_weighing_logits_by_scores_is_to_classify_weighed_features():
    torch.manual_seed(0)
    head = ScoredHead(torch.nn.Linear(6, 2), channels=6, width=3)
    features = torch.randn(5, 6)
    scored = head(features)  # (5, 2 + 1)
    gate = torch.tanh(features @ head.value.weight.T + head.value.bias)
    gate = gate * torch.sigmoid(features @ head.gate.weight.T + head.gate.bias)
    attention = torch.softmax(gate @ head.score.weight[0], dim=0)  # Ilse et al. 2018, eq. 9
    expected = head.head(attention @ features)
    found = (torch.softmax(scored[:, 2], dim=0)[:, None] * scored[:, :2]).sum(0)
    torch.testing.assert_close(found, expected)
