import json

import numpy as np
import pytest
import torch

from ctan_monai.engines.predictions.kernel_maps import MAPS_FILE, write_kernel_maps
from ctan_monai.networks import create_network
from ctan_monai.tasks import Regression, Segmentation

TASKS = [Regression("ct", "HU", 300.0), Segmentation("organs", ["a"])]
P = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3]])  # ct, organs, shared


def network_of(spatial_dims=2, **options):
    torch.manual_seed(0)
    own = {"layer_scale": 0.25, "repeats": 0, **options}
    made = create_network("sfg", TASKS, spatial_dims=spatial_dims, network_options={"sfg": own})
    if made.groupings()["conv_0"].shape == P.shape and not options:
        with torch.no_grad():
            made.trunk.layers[0].assign.logits.copy_(P.log())
    return made


def read(path):
    with np.load(path, allow_pickle=False) as found:
        return found["image"], found["maps"], json.loads(str(found["index"]))


def test_the_most_certain_kernels_of_each_group_are_shown_for_the_liveliest_slice(tmp_path):
    network = network_of()
    volume = torch.randn(1, 1, 12, 10, 4) * torch.tensor([0.1, 0.2, 3.0, 0.3])
    image, maps, index = read(write_kernel_maps(network, volume, tmp_path))
    assert np.array_equal(image, volume[0, 0, :, :, 2])
    assert [(e["layer"], e["group"], e["kernel"], e["probability"]) for e in index] == [
        ("conv_0", "ct", 0, pytest.approx(0.7)),  # the fourth kernel's group has .4
        ("conv_0", "organs", 2, pytest.approx(0.8)),
        ("conv_0", "organs", 1, pytest.approx(0.6)),
    ]
    layer = network.trunk.layers[0]
    convolved = torch.nn.functional.conv2d(volume[..., 2], layer.convolve.weight, padding=1)[0, 2]
    norm = convolved / (1 + layer.groups["organs"].head.N.eps) ** 0.5  # a new network's statistics are 0 and 1
    expected = torch.where(norm > 0, norm, 0.25 * norm)  # PReLU at its start
    np.testing.assert_allclose(maps[1], expected.detach().numpy(), atol=1e-5)


def test_a_3d_network_shows_the_middle_of_a_volume(tmp_path):
    volume = torch.randn(1, 1, 70, 8, 6)
    image, maps, _ = read(write_kernel_maps(network_of(3), volume, tmp_path))
    assert np.array_equal(image, volume[0, 0, 3:67, :, 3])
    assert maps.shape == (3, 64, 8)


@pytest.mark.parametrize("options", [{"grouping": "constant"}, {"grouping": "shared"}, {"grouping": "single"}])
def test_without_a_certain_kernel_nothing_is_written_and_nothing_old_stays(tmp_path, options):
    (tmp_path / MAPS_FILE).write_bytes(b"of an earlier training")
    assert write_kernel_maps(network_of(**options), torch.randn(1, 1, 8, 8), tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_other_networks_have_no_maps(tmp_path):
    assert write_kernel_maps(create_network("hps", TASKS, "resnet18"), torch.randn(1, 1, 32, 32), tmp_path) is None
