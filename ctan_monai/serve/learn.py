"""Learn from labels that somebody corrected, and keep what was learned only if cases of before say so."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.data import MetaTensor
from torch import nn

from ctan_monai.engines.loop.trainer import MultiTaskTrainer
from ctan_monai.engines.runs.run_record import MODEL_FILE
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.atomic import replacing
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks import MultiTaskNetwork
from ctan_monai.serve.drawn import Drawn, read_drawn
from ctan_monai.serve.judge import Seen, Verdict, changes, judge, seen
from ctan_monai.serve.labeled import Labeled, labeled_case
from ctan_monai.serve.learn_options import Options
from ctan_monai.serve.predictor import Predictor
from ctan_monai.serve.slices import Slices
from ctan_monai.tasks import Segmentation

_logger = logging.getLogger(__name__)
Progress = Callable[[int], None]
_PREVIOUS, _ORIGINAL = "model.previous.pt", "model.original.pt"


def learn(
    predictor: Predictor,
    task: Segmentation,
    cases: Sequence[Labeled],
    options: Options,
    progress: Progress = lambda epoch: None,
) -> dict[str, Any]:
    """Learn a segmentation from corrected labels; labels of the other tasks count as unknown.

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
        ConfigError: the network takes volumes.
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
    """Return the cases that decide, which were labeled before, and those that are trained on."""
    earlier = [case for case in cases if not case.submitted]
    count = min(max(1, round(options.val_split * len(cases))), len(earlier)) if options.val_split else 0
    if count == len(cases):
        count -= 1  # something must be trained on
    deciding = earlier[:count]
    return deciding, [case for case in cases if case not in deciding]


def _keep(network: MultiTaskNetwork, path: Path) -> None:
    """Write weights; the earlier ones stay, and the very first for ever."""
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
    """Return cached cases with the corrected masks, and the transforms of the bundle."""
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
    """Let layers that are not trained keep the statistics of batches that they have."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not {id(each) for each in module.parameters()} & own:
            module.momentum = 0.0
