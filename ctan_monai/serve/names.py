"""Checks of the names in requests, which must not lead out of the served folders; stored names."""

from __future__ import annotations

import json
import logging
import re
import secrets
import tempfile
import unicodedata
from pathlib import Path

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.errors import CtanError, DataError
from ctan_monai.files.atomic import replace_text

_FOLDERS = re.compile(r"(?<![\w./-])/(?:[^\s/'\":,;]+/)+")  # the part of a path before its name
_UPLOADED = re.compile(r"tmp[A-Za-z0-9_]{8}(\..{1,100})?")  # as tempfile names what a server received
_ID_LENGTH = 200
_logger = logging.getLogger(__name__)
NAMES_FILE = "image_names.json"


def check_name(value: object, what: str) -> str:
    """Check that a tag or a model's name can be used in file names, and return it.

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
    """Check the id of an image: any name of a volume, such as '2: CT Pelvis 3mm', but no path.

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
    """Tell whether an id can be used in file names unchanged."""
    try:
        return check_case_id(value) == value
    except DataError:
        return False


def is_received(path: str, *folders: str | Path) -> bool:
    """Tell whether a path is that of a file that the server received.

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
    """Return the message of an error for clients, without folders of this machine.

    >>> said_of(DataError("/srv/studies/p1.nii", None, "/srv/studies/p1.nii is empty.", "Send it again."))
    {'error': 'p1.nii: p1.nii is empty.', 'remedy': 'Send it again.'}
    """
    path = getattr(error, "path", None)
    where = str(getattr(error, "setting", "")) if path is None else path.name
    found = {"error": f"{where}: {getattr(error, 'reason', error)}", "remedy": str(getattr(error, "remedy", ""))}
    return {key: _FOLDERS.sub("", text) for key, text in found.items()}


class StoredNames:
    """Persistent table of random plain names for ids that cannot be used in file names.

    An id that is not in the table is its own name: files that somebody put into the folder keep theirs.

    Args:
        folder: of the images.

    Raises:
        DataError: there is a table that cannot be read; without it nobody knows what the files are called.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / NAMES_FILE
        self._stems: dict[str, str] = {}
        self._read: int | None = None
        self._refresh()

    def stem_of(self, image: str) -> str:
        """Return the stem of an id's files."""
        return self._stems.get(image, image)

    def id_of(self, stem: str) -> str:
        """Return the id of a file's stem."""
        self._refresh()
        return next((image for image, name in self._stems.items() if name == stem), stem)

    def add(self, image: str) -> str:
        """Return the name of an id, creating one if it has none.

        Raises:
            DataError: it is no id, or the table cannot be written.
        """
        self._refresh()
        if check_id(image, "image") in self._stems or is_plain(image):
            if image in self._stems.values():
                raise DataError("image", None, "this name is taken.", "Give the image another name.")
            return self.stem_of(image)
        stem = f"image-{secrets.token_hex(6)}"  # nothing of the id, which may be a patient's name
        self._stems[image] = stem
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(self.path, json.dumps(self._stems, indent=1) + "\n")
        return stem

    def _refresh(self) -> None:
        """Reload the table if another process changed it."""
        try:
            changed = self.path.stat().st_mtime_ns
            if changed != self._read:
                content = json.loads(self.path.read_text(encoding="utf-8"))
                if not all(is_plain(name) for name in content.values()):
                    raise ValueError("it gives a file no plain name")
                self._stems = {check_id(image, "image"): name for image, name in content.items()}
                self._read = changed
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, TypeError, DataError) as error:
            remedy = "Restore it from a copy; or move it away, then images are called as their files are."
            raise DataError(self.path, None, f"it cannot be read ({error}).", remedy) from error
