"""Pool the predictions of a volume's slices to one per patient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.errors import ConfigError, check_choice

POOLINGS = ("mean", "max", "topk", "attention")
Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class SliceAnswers:
    """Predictions of a task for the slices of volumes.

    Args:
        logits: (B, D, K) of each slice.
        weights: (B, D, K) how much each counts in the pooled answer; they add up to 1 over the slices.
    """

    logits: Tensor
    weights: Tensor

    @property
    def pooled(self) -> Tensor:
        """(B, K) logits of the volumes."""
        return (self.weights * self.logits).sum(1)


class SlicePoolingInferer(Inferer):  # type: ignore[misc]  # monai has no types
    """Apply a network to every slice of a volume, and pool the image-level predictions.

    * Image and network have the same number of spatial dimensions (slices on their own, or volumes and a 3D network):
      one call.
    * A 2D network on volumes (B, C, H, W, D): axial slices, pooled to (B, K). In training all slices are one batch,
      otherwise ``slice_batch`` at a time, so that memory does not depend on how many there are.

    A pooled logit is a weighted mean of the slices' logits, for each class: 'mean': all count alike; 'max': the
    largest; 'topk': a fraction of the slices, those with the largest; 'attention': as the network's own scores say
    (``slice_score`` of the decoders, see `networks.decoders.ScoredHead`).

    Attributes:
        latest: by task, what was said of the slices in the latest call; empty where nothing was pooled.

    Args:
        pooling: 'mean', 'max', 'topk' or 'attention'.
        slice_batch: slices in a batch.
        top_fraction: fraction of the slices for 'topk', at least one slice.

    Raises:
        ConfigError: an option is unknown, or (when called) the network has scores and they are not used, or has none.
    """

    @takes_old_arguments("engines.SlicePoolingInferer")
    def __init__(self, pooling: str = "mean", slice_batch: int = 16, top_fraction: float = 0.1) -> None:
        check_choice("pooling", pooling, POOLINGS)
        if not isinstance(slice_batch, int) or slice_batch < 1:
            raise ConfigError("slice_batch", f"{slice_batch!r} was found.", "Give a number of slices, for example 16.")
        if not isinstance(top_fraction, int | float) or not 0 < top_fraction <= 1:
            raise ConfigError("top_fraction", f"{top_fraction!r} was found.", "Give a share above 0, 1 at most.")
        self.pooling, self.slice_batch, self.top_fraction = pooling, slice_batch, top_fraction
        self.latest: dict[str, SliceAnswers] = {}

    def __call__(self, inputs: Tensor, network: Callable[..., Outputs], *args: Any, **kwargs: Any) -> Outputs:
        """Compute the logits of every task.

        Args:
            inputs: (B, C, H, W), (B, C, H, W, D).
            network: a multi-task network whose tasks have one answer per image; also wrapped or compiled.
            args: passed on to every call of the network.
            kwargs: passed on to every call of the network.

        Returns:
            Task name -> float32 (B, K).
        """
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        inner: Any = unwrap(network) if isinstance(network, torch.nn.Module) else network
        dims = int(getattr(inner, "spatial_dims", 2))
        self.latest = {}
        if image.ndim - 2 == dims:
            return {name: logits.float() for name, logits in network(image, *args, **kwargs).items()}
        if (dims, image.ndim - 2) != (2, 3):
            found = f"the network takes {dims}D images, found an image of shape {tuple(image.shape)}."
            raise ConfigError("spatial_dims", found, "Create the network with the image's spatial_dims.")
        slices = image.movedim(-1, 1)  # (B, D, C, H, W), a view
        answers = self._of_slices(slices, lambda part: network(part, *args, **kwargs), bool(inner.training))
        channels = {task.name: task.channels for task in inner.tasks}
        found_by_task = {name: self._weigh(name, found, channels[name]) for name, found in answers.items()}
        self.latest = {
            name: SliceAnswers(found.logits.detach(), found.weights.detach()) for name, found in found_by_task.items()
        }
        return {name: found.pooled for name, found in found_by_task.items()}

    def _of_slices(self, slices: Tensor, predict: Callable[[Tensor], Outputs], training: bool) -> Outputs:
        """Return task name -> (B, D, K or K + 1) from (B, D, C, H, W)."""
        batch, depth = slices.shape[:2]
        if training:  # one batch, whose statistics are those of all slices of all patients
            whole = predict(slices.flatten(0, 1).contiguous())
            return {name: found.float().reshape(batch, depth, -1) for name, found in whole.items()}
        parts: dict[str, list[Tensor]] = {}
        for case in range(batch):
            for start in range(0, depth, self.slice_batch):
                for name, found in predict(slices[case, start : start + self.slice_batch].contiguous()).items():
                    parts.setdefault(name, []).append(found.float())
        return {name: torch.cat(found).reshape(batch, depth, -1) for name, found in parts.items()}

    def _weigh(self, name: str, found: Tensor, channels: int) -> SliceAnswers:
        """Compute the weight of each slice."""
        scored = found.shape[-1] == channels + 1
        if scored != (self.pooling == "attention"):
            reason = f"{self.pooling!r}, but the network was made {'with' if scored else 'without'} slice_score"
            raise ConfigError("pooling", f"{reason} ({name}).", "Use the pooling that the network was trained for.")
        logits = found[..., :channels]  # (B, D, K)
        depth = logits.shape[1]
        if scored:
            weights = torch.softmax(found[..., channels:], dim=1).expand_as(logits)
        else:
            count = {"mean": depth, "max": 1, "topk": max(1, math.ceil(self.top_fraction * depth))}[self.pooling]
            chosen = logits.topk(count, dim=1).indices  # (B, count, K)
            weights = torch.zeros_like(logits).scatter(1, chosen, 1 / count)
        return SliceAnswers(logits, weights)
