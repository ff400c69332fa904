"""The folder of a run, which no other run overwrites."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ctan_monai.aliases import current_settings
from ctan_monai.engines.distributed.processes import rank, wait_for_all
from ctan_monai.engines.runs.config_copies import copy_configs
from ctan_monai.engines.runs.data_record import DATALIST_FILE, INITIAL_FILE
from ctan_monai.engines.runs.initial_run import load_initial
from ctan_monai.engines.runs.manifest import CONFIGS_FOLDER, METRICS_FILE, SETTINGS_FILE
from ctan_monai.engines.runs.option_checks import check_options
from ctan_monai.engines.runs.options import as_bool
from ctan_monai.engines.runs.parsed_config import building_parser, options_of
from ctan_monai.engines.runs.resume import LAST_FILE, PREVIOUS_FILE, check_same_run, has_checkpoint
from ctan_monai.engines.runs.run_record import (
    MODEL_FILE,
    RUN_FILE,
    adopt_form,
    describe,
    differences,
    read_run,
    write_run,
)
from ctan_monai.engines.runs.versions import versions
from ctan_monai.errors import ConfigError, cannot_write
from ctan_monai.files.atomic import remove_leftovers
from ctan_monai.files.json_files import as_json, read_json, write_json
from ctan_monai.files.lock import LOCK_FILE, hold, release

_logger = logging.getLogger(__name__)
VERSIONS_FILE, LOG_FILE = "versions.json", "log.txt"
_RUN_FILES = (SETTINGS_FILE, RUN_FILE, LAST_FILE, PREVIOUS_FILE, MODEL_FILE, METRICS_FILE)
_CAME_LATER = {"fold": 0, "windows": {"ct": [-160, 240]}}  # what runs had whose version did not have the option
_FREE_TO_CHANGE = {"resume", "epochs", "device", "output_dir", "cache_dir", "dataset_dir", "init_from"}


class RunFolder:
    """Prepare the run's folder, in a config's ``initialize`` before anything else writes there.

    A fresh run into the folder of an earlier one moves that aside, to ``NAME.1``, ``NAME.2`` and so on. With
    ``resume`` the folder stays if it has a checkpoint. The folder then gets ``settings.json`` (the options),
    ``configs/`` (the config files as given), ``versions.json``, ``run.json`` (what is trained) and ``log.txt``
    (everything that is logged from here on). Only the first of several processes writes; the others wait. Where the
    options have ``init_from``, another run's folder, the network gets the weights of its best one, unless a run is
    resumed; ``init_from.json`` and data.json keep what that was trained on.

    Args:
        output_dir: the folder.
        settings: the options and their values; None: those of the config that this is built by, see `options_of`.
        network: gives run.json, and gets the weights of ``init_from``; None leaves both out.
        config_files: files to copy; None: those that the command line or its ``--args_file`` names.
        resume: continue what is in the folder, if anything is.

    Raises:
        ConfigError: the folder is used by a running training, or holds files that are not a run's; or the command
            line has a slip that `check_options` finds.
        CheckpointError: resuming, but the folder's run trained another network; or it cannot be written; or the run of
            ``init_from`` is damaged (ConfigError: it is none, or of another network).
        DataError: a config file is missing, or the folder cannot be written.
    """

    def __init__(
        self,
        output_dir: str | Path,
        settings: Mapping[str, Any] | None = None,
        network: nn.Module | None = None,
        config_files: Sequence[str | Path] | None = None,
        resume: bool | str = False,
    ) -> None:
        self.path = Path(str(output_dir))  # the command line gives a purely numeric name as a number
        self.resumed = as_bool(resume, "resume") and has_checkpoint(self.path)
        self.moved_aside: Path | None = None
        check_options()
        if self.resumed and network is not None:
            adopt_form(network, self.path)  # before an optimizer is made of its parameters
            wait_for_all()  # all processes have read run.json before one writes it
        parser = building_parser() if settings is None else None
        options = settings or ({} if parser is None else options_of(parser))
        initial = None
        if options.get("init_from") and network is not None and not self.resumed:
            initial = load_initial(network, options["init_from"])  # before its folder may be moved aside
            wait_for_all()
        if rank() == 0:
            try:
                self._make_ready(options, network, config_files, initial)
            except OSError as error:
                raise cannot_write(self.path, error) from error
        wait_for_all()

    def _make_ready(
        self,
        settings: Mapping[str, Any],
        network: nn.Module | None,
        config_files: Sequence[str | Path] | None,
        initial: Mapping[str, Any] | None,
    ) -> None:
        if self.path.is_dir():
            _check_is_run(self.path)
            hold(self.path)
            if self.resumed:
                self._check_network(network)
            elif any((self.path / name).exists() for name in _RUN_FILES):
                self.moved_aside = move_aside(self.path)
                release(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        hold(self.path)
        self._keep_datalist(settings.get("add_data"))
        remove_leftovers(self.path)
        known = _without_home(as_json(settings))
        changed = self._changed_settings(known) if self.resumed else []
        write_json(known, self.path / SETTINGS_FILE)  # the first file: from now on this is known for a run's folder
        log_to(self.path / LOG_FILE)
        write_json(versions(), self.path / VERSIONS_FILE)
        copy_configs(config_files, self.path / CONFIGS_FOLDER)
        if network is not None:
            write_run(network, self.path)
        if initial is not None:
            write_json(initial, self.path / INITIAL_FILE)
            _logger.info("Training starts from the best network of %s.", settings["init_from"])
        self._tell(changed)

    def _keep_datalist(self, add_data: Any) -> None:
        """Leave the earlier run's list of cases where ``add_data`` names it, if that run was moved aside."""
        if self.moved_aside is None or not add_data:
            return
        named, own, listed = Path(str(add_data)).expanduser().absolute(), self.path.absolute(), DATALIST_FILE
        if named in (own, own / listed) and (self.moved_aside / listed).is_file():
            write_json(read_json(self.moved_aside / listed), own / listed)

    def _tell(self, changed: Sequence[str]) -> None:
        if self.moved_aside is not None:
            _logger.info("%s was used by an earlier run, which is now %s.", self.path, self.moved_aside)
        _logger.info("%s run in %s.", "Resumed" if self.resumed else "New", self.path)
        for difference in changed:
            _logger.warning("Resuming with another setting: %s.", difference)

    def _check_network(self, network: nn.Module | None) -> None:
        saved = read_run(self.path)
        if network is not None and saved is not None:
            check_same_run(self.path / RUN_FILE, saved, describe(network))

    def _changed_settings(self, settings: Mapping[str, Any]) -> list[str]:
        saved = current_settings(read_json(self.path / SETTINGS_FILE) or {})
        saved = {**{name: value for name, value in _CAME_LATER.items() if name in settings}, **saved}
        settings = current_settings(settings)  # also of a config of before
        return [found for found in differences(saved, settings) if found.split(":")[0] not in _FREE_TO_CHANGE]


def move_aside(folder: Path) -> Path:
    """Rename a folder to the first free of NAME.1, NAME.2, ...

    Raises:
        ConfigError: it cannot be renamed.
    """
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    try:
        os.rename(folder, target)
    except OSError as error:
        raise ConfigError(
            "--output_dir",
            f"{folder} holds an earlier run and cannot be moved to {target} ({error.strerror}).",
            "Give another --output_dir, or --resume True to continue that run.",
        ) from error
    return target


def _check_is_run(folder: Path) -> None:
    """Check that a folder is that of a run, or empty."""
    found = sorted(entry.name for entry in folder.iterdir() if entry.name != LOCK_FILE)
    if folder.name in {"", ".."} or (found and not set(found) & set(_RUN_FILES)):
        raise ConfigError(
            "--output_dir",
            f"{folder} is not the folder of a run; it holds {', '.join(found[:5]) or 'nothing'}.",
            "Give a new or an empty folder, or that of an earlier run.",
        )


def _without_home(value: Any) -> Any:
    """Abbreviate the user's home folder, which tends to hold a name, to ~."""
    if isinstance(value, dict):
        return {key: _without_home(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_home(entry) for entry in value]
    if isinstance(value, str):
        return without_home(value)
    return value


class _RunLog(logging.FileHandler):
    """Log handler of the current run's file; errors of writing do not stop the run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; errors of writing are reported by logging."""
        try:
            super().emit(record)
        except OSError:  # the file is opened with its first line, which FileHandler does not guard
            self.handleError(record)


def without_home(text: str) -> str:
    """Abbreviate the user's home folder, which tends to hold a name, to ~ anywhere in a text."""
    try:
        home = Path.home()
    except RuntimeError:  # there is none
        return text
    if len(home.parts) < 2:  # the root of all paths
        return text
    return re.sub(rf"(?<![\w.-]){re.escape(str(home))}(?![\w.-])", "~", text)


class _WithoutHome(logging.Formatter):
    """Log formatter that abbreviates the user's home folder, also in tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return without_home(super().format(record))


def log_to(path: Path) -> None:
    """Log to a file from now on, too; an earlier run's file is closed.

    Args:
        path: the file, which is continued if it exists.
    """
    end_log()
    handler = _RunLog(path, encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setFormatter(_WithoutHome("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)


def end_log() -> None:
    """Close the present run's file."""
    root = logging.getLogger()
    for handler in [entry for entry in root.handlers if isinstance(entry, _RunLog)]:
        root.removeHandler(handler)
        handler.close()
