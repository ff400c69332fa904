"""MT-ESTAN: a ResNet beside a path for small tumors, for segmentation and classification of breast ultrasound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.networks.base import MultiTaskNetwork, NetworkPlan
from ctan_monai.networks.decoders import DecoderPlan
from ctan_monai.networks.estan import SIZES, Bottleneck, SmallTumorPath, TappedResNet, Taps
from ctan_monai.networks.estan_decoders import EstanPlan, estan_decoder_for
from ctan_monai.networks.parts import Part, Site, decoder_parts, features_part, shared_part
from ctan_monai.networks.registry import register
from ctan_monai.networks.swin_v2 import SwinV2Encoder, swin_parts
from ctan_monai.networks.weights import load_swin_weights, load_tapped_weights


class EstanNetwork(MultiTaskNetwork):
    """Base class of this family: encoders with a shared bottleneck, and one decoder per task.

    Args:
        plan: tasks and image, which is 2D; its options of decoders are for tasks that get the package's.
        size: see `MTEstan`.
        dense: see `MTEstan`.
        dropout: see `MTEstan`.
        swin: a third encoder, whose deepest features join the bottleneck (docs/adr/0032, C7).
        classify_swin: they also join what is classified.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        size: str,
        dense: str,
        dropout: float,
        swin: SwinV2Encoder | None = None,
        classify_swin: bool = False,
    ) -> None:
        super().__init__(plan.tasks, 2)
        in_channels = plan.in_channels
        check_choice("size", size, SIZES)
        self.resnet, self.small = TappedResNet(size, in_channels), SmallTumorPath(size, in_channels)
        self.swin, self.classify_swin = swin, classify_swin
        added = swin.channels[3] if swin else 0
        deepest = self.resnet.channels[4] + self.resnet.early_channels[4] + added
        self.bottleneck = Bottleneck(deepest, self.small.channels[4])
        package = DecoderPlan(
            2, tuple(self.resnet.channels[1:]), (self.resnet.channels[0], in_channels), deepest, **plan.decoder_options
        )
        channels = (self.small.channels, self.resnet.early_channels, self.resnet.channels)
        decoders = EstanPlan(*channels, added if classify_swin else 0, dense, dropout, package)
        self.decoders = nn.ModuleDict({task.name: estan_decoder_for(task, decoders) for task in plan.tasks})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, H, W).

        Raises:
            ValueError: the image has another number of spatial dimensions.
        """
        if image.dim() != 4:
            raise ValueError(f"expected an image of 4 dimensions (B, C, *S), got {image.shape}.")
        early, out = self.resnet(image)
        small = self.small(image)
        deepest = torch.cat([out[4], early[4]], dim=1)
        attended: list[Tensor] = []
        if self.swin is not None:
            last = self.swin(image).p[3]
            deepest = torch.cat([deepest, last], dim=1)
            if self.classify_swin:
                attended.append(last)
        taps = Taps(small, early, out, deepest, self.bottleneck(deepest, small[4]), attended)
        logits: dict[str, Tensor] = {}
        for name, decoder in self.decoders.items():
            logits[name] = decoder(taps, image)
        return logits

    def parts(self) -> list[Part]:
        """Return the parts: the encoders' blocks, their features, and the decoders' inputs, see `Part`."""
        stem = tuple(Site("stem", f"resnet.{name}") for name in ("conv1", "bn1"))
        found = [Part("weights of stem", "shared", None, stem)]
        for container, letter, count, path in (("resnet.stages", "R", 4, (1,)), ("small.blocks", "M", 5, ())):
            for index in range(count):
                module, name = f"{container}.{index}", f"{letter}^{index + 1}"
                found.append(shared_part(module, name))
                found.append(features_part(name, None, Site(name, module, path, output=True)))
        if self.swin is not None:
            found += swin_parts("swin")
        found += [shared_part("bottleneck", "bottleneck")]
        found.append(features_part("bottleneck", None, Site("bottleneck", "bottleneck", output=True)))
        return [*found, *decoder_parts(self.decoders.items())]

    def load_pretrained(self, source: str | Mapping[str, str]) -> None:
        """Load ImageNet weights into the ResNet ('imagenet' or a file), or into each encoder that ``source`` names.

        Args:
            source: of the ResNet, or by encoder: 'resnet' as for `load_tapped_weights`, 'swin' as for
                `load_swin_weights`.

        Raises:
            ConfigError: an encoder is unknown.
            DataError: the weights cannot be read.
        """
        sources = {"resnet": source} if isinstance(source, str) else dict(source)
        known: dict[str, Callable[[Any, str], None]] = {"resnet": load_tapped_weights}
        if self.swin is not None:
            known["swin"] = load_swin_weights
        for name, file in sources.items():
            if name not in known:
                raise ConfigError("pretrained", f"{name!r} is unknown.", f"Use some of {list(known)}.")
            known[name](getattr(self, name), file)


def refuse_volumes(method: str, plan: NetworkPlan) -> None:
    """Refuse 3D images, naming the architecture.

    Raises:
        ConfigError: the images are volumes.
    """
    if plan.spatial_dims != 2:
        raise ConfigError(
            "spatial_dims", f"{method} is 2D and found {plan.spatial_dims}.", "Use 2, or another --method."
        )


@register("mt_estan", backbone="resnet50+estan")
class MTEstan(EstanNetwork):
    """MT-ESTAN: ResNet-50 and small-tumor path; a decoder per segmentation, a dense branch per classification.

    Args:
        plan: tasks and image, which is 2D.
        size: 'base' (the paper's), 'small' or 'tiny' (a quarter or an eighth of the widths, one block in each stage).
        dense: 'four' or 'three' dense layers in the classification branch.
        dropout: probability after the first of them.

    Raises:
        ConfigError: the images are volumes, or an option is unknown.

    Source: Shareef, Xian, Sun, Vakanski, 2023; official code of MT-ESTAN. Decides: C1, C2 (docs/adr/0032).
    """

    def __init__(
        self,
        plan: NetworkPlan,
        size: str = "base",
        dense: str = "four",
        dropout: float = 0.5,
    ) -> None:
        refuse_volumes(self.method, plan)
        super().__init__(plan, size, dense, dropout)
