"""The share of the logits' variance that one part of a network explains."""

from __future__ import annotations

import torch
from torch import Tensor


def variance_share(change: Tensor, logits: Tensor) -> float:
    """Compute the share of the logits' variance that a part explains: var(change) / (2 var(logits)).

    It is 0 for a part that nothing depends on, and about 1 if all that an image says comes through the part: then the
    change is the difference of two images' logits, whose variance is twice that of one.

    Variances are over images, at each channel and position, and summed over these before the ratio is taken: an offset
    between channels and what all images have in common count nowhere. The change's divides by N, as the mean of what N
    images exchange among themselves is known to be 0; the logits' by N - 1.

    Args:
        change: (N, K) or (N, K, *S), logits when the part comes from another image, minus the image's own.
        logits: the same shape, the image's own.

    Returns:
        The share; nan where the logits do not vary, or for fewer than two images.

    Raises:
        ValueError: the shapes differ.

    Source: the total effect of an input, Jansen 1999, "Analysis of variance designs for model output", Computer Physics
    Communications 117, summed over outputs as by Gamboa et al. 2014, "Sensitivity analysis for multidimensional and
    functional outputs", Electronic Journal of Statistics 8.

    >>> logits = torch.tensor([[1.0], [2.0], [3.0]])
    >>> variance_share(logits.roll(1, 0) - logits, logits)  # (3 - 1, 1 - 2, 2 - 3): variance 2, that of logits 1
    1.0
    """
    if change.shape != logits.shape:
        raise ValueError(f"expected two tensors of one shape, got {tuple(change.shape)} and {tuple(logits.shape)}.")
    if len(logits) < 2:
        return float("nan")
    above = torch.var(change.double(), dim=0, correction=0).sum()
    below = torch.var(logits.double(), dim=0).sum()
    return float(above / (2 * below)) if below > 0 else float("nan")
