"""Cross-task attention: CTAE at each encoder stage (eq. 1), CTAB at the bottleneck (eq. 2)."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from monai.networks.layers.factories import Norm
from torch import Tensor, nn

from ctan_monai.errors import check_choice
from ctan_monai.networks.blocks import conv_norm_relu, conv_norm_unit, convolution, pool_layer
from ctan_monai.networks.encoder import Features
from ctan_monai.networks.parts import Part, Site, features_part, joint_parts, shared_part
from ctan_monai.networks.products import PRODUCTS, AttentionProduct

EMBEDDINGS = {"relu": conv_norm_relu, "unit": conv_norm_unit}  # of the bottleneck; docs/adr/0004, A11


class MaskRoute(nn.Module):
    """Combine the tasks' masks to the mask that reweights the features of each task.

    Args:
        cross: the other tasks' masks (CTAN) instead of the task's own (MTAN).
        others: for more than two tasks, 'mean' or 'product' over the other tasks' masks, or 'cyclic' (the next task's).

    Raises:
        ConfigError: ``others`` is unknown.

    Source: CTAN eq. 1. Decides: A6.
    """

    def __init__(self, cross: bool = True, others: str = "mean") -> None:
        super().__init__()
        check_choice("others", others, ("mean", "cyclic", "product"))
        self.cross, self.others = cross, others

    def forward(self, masks: list[Tensor]) -> list[Tensor]:
        """Return T masks from T masks, each (B, C, *S), in task order."""
        count = len(masks)
        if not self.cross or count == 1:
            return masks
        routed: list[Tensor] = []
        for task in range(count):
            if count == 2 or self.others == "cyclic":
                routed.append(masks[(task + 1) % count])
                continue
            joined = masks[(task + 1) % count]
            for step in range(2, count):
                other = masks[(task + step) % count]
                joined = joined * other if self.others == "product" else joined + other
            routed.append(joined if self.others == "product" else joined / (count - 1))  # (B, C, *S)
        return routed


class CrossTaskAttentionEncoder(nn.Module):
    """Cross-task attention encoder (CTAE) of one encoder stage.

    F_t = Embed_t(concat(U, previous_t)), A_t = Attn_t(F_t) in (0, 1), next_t = Pool(A_other * P).

    Args:
        tasks: names of the tasks.
        spatial_dims: 2 or 3.
        channels: C_j of this stage.
        next_channels: C_(j+1) of the next stage, or None at the last, where the result keeps its size.
        first: this is stage 1, which has no previous features.
        cross: use the other tasks' masks (CTAN) or the task's own (MTAN).
        fusion: 'mul' (eq. 1) or 'concat' (Alg. 1) of mask and P.
        pool: 'bottleneck' (1x1, 3x3, 1x1), 'conv3x3', or 'residual' (a block as the encoder's, with a 1x1 shortcut),
            then max pooling.
        share_pool: one Pool for all tasks instead of one each.
        others: see `MaskRoute`.
        expansion: the masks have C_j / expansion channels inside; a 'residual' Pool has the blocks of the ResNets with
            this expansion, 1 (ResNet-18) or 4 (ResNet-50).

    Raises:
        ConfigError: an option is unknown.

    Source: CTAN eq. 1, Alg. 1 lines 1-9. Decides: A3 (fusion), A4 (pool), A5 (sharing), A7 (first layer).
    """

    def __init__(
        self,
        tasks: list[str],
        spatial_dims: int,
        channels: int,
        next_channels: int | None,
        first: bool = False,
        cross: bool = True,
        fusion: str = "mul",
        pool: str = "bottleneck",
        share_pool: bool = True,
        others: str = "mean",
        expansion: int = 4,
    ) -> None:
        super().__init__()
        check_choice("fusion", fusion, ("mul", "concat"))
        check_choice("pool", pool, ("bottleneck", "conv3x3", "residual"))
        inner = channels // expansion
        incoming = channels if first else 2 * channels
        self.first, self.fusion, self.share_pool = first, fusion, share_pool
        self.masks = nn.ModuleDict(
            {
                name: nn.Sequential(  # Embed_t and Attn_t: together MTAN's attention layer
                    conv_norm_relu(spatial_dims, incoming, inner, 1), _mask_layer(spatial_dims, inner, channels)
                )
                for name in tasks
            }
        )
        self.route = MaskRoute(cross, others)
        fused = 2 * channels if fusion == "concat" else channels
        pools = 1 if share_pool else len(tasks)
        self.pool = nn.ModuleList(
            [pool_layer(spatial_dims, fused, channels, next_channels, pool, expansion) for _ in range(pools)]
        )

    def forward(self, u: Tensor, p: Tensor, previous: list[Tensor]) -> list[Tensor]:
        """Return the features that each task carries to the next stage.

        Args:
            u: (B, C_j, *S_j), the stage's first part.
            p: (B, C_j, *S_j), the stage's output.
            previous: T tensors (B, C_j, *S_j) from the stage before; empty at stage 1.

        Returns:
            T tensors (B, C_(j+1), *S_(j+1)), at the last stage (B, C_j, *S_j).
        """
        masks: list[Tensor] = []
        for index, make_mask in enumerate(self.masks.values()):
            seen = u if self.first else torch.cat([u, previous[index]], dim=1)
            masks.append(make_mask(seen))  # (B, C_j, *S_j)
        fused: list[Tensor] = []
        for mask in self.route(masks):
            fused.append(mask * p if self.fusion == "mul" else torch.cat([mask, p], dim=1))
        pooled: list[Tensor] = []
        if not self.share_pool:
            for index, pool in enumerate(self.pool):
                pooled.append(pool(fused[index]))
        elif self.route.cross:  # one call for all tasks: larger batches, and batch statistics over all of them
            for pool in self.pool:
                pooled = list(pool(torch.cat(fused, dim=0)).unflatten(0, (len(masks), -1)).unbind(0))
        else:  # tasks must not meet, not even in the batch statistics
            for pool in self.pool:
                pooled = [pool(value) for value in fused]
        return pooled


class AttentionPath(nn.Module):
    """Cross-task (for MTAN: per-task) attention at all stages of an encoder.

    Args:
        tasks: names of the tasks.
        spatial_dims: 2 or 3.
        channels: C_1 .. C_4 of the encoder's stages.
        options: `CrossTaskAttentionEncoder`'s cross, fusion, pool, share_pool, others and expansion.

    Source: CTAN Alg. 1 lines 16-24; MTAN section 3.1.
    """

    def __init__(self, tasks: list[str], spatial_dims: int, channels: list[int], **options: Any) -> None:
        super().__init__()
        following = [*channels[1:], None]
        self.stages = nn.ModuleList(
            [
                CrossTaskAttentionEncoder(tasks, spatial_dims, now, after, first=stage == 0, **options)
                for stage, (now, after) in enumerate(zip(channels, following, strict=True))
            ]
        )

    def parts(self, tasks: list[str], prefix: str = "attention") -> list[Part]:
        """Return the parts: masks, each task's features after a stage, and the weights that tasks share."""
        masks: dict[str, tuple[Site, ...]] = {}
        carried, shared = [], []
        for position, task in enumerate(tasks):
            for index in range(len(self.stages)):
                label, module = f"stage {index + 1}", f"{prefix}.stages.{index}"
                mask = Site(f"{task}, {label}", f"{module}.masks.{task}", output=True)
                masks[task] = (*masks.get(task, ()), mask)
                name = f"attended features of {task}, {label}"
                carried.append(features_part(name, task, Site(name, module, (position,), output=True)))
        cross = any(self.received(tasks).values())
        for index, stage in enumerate(self.stages):
            if any(
                cross or key.startswith("pool.") for key, _ in stage.named_parameters()
            ):  # else only masks have some
                shared.append(shared_part(f"{prefix}.stages.{index}", f"attention, stage {index + 1}"))
        return [*joint_parts("mask", "masks of {}", masks), *carried, *shared]

    def received(self, tasks: list[str], prefix: str = "attention") -> dict[str, tuple[Site, ...]]:
        """Return where each task receives the other tasks' masks; nowhere where every task uses its own."""
        stages = [(index, stage) for index, stage in enumerate(self.stages) if stage.route.cross]
        return {
            task: tuple(
                Site(f"masks for {task}, stage {index + 1}", f"{prefix}.stages.{index}.route", (position,), output=True)
                for index, _ in stages
            )
            for position, task in enumerate(tasks)
        }

    def forward(self, features: Features) -> list[Tensor]:
        """Return T tensors (B, C_4, *S_4): each task's deepest attended features."""
        carried: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            carried = stage(features.u[index], features.p[index], carried)  # T x (B, C_(j+1), *S_(j+1))
        return carried


class CrossTaskAttentionBottleneck(nn.Module):
    """Cross-task attention bottleneck (CTAB) of the tasks' deepest features.

    Args:
        tasks: names of the tasks.
        spatial_dims: 2 or 3.
        channels: C_4 of the incoming features.
        width: d, channels of the embedding.
        attention: 'channel', 'softmax' or 'xca'; 'spatial' is an old name of 'channel'.
        scale: 'n_sqrt_d', 'n_d' or 'none'; for 'channel' only.
        embedding: 'relu' (1x1 convolution, batch norm, ReLU) or 'unit' (1x1 convolution, batch norm, and unit
            root mean square over the channels of each position), which bounds the product and keeps more directions.

    Raises:
        ConfigError: an option is unknown.

    Source: CTAN eq. 2, Alg. 1 lines 10-15. Decides: A8 (orientation), A9 (scale), A10 (T > 2: mean of the others'
    embeddings, in which the product is linear), A11 (width, ReLU or unit norm).
    """

    def __init__(
        self,
        tasks: list[str],
        spatial_dims: int,
        channels: int,
        width: int = 512,
        attention: str = "channel",
        scale: str = "n_sqrt_d",
        embedding: str = "relu",
    ) -> None:
        super().__init__()
        if attention == "spatial":  # run.json of earlier runs has it
            warnings.warn(
                "attention: 'spatial' is deprecated; use 'channel', which is the same product.",
                DeprecationWarning,
                stacklevel=2,
            )
            attention = "channel"
        check_choice("attention", attention, tuple(PRODUCTS))
        check_choice("scale", scale, AttentionProduct.scales)
        check_choice("embedding", embedding, tuple(EMBEDDINGS))
        self.embed = nn.ModuleDict({name: EMBEDDINGS[embedding](spatial_dims, channels, width, 1) for name in tasks})
        self.product = PRODUCTS[attention](scale)

    def parts(self, tasks: list[str], prefix: str = "bottleneck") -> list[Part]:
        """Return the parts: embeddings, attended features, and the weights that tasks share."""
        found = [shared_part(prefix, "attention, bottleneck")]
        for position, task in enumerate(tasks):
            embedded = Site(f"embedding of {task}", f"{prefix}.embed.{task}", output=True)
            attended = Site(f"attended query of {task}", prefix, (position,), output=True)
            found += [features_part(site.label, task, site) for site in (embedded, attended)]
        return found

    def received(self, tasks: list[str], prefix: str = "bottleneck") -> dict[str, tuple[Site, ...]]:
        """Return where each task receives the other tasks' embeddings."""
        return {
            task: (Site(f"embeddings for {task}", f"{prefix}.product", (1,), call=position),)
            for position, task in enumerate(tasks)
        }

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return T tensors (B, d, *S) from T tensors (B, C_4, *S), in task order."""
        embedded: list[Tensor] = []
        for index, embed in enumerate(self.embed.values()):
            embedded.append(embed(features[index]).flatten(2))  # E_t^T: (B, d, N)
        total = torch.stack(embedded).sum(0)  # (B, d, N)
        size = features[0].shape[2:]
        attended: list[Tensor] = []
        for query in embedded:
            others = (total - query) / (len(embedded) - 1)  # (B, d, N)
            attended.append(self.product(query, others).unflatten(2, size))  # (B, d, *S)
        return attended


def _mask_layer(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        convolution(spatial_dims, in_channels, out_channels, 1),
        Norm[Norm.BATCH, spatial_dims](out_channels),
        nn.Sigmoid(),
    )
