"""Checkpoints of a run in last.pt, written after each epoch or by interval."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ctan_monai.engines.distributed.processes import rank, unwrap
from ctan_monai.engines.handlers.best_model_handler import BestModel
from ctan_monai.engines.handlers.early_stopping_handler import EarlyStopping
from ctan_monai.engines.handlers.handler_order import attach_after_others
from ctan_monai.engines.handlers.history_handler import History
from ctan_monai.engines.runs.background_save import BackgroundSave
from ctan_monai.engines.runs.manifest import read_manifest
from ctan_monai.engines.runs.options import as_amount, as_bool
from ctan_monai.engines.runs.resume import (
    LAST_FILE,
    PREVIOUS_FILE,
    ContinueAt,
    Progress,
    check_same_run,
    load_optimizer,
    load_schedule,
    newest_checkpoint,
)
from ctan_monai.engines.runs.run_record import describe, load_weights
from ctan_monai.engines.runs.torch_file import copied, plain, save_atomic
from ctan_monai.engines.runs.training_data import fingerprint
from ctan_monai.engines.runs.versions import versions
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.files.atomic import add_name
from ctan_monai.networks.forms import complete_record

_logger = logging.getLogger(__name__)


class Checkpoint:
    """Trainer handler: save a run's state to ``<output_dir>/last.pt`` at the ends of epochs, and resume from it.

    Stands in a config's run list before the trainer's run, because the trainer cannot refer to itself:
    ``- {_target_: ctan_monai.engines.Checkpoint, trainer: '@train#trainer', ...}`` then ``- $@train#trainer.run()``.
    It saves after all other handlers of the epoch's end (validation, schedule, weighting, history). The file of the
    epoch before stays as last.prev.pt, in case the disk damages the newer one. Everything
    continues to the bit if `ReseedEachEpoch` is among the trainer's handlers.

    With an interval, training waits for a copy of the state at each epoch's end, and a thread writes one of them at
    the first end of an epoch after the interval; a file that cannot be written ends the run at the next. model.pt and
    metrics.json are then written after last.pt, from the same epoch. When the run ends, also early, by an error or by a
    signal that `StopOnSignal` takes, the last complete epoch is saved; a process that is killed loses what came after
    the last save.

    Args:
        output_dir: the run's folder.
        trainer: a supervised trainer; its network, optimizer, loss, gradient scaler and epoch are saved.
        states: everything else that changes while training and has ``state_dict`` and ``load_state_dict``, by name; an
            entry may be None. Not given: lr_scheduler, best, history and early_stopping, as the handlers of the trainer
            and of its validation have them.
        resume: continue what is in the folder, if anything is.
        data: the training's datalist; resuming with other cases or slices, or other voxels or labels in them, is
            refused.
        every_min: minutes between saves; 0: after each epoch, without a thread.

    Raises:
        ConfigError: an entry of ``states`` has no state, or ``every_min`` is negative.
        CheckpointError: resuming, and the checkpoint is of another run, or none can be read.
        DataError: a case file of the datalist cannot be read.
    """

    def __init__(
        self,
        output_dir: str | Path,
        trainer: SupervisedTrainer,
        states: Mapping[str, Any] | None = None,
        resume: bool | str = False,
        data: Iterable[Mapping[str, Any]] | None = None,
        every_min: float = 0.0,
    ) -> None:
        self.folder = Path(str(output_dir))
        self._trainer, self._network = trainer, trainer.network
        known = _states_of(trainer) if states is None else states
        self._states = {"optimizer": trainer.optimizer, **{k: v for k, v in known.items() if v is not None}}
        if isinstance(trainer.loss_function, nn.Module):  # a weighting learns
            self._states["loss"] = trainer.loss_function
        self._identity = {"run": describe(self._network), "data": fingerprint(data or ())}
        self._manifest = read_manifest(self.folder)
        for name, entry in self._states.items():
            if not (hasattr(entry, "state_dict") and hasattr(entry, "load_state_dict")):
                raise ConfigError(f"states: {name}", f"a {type(entry).__name__} has no state_dict.", "Leave it out.")
        self._written_along = [entry for entry in self._states.values() if isinstance(entry, BestModel | History)]
        self._background = self._in_background(as_amount(every_min, "checkpoint_every"))
        attach_after_others(trainer, self.save, Events.EPOCH_STARTED)
        if as_bool(resume, "resume"):
            self._resume()

    def state_dict(self) -> dict[str, Any]:
        """Return the content of last.pt."""
        trainer: Any = self._trainer
        scaler = getattr(trainer, "scaler", None)
        return {
            **self._identity,
            "manifest": self._manifest,
            "versions": versions(),
            "epoch": trainer.state.epoch,
            "max_epochs": trainer.state.max_epochs,
            "stopped_early": bool(trainer.should_terminate),
            "scaler": {} if scaler is None else scaler.state_dict(),
            "network": unwrap(self._network).state_dict(),
            "states": {name: entry.state_dict() for name, entry in self._states.items()},
        }

    def save(self, engine: Engine | None = None) -> None:
        """Write last.pt, by interval if the trainer calls it before its last epoch; the previous is last.prev.pt then.

        Raises:
            CheckpointError: it, or the one before, could not be written; the files that were there are untouched.
        """
        state = plain(self.state_dict())  # on every process: a state may have to be collected from all of them
        if rank() != 0:
            return
        if self._background is None:
            self._write(state)
            return
        writers = [entry.file_writer() for entry in self._written_along]
        last = engine is None or state["stopped_early"] or state["epoch"] >= state["max_epochs"]
        self._background.offer(partial(self._write, copied(state), writers), at_once=last)

    def close(self) -> None:
        """Save the last complete epoch, if that has not happened; the trainer calls it however its run ended.

        Raises:
            CheckpointError: it could not be written.
        """
        if self._background is not None:
            self._background.close()

    def _write(self, state: Mapping[str, Any], writers: Iterable[Callable[[], None]] = ()) -> None:
        save_atomic(state, self.folder / LAST_FILE, self.folder / PREVIOUS_FILE)
        for write in writers:  # later than last.pt, which they must not run ahead of
            write()

    def _in_background(self, every_min: float) -> BackgroundSave | None:
        """Prepare saving by interval, None if each epoch is to be saved before the next begins."""
        if not every_min:
            return None
        for entry in self._written_along:
            entry.at_once = False
        handlers = getattr(self._trainer, "train_handlers", None)
        if handlers is not None:
            handlers.append(self)  # to be closed
        return BackgroundSave(60 * every_min)

    def _resume(self) -> None:
        found = newest_checkpoint(self.folder)
        if found is None:
            _logger.info("Nothing to resume in %s: starting afresh.", self.folder)
            return
        path, saved = found
        try:
            self._load(path, saved)
            progress = Progress(saved["epoch"], saved["max_epochs"], saved["stopped_early"], saved["scaler"])
        except KeyError as error:
            raise CheckpointError(path, f"it has no {error}.", "Continue it with the version that wrote it.") from error
        if path.name == PREVIOUS_FILE and rank() == 0:
            add_name(path, self.folder / LAST_FILE)  # or the next save would keep the damaged file as the previous one
        if rank() == 0:
            for entry in self._written_along:
                entry.file_writer()()  # they may be of an epoch that was lost
        ContinueAt(progress).attach(self._trainer)

    def _load(self, path: Path, saved: Mapping[str, Any]) -> None:
        data = {key: value for key, value in self._identity["data"].items() if key in saved["data"]}
        if len(data) < len(self._identity["data"]):  # of an earlier version
            _logger.warning("%s does not say what its cases hold: only their names can be compared.", path)
        before = {"run": complete_record(saved["run"]), "data": saved["data"]}
        check_same_run(path, before, {**self._identity, "data": data})
        states = saved["states"]
        if set(states) != set(self._states):
            names = f"saved {sorted(states)}, now {sorted(self._states)}"
            raise CheckpointError(path, f"the parts of the run differ: {names}.", "Give the settings of that run.")
        load_weights(self._network, saved["network"], path)
        stretch = saved["max_epochs"] != self._trainer.state.max_epochs
        for name, entry in self._states.items():
            try:
                if isinstance(entry, LRScheduler):
                    load_schedule(entry, states[name], stretch)
                elif isinstance(entry, Optimizer):
                    load_optimizer(entry, states[name])
                else:
                    entry.load_state_dict(states[name])
            except (ValueError, KeyError, RuntimeError, TypeError, AttributeError, IndexError) as error:
                raise CheckpointError(
                    path, f"the state of {name!r} does not fit ({error}).", "Give the settings of that run."
                ) from error
        for name, now in versions().items():
            if (before := saved["versions"].get(name, now)) != now:  # what older checkpoints lack is not known
                _logger.warning("%s was %s, now %s: the last digits may differ.", name, before, now)


def _states_of(trainer: Any) -> dict[str, Any]:
    """Collect the stateful handlers of a trainer and of its validation."""
    handlers = list(getattr(trainer, "train_handlers", ()))
    for validation in [handler for handler in handlers if isinstance(handler, ValidationHandler)]:
        handlers += getattr(validation.validator, "val_handlers", ())
    kinds = {"best": BestModel, "history": History, "early_stopping": EarlyStopping}
    found = {name: handler for name, kind in kinds.items() for handler in handlers if isinstance(handler, kind)}
    schedules = [handler.lr_scheduler for handler in handlers if isinstance(handler, LrScheduleHandler)]
    return {**dict(zip(["lr_scheduler"], schedules, strict=False)), **found}
