import pytest
import torch
from torch import nn

from ctan_monai.networks import create_network
from ctan_monai.networks.kept_gradients import kept_convolution, kept_prelu
from ctan_monai.tasks import Regression, Segmentation


@pytest.mark.parametrize("kept", [[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize(("dims", "stride"), [(2, 1), (3, 1), (2, 2), (3, 2)])
def test_masked_kernels_cost_no_gradient_and_change_none(kept, dims, stride):
    torch.manual_seed(0)
    convolve = (nn.Conv2d if dims == 2 else nn.Conv3d)(3, 5, 3, stride, padding=1, bias=False).double()
    image = torch.randn(2, 3, *[6] * dims, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor(kept, dtype=torch.float64)
    over_space = mask.reshape(1, -1, *[1] * dims)
    answers = convolve(image), kept_convolution(image, convolve.weight, mask.nonzero().flatten(), convolve.stride)
    assert torch.equal(*answers)
    expected, found = (
        torch.autograd.grad((answer * over_space).sin().sum(), (image, convolve.weight)) for answer in answers
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kept", [[0, 1, 0, 1, 1], [0, 0, 0, 0, 0]])
def test_prelu_of_masked_kernels_reaches_only_the_mask(kept):
    torch.manual_seed(0)
    features = torch.randn(2, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    slope = torch.tensor([0.2], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor(kept, dtype=torch.float64, requires_grad=True)
    plain = torch.prelu(features, slope) * mask.reshape(1, -1, 1, 1)
    answers = plain, kept_prelu(features, slope, mask, mask.detach().nonzero().flatten())
    assert torch.equal(*answers)
    expected, found = (torch.autograd.grad(answer.cos().sum(), (features, slope, mask)) for answer in answers)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_training_step_has_the_gradients_of_plain_operations(monkeypatch, memory):
    torch.manual_seed(0)
    tasks = (Regression("ct", "HU", 300.0), Segmentation("organs", ["a", "b"]))
    own = {"layer_scale": 0.25, "rate": 0}
    network = create_network("sfg", tasks, network_options={"sfg": own}).double().train()
    image = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    names = [name for name, _ in network.named_parameters()]

    def gradients(image):
        torch.manual_seed(3)
        loss = sum(answer.sin().mean() for answer in network(image).values())
        return dict(zip(names, torch.autograd.grad(loss, network.parameters(), allow_unused=True), strict=True))

    found = gradients(image.to(memory_format=memory))
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    for name, expected in gradients(image).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)
