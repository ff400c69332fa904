"""Learn from labels that somebody corrected, and keep what was learned only if it is not worse."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from torch import nn

from ctan_monai.data.cache import read_header
from ctan_monai.engines.run_record import MODEL_FILE
from ctan_monai.engines.torch_file import save_atomic
from ctan_monai.engines.trainer import MultiTaskTrainer
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks import MultiTaskNetwork
from ctan_monai.serve.answer import Answer
from ctan_monai.serve.labelled import labelled_case
from ctan_monai.serve.predictor import Predictor
from ctan_monai.tasks import Segmentation

_logger = logging.getLogger(__name__)
Labelled = tuple[Path, Path]  # image, label map
_PREVIOUS = "model.previous.pt"


@dataclass(frozen=True)
class Options:
    """How to learn.

    Args:
        epochs: passes over the labelled slices.
        learning_rate: of Adam.
        batch_size: slices in a batch, all of one case.
        layers: 'task' changes only what belongs to the corrected task alone, 'all' everything.
        val_split: share of the cases that decide and are not learned from; with fewer than three cases, those that
            are learned from decide.

    Raises:
        ConfigError: one cannot be used.
    """

    epochs: int = 5
    learning_rate: float = 1e-4
    batch_size: int = 4
    layers: str = "task"
    val_split: float = 0.2

    def __post_init__(self) -> None:
        """Check the numbers."""
        numbers = 1 <= self.epochs <= 1000 and 0 < self.learning_rate < 1 and 1 <= self.batch_size <= 256
        if not numbers or self.layers not in ("task", "all") or not 0 <= self.val_split < 1:
            remedy = "Use 1 to 1000 epochs, a rate below 1, 1 to 256 slices, layers 'task' or 'all', a share below 1."
            raise ConfigError("training", f"{self} cannot be used.", remedy)


def options_from(request: Mapping[str, Any]) -> Options:
    """Read the options of a request; a viewer sends a list where it offers a choice, whose first entry counts.

    Raises:
        ConfigError: one cannot be used.
    """
    known = {"max_epochs": "epochs"} | {name: name for name in ("learning_rate", "batch_size", "layers", "val_split")}
    found = {
        known[key]: value[0] if isinstance(value, list) else value for key, value in request.items() if key in known
    }
    kinds = {"epochs": int, "learning_rate": float, "batch_size": int, "layers": str, "val_split": float}
    try:
        return Options(**{key: kinds[key](value) for key, value in found.items()})
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigError("training", f"{found} cannot be used ({error}).", "Give numbers.") from error


def learn(predictor: Predictor, task: Segmentation, cases: Sequence[Labelled], options: Options) -> dict[str, Any]:
    """Learn a segmentation from corrected labels; labels of the other tasks count as unknown.

    The new weights take the place of the run's model.pt, which stays as model.previous.pt, if the mean Dice of the
    cases that decide is not lower than before.

    Args:
        predictor: whose network learns, a copy of it.
        task: the corrected one.
        cases: images and their label maps.
        options: how.

    Returns:
        Ready for JSON: the Dice before and after, whether the weights were kept, and how far the other voxel-level
        tasks' values moved.

    Raises:
        DataError: no case is labelled, or a label cannot be used.
        ConfigError: the network takes volumes.
        CheckpointError: the weights cannot be written.
    """
    if not cases:
        raise DataError("labels", None, "no image has a final label.", "Submit a label first.")
    if predictor.spatial_dims != 2:
        raise ConfigError("training", "this network takes volumes.", "Train it with the bundle's train.yaml.")
    held_out = max(1, round(options.val_split * len(cases))) if len(cases) > 2 and options.val_split else 0
    learned, deciding = cases[: len(cases) - held_out], cases[len(cases) - held_out :] if held_out else cases
    with tempfile.TemporaryDirectory(prefix="ctan_label_") as folder:
        network = predictor.network()
        samples, transform = _prepare(predictor, task, learned, Path(folder))
        before = [predictor.answer(network, image) for image, _ in deciding]
        loss = _train(predictor, task, network, _Slices(samples, transform, options), options)
        after = [predictor.answer(network, image) for image, _ in deciding]
    labels = [label for _, label in deciding]
    dice_before, dice_after = _dice(before, labels, task), _dice(after, labels, task)
    kept = dice_after >= dice_before
    result = {
        "task": task.name,
        "cases": len(learned),
        "deciding_cases": len(deciding),
        "deciding_cases_were_learned_from": not held_out,
        "epochs": options.epochs,
        "layers": options.layers,
        "loss": round(loss, 5),
        "dice_before": round(dice_before, 5),
        "dice_after": round(dice_after, 5),
        "change_of_values": _changes(before, after),
        "kept": kept,
    }
    if kept:
        path = predictor.app.run_dir / MODEL_FILE
        save_atomic(network.cpu().state_dict(), path, previous=path.with_name(_PREVIOUS))
    _logger.info("learned from labels: %s", result)
    return result


class _Slices:
    """Batches of slices of one case each, or of pictures of one size; another order in each epoch."""

    def __init__(self, files: Sequence[Path], transform: Any, options: Options) -> None:
        self.files, self.transform, self.size = list(files), transform, options.batch_size
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
        """Return what may stand in one batch: the slices of a case, or pictures of one size."""
        groups: dict[Any, list[dict[str, Any]]] = {}
        for file in self.files:
            header = read_header(file)
            item: dict[str, Any] = {"case": header.case, "file": str(file)}
            if len(header.shape) == 3:
                groups[file] = [{**item, "slice": index} for index in range(header.shape[-1])]
            else:
                groups.setdefault(tuple(header.shape), []).append(item)
        return list(groups.values())


def _prepare(
    predictor: Predictor, task: Segmentation, cases: Sequence[Labelled], folder: Path
) -> tuple[list[Path], Any]:
    """Return cached cases with the corrected masks, and the transforms of the bundle."""
    files, transform = [], None
    for number, (image, label) in enumerate(cases):
        with predictor.loaded(image) as found:
            place = folder / str(number)
            place.mkdir()
            files.append(labelled_case(found.file, image, label, task, place, predictor.tasks))
            transform = found.preprocessing
    return files, transform


def _train(
    predictor: Predictor, task: Segmentation, network: MultiTaskNetwork, batches: _Slices, options: Options
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
    trainer.run()
    last = trainer.state.output["loss"]
    return float(last.as_tensor() if isinstance(last, MetaTensor) else last)


def _keep_statistics(network: nn.Module, own: set[int]) -> None:
    """Let layers that are not trained keep the statistics of batches that they have."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not {id(each) for each in module.parameters()} & own:
            module.momentum = 0.0


def _dice(answers: Sequence[Answer], labels: Sequence[Path], task: Segmentation) -> float:
    """Return the mean over cases and the labels that were drawn, each on its image's own grid."""
    from ctan_monai.data.nifti import NIFTI_SUFFIXES, load_nifti
    from ctan_monai.serve.labelled import read_label_picture

    found = []
    for answer, path in zip(answers, labels, strict=True):
        is_volume = path.name.lower().endswith(NIFTI_SUFFIXES)
        numbers = load_nifti(path, answer.case)[0] if is_volume else read_label_picture(path, answer.case)
        for number, label in enumerate(task.labels, start=1):
            drawn, mask = numbers == number, answer.masks[task.name][label]
            if drawn.any():
                found.append(2 * float((drawn & mask).sum()) / float(drawn.sum() + mask.sum()))
    return float(np.mean(found))


def _changes(before: Sequence[Answer], after: Sequence[Answer]) -> dict[str, float]:
    """Return by how much the values of voxel-level tasks moved on average, in their unit."""
    return {
        name: round(
            float(
                np.mean([np.abs(b.values[name] - a.values[name]).mean() for b, a in zip(before, after, strict=True)])
            ),
            5,
        )
        for name in before[0].values
    }
