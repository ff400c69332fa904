"""Tasks, architectures and formula-made inputs that the tests of networks share."""

import math

import torch
from torch import nn

from ctan_monai.tasks import Classification, Regression, Segmentation

OAR = Segmentation("oar", ["Brainstem", "SpinalCord", "Parotid_L"], overlapping=True)
DOSE = Regression("dose", "Gy", 70.0)
GRADE = Classification("grade", ["low", "middle", "high"])
TASKS = (OAR, DOSE, GRADE)
METHODS = ("ctan", "mtan", "hps", "stl", "sfg_resnet", "sfg", "mt_estan", "hybrid_mt_estan", "mt_estan_swin", "swin")
FLAT = ("mt_estan", "hybrid_mt_estan", "mt_estan_swin", "swin")  # for images, not for volumes
ENCODERS = dict.fromkeys(("ctan", "mtan", "hps", "stl", "sfg_resnet"), "resnet18")  # others bring their own backbone
_TINY = {"size": "tiny", "image_size": (64, 64), "window": 4}
SMALL = {  # whose full size is too large for a test
    "mt_estan": {"size": "tiny"},
    "hybrid_mt_estan": {**_TINY, "classify_swin": True},
    "mt_estan_swin": _TINY,
    "swin": _TINY,
}
# no group is empty by chance
_EVERY_GROUP = {"relaxation": "soft", "answer": "mean"}
OPTIONS = {"sfg": {"layer_scale": 0.25, "repeats": 1, **_EVERY_GROUP}, "sfg_resnet": _EVERY_GROUP, **SMALL}


def fill_deterministically(network: nn.Module) -> None:
    """Set every parameter to values that depend on its place only, not on a random generator."""
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            steps = torch.arange(parameter.numel(), dtype=torch.float64)
            fan = max(parameter[0].numel(), 1) if parameter.dim() > 1 else 1
            values = torch.sin(steps * 1.7 + index) * math.sqrt(2.0 / fan) if fan > 1 else 1 + 0.1 * torch.sin(steps)
            parameter.copy_(values.reshape(parameter.shape))


def spread(network):
    """Give batch norms statistics, shifts and scales that are not those of a new network."""
    generator = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                value.data = 0.5 + torch.rand(value.shape, generator=generator)
    return network


def seeded_state(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Make a state dict for these shapes by name, of values that depend on the place in it only."""
    found = {}
    for index, (name, shape) in enumerate(shapes.items()):
        steps = torch.arange(math.prod(shape), dtype=torch.float64)
        fan = math.prod(shape[1:])
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(3)
        elif fan > 1:
            found[name] = (torch.sin(steps * 1.7 + index) * math.sqrt(2.0 / fan)).reshape(shape).float()
        else:
            offset = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
            found[name] = (offset + 0.1 * torch.sin(steps + index)).reshape(shape).float()
    return found


def wave(*shape: int) -> torch.Tensor:
    """Make an image from a formula: smooth, and different in each place."""
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    return (torch.sin(steps * 0.013) + 0.3 * torch.cos(steps * 0.11)).reshape(shape).float()
