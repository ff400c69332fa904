"""Record filter groups during training: the fraction of each layer's kernels that serves each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.files.csv_cells import csv_text

GROUPINGS_FILE = "groupings.csv"
_DIGITS = 6


def grouping_record(network: nn.Module | None) -> dict[str, Any]:
    """Return an epoch's groupings; empty for networks without filter groups, or with one group only.

    Returns:
        By layer, in the order of depth: ``mean`` probability over its kernels by group (the tasks, then 'shared'),
        ``kernels`` whose most probable group each is, and ``entropy`` of a kernel's probabilities, mean, in nats.
    """
    found: dict[str, Any] = {}
    for layer, (names, p) in _groupings(network).items():
        most = torch.bincount(p.argmax(1), minlength=len(names)).tolist()
        found[layer] = {
            "mean": {name: round(value, _DIGITS) for name, value in zip(names, p.mean(0).tolist(), strict=True)},
            "kernels": dict(zip(names, most, strict=True)),
            "entropy": round(float(torch.special.entr(p).sum(1).mean()), _DIGITS),
        }
    return found


def grouping_scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the scalars of a `grouping_record` by name, for TensorBoard and MLflow.

    >>> grouping_scalars({"conv_0": {"mean": {"ct": 0.2, "shared": 0.8}, "kernels": {"shared": 4}, "entropy": 0.5}})
    {'grouping/conv_0/ct': 0.2, 'grouping/conv_0/shared': 0.8, 'grouping/conv_0/entropy': 0.5}
    """
    return {
        f"grouping/{layer}/{name}": float(value)
        for layer, found in record.items()
        for name, value in {**found["mean"], "entropy": found["entropy"]}.items()
    }


def groupings_csv(network: nn.Module) -> str:
    """Return the text of groupings.csv: every kernel's probability of each group; empty without filter groups."""
    groupings = _groupings(network)
    if not groupings:
        return ""
    rows = [
        [layer, kernel, *(f"{value:.6f}" for value in row)]
        for layer, (_, p) in groupings.items()
        for kernel, row in enumerate(p.tolist())
    ]
    return csv_text(["layer", "kernel", *next(iter(groupings.values()))[0]], rows)


def _groupings(network: nn.Module | None) -> dict[str, tuple[list[str], torch.Tensor]]:
    """Return by layer the groups' names and the probabilities (K, G) in double precision."""
    inner: Any = None if network is None else unwrap(network)
    if not hasattr(inner, "groupings"):
        return {}
    names = inner.group_names()
    found = {layer: p.detach().cpu().double() for layer, p in inner.groupings().items()}
    return {layer: (names, p) for layer, p in found.items() if p.shape[1] == len(names)}
