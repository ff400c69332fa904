"""Read DICOM files with and without preamble; errors keep their content private."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ctan_monai.errors import DataError

_DEFLATED = "1.2.840.10008.1.2.1.99"
_NOT_COMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_MAY_FOLLOW = (0x7FE1, 0xFFFA, 0xFFFC)  # groups: private, digital signatures, padding
PIXEL_DATA = 0x7FE00010  # check_whole knows how many bytes it needs
_UNDEFINED_LENGTH = 0xFFFFFFFF
_WORD = re.compile(r"[A-Z][A-Za-z]+")
_CT = re.compile(r"(?<!\d )\bCT(?=s?\b)|\bCT(?= series)")  # not in "60 CT", which counts what was found
_TAG = re.compile(r"\(([0-9A-Fa-f]{4}), ?([0-9A-Fa-f]{4})\)")
_REMEDY = "Export it again, or take it out."


def check_whole(path: Path, dataset: Any) -> None:
    """Check the number of uncompressed pixels against rows, columns and frames.

    pydicom takes what it needs and passes over the rest. Zeros that pad are accepted, and so is what the standard and
    scanners put behind pixels.

    Args:
        path: the file.
        dataset: as pydicom read it, its pixels not decoded yet.

    Raises:
        DataError: there are too few or too many pixels, something else follows them, or they are compressed and the
            file does not say how.
    """
    from pydicom.uid import UID

    if PIXEL_DATA not in dataset:
        raise DataError(path, None, "it has no PixelData; it may be cut short.", "Export it again.")
    raw = dataset.get_item(PIXEL_DATA)
    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    if getattr(raw, "length", 0) == _UNDEFINED_LENGTH and syntax in _NOT_COMPRESSED:
        reason = f"its PixelData are compressed, and its TransferSyntaxUID does not say how ({syntax.name})."
        raise DataError(path, None, reason, "Export it again, uncompressed or with its transfer syntax.")
    if not hasattr(raw, "value_tell") or raw.length == _UNDEFINED_LENGTH or syntax == _DEFLATED:
        return
    size = {name: int(number_of(path, dataset, name)) for name in ("Rows", "Columns", "BitsAllocated")}
    expected = size["Rows"] * size["Columns"] * int(dataset.get("NumberOfFrames") or 1)
    halved = dataset.get("PhotometricInterpretation") == "YBR_FULL_422"  # two pixels share their colors
    expected *= (2 if halved else int(dataset.get("SamplesPerPixel") or 1)) * size["BitsAllocated"] // 8
    stored = raw.value or b""
    if len(stored) < expected or any(stored[expected:]):
        what = "it is cut short: it" if len(stored) < min(expected, raw.length) else "it"
        reason = (
            f"{what} has {len(stored)} bytes of PixelData, expected {expected} from Rows, Columns and BitsAllocated."
        )
        raise DataError(path, None, reason, "Export it again.")
    if any(tag > PIXEL_DATA and tag.group in _MAY_FOLLOW for tag in list(dataset.keys())):
        return
    with path.open("rb") as file:
        file.seek(raw.value_tell + raw.length)
        if any(file.read()):
            raise DataError(path, None, "something that is no DICOM follows its pixels.", "Export it again.")


def read_dicom(source: str | Path | BinaryIO, **how: Any) -> Any:
    """Read a dataset with or without preamble and meta header (group 2).

    A file that does not state its transfer syntax gets the one that it was read with, without which pydicom decodes
    no pixels.

    Args:
        source: a file, or one that is open.
        how: more of ``pydicom.dcmread``'s arguments.

    Returns:
        The ``pydicom.FileDataset``.

    Raises:
        EOFError: a value is shorter than its length says, which pydicom would pass over.
    """
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset = pydicom.dcmread(source, force=True, **how)
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        length = getattr(raw, "length", _UNDEFINED_LENGTH)  # absent where a sequence was parsed already
        if tag != PIXEL_DATA and length != _UNDEFINED_LENGTH and len(raw.value or b"") < length:
            raise EOFError(f"a value of {length} bytes ends early")
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = _encoding(dataset)
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _encoding(dataset: Any) -> tuple[bool, bool]:
    if hasattr(dataset, "original_encoding"):
        return tuple(dataset.original_encoding)  # (implicit VR, little endian)
    return dataset.is_implicit_VR, dataset.is_little_endian  # pydicom 2


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Convert errors of reading a file in this context to DataErrors.

    pydicom's warnings quote the values they complain about, a patient's name perhaps, so they are not shown.

    Args:
        path: the file.
        what: how a message calls it, for example 'a slice'.

    Raises:
        DataError: instead of any other error; the message has its kind and the attribute at fault, not its text.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except EOFError as error:
        raise DataError(path, None, f"{what} is cut short: a value ends early.", _REMEDY) from error
    except OSError as error:
        reason = f"{what} cannot be read ({error.strerror or 'it ends early'}); it may be cut short or damaged."
        raise DataError(path, None, reason, _REMEDY) from error
    except Exception as error:  # damaged files make pydicom raise almost anything
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = _at_fault(path, error)
        found = f"{type(error).__name__}: {name} is absent or has a wrong value" if name else type(error).__name__
        reason = f"{what} cannot be read ({found}); it may be cut short or damaged."
        raise DataError(path, None, reason, _REMEDY) from error


def number_of(path: Path, dataset: Any, name: str) -> float:
    """Return the value of an attribute that has to be one number.

    Raises:
        DataError: it is absent, empty or no finite number.
    """
    (value,) = numbers_of(path, dataset, name, 1)
    return value


def numbers_of(path: Path, dataset: Any, name: str, count: int) -> list[float]:
    """Return the values of an attribute that has to be ``count`` numbers.

    Raises:
        DataError: it is absent, has another count, or one is no finite number.
    """
    try:
        values = dataset.get(name)
        listed = values if count > 1 else [values]
        numbers = [float(value) for value in listed or [] if value is not None]
        found = f"{numbers if count > 1 else numbers[0]}" if numbers else "absent or empty"
    except (TypeError, ValueError, OverflowError):
        numbers, found = [], "no number"  # the value's own text is not for a message
    if len(numbers) == count and all(abs(number) < float("inf") for number in numbers):
        return numbers
    expected = "a finite number" if count == 1 else f"{count} finite numbers"
    raise DataError(path, None, f"the {name} is {found}, expected {expected}.", "Export it again, or correct it.")


def _at_fault(path: Path, error: Exception) -> str:
    """Return the name of the attribute that an error is about, '' if unknown."""
    from pydicom.datadict import keyword_for_tag, tag_for_keyword

    tag = _TAG.search(str(error))
    named = keyword_for_tag(int("".join(tag.groups()), 16)) if tag else ""
    words = [word for word in _WORD.findall(str(error)) if tag_for_keyword(word) is not None]
    if named or words:
        return named or words[0]
    try:
        return _unreadable_in(read_dicom(path, stop_before_pixels=True))
    except Exception:  # it cannot be read at all, so no attribute can be named
        return ""


def _unreadable_in(dataset: Any) -> str:
    """Return the name of the first attribute whose value does not fit its VR, '' if there is none."""
    from pydicom.datadict import keyword_for_tag

    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:
            return keyword_for_tag(tag) or str(tag)
        for item in element.value or [] if element.VR == "SQ" else []:
            if name := _unreadable_in(item):
                return name
    return ""


@contextlib.contextmanager
def of_case(case: str) -> Iterator[None]:
    """Add the case to the errors of readers in this context.

    Raises:
        DataError: the same, with the case.
    """
    try:
        yield
    except DataError as error:
        if error.case is not None:
            raise
        raise DataError(error.path, case, error.reason, error.remedy) from error


def in_modality(text: str, modality: str) -> str:
    """Name images by their modality in a text that was written for CT."""
    return _CT.sub(modality, text)


@contextlib.contextmanager
def of_modality(modality: str) -> Iterator[None]:
    """Name images by their modality in the errors of readers in this context, which were written for CT.

    Raises:
        DataError: the same, in the modality's words.
    """
    try:
        yield
    except DataError as error:
        reason, remedy = in_modality(error.reason, modality), in_modality(error.remedy, modality)
        raise DataError(error.path, error.case, reason, remedy) from error
