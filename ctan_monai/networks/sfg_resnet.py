"""SFG-ResNet: stochastic filter groups in place of the 3x3 convolutions of the shared ResNet, with its decoders."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ctan_monai.errors import ConfigError
from ctan_monai.networks.base import MultiTaskNetwork, plan_decoders
from ctan_monai.networks.decoders import decoder_for
from ctan_monai.networks.encoder import Features, ResNetEncoder, shallow_features
from ctan_monai.networks.filter_groups import SHARED, FilterGroupLayer, GroupingPlan
from ctan_monai.networks.parts import Part, Site, decoder_parts, features_part, shared_part
from ctan_monai.networks.registry import register
from ctan_monai.networks.sfg_base import AnnealedModule, FilterGroupNetwork, check_numbers, order_initial
from ctan_monai.networks.sfg_resnet_pruned import PrunedBlock
from ctan_monai.tasks import Task


class CommonConvolution(nn.Module):
    """A 1x1 convolution without groups, with a batch norm for each group's features.

    Args:
        names: of the groups.
        convolve: the convolution.
        norm: its batch norm, where each group's starts.
        activate: whether a ReLU follows.
    """

    def __init__(self, names: Sequence[str], convolve: nn.Module, norm: nn.Module, activate: bool) -> None:
        super().__init__()
        self.convolve = convolve
        self.norms = nn.ModuleDict({name: copy.deepcopy(norm) for name in names})
        self.act = nn.ReLU() if activate else nn.Identity()

    def forward(self, inputs: list[Tensor], temperature: Tensor) -> list[Tensor]:
        """Return G tensors (B, K, *S); arguments as for `FilterGroupLayer`, the temperature is not used."""
        common = self.convolve(inputs[0])
        found: list[Tensor] = []
        for index, norm in enumerate(self.norms.values()):
            found.append(self.act(norm(self.convolve(inputs[index]) if index > 0 and len(inputs) > 1 else common)))
        return found


class GroupedBlock(nn.Module):
    """Residual block of a ResNet whose 3x3 convolutions have filter groups.

    x_g + F_g enters the ReLU, with F_t merged by adding, as nothing lies between: a task's features are the shortcut
    where a kernel is another task's.

    Args:
        names: of the groups.
        block: MONAI's `ResNetBlock` or `ResNetBottleneck`, whose weights are taken over.
        spatial_dims: 2 or 3.
        plan: options.
        going_on: of the groups those whose features are read later; the first ones.
    """

    def __init__(
        self, names: Sequence[str], block: Any, spatial_dims: int, plan: GroupingPlan, going_on: Sequence[str]
    ) -> None:
        super().__init__()
        self.groups, self.in_channels, self.going_on = len(names), block.conv1.in_channels, len(going_on)

        def grouped(convolve: Any, norm: nn.Module, activate: bool) -> FilterGroupLayer:
            none, size = [nn.Identity() for _ in names], (convolve.in_channels, convolve.out_channels)
            made = FilterGroupLayer(names, spatial_dims, *size, plan, none, "sum", convolve.stride[0], activate)
            made.convolve.load_state_dict(convolve.state_dict())
            paths: Any = made.groups.values()
            for path in paths:
                path.head.N.load_state_dict(norm.state_dict())
            return made

        if hasattr(block, "conv3"):
            layers = [
                CommonConvolution(names, block.conv1, block.bn1, activate=True),
                grouped(block.conv2, block.bn2, activate=True),
                CommonConvolution(going_on, block.conv3, block.bn3, activate=False),
            ]
        else:
            layers = [grouped(block.conv1, block.bn1, activate=True), grouped(block.conv2, block.bn2, activate=False)]
        self.layers = nn.ModuleList(layers)
        shortcut = (
            []
            if block.downsample is None
            else [CommonConvolution(going_on, block.downsample[0], block.downsample[1], activate=False)]
        )
        self.shortcut = nn.ModuleList(shortcut)
        self.act = nn.ReLU(inplace=True)

    def forward(self, inputs: list[Tensor], temperature: Tensor) -> list[Tensor]:
        """Return G tensors (B, K, *S / stride) from G such tensors, or from the one that they have in common."""
        features = inputs
        for layer in self.layers:
            features = layer(features, temperature)
        around = inputs
        for layer in self.shortcut:
            around = layer(around, temperature)
        found: list[Tensor] = []
        for index in range(self.going_on):
            found.append(self.act(features[index] + around[index if len(around) > 1 else 0]))
        return found


class GroupedStage(nn.Module):
    """One stage, split as `Stage` is."""

    def __init__(self, first: list[GroupedBlock], last: list[GroupedBlock]) -> None:
        super().__init__()
        self.first, self.last = nn.ModuleList(first), nn.ModuleList(last)

    def forward(self, features: list[Tensor], temperature: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return each group's U^j and P^j, both (B, C_j, *S_j); of the last stage P^j of tasks alone."""
        for block in self.first:
            features = block(features, temperature)
        u = features
        for block in self.last:
            features = block(features, temperature)
        return u, features


class GroupedEncoder(AnnealedModule):
    """`ResNetEncoder` with filter groups in its 3x3 convolutions; the stem serves all.

    Args:
        names: of the groups, tasks sorted by name, then `SHARED`.
        encoder: whose weights are taken over.
        plan: how kernels get their groups.
        annealing: see `AnnealedModule`.
    """

    def __init__(
        self,
        names: Sequence[str],
        encoder: ResNetEncoder,
        plan: GroupingPlan,
        annealing: tuple[float, float, float],
    ) -> None:
        super().__init__(annealing)
        self.spatial_dims, self.shallow = encoder.spatial_dims, len(encoder.shallow_channels)
        self.stem, self.pool = encoder.stem, encoder.pool

        final = encoder.stages[-1].last[-1]  # type: ignore[index]  # of a Stage

        def grouped(blocks: Any) -> list[GroupedBlock]:
            return [
                GroupedBlock(names, block, self.spatial_dims, plan, names[:-1] if block is final else names)
                for block in blocks
            ]

        self.stages = nn.ModuleList([GroupedStage(grouped(one.first), grouped(one.last)) for one in encoder.stages])

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[list[Tensor]], list[list[Tensor]]]:
        """Return the shallow features of an image (B, in_channels, *S), and U^j and P^j of each group, by stage.

        Raises:
            ValueError: the image has another number of spatial dimensions.
        """
        if image.dim() != self.spatial_dims + 2:
            raise ValueError(f"expected an image of {self.spatial_dims + 2} dimensions (B, C, *S), got {image.shape}.")
        embedding = self.stem(image)
        shallow = shallow_features(self.shallow, embedding, image)
        temperature = self.temperature()
        features = [self.pool(embedding)]
        u: list[list[Tensor]] = []
        p: list[list[Tensor]] = []
        for stage in self.stages:
            first, features = stage(features, temperature)
            u.append(first)
            p.append(features)
        if self.training:
            self.iteration += 1
        return shallow, u, p


@register("sfg_resnet")
class SFGResNet(FilterGroupNetwork):
    """SFG-ResNet: an encoder whose 3x3 kernels learn which serve one task and which serve all; one decoder per task.

    Args:
        tasks: at least one task.
        encoder: the shared encoder, whose weights are where training starts.
        decoder_options: see `DecoderPlan`.
        grouping: 'learned', or a baseline: 'mask' (equal parts of the kernels, fixed) or 'constant' (equal
            probabilities, fixed).
        initial, relaxation, sampling, answer, speed: see `GroupingPlan`.
        temperature, rate, min_temperature: see `AnnealedModule`.
        l2, entropy: see `FilterGroupNetwork`; of many kernels, the 0.01 of `SFG` keeps the groups even.

    Raises:
        ConfigError: an option is unknown or out of range.

    Source: SFG section 2, on He et al. 2016; docs/adr/0027.
    """

    def __init__(
        self,
        tasks: tuple[Task, ...],
        encoder: ResNetEncoder,
        decoder_options: dict[str, Any],
        grouping: str = "learned",
        initial: Sequence[float] | str | None = None,
        relaxation: str = "hard",
        sampling: str = "batch",
        answer: str | None = None,
        temperature: float = 1.0,
        rate: float = 1e-4,
        min_temperature: float = 0.05,
        l2: float = 1e-6,
        entropy: float = 1e-4,
        speed: float = 1.0,
    ) -> None:
        super().__init__(tasks, encoder.spatial_dims, l2, entropy)
        annealing = (temperature, rate, min_temperature)
        check_numbers(self.method, annealing, l2, entropy, speed)
        if (same := {"single": "stl", "shared": "hps"}.get(grouping)) is not None:
            found = f"with {grouping!r} it is the network of another method."
            raise ConfigError(f"{self.method}: grouping", found, f"Use --method {same}.")
        options = (order_initial(tasks, initial), relaxation, sampling, answer, "relu", speed, self.method)
        plan = GroupingPlan(grouping, *options)
        groups = [*sorted(task.name for task in tasks), SHARED]
        decoders = plan_decoders(encoder, encoder.channels[-1], decoder_options)
        self.encoder: Any = GroupedEncoder(groups, encoder, plan, annealing)
        self.decoders = nn.ModuleDict({task.name: decoder_for(task, decoders) for task in tasks})
        self.places = [groups.index(task.name) for task in tasks]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, *S)."""
        shallow, u, p = self.encoder(image)
        logits: dict[str, Tensor] = {}
        for index, (name, decoder) in enumerate(self.decoders.items()):
            group = self.places[index]
            features = Features(shallow, [stage[group] for stage in u], [stage[group] for stage in p])
            logits[name] = decoder(features.p[3], features, image)
        return logits

    def parts(self) -> list[Part]:
        """Return the parts: stem and stages, the shared features of each, and what decoders read, see `Part`."""
        found = [shared_part("encoder.stem", "stem")]
        for index in range(len(self.encoder.stages)):
            name, label = f"encoder.stages.{index}", f"P_shared^{index + 1}"
            found.append(shared_part(name, f"stage {index + 1}"))
            if index + 1 < len(self.encoder.stages):  # of the last stage nothing reads them
                found.append(features_part(label, None, Site(label, name, (1, len(self.tasks)), output=True)))
        return [*found, *decoder_parts(self.decoders.items())]

    def for_inference(self) -> MultiTaskNetwork:
        """Return the pruned network, each group computing its own kernels alone; itself if groups are not fixed."""
        if any(module.answer != "map" for module in self._assignments()):
            return self
        made = copy.deepcopy(self).eval()
        for stage in made.encoder.stages:
            stage.first = nn.ModuleList([PrunedBlock(block) for block in stage.first])
            stage.last = nn.ModuleList([PrunedBlock(block) for block in stage.last])
        return made
