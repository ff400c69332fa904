"""What networks of stochastic filter groups have in common, whatever they are built of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.filter_groups import FilterGroupLayer, KernelGroups
from ctan_monai.networks.parts import Site
from ctan_monai.tasks import Task


class AnnealedModule(nn.Module):
    """Base of trunks whose samples' temperature falls with the training iterations.

    Args:
        annealing: temperature at the start, rate r and smallest temperature: max(smallest, start exp(-r iteration)).

    Decides: B3 (per training iteration).
    """

    if TYPE_CHECKING:
        iteration: Tensor

    def __init__(self, annealing: tuple[float, float, float]) -> None:
        super().__init__()
        self.start, self.rate, self.smallest = annealing
        self.register_buffer("iteration", torch.zeros((), dtype=torch.long))

    def temperature(self) -> Tensor:
        """Return the samples' temperature at this iteration, a scalar."""
        return (self.start * torch.exp(self.iteration * -self.rate)).clamp(min=self.smallest)


class FilterGroupNetwork(MultiTaskNetwork):
    """Base class of networks of filter groups: the penalty, and which kernels serve which task.

    Args:
        tasks: at least one task.
        spatial_dims: 2 or 3.
        l2: lambda_1 of the penalty, the factor of the kernels' squared norm.
        entropy: lambda_2, the factor of the grouping's entropy, mean over the kernels of a layer, sum over layers.

    Source: SFG eq. 2. Decides: B8.
    """

    full_size = True
    task_containers: ClassVar[tuple[str, ...]] = ("decoders", "groups", "merges", "branches", "norms")

    def __init__(self, tasks: tuple[Task, ...], spatial_dims: int, l2: float, entropy: float) -> None:
        super().__init__(tasks, spatial_dims)
        self.l2, self.entropy = l2, entropy

    def penalty(self) -> dict[str, Tensor]:
        """Return lambda_1 sum ||w||^2 and -lambda_2 sum H(p): KL to the priors, up to constants. Source: SFG eq. 2."""
        terms: dict[str, Tensor] = {}
        if self.l2:
            norms = [w.square().sum() for key, w in self.named_parameters() if w.dim() > 1 and "assign" not in key]
            terms["l2"] = self.l2 * torch.stack(norms).sum()
        learned = [module.probabilities() for module in self._assignments() if module.learned]
        if self.entropy and learned:
            entropies = [torch.special.entr(p).sum(1).mean() for p in learned]
            terms["entropy"] = -self.entropy * torch.stack(entropies).sum()
        return terms

    def groupings(self) -> dict[str, Tensor]:
        """Return the probabilities (K, T + 1) by layer, in `group_names`' order."""
        return {f"conv_{index}": module.probabilities() for index, module in enumerate(self._assignments())}

    def group_names(self) -> list[str]:
        """Return the names of the groups: the tasks, sorted, and 'shared'."""
        return [*sorted(task.name for task in self.tasks), "shared"]

    def group_sites(self) -> dict[str, list[Site]]:
        """Return by layer where each group's features are before its mask, in `group_names`' order."""
        layers = [(key, module) for key, module in self.named_modules() if isinstance(module, FilterGroupLayer)]
        return {
            f"conv_{index}": [Site(name, f"{key}.groups.{name}.head", output=True) for name in layer.groups]
            for index, (key, layer) in enumerate(layers)
        }

    def answer_by(self, answer: str) -> None:
        """Set the grouping outside training: 'map', 'mean' or 'sample', see `GroupingPlan`."""
        check_choice(f"{self.method}: answer", answer, ("map", "mean", "sample"))
        for module in self._assignments():
            module.answer = answer

    def _assignments(self) -> list[KernelGroups]:
        return [module for module in self.modules() if isinstance(module, KernelGroups)]


def order_initial(tasks: Sequence[Task], initial: Sequence[float] | str | None) -> Sequence[float] | str | None:
    """Bring probabilities that were given in the tasks' order into that of the groups, tasks sorted by name."""
    if initial is None or isinstance(initial, str) or len(initial) != len(tasks) + 1:
        return initial
    by_name = {task.name: value for task, value in zip(tasks, initial[:-1], strict=True)}
    return [*(by_name[name] for name in sorted(by_name)), initial[-1]]


def check_numbers(method: str, annealing: tuple[float, float, float], l2: float, entropy: float, speed: float) -> None:
    """Refuse options that are out of range.

    Raises:
        ConfigError: one is.
    """
    start, rate, smallest = annealing
    for setting, value, right, wanted in (
        ("temperature", start, start > 0, "a positive number"),
        ("rate", rate, rate >= 0, "a number of at least 0"),
        ("min_temperature", smallest, 0 < smallest <= start, "a positive number, not above temperature"),
        ("l2", l2, l2 >= 0, "a number of at least 0"),
        ("entropy", entropy, entropy >= 0, "a number of at least 0"),
        ("speed", speed, speed > 0, "a positive number"),
    ):
        if not right:
            raise ConfigError(f"{method}: {setting}", f"{value} is out of range.", f"Give {wanted}.")
