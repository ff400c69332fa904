"""Tasks of every kind with a small batch each, and what a loss must obey whatever it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from ctan_monai.tasks import Classification, Regression, Segmentation, Task

LABELS = ["Cord", "Stem", "Parotid"]
CASES = 4


@dataclass(frozen=True)
class Example:
    """One task, options of its loss, and a batch in which everything is known."""

    task: Task
    logits: Tensor
    label: Tensor
    present: Tensor
    region: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def pick(self, cases: list[int]) -> Example:
        """Return the example with only these cases."""
        region = None if self.region is None else self.region[cases]
        return Example(self.task, self.logits[cases], self.label[cases], self.present[cases], region, self.options)


def _masks(exclusive: bool, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    index = torch.randint(0, len(LABELS) + 1, (CASES, *shape), generator=generator)
    masks = torch.nn.functional.one_hot(index, len(LABELS) + 1).movedim(-1, 1)[:, 1:].float()
    return masks if exclusive else masks.maximum((torch.rand(masks.shape, generator=generator) > 0.8).float())


def _segmentation(overlapping: bool, shape: tuple[int, ...] = (5, 6), **options: Any) -> Example:
    generator = torch.Generator().manual_seed(3)
    task = Segmentation("oar", LABELS, overlapping=overlapping)
    logits = torch.randn(CASES, task.channels, *shape, generator=generator)
    present = torch.ones(CASES, len(LABELS), dtype=torch.bool)
    return Example(task, logits, _masks(not overlapping, shape, generator), present, options=options)


def _regression(region: str = "all", level: str = "voxel", **options: Any) -> Example:
    generator = torch.Generator().manual_seed(4)
    task = Regression("dose", unit="Gy", scale=80.0, level=level, region=region)  # type: ignore[arg-type]
    shape = (CASES, 1, 5, 6) if level == "voxel" else (CASES, 1)
    known = torch.rand(shape, generator=generator) > 0.4 if region == "mask" else None
    label = 80 * torch.rand(shape, generator=generator)
    return Example(
        task, torch.randn(shape, generator=generator), label, torch.ones(CASES, dtype=torch.bool), known, options
    )


def _classification(classes: int, multilabel: bool = False, **options: Any) -> Example:
    generator = torch.Generator().manual_seed(5)
    task = Classification("finding", [f"c{k}" for k in range(classes)], multilabel=multilabel)
    shape = (CASES,) if task.exclusive else (CASES, classes)
    label = torch.randint(0, classes if task.exclusive else 2, shape, generator=generator)
    logits = torch.randn(CASES, classes, generator=generator)
    label = label if task.exclusive else label.float()
    return Example(task, logits, label, torch.ones(CASES, dtype=torch.bool), options=options)


EXAMPLES: dict[str, Callable[[], Example]] = {
    "overlapping": lambda: _segmentation(True),
    "overlapping-3d-per-case": lambda: _segmentation(True, (3, 4, 2), batch=False, positive_weight=5.0),
    "overlapping-focal": lambda: _segmentation(True, focal_gamma=2.0, positive_weight=[1.0, 2.0, 3.0]),
    "exclusive": lambda: _segmentation(False),
    "exclusive-per-case": lambda: _segmentation(False, batch=False, positive_weight={"Stem": 4.0}),
    "exclusive-3d-focal": lambda: _segmentation(False, (3, 4, 2), focal_gamma=0.5),
    "mae": lambda: _regression(),
    "mae-mask": lambda: _regression("mask"),
    "huber-mask": lambda: _regression("mask", error="huber"),
    "mse-image": lambda: _regression(level="image", error="mse"),
    "classes": lambda: _classification(3, class_weight=[1.0, 2.0, 0.5], label_smoothing=0.1),
    "classes-focal": lambda: _classification(3, focal_gamma=2.0),
    "binary": lambda: _classification(1, positive_weight=3.0),
    "binary-focal": lambda: _classification(1, focal_alpha=0.25, focal_gamma=2.0),
    "multilabel": lambda: _classification(3, multilabel=True, focal_gamma=1.0),
}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Example:
    """Each kind of task with each form of its loss."""
    return EXAMPLES[request.param]()


@pytest.fixture
def examples() -> dict[str, Callable[[], Example]]:
    """All examples by name."""
    return EXAMPLES
