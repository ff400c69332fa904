"""The cases, inferer and metrics of a run, from its config."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader
from torch.utils.data import Subset

from ctan_monai.aliases import config_id
from ctan_monai.data.lists.leakage import groups_of
from ctan_monai.engines.handlers.metrics_handler import MultiTaskMetrics
from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.engines.runs.run_config import config_of_run
from ctan_monai.errors import CheckpointError, ConfigError, check_choice, find_ctan_error
from ctan_monai.tasks import Task

SPLITS = ("test", "validation")
_REMEDY = "Start where its training was started, with its data in their place; or give --split validation."


@dataclass(frozen=True)
class RunData:
    """Data, inferer and metrics of a run for its diagnosis.

    Args:
        dataset: the split's cases.
        groups: by case, the patient or lesion that it belongs to.
        cases: id of each entry of the dataset.
        batch_size: of the evaluation.
        prepare: a batch and a device -> image and targets.
        inferer: calls the network.
        template: the evaluation's metrics, which have not measured anything.
    """

    dataset: Any
    groups: dict[str, str]
    cases: tuple[str, ...]
    batch_size: int
    prepare: Callable[..., Any]
    inferer: Callable[..., Any]
    template: MultiTaskMetrics

    def metrics(self) -> MultiTaskMetrics:
        """Create new metrics."""
        return copy.deepcopy(self.template)

    def loader(self, positions: Sequence[int]) -> DataLoader:
        """Create a loader of some cases, in the given order."""
        return DataLoader(Subset(self.dataset, list(positions)), batch_size=self.batch_size)

    def choose(self, count: int, seed: int) -> list[int]:
        """Draw the positions of at most ``count`` cases (0: all)."""
        everyone = range(len(self.cases))
        if not 0 < count < len(self.cases):
            return list(everyone)
        drawn = torch.randperm(len(self.cases), generator=torch.Generator().manual_seed(seed))[:count]
        return sorted(drawn.tolist())


def data_of_run(run_dir: str | Path, split: str, tasks: Sequence[Task], overrides: Mapping[str, Any]) -> RunData:
    """Read a split as the run's evaluation does.

    Args:
        run_dir: the run's folder.
        split: 'test', as the bundle's evaluate.yaml has it, or 'validation', as the training has it.
        tasks: of the run's network.
        overrides: entries of the config that get other values, such as cache_dir.

    Raises:
        ConfigError: there is no such split.
        CheckpointError: the config or the data cannot be read.
    """
    check_choice("--split", split, SPLITS)
    parser = config_of_run(run_dir, _REMEDY, ("evaluate.yaml",) if split == "test" else (), overrides)
    dataset = _get(parser, run_dir, "validate#dataset")
    items = list(dataset.data)
    prepare, batch = "validate#evaluator#prepare_batch", "validate#dataloader#batch_size"
    return RunData(
        dataset,
        groups_of(items),
        tuple(str(item["case"]) for item in items),
        int(_get(parser, run_dir, batch)) if batch in parser else 1,
        _get(parser, run_dir, prepare) if prepare in parser else PrepareMultiTaskBatch(tasks),
        _get(parser, run_dir, "validate#inferer"),
        _get(parser, run_dir, "validate#key_metric"),
    )


def training_of_run(
    run_dir: str | Path, tasks: Sequence[Task], seed: int, overrides: Mapping[str, Any]
) -> tuple[Any, Any, Any, Any]:
    """Return the training's loader, preparation, inferer and loss.

    Raises:
        CheckpointError: the config or the data cannot be read.
    """
    parser = config_of_run(run_dir, _REMEDY, overrides=overrides)
    # nothing is downloaded for weights that are replaced, nor all data packed for a few batches
    for name, value in (("pretrained", None), ("workers", 0), ("data_on", "loader")):
        if name in parser.config:
            parser[name] = value
    torch.manual_seed(seed)
    names = ("train#dataloader", "train#inferer", "loss")
    loader, inferer, loss = (_get(parser, run_dir, name) for name in names)
    prepare = "train#prepare_batch"
    return loader, _get(parser, run_dir, prepare) if prepare in parser else PrepareMultiTaskBatch(tasks), inferer, loss


def _get(parser: Any, run_dir: str | Path, name: str) -> Any:
    try:
        return parser.get_parsed_content(config_id(parser, name))
    except Exception as error:  # a config can name any function, and MONAI wraps what it raises
        found = find_ctan_error(error)
        if isinstance(found, ConfigError):
            raise found from error
        raise CheckpointError(run_dir, f"its {name} cannot be made ({found or repr(error)}).", _REMEDY) from error
