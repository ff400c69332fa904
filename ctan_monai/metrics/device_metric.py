"""Metrics that compute on the device where predictions lie, and are read in one transfer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from ctan_monai.errors import DataError
from ctan_monai.metrics.base import CaseMetric, Record, Tensors

Numbers = Mapping[str, list[float]]


class DeviceMetric(CaseMetric):
    """Base class of metrics that ask the device of prediction and labels for nothing while they compute.

    Subclasses compute a case's numbers there (`numbers`), and make its record of them once they have been read
    (`record`), so that an evaluator reads those of all metrics and of all cases of a batch in one transfer.
    """

    @abstractmethod
    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Compute a case's numbers, tensors of any shape with few elements; arguments as for `update`.

        Raises:
            DataError: prediction and label do not fit together.
        """

    @abstractmethod
    def record(self, case: str, numbers: Numbers) -> Record:
        """Make a case's record of its numbers; the keys are the same for every case.

        Raises:
            DataError: the numbers say that something is not finite.
        """

    def measure(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Record:
        """Measure one case."""
        (numbers,) = read_numbers([self.numbers(case, prediction, target, spacing_mm)])
        return self.record(case, numbers)


def read_numbers(found: Sequence[Mapping[str, Tensor]]) -> list[Numbers]:
    """Read numbers of several metrics or cases in one transfer, in double precision.

    >>> read_numbers([{"a": torch.tensor([1, 2])}, {"b": torch.tensor(True), "c": torch.zeros(0)}])
    [{'a': [1.0, 2.0]}, {'b': [1.0], 'c': []}]
    """
    flat = [value.reshape(-1).double() for each in found for value in each.values()]
    values = iter(torch.cat(flat).tolist() if flat else ())
    return [{key: list(islice(values, value.numel())) for key, value in each.items()} for each in found]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Compute the mean of values (..., *S) where a mask of a shape that broadcasts to theirs holds; nan over nothing.

    In double precision, without asking how many values there are.
    """
    return torch.where(mask, values, 0).sum(dtype=torch.float64) / mask.expand_as(values).sum()


def finite_counts(values: Tensor) -> Tensor:
    """Return how many values there are, and how many are finite; `check_finite` looks at it."""
    finite = values.isfinite().sum()
    return torch.stack([torch.full_like(finite, values.numel()), finite])


def check_finite(what: str, case: str, counts: Sequence[float]) -> None:
    """Check for nan and infinities: nan would read as 'unknown' and drop the case from the means.

    Args:
        what: the name of the values.
        case: its id.
        counts: `finite_counts` of the values.

    Raises:
        DataError: some values are not finite.
    """
    total, finite = map(int, counts)
    if finite < total:
        raise DataError(
            what,
            case,
            f"{total - finite} of {total} values are not finite.",
            "For a prediction: the training has probably diverged, lower the learning rate or go back to an earlier "
            "checkpoint. For a label: verify the data.",
        )
