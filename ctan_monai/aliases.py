"""Old names in configs of runs and packed bundles, and what they are called now.

All of them stand here. Whoever uses one gets a ``DeprecationWarning`` and a line in the log with the new name.
Names are relative to this package, which is called ``scripts`` in a packed bundle.
"""

from __future__ import annotations

import functools
import logging
import math
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, util
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

_PACKAGE = __name__.rpartition(".")[0]
_logger = logging.getLogger(__name__)

# modules; what is below one of them has moved along
_MODULES = {
    "data.balance": "data.lists.balance",
    "data.cache": "data.cases.cache",
    "data.check": "data.lists.dataset",
    "data.chest.inference_list": "data.datasets.stoic.datalist",
    "data.datalist": "data.lists.datalist",
    "data.dataset": "data.lists.dataset",
    "data.dicom.datalist": "data.datasets.dicom_rt.datalist",
    "data.dicom.inference_list": "data.datasets.dicom_rt.inference",
    "data.dicom.options": "data.dicom.read.options",
    "data.datasets.prostate": "data.datasets.dicom_rt",
    "data.datasets.prostate.phantom": "data.phantom",
    "data.dicom_out": "data.dicom.write",
    "data.ham10000_datalist": "data.datasets.ham10000.datalist",
    "data.inference_list": "data.datasets.openkbp.datalist",
    "data.leakage": "data.lists.leakage",
    "data.locate": "files.bundle_root",
    "data.own": "data.datasets.tabular",
    "data.picture_list": "data.datasets.ham10000.datalist",
    "data.prostate": "data.datasets.dicom_rt.source_folder",
    "data.stoic_datalist": "data.datasets.stoic.datalist",
}
# names that moved away from their module, or are called otherwise now
_NAMES = {
    "data.cases.Case": "data.cases.case.Case",
    "data.datalist.openkbp_datalist": "data.datasets.openkbp.datalist.openkbp_datalist",
    "engines.distributed.ShardedSampler": "engines.distributed.data_parallel.ShardedSampler",
    "data.own.own_datalist": "data.datasets.tabular.tabular_datalist",
    "data.own.own_inference_list": "data.datasets.tabular.tabular_inference_list",
    "data.picture_list.picture_inference_list": "data.datasets.ham10000.datalist.image_inference_list",
    "engines.InOrder": "engines.DistributedSequentialSampler",
    "engines.WriteOnOwnGrid": "engines.WriteOnNativeGrid",
    "engines.bookkeeping": "engines.default_handlers",
    "engines.join_processes": "engines.init_process_group",
    "engines.leave_processes": "engines.destroy_process_group",
    "engines.share_of_batch": "engines.per_rank_batch_size",
    "errors.report_plainly": "errors.install_excepthook",
    "transforms.HideLabelsd": "transforms.DropLabelsd",
    "transforms.ImplyAbsentd": "transforms.SetDependentLabeld",
    "transforms.LoadCased": "transforms.LoadCaseFiled",
    "transforms.NormaliseChannelsd": "transforms.NormalizeChannelsd",
    "transforms.RandColourJitterd": "transforms.RandColorJitterd",
    "transforms.RandSliced": "transforms.RandSelectSliced",
    "engines.distributed.distribute": "engines.distributed.data_parallel.distribute",
}
# arguments: new name, and what makes the new value of the old one
_ARGUMENTS: dict[str, dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "transforms.RandAffineLabelsd": {
        "rotate_degrees": ("rotate_range", math.radians),
        "zoom": ("scale_range", float),
        "shift_voxels": ("translate_range", float),
    },
}

# options of bundles: settings.json of runs, a prepared folder's datalist.json and calls in configs have the old names
OPTIONS = {
    "normalise_to_gy": "normalize_to_gy",
    "empty_share": "empty_fraction",
    "top_share": "top_fraction",
    "shares": "split_fractions",
    "figures": "dose_metrics",
    "divided_as": "split_as",
}
# keys of data.json and diagnosis.json of runs, and of what a case's file knows of its patient or image
RECORD_KEYS = {"normalised_to_gy": "normalized_to_gy", "dose_normalised_to_gy": "dose_normalized_to_gy"}
RECORD_KEYS |= {"figures": "metrics", "grey": "gray", "own_grid": "native_grid"}
# values of options of tabular datasets
VALUES = {"labelled": "labeled", "grey": "gray"}
# files of runs and comparisons, relative to their folder
FILES = {
    "images/curves.png": "pictures/curves.png",
    "naive_baselines/baselines.json": "trivial/trivial.json",
}
# ids of entries in train.yaml that stand elsewhere now
CONFIG_IDS = {
    "train#loss_function": "loss",
    "train#optimizer": "optimizer",
    "train#lr_scheduler": "lr_scheduler",
    "validate#metrics": "validate#key_metric",
}


def current_name(name: str) -> str:
    """Return the current name of something in this package.

    Args:
        name: of a module or of something in it, relative to this package.

    Returns:
        The new name, or the given one if it is not an old one.

    >>> current_name("data.own.own_datalist")
    'data.datasets.tabular.tabular_datalist'
    """
    if name in _NAMES:
        return _NAMES[name]
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = _MODULES.get(".".join(parts[:count]))
        if module is not None:
            return ".".join([module, *parts[count:]])
    return name


def current_names(text: str) -> str:
    """Return a config's text with the new name in place of each old one."""
    pattern = rf"\b{re.escape(_PACKAGE)}\.(\w+(?:\.\w+)+)"
    return re.sub(pattern, lambda found: f"{_PACKAGE}.{current_name(found[1])}", text)


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rename options to their current names.

    >>> current_settings({"empty_share": 0.5, "seed": 0})
    {'empty_fraction': 0.5, 'seed': 0}
    """
    return {OPTIONS.get(name, name): value for name, value in settings.items()}


def current_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Rename a record's keys to their current names.

    >>> current_record({"normalised_to_gy": 60.0, "synthetic": True})
    {'normalized_to_gy': 60.0, 'synthetic': True}
    """
    return {RECORD_KEYS.get(key, key): value for key, value in record.items()}


def current_value(value: Any, option: str) -> Any:
    """Return the current name of an option's value, with a warning for an old one."""
    new = VALUES.get(value, value) if isinstance(value, str) else value
    if new != value:
        _warn(f"{option}: {value} is now {new}; write the new name, the old one will go.")
    return new


def existing_file(folder: Path, name: str) -> Path:
    """Return the path of a run's or comparison's file, by its old name if only that exists.

    Args:
        folder: of the run or comparison.
        name: of the file today, relative to it.
    """
    path, old = folder / name, folder / FILES.get(name, name)
    return old if old.exists() and not path.exists() else path


def settings_under_all_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's options under old and new names, for configs that use either."""
    current = current_settings(settings)
    return {**current, **{old: current[new] for old, new in OPTIONS.items() if new in current}}


def config_id(parser: Any, name: str) -> str:
    """Return the id under which a config of any version has an entry of train.yaml.

    Args:
        parser: MONAI's, of the config.
        name: the entry's id today.
    """
    old = [before + name[len(now) :] for before, now in CONFIG_IDS.items() if f"{name}#".startswith(f"{now}#")]
    return next((each for each in (name, *old) if each in parser), name)


def keep_old_names(module: str) -> None:
    """Make old names importable from a module that is being imported.

    It is set from here, as type checkers would take a ``__getattr__`` in the module for leave to import any name.

    Args:
        module: its ``__name__``.
    """
    sys.modules[module].__dict__["__getattr__"] = old_names(module)


def old_names(module: str) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that resolves old names.

    Args:
        module: its ``__name__``.
    """
    inside = module.removeprefix(f"{_PACKAGE}.")

    def find(name: str) -> Any:
        old = f"{inside}.{name}"
        new = current_name(old)
        if new == old or name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        source, _, last = new.rpartition(".")
        try:
            value = getattr(import_module(f"{_PACKAGE}.{source}"), last)
        except AttributeError:
            raise AttributeError(f"module {module!r} has no attribute {name!r}") from None
        _tell(old, new)
        return value

    return find


_Function = TypeVar("_Function", bound=Callable[..., Any])


def takes_old_arguments(name: str) -> Callable[[_Function], _Function]:
    """Decorate a function to accept old names of its arguments.

    Args:
        name: of the function or class, relative to this package; without an entry in the table of arguments, its
            options are those that have been renamed.
    """
    table = _ARGUMENTS.get(name) or {old: (new, lambda value: value) for old, new in OPTIONS.items()}

    def decorate(function: _Function) -> _Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old in table.keys() & kwargs.keys():
                new, convert = table[old]
                if new in kwargs:
                    raise TypeError(f"{name}: {old} is now {new}; both were given")
                _tell(f"{name}({old}=)", f"{name}({new}=)")
                kwargs[new] = convert(kwargs.pop(old))
            return function(*args, **kwargs)

        return cast(_Function, call)

    return decorate


def install() -> None:
    """Install the finder of old modules, which is asked only for modules that are not found otherwise."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())


class _OldModules(MetaPathFinder):
    """Find old modules of this package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a stand-in for a module that moved."""
        package, _, name = fullname.partition(".")
        if package != _PACKAGE or not name:
            return None
        if name in _PARENTS:
            return ModuleSpec(fullname, _StandIn(), is_package=True)
        new = current_name(name)
        if new == name or name in _NAMES:
            return None
        found = util.find_spec(f"{_PACKAGE}.{new}")
        if found is None:
            return None
        return ModuleSpec(fullname, _StandIn(), is_package=found.submodule_search_locations is not None)


class _StandIn(Loader):
    """Loader of stand-ins for modules that moved."""

    def exec_module(self, module: ModuleType) -> None:
        """Make the stand-in resolve names in the module's successor."""
        module.__dict__["__getattr__"] = old_names(module.__name__)


# removed packages, of which only modules stand in the table
_PARENTS = {name.rpartition(".")[0] for name in _MODULES} - {"", "data", "data.dicom", *_MODULES}


def _tell(old: str, new: str) -> None:
    _warn(f"{_PACKAGE}.{old} is now {_PACKAGE}.{new}; write the new name, the old one will go.")


def _warn(message: str) -> None:
    warnings.warn(message, DeprecationWarning, stacklevel=4)
    _logger.warning(message)
