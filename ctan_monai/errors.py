"""The few errors that this package raises on purpose; each says what was found and what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


class CtanError(Exception):
    """Base of every error that this package raises on purpose."""


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
        """Survive pickling, so that an error in a loader's worker process arrives whole."""
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
        """Survive pickling, so that an error in a loader's worker process arrives whole."""
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
        """Survive pickling, so that an error in a loader's worker process arrives whole."""
        return type(self), (str(self.path), self.reason, self.remedy)


def install(extra: str, packages: str) -> str:
    """Say how an optional part gets here; this package itself is in no registry, so its extras come from a checkout.

    >>> install("dicom", "highdicom")
    'pip install -e ".[dicom]" in a checkout of ctan_monai, or pip install highdicom'

    Args:
        extra: of setup.cfg.
        packages: what it stands for.
    """
    return f'pip install -e ".[{extra}]" in a checkout of ctan_monai, or pip install {packages}'


def find_ctan_error(error: BaseException | None) -> CtanError | None:
    """Return the error of this package that caused another, however deeply a framework has wrapped it."""
    while error is not None and not isinstance(error, CtanError):
        error = error.__cause__ or error.__context__
    return error


def _first(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = cause
    return error


def report_plainly() -> None:
    """Let an uncaught error of this package end the program with its one message instead of a traceback.

    The first component of every bundle's ``initialize``: MONAI's command line would print some thirty lines of its
    own calls around "no patient was found". Any other error keeps its traceback, and so does a program that is
    being debugged with ``python -X dev``; what began it, which frameworks wrap, is said once more below, where people
    look. The exit code stays 1.
    """
    previous = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        found = find_ctan_error(error)
        if found is None or sys.flags.dev_mode:
            previous(kind, error, trace)
            first = _first(error)
            if first is not error:
                sys.stderr.write(f"What began it: {type(first).__name__}: {first}\n")
        else:
            sys.stderr.write(f"{type(found).__name__}: {found}\n")

    sys.excepthook = report
