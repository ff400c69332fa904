"""SFG, the network of stochastic filter groups of Bragman, Tanno et al. (2019), on HighResNet's residual blocks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from monai.networks.nets import HighResBlock
from torch import Tensor, nn

from ctan_monai.errors import ConfigError
from ctan_monai.networks.base import MultiTaskNetwork, NetworkPlan
from ctan_monai.networks.filter_groups import SHARED, FilterGroupLayer, GroupingPlan
from ctan_monai.networks.heads import head_for
from ctan_monai.networks.parts import Part, Site, features_part, shared_part
from ctan_monai.networks.registry import register
from ctan_monai.networks.sfg_base import AnnealedModule, FilterGroupNetwork, check_numbers, order_initial
from ctan_monai.networks.sfg_pruned import PrunedTrunk

WIDTHS = (16, 32, 64, 64, 64)  # kernels of the five layers
DILATIONS = (1, 2, 4)  # of the residual blocks after the first three
_BASELINES = ("single", "shared")  # groupings that leave groups out


class FilterGroupTrunk(AnnealedModule):
    """Trunk of five layers of stochastic filter groups, at the image's size throughout.

    Args:
        names: of the groups, tasks sorted by name, then `SHARED`.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        widths: kernels of each layer.
        repeats: residual blocks after each of the first three layers.
        plan: how kernels get their groups.
        annealing: see `AnnealedModule`.

    Source: SFG fig. 3 and section 2.3. Decides: B9, B10.
    """

    def __init__(
        self,
        names: Sequence[str],
        spatial_dims: int,
        in_channels: int,
        widths: Sequence[int],
        repeats: int,
        plan: GroupingPlan,
        annealing: tuple[float, float, float],
    ) -> None:
        super().__init__(annealing)
        self.spatial_dims = spatial_dims
        incoming, layers = in_channels, []
        for index, width in enumerate(widths):
            residual = [_residual(spatial_dims, width, repeats, index, plan.activation) for _ in names]
            merge = "none" if index + 1 == len(widths) else "convolve" if index < len(DILATIONS) else "sum"
            layers.append(FilterGroupLayer(names, spatial_dims, incoming, width, plan, residual, merge))
            incoming = width
        self.layers = nn.ModuleList(layers)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return each group's features (B, C, *S) of an image (B, in_channels, *S).

        Raises:
            ValueError: the image has another number of spatial dimensions.
        """
        if image.dim() != self.spatial_dims + 2:
            raise ValueError(f"expected an image of {self.spatial_dims + 2} dimensions (B, C, *S), got {image.shape}.")
        temperature = self.temperature()
        features = [image]
        for layer in self.layers:
            features = layer(features, temperature)  # G x (B, K, *S)
        if self.training:
            self.iteration += 1
        return features


class SeparateTrunks(nn.Module):
    """One trunk per task; nothing is shared.

    Args:
        branches: by task, sorted by name, a trunk of that task's group alone.
    """

    def __init__(self, branches: dict[str, nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return each task's features (B, C, *S)."""
        features: list[Tensor] = []
        for branch in self.branches.values():
            features.extend(branch(image))
        return features


@register("sfg", backbone="highresnet")
class SFG(FilterGroupNetwork):
    """SFG: learn which kernels serve one task and which serve all.

    Args:
        plan: tasks, image, and of the options of decoders ``slice_score``, see `ScoredHead`; ``full_resolution`` may
            be given and changes nothing, as the network works at the image's size.
        grouping: 'learned', or a baseline: 'single' (one network for each task), 'shared' (one for all, up to the
            heads; B11), 'mask' (equal parts of the kernels, fixed) or 'constant' (equal probabilities, fixed).
        layer_scale: factor of all layers' widths (16, 32, 64, 64, 64).
        repeats: residual blocks after each of the first three layers.
        initial, relaxation, sampling, answer, activation, speed: see `GroupingPlan`.
        temperature, rate, min_temperature: see `AnnealedModule`.
        l2, entropy: see `FilterGroupNetwork`.

    Raises:
        ConfigError: an option is unknown or out of range.

    Source: SFG eq. 2, section 2; docs/adr/0027. Decides: B1-B13.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        grouping: str = "learned",
        layer_scale: float = 1.0,
        repeats: int = 2,
        initial: Sequence[float] | str | None = None,
        relaxation: str = "hard",
        sampling: str = "batch",
        answer: str | None = None,
        activation: str = "prelu",
        temperature: float = 1.0,
        rate: float = 1e-4,
        min_temperature: float = 0.05,
        l2: float = 1e-6,
        entropy: float = 0.01,
        speed: float = 1.0,
    ) -> None:
        tasks, spatial_dims, in_channels, decoder_options = plan
        super().__init__(tasks, spatial_dims, l2, entropy)
        annealing = (temperature, rate, min_temperature)
        _check_size(layer_scale, repeats)
        check_numbers(self.method, annealing, l2, entropy, speed)
        self.independent_tasks = grouping == "single"
        names = sorted(task.name for task in tasks)
        initial = order_initial(tasks, initial)
        grouped = GroupingPlan("learned", initial, relaxation, sampling, answer, activation, speed)
        grouped = grouped if grouping in _BASELINES else replace(grouped, grouping=grouping)
        widths = [max(1, round(width * layer_scale)) for width in WIDTHS]

        def trunk(groups: Sequence[str]) -> FilterGroupTrunk:
            own = replace(grouped, initial=None) if len(groups) == 1 else grouped
            return FilterGroupTrunk(groups, spatial_dims, in_channels, widths, repeats, own, annealing)

        groups = [SHARED] if grouping == "shared" else names if grouping == "single" else [*names, SHARED]
        self.trunk: nn.Module = (
            SeparateTrunks({name: trunk([name]) for name in names}) if grouping == "single" else trunk(groups)
        )
        slice_score = decoder_options.get("slice_score", False)
        self.decoders = nn.ModuleDict(
            {task.name: head_for(task, spatial_dims, widths[-1], slice_score) for task in tasks}
        )
        self.places = [[groups.index(key) for key in (task.name, SHARED) if key in groups] for task in tasks]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, *S)."""
        features = self.trunk(image)  # G x (B, K, *S)
        logits: dict[str, Tensor] = {}
        for index, (name, decoder) in enumerate(self.decoders.items()):
            logits[name] = decoder([features[place] for place in self.places[index]])
        return logits

    def parts(self) -> list[Part]:
        """Return the parts: each layer's common parameters and shared features, and the heads' inputs, see `Part`."""
        if isinstance(self.trunk, SeparateTrunks):
            return []
        found: list[Part] = []
        layers: Any = self.trunk.layers
        for index, layer in enumerate(layers):
            module, place = f"trunk.layers.{index}", len(layer.groups) - 1
            found.append(shared_part(module, f"layer {index}"))
            site = Site(f"F_shared^{index}", module, (place,), output=True)
            found.append(features_part(site.label, None, site))
        for task, places in zip(self.tasks, self.places, strict=True):
            for index, (label, kind) in enumerate(zip(("query", "shared features"), ("query", "skip"), strict=True)):
                if index < len(places):
                    site = Site(label, f"decoders.{task.name}", (0, index))
                    found.append(Part(f"{label} of {task.name}", kind, task.name, (site,)))
        return found

    def for_inference(self) -> MultiTaskNetwork:
        """Return the pruned network, each group computing its own kernels alone; itself if groups are not fixed."""
        if any(module.answer != "map" for module in self._assignments()):
            return self
        made = copy.deepcopy(self)
        if isinstance(self.trunk, SeparateTrunks):
            made.trunk = SeparateTrunks({name: PrunedTrunk(branch) for name, branch in self.trunk.branches.items()})
        else:
            made.trunk = PrunedTrunk(self.trunk)
        return made.eval()


def _residual(spatial_dims: int, width: int, repeats: int, index: int, activation: str) -> nn.Module:
    if index >= len(DILATIONS):
        return nn.Identity()
    blocks = [
        HighResBlock(spatial_dims, width, width, kernels=(3, 3), dilation=DILATIONS[index], acti_type=activation)
        for _ in range(repeats)
    ]
    return nn.Sequential(*blocks)


def _check_size(layer_scale: float, repeats: int) -> None:
    for setting, value, right, wanted in (
        ("layer_scale", layer_scale, layer_scale > 0, "a positive number"),
        ("repeats", repeats, repeats >= 0, "a whole number of at least 0"),
    ):
        if not right:
            raise ConfigError(f"sfg: {setting}", f"{value} is out of range.", f"Give {wanted}.")
