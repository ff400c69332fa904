"""Loaders of training: from case files, or from samples on the device."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from monai.data import DataLoader

from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.engines.loop.device_dataset import DeviceDataset
from ctan_monai.engines.runs.options import DATA_ON, choose
from ctan_monai.errors import ConfigError

_logger = logging.getLogger(__name__)
MEMORY_SHARE = 0.5  # of what is free on a GPU, of all memory on a CPU


class EpochDataLoader(DataLoader):  # type: ignore[misc]  # monai has no types
    """MONAI's loader that draws alike in every epoch, with any number of workers.

    torch draws a seed for its workers from the common generator, as the order of samples is, whenever it
    starts them; those that live on are started once. Epochs of a run and of its resumption, or with other numbers of
    workers, would have another order.
    """

    def __iter__(self) -> Any:
        """Begin an epoch."""
        if self._iterator is not None:
            torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        return super().__iter__()


def create_dataloader(
    dataset: SeededDataset,
    data_on: str = "auto",
    device: str | torch.device = "cpu",
    drop_last: bool = True,
    **options: Any,
) -> DataLoader:
    """Create a training's loader.

    With the same options and seeds both kinds take the same samples in the same order with the same random numbers.

    Args:
        dataset: the training's.
        data_on: 'loader' reads and augments samples in this process or in workers; 'device' keeps all samples packed
            on the device and augments batches there, see `DeviceDataset`; 'auto' is 'device' on a GPU where half of
            the free memory is enough and all transforms allow it, and 'loader' else.
        device: of the training.
        drop_last: leave out an incomplete batch at the end of an epoch.
        options: others of torch's `DataLoader`; workers have nothing to do where samples lie on the device. By default
            workers live as long as the loader, and memory is pinned for a GPU.

    Raises:
        ConfigError: ``data_on`` is unknown; or it is 'device', and a transform or the memory does not allow that.
        DataError: a case cannot be read.

    Source: docs/adr/0033-data-on-the-device.md.
    """
    choose("data_on", data_on, DATA_ON)
    place = torch.device(device)
    workers = int(options.get("num_workers", 0))
    options = {"persistent_workers": workers > 0, "pin_memory": place.type == "cuda", **options, "drop_last": drop_last}
    if data_on == "loader" or (data_on == "auto" and place.type != "cuda"):
        return EpochDataLoader(dataset, **options)
    try:
        samples = _fitting(dataset, place)
    except ConfigError as error:
        if data_on == "device":
            raise
        _logger.info("Samples are read by loaders: %s", error)
        return EpochDataLoader(dataset, **options)
    alone = {"num_workers": 0, "persistent_workers": False, "pin_memory": False, "collate_fn": _batch_itself}
    return DataLoader(samples, **{**options, **alone})


def _fitting(dataset: SeededDataset, device: torch.device) -> DeviceDataset:
    """Create the dataset on a device, checking that it has enough memory.

    Raises:
        ConfigError: it has not, or it or a transform cannot be used for that.
    """
    remedy = "Use data_on: loader."
    if device.type not in ("cpu", "cuda"):
        raise ConfigError("data_on", f"device is not possible on {device}.", remedy)
    samples = DeviceDataset(dataset, device)
    needed, limit = samples.estimate(), _memory_limit(device)
    if needed > limit:
        reason = f"device: the samples need about {needed / 1e9:.2f} GB, {limit / 1e9:.2f} GB may be used on {device}."
        raise ConfigError("data_on", reason, remedy)
    return samples


def _memory_limit(device: torch.device) -> float:
    if device.type == "cuda":
        return MEMORY_SHARE * float(torch.cuda.mem_get_info(device)[0])
    known = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    return MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else float("inf")


def _batch_itself(batch: dict[str, Any]) -> dict[str, Any]:
    return batch
