"""Means, attention masks and spread of features over a split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ctan_monai.engines.diagnosis.experiments import MEAN, REPLACEMENTS
from ctan_monai.engines.diagnosis.spectrum import Covariance
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.parts import Part, Site
from ctan_monai.networks.sites import recording

BINS = 20  # of a mask's histogram over [0, 1]


class Moments:
    """Accumulate mean and variance over images, at each channel and position while all images have one size."""

    def __init__(self) -> None:
        self.images = 0
        self._sum = self._squares = torch.zeros(())
        self._channels: Tensor = torch.zeros(())
        self._same_size = True

    def add(self, values: Tensor) -> None:
        """Add (B, C, *S)."""
        batch = values.double().cpu()
        self._channels = self._channels + batch.flatten(2).mean(2).sum(0)  # (C,)
        self._same_size &= self.images == 0 or self._sum.shape == batch.shape[1:]
        self.images += len(batch)
        if self._same_size:
            self._sum, self._squares = self._sum + batch.sum(0), self._squares + batch.square().sum(0)

    def mean(self, like: Tensor) -> Tensor:
        """Return the mean (C, *S), or (C, 1, ...) of all positions where images differ in size.

        Args:
            like: values whose number of dimensions counts.
        """
        if self._same_size:
            return (self._sum / self.images).float()
        return (self._channels / self.images).float().reshape(-1, *[1] * (like.ndim - 2))

    def spread(self) -> float:
        """Return the standard deviation over images, from the mean variance over positions; nan for several sizes."""
        if not self._same_size:
            return math.nan
        variance = self._squares / self.images - (self._sum / self.images).square()
        return float(variance.clamp(min=0).mean().sqrt())


class MaskCounts:
    """Accumulate a histogram of a mask's values in [0, 1]."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, 0.0, 0.0
        self.histogram = torch.zeros(BINS, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Add a mask of any shape."""
        flat = values.float().flatten().cpu()
        self.count += flat.numel()
        self.sum, self.squares = (
            self.sum + float(flat.double().sum()),
            self.squares + float(flat.double().square().sum()),
        )
        self.histogram += torch.histc(flat, BINS, 0.0, 1.0).double()

    def summary(self) -> dict[str, Any]:
        """Return mean, standard deviation, and shares of values by size."""
        mean, shares = self.sum / self.count, (self.histogram / self.count).tolist()
        tenth = BINS // 10
        return {
            "mean": mean,
            "standard_deviation": math.sqrt(max(0.0, self.squares / self.count - mean**2)),
            "share_below_0.1": sum(shares[:tenth]),
            "share_above_0.9": sum(shares[-tenth:]),
            "histogram": shares,
        }


class Survey:
    """Predict as trained while recording the features of all parts; for an inferer.

    Args:
        network: in evaluation mode.
        parts: that are looked at.
    """

    training = False

    def __init__(self, network: MultiTaskNetwork, parts: Sequence[Part]) -> None:
        self.network, self.parts = network, parts
        self.tasks, self.spatial_dims = network.tasks, network.spatial_dims
        averaged = [part for part in parts if MEAN in REPLACEMENTS.get(part.kind, ())]
        self.moments = {site: Moments() for part in averaged for site in part.sites}
        self.masks = {site: MaskCounts() for part in parts if part.kind == "mask" for site in part.sites}
        self.features = {part: Covariance() for part in parts if part.kind == "features"}
        self.means: dict[Site, Tensor] = {}

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Predict an image (B, C, *S)."""
        sites = {*self.moments, *self.masks, *(site for part in self.features for site in part.sites)}
        with recording(self.network, sites) as found:
            answers: dict[str, Tensor] = self.network(image)
        for site, moments in self.moments.items():
            moments.add(found[site])
            self.means[site] = moments.mean(found[site]).to(image.device)
        for site, counts in self.masks.items():
            counts.add(found[site])
        for part, covariance in self.features.items():
            covariance.add(found[part.sites[0]])
        return answers

    def mask_table(self) -> list[dict[str, Any]]:
        """Return a row for each mask."""
        return [
            {"mask": site.label, **counts.summary(), "spread_over_cases": self.moments[site].spread()}
            for site, counts in self.masks.items()
        ]

    def feature_table(self) -> list[dict[str, Any]]:
        """Return a row for each part whose effective rank is measured."""
        return [
            {"features": part.name, "task": part.task, **vars(covariance.spectrum())}
            for part, covariance in self.features.items()
        ]
