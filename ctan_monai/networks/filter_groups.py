"""Stochastic filter groups: convolutions each of whose kernels serves one task or all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.blocks import ADN
from torch import Tensor, nn

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.networks.blocks import convolution
from ctan_monai.networks.kept_gradients import kept_convolution, kept_kernels, kept_prelu

SHARED = "_shared"  # key of the shared group; no task's name begins with _


@dataclass(frozen=True)
class GroupingPlan:
    """Options of the grouping of kernels, the same for all layers of a network.

    Args:
        grouping: 'learned'; or a baseline: 'mask' (equal parts of the kernels, fixed) or 'constant' (probabilities
            fixed, a group is drawn at every step).
        initial: probabilities of the groups at the start, the tasks' in order and then the shared one's; None for
            equal ones, 'dirichlet' to draw each kernel's from Dirichlet(1, ..., 1).
        relaxation: what a training step uses, 'hard' (one group each, straight-through gradient) or 'soft' (the
            relaxed sample).
        sampling: a group for each 'batch' or each 'example'.
        answer: outside training, 'map' (each kernel's most probable group), 'mean' (every group, weighted by its
            probability) or 'sample'; None takes 'mean' for constant probabilities and 'map' otherwise.
        activation: 'prelu' or 'relu'.
        speed: how many times as far as a weight a learned log probability moves in a step of Adam. Short trainings need
            more than 1: a step moves it by about the learning rate, and log 9 lies between even and certain.
        method: whose options they are, for messages.

    Raises:
        ConfigError: an option is unknown.

    Source: SFG section 2. Decides: B1 (sampling), B4 (initial), B5 (answer), B7 (activation), B13 (relaxation).
    """

    grouping: str = "learned"
    initial: Sequence[float] | str | None = None
    relaxation: str = "hard"
    sampling: str = "batch"
    answer: str | None = None
    activation: str = "prelu"
    speed: float = 1.0
    method: str = "sfg"

    def __post_init__(self) -> None:
        """Check the options."""
        for setting, value, allowed in (
            ("grouping", self.grouping, ("learned", "mask", "constant")),
            ("relaxation", self.relaxation, ("hard", "soft")),
            ("sampling", self.sampling, ("batch", "example")),
            ("answer", self.answer, (None, "map", "mean", "sample")),
            ("activation", self.activation, ("prelu", "relu")),
        ):
            check_choice(f"{self.method}: {setting}", value, allowed)

    def start(self, kernels: int, groups: int) -> Tensor:
        """Return the initial log probabilities (K, G).

        Raises:
            ConfigError: ``initial`` is no distribution over the groups.
        """
        if self.grouping == "mask":
            place = torch.arange(kernels) * groups // kernels  # K/G kernels each
            return torch.nn.functional.one_hot(place, groups).float().log()
        if self.initial == "dirichlet":
            return torch.distributions.Dirichlet(torch.ones(groups)).sample((kernels,)).log()
        equal = [1.0] * groups
        given = torch.tensor(equal if self.initial is None else [float(value) for value in self.initial])
        if len(given) != groups or (given < 0).any() or not given.sum() > 0:
            found = f"{self.initial!r} is no distribution over {groups} groups."
            raise ConfigError(
                f"{self.method}: initial", found, "Give each task's probability, then the shared group's."
            )
        if self.grouping == "learned" and (given == 0).any():
            found = f"{self.initial!r} has a 0, which no gradient changes."
            raise ConfigError(f"{self.method}: initial", found, "Give positive probabilities, or grouping: constant.")
        return (given / given.sum()).log().repeat(kernels, 1)


class KernelGroups(nn.Module):
    """Learned assignment of each of K kernels to one of G groups.

    In training z ~ GumbelSoftmax(log p, temperature) for each kernel.

    Args:
        kernels: K.
        groups: G.
        plan: options.

    Source: SFG section 2; Jang, Gu, Poole 2017, eq. 2. Decides: B2 (noise on log p), B13.
    """

    def __init__(self, kernels: int, groups: int, plan: GroupingPlan) -> None:
        super().__init__()
        self.learned = plan.grouping == "learned" and groups > 1
        self.hard, self.per_example = plan.relaxation == "hard", plan.sampling == "example"
        self.answer = plan.answer or ("mean" if plan.grouping == "constant" else "map")
        start = plan.start(kernels, groups)
        self.speed = plan.speed if self.learned else 1.0
        if self.learned:
            self.logits = nn.Parameter(start / self.speed)
        else:
            self.register_buffer("logits", start)

    def probabilities(self) -> Tensor:
        """Return p, (K, G)."""
        return torch.softmax(self.speed * self.logits, dim=1)

    def forward(self, temperature: Tensor, batch: int) -> Tensor:
        """Return z, (1 or B, K, G); rows of 0 and 1, or that sum to 1."""
        if self.training or self.answer == "sample":
            return self.draw(temperature, batch if self.per_example else 1)
        p = self.probabilities()
        return p[None] if self.answer == "mean" else one_hot(p)[None]

    def draw(self, temperature: Tensor, count: int) -> Tensor:
        """Return samples (count, K, G) of the grouping."""
        log_p = torch.log_softmax(self.speed * self.logits, dim=1)
        uniform = torch.rand([count, log_p.shape[0], log_p.shape[1]], device=log_p.device, dtype=log_p.dtype)
        noise = -torch.log(-torch.log(uniform.clamp(1e-37, 1 - 1e-7)))  # Gumbel(0, 1)
        soft = torch.softmax((log_p + noise) / temperature.to(log_p.dtype), dim=-1)
        if not self.hard:
            return soft
        return one_hot(soft) + (soft - soft.detach())  # exactly 0 and 1, with the gradient of soft


def one_hot(p: Tensor) -> Tensor:
    """Return the one-hot argmax over the last dimension (the first one of equals)."""
    return torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)


class Merge(nn.Module):
    """Merge a task's own features with the shared ones.

    Args:
        spatial_dims: 2 or 3.
        channels: K of each.
        parts: 2, or 1 where nothing is shared.
        convolve: concatenate and convolve 1x1 (after residual blocks) instead of adding.

    Source: SFG section 2.3; NiftyNet's `concat_tensors`. Decides: B9.
    """

    def __init__(self, spatial_dims: int, channels: int, parts: int, convolve: bool) -> None:
        super().__init__()
        self.parts = parts
        self.join: Any = None
        if convolve:
            self.join = convolution(spatial_dims, parts * channels, channels, 1)

    def forward(self, own: Tensor, shared: Tensor) -> Tensor:
        """Return (B, K, *S) from two tensors of that shape."""
        if self.join is None:
            return own + shared if self.parts == 2 else own
        if self.parts == 2 and own.stride(1) == 1:  # memory channels last: matrix products, nothing is concatenated
            own_rows, shared_rows = own.movedim(1, -1), shared.movedim(1, -1)  # (B, *S, K)
            weights = self.join.weight.flatten(1).t().chunk(2)  # (K, K) each
            added = torch.addmm(own_rows.flatten(0, -2) @ weights[0], shared_rows.flatten(0, -2), weights[1])
            return added.reshape(own_rows.shape).movedim(-1, 1)
        joined: Tensor = self.join(torch.cat([own, shared], dim=1) if self.parts == 2 else own)
        return joined


class Merging(nn.Module):
    """Merge each task's features with the shared ones, which stay unchanged.

    Args:
        names: of the groups, tasks sorted by name, then `SHARED`.
        spatial_dims: 2 or 3.
        channels: K of each.
        merge: 'convolve', 'sum' or 'none' (all go on as they are).
    """

    def __init__(self, names: Sequence[str], spatial_dims: int, channels: int, merge: str) -> None:
        super().__init__()
        own = [] if merge == "none" else [name for name in names if name != SHARED]
        parts = 2 if SHARED in names else 1
        self.merges = nn.ModuleDict({name: Merge(spatial_dims, channels, parts, merge == "convolve") for name in own})

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return G tensors (B, K, *S) from G of that shape."""
        merged: list[Tensor] = []
        for index, merge in enumerate(self.merges.values()):
            merged.append(merge(features[index], features[-1]))
        return merged + features[len(merged) :]


class GroupPath(nn.Module):
    """Path of one group: normalization, activation, mask, residual blocks.

    The mask comes after normalization and activation: for a kept kernel that is z h(BN(conv)), as with BN after the
    mask, and the running statistics are those of the kernel, however often it was in the group. A group without any
    kernel gives exact zeros: the residual blocks' shifts would make a constant of it.

    Args:
        spatial_dims: 2 or 3.
        channels: K.
        residual: the residual blocks; nn.Identity for none.
        activation: 'prelu', 'relu' or '' for none.

    Source: SFG section 2.3. Decides: B6, B7.
    """

    def __init__(self, spatial_dims: int, channels: int, residual: nn.Module, activation: str) -> None:
        super().__init__()
        self.head = ADN("NA", channels, act=activation or None, norm="batch", norm_dim=spatial_dims)
        self.residual = residual
        self.blocks, self.prelu = not isinstance(residual, nn.Identity), activation == "prelu"

    def forward(self, features: Tensor, z: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return (B, K, *S) from the convolution's (B, K, *S) and the group's column (1 or B, K) of z.

        Args:
            features: the convolution's.
            z: of 0 and 1, or between.
            kept: where z is 1, if it is 0 elsewhere, (1, K), and only that part is to be computed backwards.
        """
        over_space = [z.shape[0], z.shape[1]] + [1] * (features.dim() - 2)
        mask = z.to(features.dtype).reshape(over_space)  # (1 or B, K, 1, ..)
        occupied = (mask.detach() > 0).any(dim=1, keepdim=True).to(features.dtype)  # (1 or B, 1, 1, ..)
        if torch.jit.is_scripting() or kept is None or not self.prelu:
            masked = self.head(features) * mask
        else:
            masked = kept_prelu(self.head.N(features), self.head.A.weight, mask.flatten(), kept)
        found: Tensor = self.residual(masked) * occupied if self.blocks else masked
        return found


class FilterGroupLayer(nn.Module):
    """Layer of stochastic filter groups: convolution, each group's residual blocks, and merging.

    F_g = z_g h(BN_g(conv(x_g, W))): every kernel answers to every group's input, as the gradient of z needs it; what
    z_g hides has no other gradient. Then x_t = merge(F_t, F_shared) for a task's own group and x_shared = F_shared.

    Args:
        names: of the groups, tasks sorted by name, then `SHARED`.
        spatial_dims: 2 or 3.
        in_channels: channels of each input.
        out_channels: K.
        plan: options.
        residual: makes the residual blocks of a group.
        merge: 'convolve', 'sum' or 'none' (F_g goes out as it is).
        stride, activate: of the convolution; False leaves h out, as a shortcut is added.

    Source: SFG section 2. Decides: B9.
    """

    def __init__(
        self,
        names: Sequence[str],
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        plan: GroupingPlan,
        residual: Sequence[nn.Module],
        merge: str,
        stride: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.convolve: Any = convolution(spatial_dims, in_channels, out_channels, 3, stride)
        self.assign = KernelGroups(out_channels, len(names), plan)
        activation, norm = plan.activation if activate else "", (spatial_dims, out_channels)
        paths = zip(names, residual, strict=True)
        self.groups = nn.ModuleDict({name: GroupPath(*norm, blocks, activation) for name, blocks in paths})
        self.merging = Merging(names, spatial_dims, out_channels, merge)

    def forward(self, inputs: list[Tensor], temperature: Tensor) -> list[Tensor]:
        """Return G tensors (B, K, *S).

        Args:
            inputs: G tensors (B, C, *S), or the one that all groups have in common.
            temperature: of the samples, a scalar.
        """
        z = self.assign(temperature, inputs[0].shape[0])  # (1 or B, K, G)
        common = self.convolve(inputs[0]) if len(inputs) == 1 else inputs[0]
        kept: list[Tensor] = []
        if not torch.jit.is_scripting():
            kept = kept_kernels(z) if self.training and self.assign.hard else []
        features: list[Tensor] = []
        for index, path in enumerate(self.groups.values()):
            own = common
            if len(inputs) > 1:
                if torch.jit.is_scripting() or len(kept) == 0:
                    own = self.convolve(inputs[index])
                else:
                    own = kept_convolution(inputs[index], self.convolve.weight, kept[index], self.convolve.stride)
            features.append(path(own, z[:, :, index], kept[index] if len(kept) > 0 else None))
        merged: list[Tensor] = self.merging(features)
        return merged
