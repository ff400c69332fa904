"""Batch preparation: samples, and bags of slices of one patient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor
from torch.utils.data import Sampler

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Task, check_tasks, present_key, region_key
from ctan_monai.transforms.batch import plain


class PrepareMultiTaskBatch(PrepareBatch):  # type: ignore[misc]  # monai has no types
    """Move a batch to the device and check that every task's label fits the image.

    Returns (image, targets): the image (B, C, *S) as it came, with its metadata, and a flat dictionary of plain
    tensors with, for a task named ``dose``, ``dose``, ``dose_present`` and, if the batch has it, ``dose_region``.
    A batch without ``dose_present`` says that every label is known.

    Args:
        tasks: the tasks that the targets are for.
        extra: other entries of the batch that belong to the targets, for example masks that a metric needs.
        require_labels: False for inference, where a task without a label is left out of the targets.
    """

    def __init__(self, tasks: Iterable[Task], extra: Sequence[str] = (), require_labels: bool = True) -> None:
        self.tasks, self.extra, self.require_labels = check_tasks(tasks), tuple(extra), require_labels

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **to_options: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Prepare a batch.

        Raises:
            ConfigError: an entry is missing.
            DataError: a label's shape does not fit the image and the task.
        """
        image = _entry(batchdata, "image", "the image")
        targets = {key: _entry(batchdata, key, "asked for by extra") for key in self.extra}
        for task in self.tasks:
            if self.require_labels or task.name in batchdata:
                targets.update(_task_targets(task, batchdata, image))
        targets = {
            key: plain(value).to(device=device, non_blocking=non_blocking, **to_options)
            for key, value in targets.items()
        }
        return image.to(device=device, non_blocking=non_blocking, **to_options), targets


def _entry(batch: Mapping[str, Any], key: str, meaning: str) -> Tensor:
    if not isinstance(batch.get(key), Tensor):
        found = f"a {type(batch[key]).__name__}" if key in batch else "nothing"
        raise ConfigError(
            f"batch[{key!r}]",
            f"found {found}, expected a tensor ({meaning}). The batch has {sorted(batch)}.",
            "Let the dataset's transforms produce it: give LoadCaseFiled the same tasks as the engine.",
        )
    value: Tensor = batch[key]
    return value


def _task_targets(task: Task, batch: Mapping[str, Any], image: Tensor) -> dict[str, Tensor]:
    label = _entry(batch, task.name, f"label of task {task.name}")
    _check_shape(task.name, label, label_shape(task, image), batch)
    targets = {task.name: label}
    known_shape = (image.shape[0], *task.present_shape)
    known = batch.get(present_key(task), torch.ones(known_shape, dtype=torch.bool))
    _check_shape(present_key(task), known, known_shape, batch)
    targets[present_key(task)] = known.bool()
    if region_key(task) in batch:
        targets[region_key(task)] = _entry(batch, region_key(task), f"region of task {task.name}")
        _check_shape(region_key(task), targets[region_key(task)], (image.shape[0], 1, *image.shape[2:]), batch)
    return targets


def label_shape(task: Task, image: Tensor) -> tuple[int, ...]:
    """Return the shape of a task's label for an image (B, C, *S)."""
    return (image.shape[0], *task.label_shape, *(image.shape[2:] if task.pixel_level else ()))


def _check_shape(key: str, value: Tensor, expected: Sequence[int], batch: Mapping[str, Any]) -> None:
    if tuple(value.shape) != tuple(expected):
        raise DataError(
            f"batch[{key!r}]",
            ", ".join(map(str, batch.get("case", ()))) or None,
            f"found shape {tuple(value.shape)}, expected {tuple(expected)} beside an image of "
            f"{tuple(batch['image'].shape)}.",
            "Prepare the data again with the tasks of this config, or correct the tasks.",
        )


class BagSampler(Sampler[int]):
    """Shuffle bags of consecutive items, which stay together and in order.

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
    """`PrepareMultiTaskBatch` that stacks every bag of slices in a batch to a volume.

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

    def __call__(self, batchdata: Mapping[str, Any], *options: Any, **more: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Prepare a batch; options as for `PrepareMultiTaskBatch`."""
        image, targets = super().__call__(batchdata, *options, **more)
        if self.bag == 1:
            return image, targets
        cases: Sequence[str] = list(batchdata["case"])
        bags = [set(cases[start : start + self.bag]) for start in range(0, len(cases), self.bag)]
        if len(cases) % self.bag or any(len(bag) > 1 for bag in bags):
            raise ConfigError("bag", f"a bag of {self.bag} holds {cases}.", "Use a BagSampler, and whole bags.")
        slices: Any = plain(image)
        folded = slices.unflatten(0, (-1, self.bag)).movedim(1, -1)  # (B, C, H, W, bag)
        return folded, {key: value[:: self.bag] for key, value in targets.items()}
