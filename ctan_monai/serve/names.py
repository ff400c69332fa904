"""What a request may name: nothing that could lead out of the folders that are served."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from pathlib import Path

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.errors import CtanError, DataError

_FOLDERS = re.compile(r"(?<![\w./-])/(?:[^\s/'\":,;]+/)+")  # the part of a path before its name
_UPLOADED = re.compile(r"tmp[A-Za-z0-9_]{8}(\..{1,100})?")  # as tempfile names what a server received
_ID_LENGTH = 200


def check_name(value: object, what: str) -> str:
    """Return a tag or the name of a model, if it can stand in file names.

    Args:
        value: as it came with a request.
        what: for the message, such as 'tag'.

    Raises:
        DataError: it is no text of 1 to 64 letters, digits, dots, underscores and hyphens, or only dots.
    """
    try:
        return check_case_id(value if isinstance(value, str) else "")
    except DataError as error:
        shown = repr(value)[:80]
        reason = f"{shown} is no name; expected 1 to 64 of A-Z, a-z, 0-9, dot, underscore and hyphen, not only dots."
        raise DataError(what, None, reason, f"Give the {what} a plain name.") from error


def check_id(value: object, what: str) -> str:
    """Return the id of an image: whatever a viewer calls a volume, such as '2: CT Pelvis 3mm', but no path.

    Args:
        value: as it came with a request.
        what: for the message, such as 'image'.

    Raises:
        DataError: it is no text of 1 to 200 characters, has a part of a path or a character without an image, or
            consists of dots and blanks.
    """
    text = value if isinstance(value, str) else ""
    hidden = any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in text)
    if not 0 < len(text) <= _ID_LENGTH or hidden or set("/\\") & set(text) or not text.strip(". "):
        expected = f"1 to {_ID_LENGTH} characters without / and \\, not only dots"
        raise DataError(
            what, None, f"{repr(value)[:80]} is no name; expected {expected}.", f"Give the {what} another name."
        )
    return text


def is_plain(value: str) -> bool:
    """Tell whether an id can stand in file names as it is."""
    try:
        return check_case_id(value) == value
    except DataError:
        return False


def is_received(path: str, *folders: str | Path) -> bool:
    """Tell whether a path is one that the server gave to what it received, and no other file of the machine.

    Args:
        path: as a request has it.
        folders: of sessions, which may hold anything.
    """
    if "\0" in path or not Path(path).is_absolute():
        return False
    place = Path(path).resolve()
    if place.parent == Path(tempfile.gettempdir()).resolve():
        return _UPLOADED.fullmatch(place.name) is not None
    return any(Path(folder).resolve() in place.parents for folder in folders if str(folder))


def said_of(error: CtanError) -> dict[str, str]:
    """Return what a client is told of an error: what was found and what to do, without folders of this machine.

    >>> said_of(DataError("/srv/studies/p1.nii", None, "/srv/studies/p1.nii is empty.", "Send it again."))
    {'error': 'p1.nii: p1.nii is empty.', 'remedy': 'Send it again.'}
    """
    path = getattr(error, "path", None)
    where = str(getattr(error, "setting", "")) if path is None else path.name
    found = {"error": f"{where}: {getattr(error, 'reason', error)}", "remedy": str(getattr(error, "remedy", ""))}
    return {key: _FOLDERS.sub("", text) for key, text in found.items()}
