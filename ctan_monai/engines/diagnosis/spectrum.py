"""The spectrum and effective rank of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_POSITIONS = 4096  # of one batch at most; more of the same images say little


def effective_rank(spectrum: Tensor) -> float:
    """Compute the effective rank of a matrix from its singular values: exp of the entropy of their shares.

    Between 1 (one direction has everything) and their number (all have the same).

    Args:
        spectrum: (C,) singular values, not negative.

    Returns:
        The rank; nan where all are 0.

    Source: Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO.

    >>> effective_rank(torch.tensor([3.0, 3.0, 3.0, 0.0]))
    3.0
    """
    values = spectrum.double().clamp(min=0)
    total = values.sum()
    if not total > 0:
        return float("nan")
    shares = values[values > 0] / total
    return round(float(torch.exp(-(shares * shares.log()).sum())), 9)


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of features' channel covariance.

    Args:
        channels: how many.
        observations: positions of all images that were counted.
        rank: effective rank of the covariance.
        rank_standardized: of the correlation, for which each channel's scale is taken out; constant channels left out.
        largest_share: of the largest direction in the variance.
    """

    channels: int
    observations: int
    rank: float
    rank_standardized: float
    largest_share: float


class Covariance:
    """Accumulate the channel covariance over positions and images, batch by batch."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._products = torch.zeros(())

    def add(self, features: Tensor) -> None:
        """Add (B, C, *S); of more than 4,096 positions, every n-th."""
        rows = features.float().movedim(1, -1).flatten(0, -2)  # (B * positions, C)
        rows = rows[:: max(1, len(rows) // _POSITIONS)]
        self.count += len(rows)
        self._sum = self._sum + rows.sum(0).double().cpu()
        self._products = self._products + (rows.T @ rows).double().cpu()

    def spectrum(self) -> Spectrum:
        """Compute the spectrum of the accumulated covariance."""
        mean = self._sum / self.count
        covariance = self._products / self.count - mean[:, None] * mean
        values = torch.linalg.eigvalsh(covariance).clamp(min=0)  # of a covariance they are its singular values
        scale = covariance.diagonal().clamp(min=0).sqrt()
        varies = scale > 1e-6 * scale.max()
        correlation = (covariance / scale.clamp(min=1e-300) / scale.clamp(min=1e-300)[:, None])[varies][:, varies]
        total = float(values.sum())
        return Spectrum(
            len(mean),
            self.count,
            effective_rank(values),
            effective_rank(torch.linalg.eigvalsh(correlation)) if varies.any() else float("nan"),
            float(values[-1]) / total if total > 0 else float("nan"),
        )
