"""The decoders of MT-ESTAN: one for segmentations, a branch of dense layers for classifications."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.networks.decoders import DecoderPlan, ScoredHead, decoder_for
from ctan_monai.networks.encoder import Features
from ctan_monai.networks.estan import Taps, conv_relu, crop
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, unregistered


@dataclass(frozen=True)
class EstanPlan:
    """Sizes and options of MT-ESTAN's decoders.

    Args:
        small: channels of M^1 .. M^5.
        early: channels of `Taps`' early.
        out: channels of `Taps`' out.
        attended: channels of `Taps`' attended.
        dense: 'four' or 'three' dense layers of the classification branch (docs/adr/0032, C1).
        dropout: probability after the first of them.
        package: the plan of the decoders that this package uses for all other kinds of task.
    """

    small: list[int]
    early: list[int]
    out: list[int]
    attended: int
    dense: str
    dropout: float
    package: DecoderPlan

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("dense", self.dense, ("four", "three"))
        if not 0 <= self.dropout < 1:
            raise ConfigError("dropout", f"found {self.dropout}.", "Use 0 or more, and less than 1.")


class EstanUpBlock(nn.Module):
    """Up-sampling block: merge the ResNet's two taps, upsample, merge the small-tumor path, and convolve."""

    def __init__(self, in_channels: int, out: int, early: int, width: int, last: bool) -> None:
        super().__init__()
        self.first = conv_relu(in_channels + out, width, (3, 3))
        self.up = nn.ConvTranspose2d(width + early, width, 2, 2)
        self.join = conv_relu(2 * width, width, (5, 5) if last else (1, 1))
        self.convolve: nn.Module = nn.Identity() if last else conv_relu(width, width, (3, 3))

    def forward(self, x: Tensor, out: Tensor, early: Tensor, small: Tensor) -> Tensor:
        """Return (B, width, the size of ``small``)."""
        x = self.first(torch.cat([x, out], dim=1))
        x = F.relu(crop(self.up(torch.cat([x, early], dim=1)), small))
        joined: Tensor = self.convolve(self.join(torch.cat([x, small], dim=1)))
        return joined


class EstanDecoder(nn.Module):
    """Decode a segmentation from both paths, in four up-sampling blocks.

    Args:
        plan: sizes.
        out_channels: channels of the answer.

    Source: Shareef et al. 2023, figure 1; the official MT-ESTAN code settles what the text leaves open.
    """

    def __init__(self, plan: EstanPlan, out_channels: int) -> None:
        super().__init__()
        widths = plan.small[3::-1]
        incoming = [2 * plan.small[4], *widths[:-1]]
        self.blocks = nn.ModuleList(
            [
                EstanUpBlock(incoming[index], plan.out[3 - index], plan.early[3 - index], width, last=index == 3)
                for index, width in enumerate(widths)
            ]
        )
        self.first_up = nn.ConvTranspose2d(plan.early[0], widths[3], 2, 2)
        self.last = conv_relu(2 * widths[3], widths[3], (3, 3))
        self.head = nn.Conv2d(widths[3], out_channels, 1)

    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Return the sites of the arguments that `forward` reads, by label, see `parts.Site`."""
        found: dict[str, tuple[int | str, ...]] = {"query": (0, "bottleneck")}
        for name, field in (("R", "out"), ("early R", "early"), ("M", "small")):
            found.update({f"{name}^{index + 1}": (0, field, index) for index in range(4)})
        return found

    def forward(self, taps: Taps, image: Tensor) -> Tensor:
        """Return logits (B, out_channels, *S)."""
        x = taps.bottleneck
        for index, block in enumerate(self.blocks):
            x = block(x, taps.out[3 - index], taps.early[3 - index], taps.small[3 - index])
        first = F.relu(crop(self.first_up(taps.early[0]), image))
        logits: Tensor = self.head(self.last(torch.cat([x, first], dim=1)))
        return logits


class ClassificationBranch(nn.Module):
    """Classification branch: global average pooling of the bottleneck, and dense layers.

    Args:
        plan: sizes and options.
        out_channels: channels of the answer.

    Source: Shareef et al. 2023, section 2.3. Decides: C1.
    """

    def __init__(self, plan: EstanPlan, out_channels: int) -> None:
        super().__init__()
        incoming = 2 * plan.small[4] + plan.out[3] + plan.attended
        widths = [plan.small[4], plan.small[3], plan.small[2]]  # 512, 256, 128
        if plan.dense == "three":
            widths.pop(1)
        layers: list[nn.Module] = [nn.Linear(incoming, widths[0]), nn.ReLU(), nn.Dropout(plan.dropout)]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.dense = nn.Sequential(*layers)
        self.head: nn.Module = nn.Linear(widths[-1], out_channels)
        if plan.package.slice_score:
            self.head = ScoredHead(self.head, widths[-1])
        self.attended = plan.attended > 0

    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Return the sites of the arguments that `forward` reads, by label, see `parts.Site`."""
        found: dict[str, tuple[int | str, ...]] = {"query": (0, "bottleneck"), "R^4": (0, "out", 3)}
        return {**found, **({"O^4": (0, "attended", 0)} if self.attended else {})}

    def forward(self, taps: Taps, image: Tensor) -> Tensor:
        """Return logits (B, out_channels), with a score (B, out_channels + 1)."""
        averaged = [taps.bottleneck.mean(dim=(2, 3)), taps.out[3].mean(dim=(2, 3))]
        for features in taps.attended:
            averaged.append(features.mean(dim=(2, 3)))
        logits: Tensor = self.head(self.dense(torch.cat(averaged, dim=1)))
        return logits


class PackageDecoder(nn.Module):
    """One of the package's decoders on the taps, for kinds of task that MT-ESTAN does not cover."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Return the sites of the arguments that the decoder reads, by its labels."""
        places: dict[tuple[int | str, ...], tuple[int | str, ...]] = {(0,): (0, "deepest"), (1, "shallow", 1): (1,)}
        places[(1, "shallow", 0)] = (0, "out", 0)
        for stage in range(4):
            places[(1, "u", stage)] = places[(1, "p", stage)] = (0, "out", stage + 1)
        return {label: places[path] for label, path in self.decoder.inputs().items()}

    def forward(self, taps: Taps, image: Tensor) -> Tensor:
        """Return the task's logits."""
        stages = taps.out[1:]
        logits: Tensor = self.decoder(taps.deepest, Features([taps.out[0], image], stages, stages), image)
        return logits


@singledispatch
def estan_decoder_for(task: Task, plan: EstanPlan) -> nn.Module:
    """Create MT-ESTAN's decoder of a task.

    Args:
        task: the task.
        plan: sizes and options.

    Returns:
        A module called as ``decoder(taps, image)`` that returns the task's logits.

    Raises:
        ConfigError: no decoder is known for this kind of task.
    """
    if not isinstance(task, Task):
        raise unregistered(task, "decoder", "decoder_for")
    return PackageDecoder(decoder_for(task, plan.package))


@estan_decoder_for.register
def _(task: Regression, plan: EstanPlan) -> nn.Module:
    return PackageDecoder(decoder_for(task, plan.package))


@estan_decoder_for.register
def _(task: Segmentation, plan: EstanPlan) -> nn.Module:
    return EstanDecoder(plan, task.channels)


@estan_decoder_for.register
def _(task: Classification, plan: EstanPlan) -> nn.Module:
    return ClassificationBranch(plan, task.channels)
