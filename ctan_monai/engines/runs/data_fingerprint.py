"""What a run trains on, in a few digits: by the names of cases and by every voxel and label of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ctan_monai.data.cases.cache import CASE_SUFFIX
from ctan_monai.data.cases.content import case_content


def fingerprint(data: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return digests of a datalist; names do not leave this function.

    Args:
        data: items with ``case``, and ``slice`` where single slices are trained on; their case files (``file``) are
            not read whole, for their headers hold digests of every byte.

    Returns:
        ``items``, their number; ``sha256`` of cases and slices in their order; ``content_sha256`` of what their case
        files hold, wherever they lie and whenever they were written, None where an item has none.

    Raises:
        DataError: a case file cannot be read.

    >>> fingerprint([{"case": "pt_1", "slice": 3}])["items"]
    1
    """
    items = list(data)
    keys = [json.dumps([str(item.get("case")), item.get("slice")]) for item in items]
    files = list(dict.fromkeys(str(item.get("file", "")) for item in items))
    known = bool(files) and all(file.endswith(CASE_SUFFIX) for file in files)
    return {
        "items": len(items),
        "sha256": _sha256(keys),
        "content_sha256": _sha256([case_content(file) for file in files]) if known else None,
    }


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
