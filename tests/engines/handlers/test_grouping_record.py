import csv
import io
import math

import pytest
import torch

from ctan_monai.engines.handlers.grouping_record import grouping_record, groupings_csv
from ctan_monai.networks import create_network
from ctan_monai.tasks import Regression, Segmentation

TASKS = [Regression("ct", "HU", 300.0), Segmentation("organs", ["a"])]


def network_of(**options):
    return create_network("sfg", TASKS, network_options={"sfg": {"layer_scale": 0.25, "repeats": 1, **options}})


def test_groups_are_named_by_their_tasks_with_mean_count_and_entropy():
    network = network_of()
    logits = network.trunk.layers[0].assign.logits
    assert logits.shape == (4, 3)
    with torch.no_grad():
        logits.copy_(torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])))
    found = grouping_record(network)
    assert list(found) == [f"conv_{number}" for number in range(5)]
    first = found["conv_0"]
    assert first["mean"] == pytest.approx({"ct": 0.425, "organs": 0.35, "shared": 0.225}, abs=1e-5)
    assert first["kernels"] == {"ct": 2, "organs": 1, "shared": 1}
    by_hand = sum(-p * math.log(p) for row in ((0.7, 0.2, 0.1),) * 2 + ((0.1, 0.8, 0.1), (0.2, 0.2, 0.6)) for p in row)
    assert first["entropy"] == pytest.approx(by_hand / 4, abs=1e-5)
    assert found["conv_1"]["entropy"] == pytest.approx(math.log(3), abs=1e-5)


def test_every_kernel_has_a_row():
    network = network_of()
    rows = list(csv.DictReader(io.StringIO(groupings_csv(network))))
    assert list(rows[0]) == ["layer", "kernel", "ct", "organs", "shared"]
    kernels = {layer: len(p) for layer, p in network.groupings().items()}
    assert {layer: sum(row["layer"] == layer for row in rows) for layer in kernels} == kernels
    assert all(
        sum(float(row[name]) for name in ("ct", "organs", "shared")) == pytest.approx(1, abs=1e-5) for row in rows
    )


@pytest.mark.parametrize("network", ["hps", "single", "shared"])
def test_networks_without_groups_say_nothing(network):
    made = create_network("hps", TASKS, "resnet18") if network == "hps" else network_of(grouping=network)
    assert grouping_record(made) == {}
    assert groupings_csv(made) == ""
