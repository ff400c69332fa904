"""Update epoch-wise weightings."""

from __future__ import annotations

import logging
from typing import Any

from ignite.engine import Events

from ctan_monai.engines.distributed.processes import rank

logger = logging.getLogger(__name__)


class WeightingHandler:
    """Trainer handler: end the weighting's epoch (DWA uses the means of whole epochs).

    Args:
        loss: a MultiTaskLoss, whose ``weighting`` has ``end_epoch()`` and ``weights()``.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def attach(self, engine: Any) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """End the epoch and log weights that have changed."""
        before = self.loss.weighting.weights()
        self.loss.weighting.end_epoch()
        after = self.loss.weighting.weights()
        if after != before and rank() == 0:
            logger.info("next weights: %s", ", ".join(f"{name} {weight:.3f}" for name, weight in after.items()))
