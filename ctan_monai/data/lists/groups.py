"""Which cases belong together (one lesion, one patient), as statistics must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.lists.leakage import group_related, read_fingerprints

_PATIENT = "patient_id"
_THUMBNAIL = "thumbnail"


def groups_of(items: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Name a group for each case, such that cases of one lesion or patient share it.

    Images that carry fingerprints are linked by lesion, patient, file and likeness (`leakage.group_related`); other
    cases by their ``patient_id``, and a case without one stands for itself.

    Args:
        items: of a datalist; several of one case (slices) count once.

    Raises:
        DataError: a file cannot be read.
    """
    once = list({item["case"]: item for item in items}.values())
    metas = {item["case"]: read_header(item["file"]).meta for item in once}
    if metas and all(_THUMBNAIL in meta for meta in metas.values()):
        return group_related(read_fingerprints(once))
    return {case: str(meta.get(_PATIENT) or case) for case, meta in metas.items()}
