"""Batch transforms: the same arithmetic for one sample in a loader's process and for a batch on any device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import NormalizeIntensityd, RandomizableTransform, Resized, Transform
from monai.utils import MAX_SEED
from torch import Tensor

from ctan_monai.errors import ConfigError

Batch = dict[str, Any]
_IN_CACHE = 2**18  # values that a CPU changes at a time


class BatchTransform(Transform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Base class of transforms that separate drawing random numbers from applying them; a sample is a batch of one.

    `draw` says what one sample is changed by, `apply` changes a batch by what was drawn for each of its samples.
    Called with a sample it does both.
    """

    def draw(self) -> Any:
        """Draw the random parameters for a sample; None = leave it unchanged, or nothing is random."""
        return None

    @abstractmethod
    def apply(self, batch: Mapping[str, Any], drawn: Sequence[Any]) -> Batch:
        """Apply the transform to a batch; unchanged entries are passed on as the same objects.

        Args:
            batch: plain tensors with a leading batch dimension, all on one device, and lists of anything else. It is
                used up: tensors of more than one sample may be changed in place.
            drawn: one result of `draw` for each sample.
        """

    def updated_affine(self, affine_ras: Tensor, drawn: Any, shape: Sequence[int]) -> Tensor:
        """Return the affine (4, 4) of a transformed image (C, *S); most transforms keep it."""
        return affine_ras

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Transform a sample; its image stays a MetaTensor if it is one."""
        drawn = self.draw()
        batch = {key: plain(value)[None] if isinstance(value, Tensor) else [value] for key, value in sample.items()}
        changed = dict(sample)
        for key, value in self.apply(batch, [drawn]).items():
            if value is not batch[key]:
                changed[key] = value[0]
                if isinstance(before := sample[key], MetaTensor):
                    affine_ras = self.updated_affine(before.affine, drawn, before.shape[1:])
                    changed[key] = MetaTensor(value[0], meta={**before.meta, "affine": affine_ras})
        return changed


class RandBatchTransform(RandomizableTransform, BatchTransform):  # type: ignore[misc]  # MONAI has no type hints
    """A `BatchTransform` that draws from ``self.R``."""

    _generator: np.random.RandomState | None = None

    def set_random_state(self, seed: int | None = None, state: Any = None) -> RandBatchTransform:
        """Set the random state as MONAI does, reusing the generator, which takes a tenth of the time."""
        if seed is None:
            super().set_random_state(seed, state)
            return self
        self._generator = reseeded(self._generator, seed)
        self.R = self._generator
        return self


def reseeded(generator: np.random.RandomState | None, seed: int) -> np.random.RandomState:
    """Return a generator in the initial state of ``np.random.RandomState(seed)``, the given one if there is one."""
    generator = np.random.RandomState(0) if generator is None else generator
    generator.seed(int(seed) % MAX_SEED)
    return generator


def plain(value: Tensor) -> Tensor:
    """Return a tensor without metadata, which slows down every operation."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def upload(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Copy numbers to a device without synchronizing it."""
    made = torch.as_tensor(values, dtype=dtype)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made.to(device)


def chosen(drawn: Sequence[Any]) -> list[int]:
    """Return the indices of the samples that parameters were drawn for."""
    return [at for at, entry in enumerate(drawn) if entry is not None]


def parts_in_cache(rows: Sequence[int], tensor: Tensor) -> list[slice]:
    """Divide rows of a batch, on a CPU into parts that its cache holds; a GPU takes all at once."""
    many = len(rows) if tensor.device.type != "cpu" else max(1, _IN_CACHE // max(1, tensor[0].numel()))
    return [slice(start, start + many) for start in range(0, len(rows), many)]


def change_rows(tensor: Tensor, rows: Sequence[int], change: Callable[..., Tensor], *by_row: Any) -> Tensor:
    """Replace some samples of a batch in place; a batch of one is left as it is, and a new one returned.

    Args:
        tensor: (B, ...).
        rows: samples to change, at least one.
        change: (b, ...) -> (b, ...) of the same shape and type.
        by_row: sequences or tensors of what ``change`` needs besides, an entry for each row.
    """
    if len(tensor) == 1:
        return change(tensor, *by_row)
    for part in parts_in_cache(rows, tensor):
        if len(rows[part]) == 1:
            row = tensor.narrow(0, rows[part][0], 1)
            row.copy_(change(row, *(each[part] for each in by_row)))
            continue
        at = upload(list(rows[part]), tensor.device)
        tensor.index_copy_(0, at, change(tensor.index_select(0, at), *(each[part] for each in by_row)))
    return tensor


@singledispatch
def apply_to_batch(transform: Any, batch: Mapping[str, Any], drawn: Sequence[Any]) -> Batch:
    """Apply any transform that has a batch form to a batch.

    Transforms that look neither at metadata nor at other samples are applied sample by sample, on the batch's device.

    Args:
        transform: of a pipeline.
        batch: as for `BatchTransform.apply`.
        drawn: for each sample what `BatchTransform.draw` returned; for others a function that seeds the transform.

    Raises:
        ConfigError: there is no such form.
    """
    remedy = "Use data_on: loader, or derive the transform from ctan_monai.transforms.batch.BatchTransform."
    raise ConfigError("data_on", f"device cannot apply {type(transform).__name__} to a batch.", remedy)


def has_batch_form(transform: Any) -> bool:
    """Tell whether `apply_to_batch` supports a transform."""
    return apply_to_batch.dispatch(type(transform)) is not apply_to_batch.dispatch(object)


@apply_to_batch.register
def _(transform: BatchTransform, batch: Mapping[str, Any], drawn: Sequence[Any]) -> Batch:
    return transform.apply(batch, drawn)


@apply_to_batch.register(NormalizeIntensityd)
def _(transform: Any, batch: Mapping[str, Any], drawn: Sequence[Any]) -> Batch:
    form = transform.normalizer
    constants = form.channel_wise and not form.nonzero and form.subtrahend is not None and form.divisor is not None
    if not constants:
        return each_sample(transform, batch, drawn)
    changed = dict(batch)
    for key in transform.keys:
        changed[key] = batch[key].float()
        for channel, less, by in zip(changed[key].unbind(1), form.subtrahend, form.divisor, strict=True):
            channel.sub_(less).div_(by or 1.0)  # what MONAI does with a sample, in place too
    return changed


def each_sample(transform: Any, batch: Mapping[str, Any], drawn: Sequence[Any]) -> Batch:
    """Apply a transform to each sample, with its own seed."""
    changed = []
    for at, seed in enumerate(drawn):
        if seed is not None:
            seed()
        changed.append(transform({key: value[at] for key, value in batch.items()}))
    return {
        key: torch.stack([plain(sample[key]) for sample in changed]) if isinstance(value, Tensor) else value
        for key, value in batch.items()
    }


apply_to_batch.register(Resized, each_sample)
