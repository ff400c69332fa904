"""Sources of UIDs and times, which are arguments of every writer."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from datetime import datetime

UidSource = Callable[[], str]
Clock = Callable[[], datetime]


def new_uid() -> str:
    """Create a unique UID: 2.25 and a random UUID.

    Source: DICOM PS3.5 B.2.
    """
    return f"2.25.{uuid.uuid4().int}"


class SeededUids:
    """Deterministic UIDs from seeds, for phantoms.

    Args:
        entropy: anything whose text tells one series from another.
    """

    def __init__(self, *entropy: object) -> None:
        self._seed = repr(entropy)
        self._count = 0

    def __call__(self) -> str:
        """Return the next UID: 2.25 and a UUID made of a digest."""
        digest = hashlib.sha256(f"ctan_monai {self._seed} {self._count}".encode()).digest()
        self._count += 1
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
