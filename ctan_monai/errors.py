"""The errors that this package raises on purpose; each says what was found and what to do about it."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, TypeVar

from ctan_monai.aliases import keep_old_names

_T = TypeVar("_T")


class CtanError(Exception):
    """Base class of the errors that this package raises on purpose."""


class DataError(CtanError):
    """Data cannot be used as they are.

    Args:
        path: the file or folder that was read.
        case: the case (patient, image) it belongs to, None where no case is concerned.
        reason: what was found, and what was expected.
        remedy: what the user can do about it.
    """

    def __init__(self, path: str | Path, case: str | None, reason: str, remedy: str) -> None:
        self.path, self.case, self.reason, self.remedy = Path(path), case, reason, remedy
        where = f"{path} (case {case})" if case else str(path)
        super().__init__(f"{where}: {reason} Remedy: {remedy}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str | None, str, str]]:
        """Support pickling, so that an error in a loader's worker process arrives complete."""
        return type(self), (str(self.path), self.case, self.reason, self.remedy)


class ConfigError(CtanError):
    """A configuration asks for something that does not exist or does not fit together.

    Args:
        setting: the name of the setting, as the user would write it.
        reason: what was found, and what was expected.
        remedy: what the user can do about it.
    """

    def __init__(self, setting: str, reason: str, remedy: str) -> None:
        self.setting, self.reason, self.remedy = setting, reason, remedy
        super().__init__(f"{setting}: {reason} Remedy: {remedy}")

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, str, str]]:
        """Support pickling, so that an error in a loader's worker process arrives complete."""
        return type(self), (self.setting, self.reason, self.remedy)


class CheckpointError(CtanError):
    """A checkpoint cannot be read, or does not belong to this run.

    Args:
        path: the checkpoint's file.
        reason: what was found, and what was expected.
        remedy: what the user can do about it.
    """

    def __init__(self, path: str | Path, reason: str, remedy: str) -> None:
        self.path, self.reason, self.remedy = Path(path), reason, remedy
        super().__init__(f"{path}: {reason} Remedy: {remedy}")

    def __reduce__(self) -> tuple[type[CheckpointError], tuple[str, str, str]]:
        """Support pickling, so that an error in a loader's worker process arrives complete."""
        return type(self), (str(self.path), self.reason, self.remedy)


def check_choice(setting: str, value: _T, choices: Iterable[Any]) -> _T:
    """Return the value if it is one of the choices.

    Raises:
        ConfigError: it is none of them.
    """
    known = choices if isinstance(choices, tuple) else list(choices)
    if value not in known:
        raise ConfigError(setting, f"{value!r} is unknown.", f"Use one of {known}.")
    return value


def install(extra: str, packages: str) -> str:
    """Return the command that installs an extra; this package is in no registry, so it is installed from a checkout.

    >>> install("dicom", "highdicom")
    'pip install -e ".[dicom]" in a checkout of ctan_monai, or pip install highdicom'

    Args:
        extra: of setup.cfg.
        packages: what it stands for.
    """
    return f'pip install -e ".[{extra}]" in a checkout of ctan_monai, or pip install {packages}'


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NAMES = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR})
_ELSEWHERE = "give a folder that may be written: --output_dir for a run, --cache_dir for cached cases, else --out."


def cannot_write(path: str | Path, error: OSError, what: str = "it cannot be written") -> DataError:
    """Create the error for a file or folder that cannot be written, with the remedy for its reason.

    Args:
        path: what was to be written.
        error: the system's answer.
        what: what happened, without a full stop.
    """
    if error.errno in _FULL:
        remedy = f"Free space, or {_ELSEWHERE}"
    elif error.errno in _FORBIDDEN:
        remedy = f"Ask for the permission, or {_ELSEWHERE}"
    elif error.errno in _NAMES:
        remedy = f"A file has the name of a folder, or a folder that of a file: move it away, or {_ELSEWHERE}"
    elif error.errno == errno.ENAMETOOLONG:
        remedy = "Give a shorter name."
    else:
        remedy = f"Look after the disk, or {_ELSEWHERE}"
    return DataError(path, None, f"{what} ({error.strerror or error}).", remedy)


# What other libraries say about the machine or the command line: words of theirs, the setting, the remedy.
_FOREIGN = (
    (
        "device type at start of device string|Invalid device string|not compiled with (CUDA|XPU|HPU)|not linked with"
        "|Cannot access accelerator|invalid device ordinal|No CUDA GPUs|no NVIDIA driver|implemented for the MPS",
        "--device",
        "Leave it out for a GPU where there is one, or give --device cpu.",
    ),
    (
        r"[Bb]us error|shared memory|/torch_\d+|ancdata|DataLoader worker .*(exited|killed)",
        "--workers",
        "Use --workers 0 or fewer of them; or make /dev/shm, through which they give the cases on, larger (for a"
        " container --shm-size 2g), or the memory, or the number of open files (ulimit -n).",
    ),
    (
        "out of memory|can't allocate memory",
        "--batch_size",
        "Give a smaller --batch_size (with --accumulate for the same step), smaller images, or --amp True.",
    ),
    (
        "does not have a deterministic implementation|set CUBLAS_WORKSPACE_CONFIG",
        "--deterministic",
        "Leave it out, or give --device cpu; or set what is named before the program starts.",
    ),
    (
        "surrogates not allowed",
        "the locale",
        "The name of a file has letters that it does not know: set PYTHONUTF8=1, or LANG=C.UTF-8.",
    ),
    ("^run ID ", "monai.bundle run", "Name one of the config's: training, evaluating, inferring."),
    (
        "is not defined in the config content",
        "--config_file",
        "Correct the id; an overlay replaces a whole section unless it names the entry, as train#loss.",
    ),
    ("Cannot locate class or function path", "--config_file", "Correct the name, or install what it belongs to."),
)

_FOREIGN_KINDS = (RuntimeError, AssertionError, ValueError, OSError, ModuleNotFoundError)
_CALL_COMPONENTS = (
    "monai.utils.module",
    keep_old_names.__module__,
)  # modules in which a config's components are called


def explain(error: BaseException | None) -> CtanError | None:
    """Return the message to show instead of an error's traceback, None for a fault of the program.

    That is the error of this package that caused it, however deeply a framework has wrapped it, or what is known of a
    disk, a device or a memory that cannot be used.
    """
    if (found := find_ctan_error(error)) is not None:
        return found
    while error is not None:
        if isinstance(error, OSError) and error.filename and error.errno in _FULL | _FORBIDDEN:
            return cannot_write(str(error.filename), error, "it cannot be used")
        if (found := _wrong_arguments(error)) is not None:
            return found
        for words, setting, remedy in _FOREIGN if isinstance(error, _FOREIGN_KINDS) else ():
            said = [line for line in str(error).splitlines() if re.search(words, line)]  # of a worker: its traceback
            if said:
                return ConfigError(setting, said[-1].strip().rstrip(".") + ".", remedy)
        error = error.__cause__ or error.__context__
    return None


def _wrong_arguments(error: BaseException) -> ConfigError | None:
    """Create the error for a component that does not accept a config's arguments, None if it failed inside."""
    cause = error.__cause__
    if not (isinstance(cause, TypeError) and str(error).startswith("Failed to instantiate component")):
        return None
    *_, (frame, _) = traceback.walk_tb(cause.__traceback__)
    if frame.f_globals.get("__name__") not in _CALL_COMPONENTS:
        return None
    component = str(error).split("'")[1]
    return ConfigError(component, f"{cause}.", "Correct the config, or the option that adds an argument to it.")


def find_ctan_error(error: BaseException | None) -> CtanError | None:
    """Find the error of this package that caused another, however deeply a framework has wrapped it."""
    while error is not None and not isinstance(error, CtanError):
        error = error.__cause__ or error.__context__
    return error


def _first(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = cause
    return error


def show_any_letter() -> None:
    """Make consoles escape characters that their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_consoles_alone() -> None:
    """Ignore consoles that have gone (``| head``), and log errors that `explain` knows without a traceback."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(_shorten)
            handler.handleError = partial(_drop, handler)  # type: ignore[method-assign]


def _shorten(record: logging.LogRecord) -> bool:
    args = record.args if isinstance(record.args, tuple) else ()
    if any(isinstance(each, Exception) and explain(each) for each in args):
        record.args = tuple(str(each).partition("\n")[0] if isinstance(each, Exception) else each for each in args)
    return True


def _drop(handler: logging.StreamHandler[TextIO], record: logging.LogRecord) -> None:
    """Handle a line that cannot be written as logging does; after a broken pipe, discard the rest."""
    if isinstance(sys.exc_info()[1], BrokenPipeError):
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), handler.stream.fileno())
    else:
        logging.StreamHandler.handleError(handler, record)


def install_excepthook() -> None:
    """Install an excepthook that shows an uncaught error of this package as one message instead of a traceback.

    The first component of every bundle's ``initialize``: MONAI's command line would print some thirty lines of its
    own calls around "no patient was found". So does one that `explain` knows, and Ctrl-C. Any other error keeps its
    traceback, and so does a program that is being debugged with ``python -X dev``; what began it, which frameworks
    wrap, is said once more below, where people look. The exit code stays 1, or 130 after Ctrl-C. A console that lacks
    a letter shows its number.
    """
    show_any_letter()
    leave_consoles_alone()
    previous = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        found = explain(error)
        if isinstance(error, KeyboardInterrupt) and not sys.flags.dev_mode:
            sys.stderr.write("Interrupted.\n")
        elif found is None or sys.flags.dev_mode:
            previous(kind, error, trace)
            first = _first(error)
            if first is not error:
                sys.stderr.write(f"What began it: {type(first).__name__}: {first}\n")
        else:
            sys.stderr.write(f"{type(found).__name__}: {found}\n")

    sys.excepthook = report


keep_old_names(__name__)
