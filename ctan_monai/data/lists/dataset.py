"""A dataset whose random transforms depend on the seed, the epoch and the index, and on nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Randomizable

from ctan_monai.errors import CtanError


class SeededDataset(Dataset):  # type: ignore[misc]  # MONAI is not typed for mypy
    """MONAI's map-style ``Dataset``, with random transforms that are seeded anew for every sample.

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
        self._epoch = torch.zeros(1, dtype=torch.int64)
        with contextlib.suppress(RuntimeError):  # no shared memory, without which there are no workers either
            self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # torch has no annotation here

    @property
    def epoch(self) -> int:
        """Epoch that the next samples belong to."""
        return int(self._epoch.item())

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next samples belong to."""
        self._epoch[0] = int(epoch)

    def _transform(self, index: int) -> Any:
        index = range(len(self.data))[index]  # -1 is the last sample, and seeds as it does
        if isinstance(self.transform, Randomizable):
            words = np.random.SeedSequence((self.seed % 2**64, self.epoch, index)).generate_state(4)
            self.transform.set_random_state(state=np.random.RandomState(words))
        try:
            return super()._transform(index)
        except RuntimeError as error:
            # MONAI hides what went wrong behind "applying transform ...".
            if isinstance(error.__cause__, CtanError):
                raise error.__cause__ from None
            raise
