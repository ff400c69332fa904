"""Samples of a dataset packed into compact tensors on one device, from which batches are taken."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctan_monai.errors import DataError

_BITS = "bits"
_KINDS = (_BITS, torch.uint8, torch.int16, None)  # from narrow to wide; None: as they are


class PackedArray:
    """Rows (N, *S) of numbers stored losslessly in the smallest of 1, 8 or 16 bits, or unchanged.

    Args:
        device: where the rows lie.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.kind = 0  # in _KINDS
        self._parts: list[Tensor] = []
        self._width = 0
        self._dtype = torch.float32

    def append(self, values: Tensor) -> None:
        """Add rows (n, *S), all of the shape and type of the first ones."""
        self._dtype, self._width = values.dtype, values.shape[-1]
        kind = next(at for at in range(self.kind, len(_KINDS)) if _holds(_KINDS[at], values))
        if kind != self.kind:
            self._parts = [self._packed(self._unpacked(part).to(self._dtype), kind) for part in self._parts]
            self.kind = kind
        self._parts.append(self._packed(values.to(self.device), kind))

    def take(self, rows: Tensor, into: Tensor | None = None) -> Tensor:
        """Return rows (B, *S) by index, in their original type, or copy them into a tensor."""
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        found = self._unpacked(self._parts[0].index_select(0, rows))
        return found.to(self._dtype) if into is None else into.copy_(found)

    @property
    def nbytes(self) -> int:
        """Memory of the rows, bytes."""
        return sum(part.nbytes for part in self._parts)

    def _packed(self, values: Tensor, at: int) -> Tensor:
        kind = _KINDS[at]
        if kind == _BITS:
            padded = pad(values.to(torch.uint8), (0, -values.shape[-1] % 8))
            eights = padded.reshape(*padded.shape[:-1], -1, 8) << _bits_of(values.device)
            return eights.sum(-1, dtype=torch.uint8)  # (n, ..., eighths of the last axis)
        return values if kind is None else values.to(kind)

    def _unpacked(self, part: Tensor) -> Tensor:
        if _KINDS[self.kind] == _BITS:
            part = (part[..., None] >> _bits_of(part.device)).bitwise_and_(1).flatten(-2)[..., : self._width]
        return part


def _bits_of(device: torch.device) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)


def _holds(kind: Any, values: Tensor) -> bool:
    if kind is None:
        return True
    if kind == _BITS:
        return bool(((values == 0) | (values == 1)).all())
    return torch.equal(values, values.to(kind).to(values.dtype))


class _Table:
    """Samples whose images have one shape (C, *S)."""

    def __init__(self, device: torch.device, shape: tuple[int, ...]) -> None:
        self.device, self.shape, self.rows = device, shape, 0
        self.arrays: dict[str, list[PackedArray]] = {}
        self.others: dict[str, list[Any]] = {}
        self.stacked: dict[str, Tensor] = {}

    def append(self, samples: Sequence[Mapping[str, Any]], spatial: Collection[str]) -> None:
        for key in samples[0]:
            if key in spatial:
                values = torch.stack([sample[key] for sample in samples])  # (n, C, *S)
                parts = values.unbind(1) if key == "image" else [values]  # CT and contours differ in what they need
                arrays = self.arrays.setdefault(key, [PackedArray(self.device) for _ in parts])
                for array, part in zip(arrays, parts, strict=True):
                    array.append(part)
            else:
                self.others.setdefault(key, []).extend(sample[key] for sample in samples)
        self.rows += len(samples)
        self.stacked.clear()

    def take(self, rows: Sequence[int]) -> dict[str, Any]:
        if not self.stacked:
            tensors = {key: values for key, values in self.others.items() if isinstance(values[0], Tensor)}
            self.stacked = {key: torch.stack(values).to(self.device) for key, values in tensors.items()}
        at = torch.as_tensor(rows)
        at = at.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else at.to(self.device)
        batch: dict[str, Any] = {}
        for key, arrays in self.arrays.items():
            if key == "image":
                batch[key] = torch.empty(len(rows), *self.shape, device=self.device)  # (B, C, *S)
                for channel, array in enumerate(arrays):
                    array.take(at, into=batch[key][:, channel])
            else:
                batch[key] = arrays[0].take(at)
        for key, values in self.others.items():
            known = key in self.stacked
            batch[key] = self.stacked[key].index_select(0, at) if known else [values[row] for row in rows]
        return batch


class PackedSamples:
    """Samples by key in compact tensors on one device; those of one shape share a table.

    Masks take a bit a voxel, a CT 16, color images 8 a channel, and what is no whole number stays as it is, so that
    what is taken is what was put in, to the bit.

    Args:
        device: where they lie.
        spatial: names of the entries that lie on the image's grid, (C, *S); others may be tensors or anything else.
    """

    def __init__(self, device: torch.device, spatial: Collection[str]) -> None:
        self.device, self._spatial = device, frozenset(spatial)
        self._tables: dict[tuple[int, ...], _Table] = {}
        self._places: dict[Hashable, tuple[_Table, int]] = {}
        self._entries: frozenset[str] = frozenset()

    def append(self, keys: Sequence[Hashable], samples: Sequence[Mapping[str, Any]]) -> None:
        """Add samples of plain tensors under new keys.

        Raises:
            DataError: a sample has other entries than those before, so that they cannot form a batch.
        """
        self._entries = self._entries or frozenset(samples[0])
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, sample in enumerate(samples):
            if odd := self._entries ^ sample.keys():
                reason = f"it and the cases before differ in whether they have {sorted(odd)}; all or none must."
                raise DataError(sample["file"], sample["case"], reason, "Prepare the others again, or leave them out.")
            by_shape.setdefault(tuple(sample["image"].shape), []).append(number)
        for shape, numbers in by_shape.items():
            table = self._tables.setdefault(shape, _Table(self.device, shape))
            self._places.update({keys[number]: (table, table.rows + at) for at, number in enumerate(numbers)})
            table.append([samples[number] for number in numbers], self._spatial)

    def take(self, keys: Sequence[Hashable]) -> list[tuple[list[int], dict[str, Any]]]:
        """Return samples as batches by shape, with their positions among the keys.

        Entries are as they were put in, with a leading batch dimension; what is no tensor is in a list.
        """
        chosen: dict[int, tuple[_Table, list[int], list[int]]] = {}
        for position, key in enumerate(keys):
            table, row = self._places[key]
            _, positions, rows = chosen.setdefault(id(table), (table, [], []))
            positions.append(position)
            rows.append(row)
        return [(positions, table.take(rows)) for table, positions, rows in chosen.values()]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._places)

    @property
    def nbytes(self) -> int:
        """Memory of all entries on the grid, bytes."""
        tables = self._tables.values()
        return sum(array.nbytes for table in tables for arrays in table.arrays.values() for array in arrays)
