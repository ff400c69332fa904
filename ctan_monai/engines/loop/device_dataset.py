"""Training datasets on the device, with augmentation of whole batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.transforms import Compose, Randomizable
from torch import Tensor
from torch.utils.data import Dataset

from ctan_monai.data.cases.cache import read_case_file, read_header
from ctan_monai.data.cases.file_read import slice_of
from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.data.lists.packed import PackedSamples
from ctan_monai.errors import ConfigError
from ctan_monai.transforms import LoadCaseFiled, RandSelectSliced, spatial_modes
from ctan_monai.transforms.batch import BatchTransform, apply_to_batch, has_batch_form, plain, upload

_logger = logging.getLogger(__name__)
_REMEDY = "Use data_on: loader."
Groups = list[tuple[list[int], dict[str, Any]]]  # batches of one shape each, and where their samples belong


class Pipeline(NamedTuple):
    """The transforms of a training, by the stage at which they are applied."""

    select: list[Callable[..., Any]]  # on items, each time
    load: LoadCaseFiled
    once: list[Callable[..., Any]]  # on samples, before they are packed
    batch: list[Callable[..., Any]]  # on batches, each time


class DeviceDataset(Dataset[Any]):
    """The samples of a `SeededDataset` on a device, augmented there in batches.

    What `LoadCaseFiled` and the transforms right behind it that know nothing of batches make of each item is packed
    once, when the first batch is asked for. All others act on batches, with the random numbers that
    `SeededDataset` gives the sample in this epoch. So a batch holds what a loader collates, but for the image's
    metadata, and up to rounding where the device computes otherwise than a CPU.

    Args:
        dataset: of a datalist's items.
        device: where the samples are to lie.

    Raises:
        ConfigError: a transform can act neither once nor on batches.
        DataError: (when a batch is taken) a case cannot be read.
    """

    def __init__(self, dataset: SeededDataset, device: torch.device) -> None:
        self.dataset, self.device = dataset, device
        self.pipeline = split_pipeline(dataset.transform)
        self._packed: PackedSamples | None = None

    def __len__(self) -> int:
        """Count the items."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a batch of one sample."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return a batch; torch's loaders use it in place of single items."""
        packed = self._all_packed()
        keys, drawn = zip(*map(self._draw, indices), strict=True)
        groups = packed.take(keys)
        for number, transform in enumerate(self.pipeline.batch):
            groups = [
                (positions, apply_to_batch(transform, batch, [drawn[at][number] for at in positions]))
                for positions, batch in groups
            ]
            groups = _joined(groups)
        if len(groups) > 1:
            sizes = sorted({tuple(batch["image"].shape[2:]) for _, batch in groups})
            reason = f"a batch holds images of several sizes: {sizes}."
            raise ConfigError("train#preprocessing", reason, "Cut them to one with CropOrPadLabelsd.")
        return _in_order(*groups[0])

    def estimate(self) -> int:
        """Estimate the bytes of the packed samples from the headers and the first case."""
        wanted = self._wanted()
        voxels = {file: read_header(file).shape for file in wanted}
        planes = {
            file: _product(shape[:2] if None not in slices else shape) * len(slices)
            for (file, slices), shape in zip(wanted.items(), voxels.values(), strict=True)
        }
        first = next(iter(wanted))
        tried = PackedSamples(torch.device("cpu"), spatial_modes(self.pipeline.load.tasks))
        self._pack(tried, first, wanted[first])
        return round(tried.nbytes / planes[first] * sum(planes.values()))

    def _wanted(self) -> dict[str, list[int | None]]:
        """Return the slices of each file that items may ask for; None = all."""
        found: dict[str, dict[int | None, None]] = {}
        for item in self.dataset.data:
            slices = found.setdefault(str(item["file"]), {})
            if self.pipeline.select and "slices" in item:
                slices.update(dict.fromkeys(range(*item["slices"])))
            else:
                slices[item.get("slice")] = None
        return {file: list(slices) for file, slices in found.items()}

    def _all_packed(self) -> PackedSamples:
        if self._packed is None:
            began = time.monotonic()
            packed = PackedSamples(self.device, spatial_modes(self.pipeline.load.tasks))
            for file, slices in self._wanted().items():
                self._pack(packed, file, slices)
            self._packed = packed
            size, seconds = packed.nbytes / 1e6, time.monotonic() - began
            _logger.info("%d samples lie on %s: %.1f MB, read in %.1f s", len(packed), self.device, size, seconds)
        return self._packed

    def _pack(self, packed: PackedSamples, file: str, slices: Sequence[int | None]) -> None:
        case, samples = read_case_file(file), []
        for index in slices:
            sample = self.pipeline.load.sample(case if index is None else slice_of(case, index), Path(file))
            for transform in self.pipeline.once:
                sample = transform(sample)
            samples.append({key: plain(value) if isinstance(value, Tensor) else value for key, value in sample.items()})
        packed.append([(file, index) for index in slices], samples)

    def _draw(self, index: int) -> tuple[Hashable, list[Any]]:
        """Return the sample of an item in this epoch, and the random parameters of each batch transform."""
        self.dataset.reseed(index)
        item: Mapping[str, Any] = self.dataset.data[index]
        for transform in self.pipeline.select:
            item = transform(item)
        drawn = [
            transform.draw()
            if isinstance(transform, BatchTransform)
            else partial(self.dataset.reseed, index)
            if isinstance(transform, Randomizable)
            else None
            for transform in self.pipeline.batch
        ]
        return (str(item["file"]), item.get("slice")), drawn


def split_pipeline(transform: Any) -> Pipeline:
    """Split the transforms of a training by whether they apply to items, once, or to batches.

    Raises:
        ConfigError: one can do neither, or none of them reads cases.
    """
    transforms = list(transform.transforms) if isinstance(transform, Compose) else [transform]
    start = next((at for at, each in enumerate(transforms) if isinstance(each, LoadCaseFiled)), None)
    if start is None:
        raise ConfigError("data_on", "device needs LoadCaseFiled among the transforms.", _REMEDY)
    select, behind = transforms[:start], transforms[start + 1 :]
    fixed = [has_batch_form(each) or isinstance(each, Randomizable) for each in behind]
    count = fixed.index(True) if True in fixed else len(fixed)
    odd = [each for each in select if not isinstance(each, RandSelectSliced)]
    odd += [each for each in behind[count:] if not has_batch_form(each)]
    if odd:
        names = ", ".join(type(each).__name__ for each in odd)
        raise ConfigError("data_on", f"device cannot apply {names} to batches.", _REMEDY)
    return Pipeline(select, transforms[start], behind[:count], behind[count:])


def _joined(groups: Groups) -> Groups:
    """Concatenate batches whose images have the same shape."""
    by_shape: dict[tuple[int, ...], Groups] = {}
    for group in groups:
        by_shape.setdefault(tuple(group[1]["image"].shape[1:]), []).append(group)
    return [_concatenated(same) if len(same) > 1 else same[0] for same in by_shape.values()]


def _concatenated(groups: Groups) -> tuple[list[int], dict[str, Any]]:
    batches = [batch for _, batch in groups]
    joined = {
        key: torch.cat([batch[key] for batch in batches])
        if isinstance(value, Tensor)
        else [entry for batch in batches for entry in batch[key]]
        for key, value in batches[0].items()
    }
    return [at for positions, _ in groups for at in positions], joined


def _in_order(positions: list[int], batch: dict[str, Any]) -> dict[str, Any]:
    order = sorted(range(len(positions)), key=positions.__getitem__)
    if order == positions:
        return batch
    at = upload(order, batch["image"].device)
    return {
        key: value.index_select(0, at) if isinstance(value, Tensor) else [value[place] for place in order]
        for key, value in batch.items()
    }


def _product(sides: Sequence[int]) -> int:
    return int(torch.tensor(sides).prod())
