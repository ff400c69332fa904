"""Predict a few cases with the best network after training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader
from monai.inferers import Inferer
from torch import nn
from torch.utils.data import Dataset, Subset

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.loop.evaluator import MultiTaskEvaluator
from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.engines.predictions.kernel_maps import write_kernel_maps
from ctan_monai.engines.predictions.prediction_writer import WritePredictions
from ctan_monai.engines.runs.run_record import MODEL_FILE, load_best
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task

logger = logging.getLogger(__name__)


def predict_cases(
    tasks: Iterable[Task],
    network: nn.Module,
    dataset: Dataset[Any],
    output_dir: str | Path | None = None,
    run_dir: str | Path | None = None,
    cases: int = 1,
    device: str | torch.device = "cpu",
    inferer: Inferer | None = None,
    amp: bool | str = False,
    formats: Sequence[str] = ("nifti",),
    handlers: Sequence[Any] = (),
    **writing: Any,
) -> Path:
    """Predict the first cases of a data set and write them with `WritePredictions`.

    Of a network with filter groups, maps of its most certain kernels for the first case are written too.

    Put it into a config's run list between the training and `ctan_monai.report.report_run`. Under several processes
    all have to call it; each predicts the same few cases.

    Args:
        tasks: tasks of the network.
        network: gets the weights of ``<run_dir>/model.pt``.
        dataset: whole cases with labels or without, such as the validation's.
        output_dir: folder of the predictions; None: ``<run_dir>/predictions``.
        run_dir: the run's folder; None, or a run that was never validated: the weights that the network has.
        cases: how many to predict.
        device: where to run.
        inferer: None: `MultiTaskInferer`.
        amp: mixed precision.
        formats: as for `WritePredictions`.
        handlers: further ones of the evaluator.
        writing: its further options.

    Returns:
        The folder.

    Raises:
        ConfigError: no case is asked for or there is none, no folder is given, or the run trained another network.
        CheckpointError: model.pt is damaged or does not fit.
    """
    count = min(int(cases), len(dataset))  # type: ignore[arg-type]  # torch's Dataset declares no length
    if count < 1:
        raise ConfigError("predict_cases", f"{cases} of no cases.", "Give a data set, and at least one case.")
    if output_dir is None and run_dir is None:
        raise ConfigError("predict_cases", "neither output_dir nor run_dir is given.", "Give one of them.")
    target = Path(str(output_dir or Path(str(run_dir)) / "predictions"))
    tasks = tuple(tasks)
    if run_dir is not None and (Path(str(run_dir)) / MODEL_FILE).is_file():
        load_best(network, run_dir)
    elif run_dir is not None:
        logger.warning("%s has no %s; its last weights are used.", run_dir, MODEL_FILE)
    MultiTaskEvaluator(
        device,
        DataLoader(Subset(dataset, range(count)), batch_size=1),
        network,
        prepare_batch=PrepareMultiTaskBatch(tasks, require_labels=False),
        inferer=inferer,
        val_handlers=[WritePredictions(tasks, target, formats, **writing), *handlers],
        amp=amp,
    ).run()
    if rank() == 0:
        write_kernel_maps(network, dataset[0]["image"][None].to(device), target)
    return target
