"""Small real networks, samples and a loss, for the tests of trainer, evaluator, inferer and handlers."""

import torch
from monai.data import DataLoader, MetaTensor
from torch import nn

from ctan_monai.engines import MultiTaskEvaluator, MultiTaskTrainer
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.tasks import Classification, Regression, Segmentation

OAR = Segmentation("oar", ["Rectum", "Bladder"], overlapping=True)
DOSE = Regression("dose", "Gy", 80.0)
GRADE = Classification("grade", ["low", "middle", "high"])
TASKS = (OAR, DOSE, GRADE)
CONV = {2: nn.Conv2d, 3: nn.Conv3d}


class SmallNetwork(MultiTaskNetwork):
    """Two hidden layers that all tasks share and a head for each; no batch statistics, so batches do not interact."""

    method = "small"
    task_containers = ("heads",)

    def __init__(self, tasks=TASKS, spatial_dims=2, kernel_size=3, width=4):
        super().__init__(tuple(tasks), spatial_dims)
        conv = CONV[spatial_dims]
        size = {"kernel_size": kernel_size, "padding": "same"}
        self.body = nn.Sequential(conv(1, width, **size), nn.Tanh(), conv(width, width, **size), nn.Tanh())
        self.heads = nn.ModuleDict({task.name: conv(width, task.channels, 1) for task in tasks})

    def forward(self, image):
        features = self.body(image)
        logits = {name: head(features) for name, head in self.heads.items()}
        pixel = {task.name: task.pixel_level for task in self.tasks}
        return {name: value if pixel[name] else value.flatten(2).mean(-1) for name, value in logits.items()}


class SeparateNetworks(MultiTaskNetwork):
    """A SmallNetwork for each task."""

    method = "separate"
    independent_tasks = True
    task_containers = ("branches",)

    def __init__(self, tasks=TASKS):
        super().__init__(tuple(tasks), 2)
        self.branches = nn.ModuleDict({task.name: SmallNetwork((task,)) for task in tasks})

    def forward(self, image):
        return {name: branch(image)[name] for name, branch in self.branches.items()}


def affine_ras(*spacing_mm):
    """Return the affine (4, 4) of an image with these voxel sizes, mm."""
    return torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64))


def make_item(index, shape=(8, 8), tasks=TASKS):
    """Make one sample in which every label is known; each index gives another one, always the same."""
    random = torch.Generator().manual_seed(index)
    image = torch.rand(1, *shape, generator=random)
    labels = {
        "oar": torch.cat([image > 0.6, image < 0.3]).to(torch.uint8),
        "dose": 80.0 * image**2,
        "grade": torch.tensor(index % 3),
    }
    present = {"oar": torch.tensor([True, True]), "dose": torch.tensor(True), "grade": torch.tensor(True)}
    item = {
        "case": f"pt_{index}",
        "image": MetaTensor(image, affine=affine_ras(2.0, 2.0, 3.0), meta={"filename_or_obj": f"pt_{index}.nii.gz"}),
    }
    for task in tasks:
        item[task.name], item[f"{task.name}_present"] = labels[task.name], present[task.name]
    return item


def make_loader(count, batch_size=2, shape=(8, 8), first=0):
    return DataLoader([make_item(first + index, shape) for index in range(count)], batch_size=batch_size)


def make_loss(tasks=TASKS, weighting="equal"):
    return MultiTaskLoss(tasks, create_weighting(weighting, tasks))


def make_trainer(network, loader, epochs=1, loss=None, lr=0.1, **options):
    """Train with plain SGD, whose step is the gradient times the learning rate."""
    loss = loss or make_loss(network.tasks)
    return MultiTaskTrainer(
        "cpu", epochs, loader, network, torch.optim.SGD(network.parameters(), lr=lr), loss, **options
    )


def make_evaluator(network, loader, *handlers, **options):
    return MultiTaskEvaluator("cpu", loader, network, val_handlers=handlers, **options)


def weights(network):
    """Copy a network's parameters."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def assert_same_weights(found, expected, **tolerance):
    assert list(found) == list(expected)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)
