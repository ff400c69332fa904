"""What a site does in a round: measure the common network on its own cases, train it on them, send what was learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from monai.networks.utils import copy_model_state

from ctan_monai.engines.run_record import describe
from ctan_monai.federated.average import Array, Update
from ctan_monai.tasks import present_key

OVERLAY = Path(__file__).with_name("site.yaml")
_SHARED = ""  # stands for what belongs to no task


class Site:
    """A hospital's part of a common training, by MONAI's `MonaiAlgo`.

    Args:
        name: of the site.
        bundle: folder of the bundle, the same at every site.
        knobs: of its ``train.yaml``: those that all sites share, and this site's own (``dataset_dir`` ...).
        epochs: in a round.

    Raises:
        ConfigError, DataError: a knob or the data cannot be used.
    """

    def __init__(self, name: str, bundle: str | Path, knobs: Mapping[str, Any], epochs: int = 1) -> None:
        root = Path(bundle).resolve()
        self.name = name
        self._algo = MonaiAlgo(
            bundle_root=str(root),
            local_epochs=epochs,
            send_weight_diff=False,
            config_train_filename=[str(root / "configs" / "train.yaml"), str(OVERLAY)],
            config_evaluate_filename=None,
            train_kwargs={"run_id": "training", "bundle_root": str(root), **knobs},
        )
        self._algo.initialize({ExtraItems.CLIENT_NAME: name})
        parser = self._algo.train_workflow.parser
        self._evaluator = parser.get_parsed_content("validate#evaluator")
        self._trainer = self._algo.trainer
        self._network = self._trainer.network
        self._seen: Counter[str] = Counter()
        self._trainer.add_event_handler(Events.ITERATION_COMPLETED, self._count)

    def weights(self) -> dict[str, Array]:
        """Return the network's weights and statistics by name."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self._network.state_dict().items()}

    def description(self) -> dict[str, Any]:
        """Return what run.json says about the network."""
        return describe(self._network)

    def measure(self, weights: Mapping[str, Array]) -> dict[str, float]:
        """Return the validation's figures of the common network on this site's cases."""
        copy_model_state(src={name: torch.as_tensor(value) for name, value in weights.items()}, dst=self._network)
        self._evaluator.run()
        return {name: float(value) for name, value in self._evaluator.state.metrics.items()}

    def train(self, weights: Mapping[str, Array]) -> Update:
        """Train the common network on this site's cases.

        Returns:
            Shared weights, and those of each task of which a label was seen.
        """
        self._seen = Counter()
        self._algo.train(ExchangeObject(weights={name: np.asarray(value) for name, value in weights.items()}))
        learned = self.weights()
        counts = {name: float(self._seen[self._owner(name)]) for name in learned}
        return Update(self.name, {name: value for name, value in learned.items() if counts[name]}, counts)

    def _count(self, engine: Any) -> None:
        """Count the samples of a step, and those with a label of each task."""
        labels = engine.state.output["label"]
        self._seen[_SHARED] += len(engine.state.output["image"])
        for task in self._network.tasks:
            present = labels[present_key(task)]
            self._seen[task.name] += int(present.reshape(len(present), -1).any(1).sum())

    def _owner(self, name: str) -> str:
        """Return the task to which an entry of the network's state belongs."""
        owners = (task.name for task in self._network.tasks if self._network.belongs_to(name, task.name))
        return next(owners, _SHARED)
