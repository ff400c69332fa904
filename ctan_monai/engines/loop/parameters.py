"""What the optimizer trains."""

from __future__ import annotations

from typing import Any

from torch import nn

from ctan_monai.errors import ConfigError


def trainable_parameters(network: nn.Module, loss: nn.Module | None = None) -> list[dict[str, Any]]:
    """List parameter groups for an optimizer: the network's, and those of the loss without weight decay.

    Uncertainty weighting learns one log-variance for each task. Weight decay would pull them to 0, that is every
    weight to 1, so their group has none, whatever the optimizer's default is.

    ``optimizer: {_target_: torch.optim.Adam, params: {_target_: ctan_monai.engines.trainable_parameters,
    network: '@network', loss: '@loss'}, lr: 0.0001, weight_decay: 0.00001, fused: true}``

    Args:
        network: frozen parameters (``requires_grad=False``) are left out.
        loss: the loss, whose weighting may have parameters.

    Raises:
        ConfigError: the network has no parameter to train.
    """
    groups: list[dict[str, Any]] = [{"params": [value for value in network.parameters() if value.requires_grad]}]
    if not groups[0]["params"]:
        raise ConfigError("network", "it has no trainable parameter.", "Do not freeze the whole network.")
    learned = [] if loss is None else [value for value in loss.parameters() if value.requires_grad]
    if learned:
        groups.append({"params": learned, "weight_decay": 0.0})
    return groups
