"""Train on corrected labels, and keep the new weights only if earlier cases are not worse."""

from __future__ import annotations

import difflib
import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, MetaTensor
from torch import nn

from ctan_monai.data.cases.cache import read_header
from ctan_monai.engines.loop.trainer import MultiTaskTrainer
from ctan_monai.engines.runs.ensemble import Ensemble
from ctan_monai.engines.runs.options import as_bool
from ctan_monai.engines.runs.run_record import MODEL_FILE
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.atomic import replacing
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks import MultiTaskNetwork
from ctan_monai.serve.drawn import Drawn, read_drawn
from ctan_monai.serve.judge import Seen, Verdict, changes, judge, seen
from ctan_monai.serve.labeled import Labeled, labeled_case
from ctan_monai.serve.predictor import Predictor
from ctan_monai.tasks import Segmentation

_logger = logging.getLogger(__name__)
Progress = Callable[[int], None]
_ALIKE = 0.75  # difflib's ratio: 'epochs' and 'max_epochs' have it
_THEIRS = {"train_batch_size", "val_batch_size"}  # of MONAI Label's own trainers
_PREVIOUS, _ORIGINAL = "model.previous.pt", "model.original.pt"


@dataclass(frozen=True)
class Options:
    """Options of training.

    Args:
        epochs: passes over the labeled slices.
        learning_rate: of Adam.
        batch_size: slices in a batch, all of one case.
        layers: 'task' changes only what belongs to the corrected task alone, 'all' everything.
        val_split: fraction of the cases that decide and are not trained on, of those whose labels were not submitted
            since weights were kept the last time.
        keep_unjudged: use the new weights even if no such case, or none with one of the labels, can decide.

    Raises:
        ConfigError: one cannot be used.
    """

    epochs: int = 5
    learning_rate: float = 1e-4
    batch_size: int = 4
    layers: str = "task"
    val_split: float = 0.2
    keep_unjudged: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        numbers = 1 <= self.epochs <= 1000 and 0 < self.learning_rate < 1 and 1 <= self.batch_size <= 256
        if not numbers or self.layers not in ("task", "all") or not 0 <= self.val_split < 1:
            remedy = "Use 1 to 1000 epochs, a rate below 1, 1 to 256 slices, layers 'task' or 'all', a share below 1."
            raise ConfigError("training", f"{self} cannot be used.", remedy)


def options_from(request: Mapping[str, Any]) -> Options:
    """Read the options of a request; a viewer sends a list where it offers a choice, whose first entry counts.

    Raises:
        ConfigError: one cannot be used, or is called almost like one.
    """
    found = {key: value[0] if isinstance(value, list) and value else value for key, value in request.items()}
    kinds: dict[str, Callable[[Any], Any]] = {"max_epochs": _whole, "learning_rate": float, "batch_size": _whole}
    kinds |= {"layers": str, "val_split": float, "keep_unjudged": lambda value: as_bool(value, "keep_unjudged")}
    for key in found.keys() - kinds.keys() - _THEIRS:
        if near := difflib.get_close_matches(key, kinds, 1, _ALIKE):
            raise ConfigError("training", f"there is no option {key!r}.", f"Did you mean {near[0]}?")
    try:
        read = {key: kind(found[key]) for key, kind in kinds.items() if key in found}
    except (TypeError, ValueError) as error:
        given = {key: found[key] for key in kinds if key in found}
        raise ConfigError("training", f"{given} cannot be used ({error}).", "Give numbers.") from error
    return Options(**{"epochs" if key == "max_epochs" else key: value for key, value in read.items()})


def _whole(value: Any) -> int:
    """Convert to an integer; viewers send numbers as texts, too."""
    number = math.nan if isinstance(value, bool) else float(value)
    if not number.is_integer():
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


def learn(
    predictor: Predictor,
    task: Segmentation,
    cases: Sequence[Labeled],
    options: Options,
    progress: Progress = lambda epoch: None,
) -> dict[str, Any]:
    """Train a segmentation on corrected labels; labels of the other tasks are unknown.

    The new weights take the place of the run's model.pt if `judge` says so; what was there stays as model.previous.pt,
    and what was there at first as model.original.pt.

    Args:
        predictor: whose network learns, a copy of it.
        task: the corrected one.
        cases: images and their labels.
        options: how.
        progress: is told each epoch that is done.

    Returns:
        Ready for JSON: the Dice before and after, whether the weights were kept and why, and how far the other
        voxel-level tasks' values moved.

    Raises:
        DataError: no case is labeled, or a label cannot be used.
        ConfigError: the network takes volumes, or is an ensemble.
        CheckpointError: the weights cannot be written.
    """
    if not cases:
        raise DataError("labels", None, "no image has a final label.", "Submit a label first.")
    if predictor.spatial_dims != 2:
        raise ConfigError("training", "this network takes volumes.", "Train it with the bundle's train.yaml.")
    deciding, learned = _split(cases, options)
    judged = [*deciding, *(case for case in learned if not case.submitted)] if deciding else list(learned)
    with tempfile.TemporaryDirectory(prefix="ctan_label_") as folder:
        network = predictor.network()
        if isinstance(network, Ensemble):
            remedy = "Train a bundle's run on the labels, or write the app for one run."
            raise ConfigError("training", "several networks answer here, as an ensemble.", remedy)
        samples, transform = _prepare(predictor, task, learned, Path(folder))
        before = [_look(predictor, network, case, task) for case in judged]
        batches = Slices(samples, transform, options.batch_size)
        loss = _train(predictor, task, network, batches, options, progress)
        after = [_look(predictor, network, case, task) for case in judged]
    verdict = judge(before, after, len(deciding), task.labels, options.keep_unjudged)
    if verdict.kept:
        _keep(network, predictor.app.run_dir / MODEL_FILE)
    result = {
        "task": task.name,
        "cases": len(learned),
        "new_labels": sum(case.submitted for case in cases),
        "deciding_cases": len(deciding),
        "epochs": options.epochs,
        "layers": options.layers,
        "loss": round(loss, 5),
        **_said(verdict),
        "change_of_values": changes(before, after),
    }
    _logger.info("trained on labels: %s", result)
    return result


def _split(cases: Sequence[Labeled], options: Options) -> tuple[list[Labeled], list[Labeled]]:
    """Split cases in those that decide, which were labeled before, and those to train on."""
    earlier = [case for case in cases if not case.submitted]
    count = min(max(1, round(options.val_split * len(cases))), len(earlier)) if options.val_split else 0
    if count == len(cases):
        count -= 1  # something must be trained on
    deciding = earlier[:count]
    return deciding, [case for case in cases if case not in deciding]


def _keep(network: MultiTaskNetwork, path: Path) -> None:
    """Write weights; the previous and the very first ones are kept."""
    original = path.with_name(_ORIGINAL)
    if not original.exists():
        with replacing(original) as temporary:
            shutil.copyfile(path, temporary)
    save_atomic(network.cpu().state_dict(), path, previous=path.with_name(_PREVIOUS))


def _said(verdict: Verdict) -> dict[str, Any]:
    rounded = {label: [round(value, 5) for value in pair] for label, pair in verdict.by_label.items()}
    before, after = (None if value is None else round(value, 5) for value in (verdict.dice_before, verdict.dice_after))
    found = {"dice_before": before, "dice_after": after, "dice_by_label": rounded}
    return {**found, "kept": verdict.kept, "why": verdict.why}


def _read(predictor: Predictor, case: Labeled) -> Drawn:
    return read_drawn(case.image, case.label, case.info, predictor.segmentations)


def _look(predictor: Predictor, network: MultiTaskNetwork, case: Labeled, task: Segmentation) -> Seen:
    return seen(predictor.answer(network, case.image), _read(predictor, case), task.name)


def _prepare(
    predictor: Predictor, task: Segmentation, cases: Sequence[Labeled], folder: Path
) -> tuple[list[Path], Any]:
    """Prepare cached cases with the corrected masks, and the transforms of the bundle."""
    files, transform = [], None
    for number, case in enumerate(cases):
        with predictor.loaded(case.image) as found:
            place = folder / str(number)
            place.mkdir()
            file = labeled_case(found.file, _read(predictor, case), task, place, predictor.tasks)
            transform = found.preprocessing
        files += [] if file is None else [file]
    if not files:
        raise DataError("labels", None, f"no label of {task.name} was drawn.", "Submit a label first.")
    return files, transform


def _train(
    predictor: Predictor,
    task: Segmentation,
    network: MultiTaskNetwork,
    batches: Slices,
    options: Options,
    progress: Progress,
) -> float:
    """Train a network in place, and return the last loss."""
    parameters = list(network.parameters())
    if options.layers == "task":
        parameters = list(network.task_parameters(task.name))
        own = {id(parameter) for parameter in parameters}
        for parameter in network.parameters():
            parameter.requires_grad_(id(parameter) in own)
        _keep_statistics(network, own)
    loss = MultiTaskLoss(network.tasks, create_weighting("equal", network.tasks))
    trainer = MultiTaskTrainer(
        predictor.device,
        options.epochs,
        batches,
        network,
        torch.optim.Adam(parameters, lr=options.learning_rate),
        loss,
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: progress(engine.state.epoch))
    trainer.run()
    last = trainer.state.output["loss"]
    return float(last.as_tensor() if isinstance(last, MetaTensor) else last)


def _keep_statistics(network: nn.Module, own: set[int]) -> None:
    """Keep batch norm layers that are not trained in evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not {id(each) for each in module.parameters()} & own:
            module.momentum = 0.0


class Slices:
    """Sampler of batches: slices of one case each, or images of one size, shuffled in each epoch."""

    def __init__(self, files: Sequence[Path], transform: Any, batch_size: int) -> None:
        self.files, self.transform, self.size = list(files), transform, batch_size
        self._random = np.random.default_rng(0)
        self._length = sum(1 for _ in self._batches())

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        for items in self._batches():
            yield from DataLoader(Dataset(items, self.transform), batch_size=len(items))

    def _batches(self) -> list[list[dict[str, Any]]]:
        batches = []
        for items in self._groups():
            order = self._random.permutation(len(items))
            for first in range(0, len(items), self.size):
                batch = [items[at] for at in order[first : first + self.size]]
                batches.append(batch if len(batch) > 1 else batch * 2)  # the statistics of one pixel need two samples
        return [batches[at] for at in self._random.permutation(len(batches))]

    def _groups(self) -> list[list[dict[str, Any]]]:
        """Return the groups that may share a batch: the slices of a case, or images of one size."""
        groups: dict[Any, list[dict[str, Any]]] = {}
        for file in self.files:
            header = read_header(file)
            item: dict[str, Any] = {"case": header.case, "file": str(file)}
            if len(header.shape) == 3:
                groups[file] = [{**item, "slice": index} for index in range(header.shape[-1])]
            else:
                groups.setdefault(tuple(header.shape), []).append(item)
        return list(groups.values())
