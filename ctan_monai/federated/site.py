"""The site: evaluate the global network on its own cases, train it, return the update."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from monai.networks.utils import copy_model_state

from ctan_monai.aliases import config_id
from ctan_monai.engines.runs.parsed_config import check_moved_ids
from ctan_monai.engines.runs.run_record import describe
from ctan_monai.engines.runs.torch_file import load_checked, save_atomic
from ctan_monai.federated.average import Array, Update
from ctan_monai.tasks import present_key

OVERLAY = Path(__file__).with_name("site.yaml")
_SHARED = ""  # stands for what belongs to no task
_STATE, _PREVIOUS = "site.pt", "site.previous.pt"  # of the last two rounds: the server may ask for the last one again
_logger = logging.getLogger(__name__)


class Site:
    """Federated client of a hospital, by MONAI's `MonaiAlgo`.

    Args:
        name: of the site.
        bundle: folder of the bundle, the same at every site.
        options: of its ``train.yaml``: those that all sites share, and this site's own (``dataset_dir`` ...).
        epochs: in a round.

    Raises:
        ConfigError, DataError: an option or the data cannot be used.
    """

    def __init__(self, name: str, bundle: str | Path, options: Mapping[str, Any], epochs: int = 1) -> None:
        root = Path(bundle).resolve()
        self.name = name
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / "train.yaml"))
        check_moved_ids(parser, options)
        self._algo = MonaiAlgo(
            bundle_root=str(root),
            local_epochs=epochs,
            send_weight_diff=False,
            config_train_filename=[str(root / "configs" / "train.yaml"), str(OVERLAY)],
            config_evaluate_filename=None,
            train_kwargs={"run_id": "training", "bundle_root": str(root), **options},
        )
        self._algo.initialize({ExtraItems.CLIENT_NAME: name})
        parser = self._algo.train_workflow.parser
        self._evaluator = parser.get_parsed_content("validate#evaluator")
        self._trainer = self._algo.trainer
        self._network = self._trainer.network
        self._folder = Path(str(parser.get_parsed_content("output_dir")))
        self._moving = {
            "optimizer": self._trainer.optimizer,
            "loss": parser.get_parsed_content(config_id(parser, "loss")),
        }
        if (schedule := config_id(parser, "lr_scheduler")) in parser:
            self._moving["lr_scheduler"] = parser.get_parsed_content(schedule)
        self._next = 0  # the round that this process could train without having been told anything
        self._seen: Counter[str] = Counter()
        self._trainer.add_event_handler(Events.ITERATION_COMPLETED, self._count)

    def weights(self) -> dict[str, Array]:
        """Return the network's weights and statistics by name."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self._network.state_dict().items()}

    def description(self) -> dict[str, Any]:
        """Return the record of the network, as in run.json."""
        return describe(self._network)

    def measure(self, weights: Mapping[str, Array]) -> dict[str, float]:
        """Evaluate the global network on this site's validation cases."""
        copy_model_state(src={name: torch.as_tensor(value) for name, value in weights.items()}, dst=self._network)
        self._evaluator.run()
        return {name: float(value) for name, value in self._evaluator.state.metrics.items()}

    def train(self, weights: Mapping[str, Array], number: int | None = None) -> Update:
        """Train the global network on this site's cases.

        Args:
            weights: of the common network.
            number: of the round, from 0; where an earlier process has done those before, its optimizer, schedule and
                weighting are continued. None: the next one.

        Returns:
            Shared weights, and those of each task of which a label was seen.
        """
        number = self._next if number is None else number
        if number != self._next:
            self._continue_from(number)
        self._seen = Counter()
        self._algo.train(ExchangeObject(weights={name: np.asarray(value) for name, value in weights.items()}))
        self._next = number + 1
        self._keep()
        learned = self.weights()
        counts = {name: float(self._seen[self._owner(name)]) for name in learned}
        return Update(self.name, {name: value for name, value in learned.items() if counts[name]}, counts)

    def _keep(self) -> None:
        """Save the training state other than the network after a round, for a process that continues."""
        parts = {name: part.state_dict() for name, part in self._moving.items()}
        engine = {"epoch": self._trainer.state.epoch, "iteration": self._trainer.state.iteration}
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / _STATE
        save_atomic({"round": self._next, "engine": engine, **parts}, path, previous=path.with_name(_PREVIOUS))

    def _continue_from(self, number: int) -> None:
        """Restore the training state of an earlier process before a round."""
        for path in (self._folder / _STATE, self._folder / _PREVIOUS):
            if path.is_file() and (state := load_checked(path))["round"] == number:
                for name, part in self._moving.items():
                    part.load_state_dict(state[name])
                self._trainer.state.epoch, self._trainer.state.iteration = state["engine"].values()
                _logger.info("%s goes on with round %d", self.name, number)
                return
        _logger.warning("%s has no record of round %d: optimizer and schedule start anew", self.name, number)

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
