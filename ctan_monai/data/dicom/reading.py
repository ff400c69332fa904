"""Turn whatever goes wrong while a DICOM file is read into one error, and keep what the file says to ourselves."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from ctan_monai.errors import DataError


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Read a file within this.

    pydicom's warnings quote the values they complain about, a patient's name perhaps, so they are not shown.

    Args:
        path: the file.
        what: how a message calls it, for example 'a slice'.

    Raises:
        DataError: instead of any other error; the message has its kind, not its text.
    """
    remedy = "Export it again, or take it out."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(path, None, f"{what} cannot be read ({error.strerror or 'it ends early'}).", remedy) from error
    except Exception as error:  # damaged files make pydicom raise almost anything
        reason = f"{what} cannot be read ({type(error).__name__}); it may be cut short or damaged."
        raise DataError(path, None, reason, remedy) from error


@contextlib.contextmanager
def of_case(case: str) -> Iterator[None]:
    """Name the case in the errors of readers that see one file and not whose it is.

    Raises:
        DataError: the same, with the case.
    """
    try:
        yield
    except DataError as error:
        if error.case is not None:
            raise
        raise DataError(error.path, case, error.reason, error.remedy) from error
