"""Datasets of cases, and a check of all cases before a run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Randomizable

from ctan_monai.data.cases.cache import Header, read_header
from ctan_monai.data.cases.prescription import PRESCRIPTION
from ctan_monai.errors import CtanError, DataError
from ctan_monai.tasks import Task, region_key

_logger = logging.getLogger(__name__)


class SeededDataset(Dataset):  # type: ignore[misc]  # MONAI is not typed for mypy
    """MONAI's map-style ``Dataset`` whose random transforms are reseeded for every sample.

    The same (seed, epoch, index) gives the same sample with any number of workers, in any order and after a resume,
    as long as the transforms draw from MONAI's ``self.R``; a transform that uses NumPy's or torch's global generator
    is not covered. The epoch lies in shared memory, so that ``set_epoch`` reaches persistent workers too; call it
    before the loader is iterated.

    Args:
        data: items of a datalist.
        transform: called with an item.
        seed: of the run.

    Raises:
        CtanError: (when indexed) what a transform raised, as it raised it.
    """

    def __init__(
        self, data: Sequence[Any], transform: Callable[[Any], Any] | Sequence[Callable[..., Any]] | None, seed: int = 0
    ) -> None:
        super().__init__(data, transform)
        self.seed = int(seed)
        self._state = np.random.RandomState(0)
        self._epoch = torch.zeros(1, dtype=torch.int64)
        with contextlib.suppress(RuntimeError):  # no shared memory, without which there are no workers either
            self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # torch has no annotation here

    @property
    def epoch(self) -> int:
        """Epoch of the next samples."""
        return int(self._epoch.item())

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next samples."""
        self._epoch[0] = int(epoch)

    def reseed(self, index: int) -> None:
        """Seed the random transforms for a sample of this epoch."""
        index = range(len(self.data))[index]  # -1 is the last sample, and seeds as it does
        if isinstance(self.transform, Randomizable):
            words = np.random.SeedSequence((self.seed % 2**64, self.epoch, index)).generate_state(4)
            self._state.seed(words)  # a new generator would cost more than all that is drawn from it
            self.transform.set_random_state(state=self._state)

    def _transform(self, index: int) -> Any:
        self.reseed(index)
        try:
            return super()._transform(index)
        except RuntimeError as error:
            # MONAI hides what went wrong behind "applying transform ...".
            if isinstance(error.__cause__, CtanError):
                raise error.__cause__ from None
            raise


def check_cases(
    items: Iterable[Mapping[str, Any]], tasks: Sequence[Task], image_channels: Sequence[str] = ("ct",)
) -> None:
    """Check that the data have labels of all tasks, and log in how many cases each label is known.

    A label that no case has is most likely misspelt; for a single case it would be a missing label. A contour that
    no case has is a channel of zeros: that may be so in a small data set, and the log warns.

    Args:
        items: of a datalist, cases or slices.
        tasks: what is predicted.
        image_channels: volumes and masks that form the image.

    Raises:
        DataError: a label is in no case, or only some cases have the region of a voxel-level regression.
    """
    files = list(dict.fromkeys(str(item["file"]) for item in items))
    headers = [read_header(file) for file in files]
    arrays = [set(header.occupied) for header in headers]
    for channel in image_channels:
        if channel != PRESCRIPTION and not any(channel in found for found in arrays):
            _logger.warning("image channel %s is in none of the %d cases: it will be zero", channel, len(files))
    for task in tasks:
        for label, known in _known(task, headers).items():
            _require(files, known, label, arrays)
            _logger.info("%s is known in %d of %d cases", label, known, len(headers))
        if task.pixel_level:
            with_region = sum(region_key(task) in found for found in arrays)
            if with_region not in (0, len(headers)):
                reason = f"{with_region} of {len(headers)} cases have {region_key(task)}; all or none must."
                raise DataError(files[0], None, reason, "Prepare the others again, or leave them out.")


def _known(task: Task, headers: Sequence[Header]) -> dict[str, int]:
    """Count for each label of a task the cases in which it is known."""
    held: list[Collection[str]] = [header.values if task.labels_in_values else header.occupied for header in headers]
    return {
        f"{task.name} label {name}" if task.present_shape else name: sum(name in names for names in held)
        for name in task.label_names
    }


def _require(files: Sequence[str], count: int, what: str, arrays: Sequence[set[str]]) -> None:
    if count == 0:
        found = sorted(set().union(*arrays))
        reason = f"{what} is in none of the {len(files)} cases; they hold {found}."
        raise DataError(files[0] if files else "datalist", None, reason, "Correct the name, or prepare the data again.")
