"""The few errors that this package raises on purpose; each says what was found and what to do about it."""

from __future__ import annotations

from pathlib import Path


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
