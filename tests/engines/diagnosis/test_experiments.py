"""Networks whose parts are known to act or to be idle, with every answer worked out by hand."""

import pytest
import torch
from torch import nn

from ctan_monai.engines.diagnosis.experiments import HALF, MEAN, OTHER, PairedNetwork, plan_experiments
from ctan_monai.engines.diagnosis.survey import Survey
from ctan_monai.engines.loop.inferer import MultiTaskInferer
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.parts import Part, Site
from ctan_monai.tasks import Regression

TASKS = (Regression("acts", "Gy", 1.0), Regression("idle", "Gy", 1.0))


class Reader(nn.Module):
    """weight * query + skip."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight
        self.calls = 0

    def forward(self, query, skips):
        self.calls += 1
        return self.weight * query + skips[0]


class Masked(nn.Module):
    """x / 10, taken for a mask."""

    def forward(self, x):
        return x / 10


class Known(MultiTaskNetwork):
    """The query is mask * x, mask = x / 10; one decoder reads it, the other ignores it; both add the skip 100 x."""

    method = "known"

    def __init__(self):
        super().__init__(TASKS, 2)
        self.mask = Masked()
        self.decoders = nn.ModuleDict({"acts": Reader(1.0), "idle": Reader(0.0)})

    def forward(self, image):
        query = self.mask(image) * image
        return {name: decoder(query, [100 * image]) for name, decoder in self.decoders.items()}

    def parts(self):
        mask = Part("mask", "mask", None, (Site("mask", "mask", output=True),))
        found = [mask]
        for task in self.decoders:
            found.append(Part(f"query of {task}", "query", task, (Site("query", f"decoders.{task}", (0,)),)))
            found.append(Part(f"skip of {task}", "skip", task, (Site("skip", f"decoders.{task}", (1, 0)),)))
        return found


@pytest.fixture
def answers():
    """Answers for x = 2, another case's 6, of which the mean over both cases is known; by (part, replacement)."""
    network = Known().eval()
    x, other = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 6.0)
    survey = Survey(network, network.parts())
    survey(torch.cat([x, other]))
    experiments = plan_experiments(network.parts())
    found = PairedNetwork(network, experiments, survey.means)(torch.cat([x, other], 1))
    named = {"own": "own", **{str(index): (tried.part, tried.replacement) for index, tried in enumerate(experiments)}}
    table = {}
    for key, logits in found.items():
        number, task = key.split("/")
        table[named[number], task] = logits
    return table


def value(logits):
    assert logits.shape == (1, 1, 2, 2)
    assert (logits == logits.flatten()[0]).all()
    return logits.flatten()[0].item()


def test_every_answer_is_the_one_by_hand(answers):
    expected = {
        # query of x = 2: .4, of 6: 3.6, mean 2; skips 200 and 600; masks .2 and .6, mean .4
        "own": (200.4, 200.0),
        ("the whole image", OTHER): (603.6, 600.0),
        ("mask", HALF): (201.0, 200.0),
        ("mask", MEAN): (200.8, 200.0),
        ("mask", OTHER): (201.2, 200.0),
        ("query of acts", MEAN): (202.0, 200.0),
        ("query of acts", OTHER): (203.6, 200.0),
        ("skip of acts", OTHER): (600.4, 200.0),
        ("query of idle", MEAN): (200.4, 200.0),  # an idle query: exactly nothing changes
        ("query of idle", OTHER): (200.4, 200.0),
        ("skip of idle", OTHER): (200.4, 600.0),
    }
    assert {key for key, _ in answers} == set(expected)
    for key, (acts, idle) in expected.items():
        assert value(answers[key, "acts"]) == pytest.approx(acts, abs=1e-4), key
        assert value(answers[key, "idle"]) == pytest.approx(idle, abs=1e-4), key


def test_only_the_decoder_that_reads_a_part_is_called_again():
    network = Known().eval()
    experiments = [tried for tried in plan_experiments(network.parts()) if tried.part == "skip of acts"]
    PairedNetwork(network, experiments, {})(torch.ones(1, 2, 4, 4))
    assert (network.decoders["acts"].calls, network.decoders["idle"].calls) == (3, 2)  # other's, own, exchanged


def test_a_volume_is_exchanged_slice_by_slice_through_the_runs_inferer():
    network = Known().eval()
    volume = torch.arange(1.0, 4.0).expand(1, 1, 2, 2, 3)  # x = 1, 2, 3
    tried = [tried for tried in plan_experiments(network.parts()) if tried.part == "query of acts"][1:]
    paired = PairedNetwork(network, tried, {})
    found = MultiTaskInferer(slice_batch=2)(torch.cat([volume, 2 * volume], 1), paired)
    assert found["own/acts"][0, 0, 0, 0].tolist() == pytest.approx([100.1, 200.4, 300.9])
    assert found["0/acts"][0, 0, 0, 0].tolist() == pytest.approx([100.4, 201.6, 303.6])  # (2 x)^2 / 10


def test_windows_change_nothing_for_a_network_that_looks_at_one_voxel():
    """Answers that an exchange leaves alone are the same tensor as the network's own."""
    network = Known().eval()
    image = torch.rand(1, 1, 8, 6)
    pair = torch.cat([image, 2 * image], 1)
    paired = PairedNetwork(network, [tried for tried in plan_experiments(network.parts()) if tried.kind == "skip"], {})
    whole, windows = (MultiTaskInferer(roi_size=size)(pair, paired) for size in (None, [4, 3]))
    assert list(windows) == list(whole)
    for name, logits in whole.items():
        torch.testing.assert_close(windows[name], logits, rtol=1e-5, atol=1e-5)


def test_the_masks_are_described_as_they_are():
    network = Known().eval()
    survey = Survey(network, network.parts())
    survey(torch.tensor([0.5, 9.5]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2))  # masks .05 and .95
    [row] = survey.mask_table()
    assert row["mean"] == pytest.approx(0.5)
    assert row["standard_deviation"] == pytest.approx(0.45)
    assert row["spread_over_cases"] == pytest.approx(0.45)
    assert (row["share_below_0.1"], row["share_above_0.9"]) == (0.5, 0.5)


def test_the_mean_of_images_of_several_sizes_is_that_of_each_channel():
    network = Known().eval()
    survey = Survey(network, network.parts())
    survey(torch.full((1, 1, 2, 2), 2.0))
    survey(torch.full((1, 1, 3, 2), 6.0))
    [site] = [site for site in survey.means if site.label == "mask"]
    assert survey.means[site].shape == (1, 1, 1)
    assert survey.means[site].item() == pytest.approx(0.4)
