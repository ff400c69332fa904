"""Several slices of a patient as one sample, for a network that learns which of them count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.utils.data import Sampler

from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task


class BagSampler(Sampler[int]):
    """Shuffle items in bags: neighbors in the list that stay together and in their order.

    It has a generator of its own, which `ReseedEachEpoch` seeds, so that epochs differ and resumed runs do not.

    Args:
        items: of a datalist.
        bag: items in a bag; 1 shuffles items.

    Raises:
        ConfigError: the items cannot be divided into such bags.
    """

    def __init__(self, items: Sized, bag: int = 1) -> None:
        if bag < 1 or len(items) % bag:
            found = f"{bag!r} for {len(items)} items."
            raise ConfigError("bag", found, "Give each patient as many items as a bag has.")
        self.bags, self.bag = len(items) // bag, bag
        self.generator = torch.Generator()

    def __iter__(self) -> Iterator[int]:
        """Yield positions in the list."""
        for number in torch.randperm(self.bags, generator=self.generator).tolist():
            yield from range(number * self.bag, (number + 1) * self.bag)

    def __len__(self) -> int:
        """Count the items."""
        return self.bags * self.bag


class PrepareBags(PrepareMultiTaskBatch):
    """`PrepareMultiTaskBatch` that makes one volume of every bag of slices in a batch.

    Slices (B * bag, C, H, W), each augmented on its own, become (B, C, H, W, bag), and their labels those of their
    patients. With a bag of 1, and for volumes, nothing changes.

    Args:
        tasks: the tasks that the targets are for; each with one answer per image.
        bag: slices in a bag.

    Raises:
        ConfigError: (when called) a bag holds slices of different patients.
    """

    def __init__(self, tasks: Iterable[Task], bag: int = 1) -> None:
        super().__init__(tasks)
        self.bag = bag
        if pixel := [task.name for task in self.tasks if task.pixel_level and bag > 1]:
            raise ConfigError("bag", f"{pixel} have an answer for each voxel.", "Use bags for image-level tasks only.")

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **to_options: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Prepare a batch."""
        image, targets = super().__call__(batchdata, device, non_blocking, **to_options)
        if self.bag == 1:
            return image, targets
        cases: Sequence[str] = list(batchdata["case"])
        bags = [set(cases[start : start + self.bag]) for start in range(0, len(cases), self.bag)]
        if len(cases) % self.bag or any(len(bag) > 1 for bag in bags):
            raise ConfigError("bag", f"a bag of {self.bag} holds {cases}.", "Use a BagSampler, and whole bags.")
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        folded = plain.unflatten(0, (-1, self.bag)).movedim(1, -1)  # (B, C, H, W, bag)
        return folded, {key: value[:: self.bag] for key, value in targets.items()}
