"""Sizes at which bfloat16 on the CPU gives wrong gradients are refused; those that pass are right."""

import pytest
import torch
from engine_kit import DOSE, TASKS, SmallNetwork, make_loader, make_trainer
from torch import nn

from ctan_monai.engines.bf16_guard import refusing_wrong_gradients
from ctan_monai.engines.precision import Precision
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network

BF16, CONVOLUTIONS = Precision("cpu", torch.bfloat16), {2: nn.Conv2d, 3: nn.Conv3d}


class Halved(SmallNetwork):
    """Looks at the image at half its size too."""

    def __init__(self):
        super().__init__()
        self.coarse = nn.Conv2d(1, 4, 3, stride=2, padding=1)

    def forward(self, image):
        value = self.coarse(image).mean()
        return {name: logits + value for name, logits in super().forward(image).items()}


def weight_gradient(layer, image):
    layer.zero_grad()
    layer(image).float().square().sum().backward()
    return layer.weight.grad.clone()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (3, 1), (3, 2), (3, 3), (7, 2)])
@pytest.mark.parametrize("last", [1, 2, 3, 5])
def test_what_passes_has_the_gradient_of_float32(dimensions, kernel, stride, last):
    torch.manual_seed(0)
    layer = CONVOLUTIONS[dimensions](16, 32, kernel, stride=stride, padding=kernel // 2)
    image = torch.randn(2, 16, *[4] * (dimensions - 1), last)
    expected = weight_gradient(layer, image)
    try:
        with refusing_wrong_gradients(layer, BF16), BF16.autocast():
            found = weight_gradient(layer, image)
    except ConfigError:
        assert last < stride
        return
    assert (found - expected).norm() < 0.02 * expected.norm()


def test_a_training_on_images_of_one_column_is_refused_with_the_remedy_and_in_float32_it_is_not():
    loader = make_loader(2, shape=(8, 1))
    with pytest.raises(ConfigError, match=r"features of \(8, 1\).*stride \(2, 2\).*--amp False"):
        make_trainer(Halved(), loader, amp=True).run()
    make_trainer(Halved(), loader).run()
    make_trainer(Halved(), make_loader(2, shape=(1, 8)), amp=True).run()


def test_an_encoder_that_divides_by_32_refuses_16_columns_and_takes_17():
    network = create_network("hps", [DOSE], encoder="resnet18", spatial_dims=2)
    with refusing_wrong_gradients(network, BF16):
        network(torch.zeros(2, 1, 16, 17))
        with pytest.raises(ConfigError, match=r"\(2, 1\)"):
            network(torch.zeros(2, 1, 32, 16))
        with torch.no_grad():  # only gradients are wrong
            network(torch.zeros(2, 1, 32, 16))


@pytest.mark.parametrize("precision", [Precision("cpu", None), Precision("cuda", torch.bfloat16)])
def test_nothing_else_is_watched_and_nothing_stays(precision):
    network = Halved()
    with refusing_wrong_gradients(network, precision):
        assert network(torch.zeros(2, 1, 8, 1)).keys() == {task.name for task in TASKS}
    with refusing_wrong_gradients(network, BF16):
        assert network.coarse._forward_pre_hooks
    assert not network.coarse._forward_pre_hooks
