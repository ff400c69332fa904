"""What a case file holds, in a few digits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from ctan_monai.data.cases.file_read import read_header

_NOT_CONTENT = ("fingerprint", "meta")  # when and from where it was read


def case_content(path: str | Path) -> str:
    """Return a digest of a case's volumes, masks, affine and values.

    The same for a copy, and for a case that was read again from the same source, by the same version of the compressor.
    Costs the reading of the header, which holds digests of the rest.

    Raises:
        DataError: the file cannot be read, or its header is damaged.
    """
    fields = {name: value for name, value in dataclasses.asdict(read_header(path)).items() if name not in _NOT_CONTENT}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
