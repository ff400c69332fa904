"""Operations of the bundles' training steps that, by torch's documentation, have no deterministic form on a GPU."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from torch.utils._python_dispatch import TorchDispatchMode

from ctan_monai.engines.loop.prepare import label_shape
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks import create_network
from ctan_monai.tasks import present_key, region_key

BUNDLES = Path(__file__).parents[2] / "bundles"
# operation -> what the documentation of torch.use_deterministic_algorithms calls it
REFUSED = {
    "_adaptive_avg_pool2d_backward": "AdaptiveAvgPool2d",
    "_adaptive_avg_pool3d_backward": "AdaptiveAvgPool3d",
    "adaptive_max_pool2d_backward": "AdaptiveMaxPool2d",
    "avg_pool3d_backward": "AvgPool3d",
    "bincount": "bincount",
    "cumsum": "cumsum",
    "grid_sampler_2d_backward": "grid_sample",
    "histc": "histc",
    "median": "median",
    "nll_loss_forward": "NLLLoss",
    "nll_loss2d_forward": "NLLLoss",
    "reflection_pad2d_backward": "ReflectionPad2d",
    "upsample_bicubic2d_backward": "bicubic",
    "upsample_bilinear2d_backward": "bilinear",  # torch.nn.functional.interpolate has another form of it then
    "upsample_linear1d_backward": "linear",
    "upsample_trilinear3d_backward": "trilinear",
}
RESIZED = "upsample_bilinear2d_backward"
FOUND = {
    "openkbp": {RESIZED},
    "prostate": {RESIZED},
    "ham10000": {RESIZED, "nll_loss_forward"},  # classes that exclude each other
    "stoic": set(),
    "mr_ct": {"nll_loss2d_forward"},
    "busi": set(),
}


class Names(TorchDispatchMode):
    """Note the names of all operations."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def step(tasks, **network):
    """Make a training step of a network, and return the names of its operations."""
    channels = network["in_channels"]
    made = create_network(tasks=tasks, **network)
    image, targets = torch.rand(2, channels, 64, 64), {}
    for task in tasks:
        targets[task.name] = torch.zeros(label_shape(task, image), dtype=torch.long if task.exclusive else torch.float)
        targets[present_key(task)] = torch.ones(2, *task.present_shape, dtype=torch.bool)
        targets[region_key(task)] = torch.ones(2, 1, 64, 64)
    loss = MultiTaskLoss(tasks, create_weighting("equal", tasks))
    with Names() as names:
        loss(made(image), targets).backward()
    return names.found


@pytest.mark.parametrize("bundle", FOUND)
def test_what_a_strictly_deterministic_step_on_a_gpu_refuses_is_known(bundle):
    config = ConfigParser()
    config.read_config(str(BUNDLES / bundle / "configs" / "train.yaml"))
    method = config.get_parsed_content("method")
    network = {"method": method, "in_channels": len(config.get_parsed_content("image_channels"))}
    if method not in ("sfg", "mt_estan"):
        network["encoder"] = "resnet18"
    options = {"sfg": {"layer_scale": 0.25}, "mt_estan": {"size": "tiny"}}
    network["network_options"] = {name: value for name, value in options.items() if name == method}
    assert step(config.get_parsed_content("tasks"), **network) & REFUSED.keys() == FOUND[bundle]


def test_torch_documents_these_operations_as_refused():
    text = torch.use_deterministic_algorithms.__doc__.split("RuntimeError` when ``mode=True``")[1]
    assert [name for name in set(REFUSED.values()) if name not in text] == []
