"""Experiments, and a network that predicts with and without each exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.parts import Part, Site
from ctan_monai.networks.sites import Values, recording, replacing

OTHER, MEAN, HALF = "another case's", "the mean over cases", "0.5"
# kind of a part: by what its values are replaced; in the order in which they are shown
REPLACEMENTS: Mapping[str, tuple[str, ...]] = {
    "query": (MEAN, OTHER),
    "cross": (OTHER,),
    "mask": (HALF, MEAN, OTHER),
    "skip": (OTHER,),
}
IMAGE = "image"  # kind of the experiment that measures the answers for the other case's image
OWN = "own"


@dataclass(frozen=True)
class Experiment:
    """A part and its replacement.

    Args:
        part: name of the part.
        kind: of the part.
        task: whose part it is, None for that of several.
        replacement: `OTHER`, `MEAN` or `HALF`.
        sites: of the part.
    """

    part: str
    kind: str
    task: str | None
    replacement: str
    sites: tuple[Site, ...]


def plan_experiments(parts: Sequence[Part]) -> list[Experiment]:
    """List the experiments: the whole image of another case, then every replacement of every part."""
    found = [Experiment("the whole image", IMAGE, None, OTHER, ())]
    for kind, replacements in REPLACEMENTS.items():
        for part in parts:
            if part.kind == kind:
                found += [Experiment(part.name, kind, part.task, given, part.sites) for given in replacements]
    return found


class PairedNetwork:
    """Predict an image as trained and in each experiment; an inferer sees a network of many tasks.

    It takes (B, 2 C, *S): the image, then the other case's. The answers' names are ``own/<task>`` and
    ``<number of the experiment>/<task>``. Where a part is only read by what makes the answer of a task, only that is
    called again.

    Args:
        network: in evaluation mode.
        experiments: some of `plan_experiments`.
        means: for each site of a replacement by `MEAN` its mean, which broadcasts to its values.
    """

    training = False

    def __init__(
        self, network: MultiTaskNetwork, experiments: Sequence[Experiment], means: Mapping[Site, Tensor]
    ) -> None:
        self.network, self.experiments, self.means = network, experiments, means
        self.spatial_dims = network.spatial_dims
        self.tasks = [
            SimpleNamespace(name=f"{key}/{task.name}", channels=task.channels)
            for key in (OWN, *range(len(experiments)))
            for task in network.tasks
        ]
        self._modules = {site.module for experiment in experiments for site in experiment.sites}

    def __call__(self, pair: Tensor) -> dict[str, Tensor]:
        """Return the logits of all experiments."""
        image, donor = (part.contiguous() for part in pair.chunk(2, dim=1))  # (B, C, *S) each
        wanted = {site for tried in self.experiments if tried.replacement == OTHER for site in tried.sites}
        with recording(self.network, wanted) as donated:
            other = self.network(donor)
        own, heads = self._own(image)
        answers = {OWN: own}
        for index, tried in enumerate(self.experiments):
            if tried.kind == IMAGE:
                answers[str(index)] = other
            else:
                answers[str(index)] = self._answer(image, own, heads, self._values(tried, donated), tried)
        return {f"{key}/{task}": logits for key, found in answers.items() for task, logits in found.items()}

    def _values(self, tried: Experiment, donated: Values) -> Values:
        if tried.replacement == HALF:
            return {site: torch.tensor(0.5) for site in tried.sites}
        source = self.means if tried.replacement == MEAN else donated
        return {site: source[site] for site in tried.sites}

    def _own(self, image: Tensor) -> tuple[dict[str, Tensor], dict[str, tuple[str, Any]]]:
        """Predict as trained, and record the inputs of the modules that compute a task's logits."""
        seen: dict[str, tuple[Any, Any]] = {}

        def keep(name: str) -> Any:
            return lambda module, inputs, result: seen.update({name: (inputs, result)})

        handles = [self.network.get_submodule(name).register_forward_hook(keep(name)) for name in self._modules]
        try:
            own: dict[str, Tensor] = self.network(image)
        finally:
            for handle in handles:
                handle.remove()
        heads = {
            name: (task, inputs)
            for name, (inputs, result) in seen.items()
            for task, logits in own.items()
            if result is logits
        }
        return own, heads

    def _answer(
        self,
        image: Tensor,
        own: Mapping[str, Tensor],
        heads: Mapping[str, tuple[str, Any]],
        values: Values,
        tried: Experiment,
    ) -> dict[str, Tensor]:
        with replacing(self.network, values):
            if not all(site.module in heads and not site.output for site in tried.sites):
                found: dict[str, Tensor] = self.network(image)
                return found
            again = dict(own)
            for name in {site.module for site in tried.sites}:
                task, inputs = heads[name]
                head: nn.Module = self.network.get_submodule(name)
                again[task] = head(*inputs)
            return again
