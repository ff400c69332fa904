"""Pseudonyms of patients and cases."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from ctan_monai.errors import DataError

_KEY_BYTES = 32


class Pseudonyms:
    """Generator of pseudonyms that only the holder of a key can trace back.

    The name is a keyed digest (BLAKE2b), so it does not depend on the order of patients, and stays when others are
    added. A plain digest would not do: hospital numbers are few enough to try them all.

    Args:
        key: kept apart from the prepared data.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def patient(self, identity: str) -> str:
        """Return the pseudonym of a patient: pt_ and ten hexadecimal digits."""
        return f"pt_{self._digest(identity, 5)}"

    def case(self, patient: str, series_uid: str) -> str:
        """Return the id of a case: its patient's pseudonym and six digits for the CT series."""
        return f"{patient}_{self._digest(series_uid, 3)}"

    def _digest(self, text: str, size: int) -> str:
        return hashlib.blake2b(text.encode(), digest_size=size, key=self._key).hexdigest()


def read_or_make_key(path: str | Path) -> bytes:
    """Read a key, or create one in a file that only its owner can read.

    Raises:
        DataError: the file cannot be read or written, or holds no key.
    """
    path = Path(path)
    remedy = "Give the file of the key that these data were prepared with, or a new name."
    try:
        if path.exists():
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
        else:
            key = secrets.token_bytes(_KEY_BYTES)
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(key.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
    except (OSError, ValueError) as error:
        raise DataError(
            path, None, f"the key of the pseudonyms cannot be used ({type(error).__name__}).", remedy
        ) from error
    if len(key) != _KEY_BYTES:
        raise DataError(path, None, f"the key has {len(key)} bytes, expected {_KEY_BYTES}.", remedy)
    return key
