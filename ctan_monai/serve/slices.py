"""Batches of what is trained on corrected labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import DataLoader, Dataset

from ctan_monai.data.cases.cache import read_header


class Slices:
    """Batches of slices of one case each, or of images of one size; another order in each epoch."""

    def __init__(self, files: Sequence[Path], transform: Any, batch_size: int) -> None:
        self.files, self.transform, self.size = list(files), transform, batch_size
        self._random = np.random.default_rng(0)
        self._length = sum(1 for _ in self._batches())

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        for items in self._batches():
            yield from DataLoader(Dataset(items, self.transform), batch_size=len(items))

    def _batches(self) -> list[list[dict[str, Any]]]:
        batches = []
        for items in self._groups():
            order = self._random.permutation(len(items))
            for first in range(0, len(items), self.size):
                batch = [items[at] for at in order[first : first + self.size]]
                batches.append(batch if len(batch) > 1 else batch * 2)  # the statistics of one pixel need two samples
        return [batches[at] for at in self._random.permutation(len(batches))]

    def _groups(self) -> list[list[dict[str, Any]]]:
        """Return what may stand in one batch: the slices of a case, or images of one size."""
        groups: dict[Any, list[dict[str, Any]]] = {}
        for file in self.files:
            header = read_header(file)
            item: dict[str, Any] = {"case": header.case, "file": str(file)}
            if len(header.shape) == 3:
                groups[file] = [{**item, "slice": index} for index in range(header.shape[-1])]
            else:
                groups.setdefault(tuple(header.shape), []).append(item)
        return list(groups.values())
