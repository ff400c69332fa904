"""Names of images as viewers give them, and the plain ones that their files get."""

from __future__ import annotations

import json
import logging
import secrets
from pathlib import Path

from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing
from ctan_monai.serve.names import check_id, is_plain

_logger = logging.getLogger(__name__)
NAMES_FILE = "image_names.json"


class StoredNames:
    """A table of ids that cannot stand in file names everywhere, each with a random plain name, in one small file.

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
        """Return what an id's files are called, without their ending."""
        return self._stems.get(image, image)

    def id_of(self, stem: str) -> str:
        """Return the id of a file's name without its ending."""
        self._refresh()
        return next((image for image, name in self._stems.items() if name == stem), stem)

    def add(self, image: str) -> str:
        """Give an id a name, if it has none, and return it.

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
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self._stems, indent=1) + "\n", encoding="utf-8")
        return stem

    def _refresh(self) -> None:
        """Read the table again if another process changed it."""
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
