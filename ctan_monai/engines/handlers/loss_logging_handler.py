"""Log losses, weights, learning rate and metrics to the console and to TensorBoard."""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from ignite.engine import Events
from torch import Tensor

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.handlers.grouping_record import grouping_record, grouping_scalars

_FORMAT = "brain.Event:2"
_numbers = itertools.count()  # two files of one process in one second
logger = logging.getLogger(__name__)

_TOTAL = ""  # stands for the weighted sum; no task has this name


class ScalarWriter:
    """Write scalars to TensorBoard; reopens after `close`.

    TensorBoard's own writer puts the machine's name into the name of the file, which is the reason for this one; it
    writes the same records.

    Args:
        folder: where the event file goes; TensorBoard shows each folder as a line of its own. None writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._file: IO[bytes] | None = None
        self._records: Any = None

    def write(self, values: Mapping[str, float], step: int, newest_step: int | None = None) -> None:
        """Write scalars at a step; those that are not finite are left out.

        A resumed run repeats steps that may have been written before: TensorBoard then drops the old ones.

        Args:
            values: by tag.
            step: where on the axis; epochs and iterations may share a file.
            newest_step: how far the run is in the finest steps that this file has; None: ``step``.
        """
        if self.folder is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary  # here, because importing it takes a second

        if self._file is None:
            self._open(self.folder, newest_step or step)
        for tag, value in values.items():
            if math.isfinite(value):
                self._add(step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, folder: Path, newest_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{os.getpid()}.{next(_numbers):010d}"  # names sort by time
        self._file = (folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._add(0, file_version=_FORMAT)
        self._add(newest_step, session_log=SessionLog(status=SessionLog.START))  # drops what was written after it

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), step=step, **content).SerializeToString())


class RunningMeans:
    """Running means of scalars, kept on their device until they are needed."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}  # (2,) of the values that count, and their number

    def add(self, values: Mapping[str, Tensor], counts: Mapping[str, Tensor] | None = None) -> None:
        """Add one value of each name, without synchronizing the device.

        Args:
            values: scalars.
            counts: for some names whether the value counts, boolean scalars on the values' device.
        """
        for name, value in values.items():
            value, one = value.detach().float(), torch.ones_like(value, dtype=torch.float32)
            if name in (counts or {}):
                known = (counts or {})[name]
                value, one = torch.where(known, value, 0), torch.where(known, one, 0)
            step = torch.stack([value, one])
            self._sums[name] = self._sums[name] + step if name in self._sums else step

    def take(self) -> dict[str, float]:
        """Return the mean of each name that has a value, synchronizing the device once, and reset."""
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values())).tolist()
        means = {name: total / count for name, (total, count) in zip(self._sums, sums, strict=True) if count}
        self._sums = {}
        return means


def penalty_terms(engine: Any) -> dict[str, Tensor]:
    """Return the terms of the network's penalty in a trainer's last step, as ``penalty_<name>``."""
    return {f"penalty_{name}": term for name, term in engine.state.output.get("penalty", {}).items()}


class LossLogger:
    """Trainer handler: log mean losses, weights and learning rate, in process 0.

    * one line on the console (logging, level INFO) per epoch;
    * TensorBoard, ``<output_dir>/tensorboard/train``: per epoch ``epoch/loss``, ``epoch/loss_<task>``,
      ``epoch/weight_<task>`` and ``epoch/learning_rate``; the losses and the learning rate under ``step/`` too, as
      means over every ``every`` iterations. The terms of the network's penalty stand beside the tasks' losses, as
      ``loss_penalty_<name>``; of a network of filter groups, ``grouping/<layer>/<group>`` is the mean probability of
      a group over the layer's kernels, and ``grouping/<layer>/entropy`` that of their probabilities.

    A task's loss is the unweighted one, averaged over the steps in which any of its labels was known; the weight and
    the learning rate are those of the last step.

    Args:
        loss: a MultiTaskLoss, with ``latest``, ``observed`` and ``weighting``.
        output_dir: None for the console only.
        every: iterations between points of the step curves, 0 for none.
    """

    def __init__(self, loss: Any, output_dir: str | Path | None = None, every: int = 20) -> None:
        self.loss, self.every = loss, every
        self._writer = ScalarWriter(None if output_dir is None else Path(str(output_dir)) / "tensorboard" / "train")
        self._epoch, self._recent = RunningMeans(), RunningMeans()
        self._last_step: dict[str, float] = {}
        self._started_s = 0.0

    def attach(self, engine: Any) -> None:
        """Attach to a trainer, at any place in its list of handlers."""
        if rank() == 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self._start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)
            engine.add_event_handler(Events.COMPLETED, self.close)

    def close(self) -> None:
        """Close the TensorBoard file."""
        self._writer.close()

    def _start(self) -> None:
        self._epoch, self._recent = RunningMeans(), RunningMeans()
        self._started_s = time.monotonic()

    def _add(self, engine: Any) -> None:
        losses = {**self.loss.latest, **penalty_terms(engine), _TOTAL: engine.state.output["loss"]}
        self._epoch.add(losses, self.loss.observed)
        iteration, length = engine.state.iteration, engine.state.epoch_length
        if self.every:
            self._recent.add(losses, self.loss.observed)
            if iteration % self.every == 0:
                values = _tagged("step", self._recent.take())
                self._writer.write({**values, "step/learning_rate": _learning_rate(engine)}, iteration)
        if length and iteration % length == 0:  # here, because at the epoch's end a schedule or weighting may be ahead
            self._last_step = {f"weight_{name}": weight for name, weight in self.loss.weighting.weights().items()}
            self._last_step["learning_rate"] = _learning_rate(engine)

    def _report(self, engine: Any) -> None:
        means, epoch = self._epoch.take(), engine.state.epoch
        values = {f"epoch/{name}": value for name, value in self._last_step.items()}
        values |= grouping_scalars(grouping_record(getattr(engine, "network", None)))
        self._writer.write({**_tagged("epoch", means), **values}, epoch, newest_step=engine.state.iteration)
        total = means.pop(_TOTAL)
        weights = {name: self._last_step.get(f"weight_{name}") for name in means}
        parts = [
            f"{name} {mean:.4g}" + ("" if weights[name] is None else f" (weight {weights[name]:.3g})")
            for name, mean in means.items()
        ]
        logger.info(
            "epoch %d/%d: loss %.4g | %s | learning rate %.2e | %.0f s",
            epoch,
            engine.state.max_epochs,
            total,
            " | ".join(parts),
            self._last_step.get("learning_rate", float("nan")),
            time.monotonic() - self._started_s,
        )


def _tagged(group: str, means: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/loss_{name}" if name else f"{group}/loss": mean for name, mean in means.items()}


def _learning_rate(engine: Any) -> float:
    return float(engine.optimizer.param_groups[0]["lr"])


class MetricsLogger:
    """Trainer handler: log the evaluator's metrics after each validation, in process 0.

    One line on the console with the selection scores and the metrics named in ``show``; everything in TensorBoard,
    ``<output_dir>/tensorboard/validation``, under ``epoch/``.

    Args:
        evaluator: the validation's evaluator.
        output_dir: None for the console only.
        show: names of metrics that the console shows beside the selection scores.
    """

    def __init__(self, evaluator: Any, output_dir: str | Path | None = None, show: tuple[str, ...] = ()) -> None:
        self.evaluator, self.show = evaluator, tuple(show)
        folder = None if output_dir is None else Path(str(output_dir)) / "tensorboard" / "validation"
        self._writer = ScalarWriter(folder)

    def attach(self, engine: Any) -> None:
        """Attach to a trainer."""
        if rank() == 0:
            self.evaluator.add_event_handler(Events.COMPLETED, self._report)  # when all metrics are computed
            engine.add_event_handler(Events.COMPLETED, self.close)

    def close(self) -> None:
        """Close the TensorBoard file."""
        self._writer.close()

    def _report(self, evaluator: Any) -> None:
        metrics = {name: float(value) for name, value in evaluator.state.metrics.items()}
        self._writer.write({f"epoch/{name}": value for name, value in metrics.items()}, evaluator.state.epoch)
        shown = [name for name in metrics if name.startswith("selection") or name in self.show]
        text = [f"{name} {'unknown' if math.isnan(metrics[name]) else format(metrics[name], '.4g')}" for name in shown]
        logger.info("epoch %d, validation: %s", evaluator.state.epoch, " | ".join(text))
