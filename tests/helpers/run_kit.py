"""A whole training run that is small enough to be repeated, killed and compared to the bit."""

import torch
from monai.data import DataLoader
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.transforms import Compose, RandGaussianNoised
from torch import nn

from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.engines.handlers.best_model_handler import BestModel
from ctan_monai.engines.handlers.checkpoint_handler import Checkpoint
from ctan_monai.engines.handlers.early_stopping_handler import EarlyStopping, StopTraining
from ctan_monai.engines.handlers.history_handler import History
from ctan_monai.engines.handlers.metrics_handler import MultiTaskMetrics
from ctan_monai.engines.handlers.seeding_handler import ReseedEachEpoch
from ctan_monai.engines.handlers.weighting_handler import WeightingHandler
from ctan_monai.engines.loop.dataloader import create_dataloader
from ctan_monai.engines.loop.evaluator import MultiTaskEvaluator
from ctan_monai.engines.loop.trainer import MultiTaskTrainer
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.tasks import Regression, Segmentation

TASKS = (Segmentation("oar", ["Rectum", "Bladder"], overlapping=True), Regression("dose", "Gy", 80.0))


class TinyNetwork(MultiTaskNetwork):
    """Everything that makes resuming hard: batch statistics, dropout, shared and own parameters."""

    method = "tiny"

    def __init__(self, tasks=TASKS, width=4):
        super().__init__(tuple(tasks), spatial_dims=2)
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.3))
        self.decoders = nn.ModuleDict({task.name: nn.Conv2d(width, task.channels, 1) for task in tasks})
        self.settings = {"encoder": f"width{width}", "network_options": {}}

    def forward(self, image):
        shared = self.body(image)
        return {name: decoder(shared) for name, decoder in self.decoders.items()}


class TinySeparate(MultiTaskNetwork):
    """Two networks that share nothing, each with batch statistics."""

    method = "tiny_stl"
    independent_tasks = True
    task_containers = ("branches",)

    def __init__(self, tasks=TASKS):
        super().__init__(tuple(tasks), spatial_dims=2)
        self.branches = nn.ModuleDict(
            {task.name: nn.Sequential(nn.Conv2d(1, task.channels, 1), nn.BatchNorm2d(task.channels)) for task in tasks}
        )
        self.settings = {"encoder": "none", "network_options": {}}

    def forward(self, image):
        return {name: branch(image) for name, branch in self.branches.items()}


def items(count, first=0, size=8):
    """Make samples (1, size, size) from a formula, with the second organ unknown in one of them."""
    grid = torch.arange(size * size, dtype=torch.float32).reshape(1, size, size)
    made = []
    for index in range(first, first + count):
        image = torch.sin(grid * (0.1 + 0.03 * index))
        made.append(
            {
                "case": f"pt_{index}",
                "image": image,
                "oar": torch.cat([image > 0.5, image < -0.5]).float(),
                "oar_present": torch.tensor([True, index != 2]),
                "dose": 40.0 + 40.0 * image,
                "dose_present": torch.tensor(True),
            }
        )
    return made


class Run:
    """One process's worth of training: every component that a bundle has, as a config would make them."""

    def __init__(
        self,
        folder,
        epochs=4,
        resume=False,
        network=TinyNetwork,
        workers=0,
        schedule="onecycle",
        train_handlers=(),
        patience=9,
        validate_every=1,
        weighting="dwa",
        device="cpu",
        amp=False,
        amp_dtype="auto",
        fused=None,
        every=None,
        checkpoint_every=0.0,
        size=8,
    ):
        torch.manual_seed(7)
        self.network = network()
        self.data = items(6, size=size)
        noise = Compose([RandGaussianNoised("image", prob=1.0, std=0.1)])
        dataset = SeededDataset(self.data, noise, seed=3)
        loader = create_dataloader(dataset, "loader", device, batch_size=2, shuffle=True, num_workers=workers)
        inner = unwrap(self.network)
        joined = create_weighting("equal" if inner.independent_tasks else weighting, inner.tasks)
        self.loss = MultiTaskLoss(inner.tasks, joined)
        self.network.to(device)
        options = {"lr": 1e-2, "weight_decay": 1e-5, "fused": fused}
        self.optimizer = torch.optim.Adam(self.network.parameters(), **options)
        self.scheduler = {
            "onecycle": lambda: torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.05, total_steps=epochs + 1),
            "step": lambda: torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1, gamma=0.5),
        }[schedule]()
        self.early_stopping = EarlyStopping(self.network, patience=patience)
        self.best = BestModel(self.network, folder, stopped=self.early_stopping)
        self.evaluator = MultiTaskEvaluator(
            device,
            DataLoader(items(2, first=6, size=size), batch_size=1),
            self.network,
            val_handlers=[MultiTaskMetrics(inner.tasks), self.early_stopping, self.best],
        )
        self.history = History(folder, self.evaluator, self.best)
        self.trainer = MultiTaskTrainer(
            device,
            epochs,
            loader,
            self.network,
            self.optimizer,
            self.loss,
            amp=amp,
            amp_dtype=amp_dtype,
            finite_check_every=every,
            train_handlers=[
                *train_handlers,
                ReseedEachEpoch(seed=11),
                self.history,
                LrScheduleHandler(self.scheduler, print_lr=False),
                ValidationHandler(validate_every, self.evaluator),
                WeightingHandler(self.loss),
                StopTraining(self.early_stopping),
            ],
        )
        states = {
            "scheduler": self.scheduler,
            "best": self.best,
            "history": self.history,
            "early_stopping": self.early_stopping,
        }
        self.checkpoint = Checkpoint(
            folder, self.trainer, states, resume=resume, data=self.data, every_min=checkpoint_every
        )

    def go(self):
        self.trainer.run()
        return self


def same(a, b, where=""):
    """Name the first entry in which two nested states are not the same to the bit, None if there is none."""
    if isinstance(a, torch.Tensor):
        equal = isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return None if equal else where
    if isinstance(a, dict):
        if not isinstance(b, dict) or list(a) != list(b):
            return where
        return next((found for key in a if (found := same(a[key], b[key], f"{where}.{key}"))), None)
    if isinstance(a, (list, tuple)):
        if type(a) is not type(b) or len(a) != len(b):
            return where
        return next(
            (found for i, (x, y) in enumerate(zip(a, b, strict=True)) if (found := same(x, y, f"{where}[{i}]"))), None
        )
    return None if a == b or (a != a and b != b) else where


def without_seconds(state):
    """Leave out how long each epoch took, which no two runs share, and the commit, which may change between them."""
    del state["versions"]["git"]
    for epoch in state["states"]["history"]["epochs"]:
        epoch.pop("seconds")
    return state
